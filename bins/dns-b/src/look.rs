//! The status page's way to the keeper. What it shows is made when somebody looks and freed where it was
//! shown: with thousands of DNS-LBs either takes longer than a change of the map may wait.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use crate::keeper::Status;

/// Who looks again so soon sees the same.
const SAME: Duration = Duration::from_millis(500);
/// How long the keeper has; then what was seen last is shown, which is so while a start still reads reports.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks that may wait for the keeper; beyond them, too, what was seen last is shown.
const WAITING: usize = 4;

/// Where the keeper sends what it shows.
pub type Look = oneshot::Sender<Status>;

/// Whoever looks.
#[derive(Debug)]
pub struct Looks {
    keeper: mpsc::Sender<Look>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    status: Arc<Status>,
    at: Instant,
}

impl Looks {
    /// With what there is to be seen at first; the other half is the keeper's.
    pub fn new(first: Status) -> (Self, mpsc::Receiver<Look>) {
        let (keeper, looks) = mpsc::channel(WAITING);
        let seen = Seen { status: Arc::new(first), at: Instant::now() };
        (Self { keeper, seen: Mutex::new(seen) }, looks)
    }

    /// What there is to be seen now, or was lately.
    pub async fn status(&self) -> Arc<Status> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if seen.at.elapsed() < SAME {
            return seen.status;
        }
        let (reply, status) = oneshot::channel();
        if self.keeper.try_send(reply).is_err() {
            return seen.status;
        }
        match timeout(PATIENCE, status).await {
            Ok(Ok(status)) => {
                let status = Arc::new(status);
                let new = Seen { status: Arc::clone(&status), at: Instant::now() };
                // Freed behind the lock.
                let _old = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), new);
                status
            }
            Ok(Err(_)) | Err(_) => seen.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::proto::message::BootId;

    use super::*;
    use crate::keeper::{Keeper, tests::config};

    fn status(boot: u8) -> Status {
        let now = std::time::Instant::now();
        Keeper::new(&config(), BootId([boot; 16]), now).status(now)
    }

    fn boot(status: &Status) -> String {
        status.document()["boot"].as_str().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn it_is_asked_for_when_somebody_looks_and_never_twice_at_once() {
        let (looks, mut asked) = Looks::new(status(1));
        let at = |n: u8| BootId([n; 16]).to_string();
        assert_eq!((boot(&*looks.status().await), asked.try_recv().is_err()), (at(1), true), "it is fresh");
        let later = || looks.seen.lock().unwrap().at -= SAME;
        later();
        let answer = async { asked.recv().await.unwrap().send(status(2)).unwrap() };
        let (seen, ()) = tokio::join!(looks.status(), answer);
        assert_eq!((boot(&seen), boot(&*looks.status().await)), (at(2), at(2)));
        assert!(asked.try_recv().is_err(), "asked once");
        later();
        let forgotten = async { drop(asked.recv().await) };
        assert_eq!(boot(&tokio::join!(looks.status(), forgotten).0), at(2), "who has no answer sees the last");
        drop(asked);
        assert_eq!(boot(&*looks.status().await), at(2));
    }
}
