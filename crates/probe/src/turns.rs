//! Whose turn it is to probe an address: one after the other, no faster than this DNS-LB's share.
//!
//! Invariant: between the starts of two probes of an address lies the interval of its share, reckoned as
//! [`crate::rhythm`] has it where the share changes meanwhile.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use tokio::{
    sync::{Mutex, MutexGuard, watch},
    time::{Instant, sleep_until},
};

use crate::{
    rhythm::Rhythm,
    shares::{InForce, Share},
};

/// The turns of all addresses that are probed.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    in_force: InForce,
    addresses: HashMap<IpAddr, Arc<Turn>>,
}

/// The turns of one address. Whoever waits holds the lock, which is fair.
#[derive(Debug)]
pub(crate) struct Turn {
    /// `None` for an address without a ceiling.
    share: watch::Sender<Option<Share>>,
    rhythm: Mutex<Rhythm>,
}

/// The right to start a probe now.
#[derive(Debug)]
pub(crate) struct Started<'t>(Option<MutexGuard<'t, Rhythm>>);

impl Turns {
    /// The turns of an address.
    pub(crate) fn of(&mut self, address: IpAddr) -> Arc<Turn> {
        let share = self.in_force.get(&address).copied();
        let turn = || Turn {
            share: watch::Sender::new(share),
            rhythm: Mutex::new(Rhythm::new(rand::random(), Instant::now().into_std())),
        };
        Arc::clone(self.addresses.entry(address).or_insert_with(|| Arc::new(turn())))
    }

    /// Other shares hold from now on.
    pub(crate) fn set(&mut self, in_force: InForce) {
        for (address, turn) in &self.addresses {
            let share = in_force.get(address).copied();
            turn.share.send_if_modified(|held| std::mem::replace(held, share) != share);
        }
        self.in_force = in_force;
    }

    /// Forgets the addresses that nobody probes any more.
    pub(crate) fn retain(&mut self, probed: impl Fn(&IpAddr) -> bool) {
        self.addresses.retain(|address, _| probed(address));
    }
}

impl Turn {
    /// Waits for the turn. Until the answer is dropped nobody else has one, if there is a ceiling.
    pub(crate) async fn wait(&self) -> Started<'_> {
        if self.share.borrow().is_none() {
            return Started(None);
        }
        let mut rhythm = self.rhythm.lock().await;
        let mut share = self.share.subscribe();
        loop {
            let held = *share.borrow_and_update();
            let Some(held) = held else { return Started(None) };
            let from = rhythm.next(held.interval(), Instant::now().into_std());
            // The other end is this turn's own.
            let changed = async { drop(share.changed().await) };
            match from {
                Some(from) => tokio::select! {
                    () = sleep_until(from.into()) => return Started(Some(rhythm)),
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }
}

impl Started<'_> {
    /// The probe starts now.
    pub(crate) fn start(self) {
        if let Some(mut rhythm) = self.0 {
            rhythm.started(Instant::now().into_std());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address() -> IpAddr {
        [203, 0, 113, 1].into()
    }

    fn in_force(share: Share) -> InForce {
        Arc::new(HashMap::from([(address(), share)]))
    }

    /// When, in seconds, probes of three tasks start within so many milliseconds.
    async fn starts(turn: &Arc<Turn>, milliseconds: u64) -> Vec<f64> {
        let (begin, (sender, mut started)) = (Instant::now(), tokio::sync::mpsc::unbounded_channel());
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let (turn, sender) = (Arc::clone(turn), sender.clone());
                tokio::spawn(async move {
                    loop {
                        let started = turn.wait().await;
                        let _ = sender.send(begin.elapsed().as_secs_f64());
                        started.start();
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let mut all = Vec::new();
        while let Ok(at) = started.try_recv() {
            all.push(at);
        }
        all
    }

    #[tokio::test]
    async fn all_that_probe_an_address_share_its_turns() {
        let mut turns = Turns::default();
        turns.set(in_force(Share::AtMost(20_000)));
        let turn = turns.of(address());
        let at = starts(&turn, 1_000).await;
        // Late they may be, on a machine that has much to do, but never early.
        assert!((5..=21).contains(&at.len()), "{at:?}");
        assert!(at.windows(2).all(|w| w[1] - w[0] > 0.0499), "{at:?}");
    }

    #[tokio::test]
    async fn nobody_starts_before_the_first_share_and_a_new_one_holds_at_once() {
        let mut turns = Turns::default();
        turns.set(in_force(Share::None));
        let turn = turns.of(address());
        assert!(starts(&turn, 200).await.is_empty());
        turns.set(in_force(Share::AtMost(2)));
        assert!(starts(&turn, 200).await.len() <= 1);
        // The present wait is cut short, or made longer.
        let waiting = tokio::spawn({
            let turn = Arc::clone(&turn);
            async move {
                turn.wait().await.start();
                turn.wait().await.start();
            }
        });
        turns.set(in_force(Share::AtMost(100_000)));
        assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok());
        turns.set(in_force(Share::AtMost(0)));
        assert!(starts(&turn, 200).await.is_empty());
        turns.set(InForce::default());
        assert!(starts(&turn, 500).await.len() > 20, "there is no ceiling any more");
        turns.retain(|_| false);
        assert!(turns.addresses.is_empty());
    }
}
