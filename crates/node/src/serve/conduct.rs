//! How a running server conducts itself: what its configuration says, with the cookies' secrets of
//! now.

use std::{path::Path, time::Duration};

use dglb_core::{
    dns::{
        Conduct,
        cookie::{Cookies, Secret},
    },
    published::{Published, Publisher},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Secrets},
    lifecycle::Tasks,
};

/// How often the file is looked at.
const POLL: Duration = Duration::from_secs(1);

/// The one who publishes a daemon's [`Conduct`]: at its start, when it is reconfigured, and when
/// the file with the secrets of its cookies says something new.
///
/// A file that cannot be understood changes nothing: cookies go on with the secrets that were read
/// last. Without a file the secret is random, made once for this process.
#[derive(Debug)]
pub struct ConductKeeper {
    published: Published<Conduct>,
    configurations: watch::Sender<config::Dns>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl ConductKeeper {
    /// Publishes what `dns` says and starts the task that looks at the file from then on.
    pub fn start(dns: &config::Dns, registry: &mut Registry, tasks: &mut Tasks) -> Self {
        let changes = Family::<Outcome, Counter>::default();
        for outcome in ["applied", "refused"] {
            // Shown from the start, as 0.
            let _ = changes.get_or_create(&Outcome { outcome });
        }
        let help = "Changes of the file with the cookies' secrets by outcome";
        registry.register("dglb_dns_cookie_secret_changes", help, changes.clone());
        let kept = Kept::new(dns.clone(), Secret::new(rand::random()), changes);
        let published = kept.publisher.reader();
        let (configurations, receiver) = watch::channel(dns.clone());
        tasks.spawn("conduct", kept.run(receiver, POLL, tasks.stop_token()));
        Self { published, configurations }
    }

    /// For one more reader.
    pub fn reader(&self) -> Published<Conduct> {
        self.published.clone()
    }

    /// Takes a new configuration over, within moments.
    pub fn reconfigure(&self, dns: &config::Dns) {
        self.configurations.send_replace(dns.clone());
    }
}

/// What the task owns.
struct Kept {
    dns: config::Dns,
    /// For who has no file.
    own: Secret,
    /// The secrets in use, if a file says them.
    secrets: Option<Secrets>,
    /// Why the file was of no use when it was last looked at; told once.
    complaint: Option<String>,
    publisher: Publisher<Conduct>,
    changes: Family<Outcome, Counter>,
}

impl Kept {
    fn new(dns: config::Dns, own: Secret, changes: Family<Outcome, Counter>) -> Self {
        let secrets = dns.cookies.secret_file.as_ref().map(|file| file.secrets.clone());
        let publisher = Publisher::new(conduct(&dns, own, secrets.as_ref()));
        Self { dns, own, secrets, complaint: None, publisher, changes }
    }

    async fn run(mut self, mut configurations: watch::Receiver<config::Dns>, poll: Duration, stop: CancellationToken) {
        let mut looks = tokio::time::interval(poll);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Without a sender there is nobody left to reconfigure.
                Ok(()) = configurations.changed() => {
                    let dns = configurations.borrow_and_update().clone();
                    self.secrets = dns.cookies.secret_file.as_ref().map(|file| file.secrets.clone());
                    self.complaint = None;
                    self.dns = dns;
                    self.publish();
                }
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// Reads the file anew. It is a few octets long, so its content is what is compared.
    async fn look(&mut self) {
        let Some(path) = self.dns.cookies.secret_file.as_ref().map(|file| file.path.clone()) else { return };
        let reading = path.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || Secrets::read(&reading)).await else { return };
        match read {
            Ok(secrets) => {
                self.complaint = None;
                if self.secrets.as_ref() != Some(&secrets) {
                    tracing::info!(file = %path.display(), "cookies have new secrets");
                    self.count("applied");
                    self.secrets = Some(secrets);
                    self.publish();
                }
            }
            Err(problems) => {
                let complaint: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.complain(&path, complaint.join("; "));
            }
        }
    }

    fn complain(&mut self, path: &Path, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!(file = %path.display(), problem = %complaint, "cookies keep their secrets");
            self.count("refused");
            self.complaint = Some(complaint);
        }
    }

    fn publish(&mut self) {
        self.publisher.publish(conduct(&self.dns, self.own, self.secrets.as_ref()));
    }

    fn count(&self, outcome: &'static str) {
        self.changes.get_or_create(&Outcome { outcome }).inc();
    }
}

fn conduct(dns: &config::Dns, own: Secret, secrets: Option<&Secrets>) -> Conduct {
    let (current, next) = secrets.map_or((own, None), |secrets| (secrets.current, secrets.next));
    let cookies = Cookies { current, next, require: dns.cookies.require };
    Conduct { cookies: dns.cookies.enabled.then_some(cookies), ..dns.conduct.clone() }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Instant};

    use super::*;
    use crate::config::{Cookies as CookieKeys, SecretFile};

    const SOON: Duration = Duration::from_secs(20);

    fn secret(octet: u8) -> Secret {
        Secret::new([octet; 16])
    }

    fn line(octet: u8) -> String {
        format!("{octet:02x}").repeat(16) + "\n"
    }

    fn with_file(path: PathBuf) -> config::Dns {
        let secret_file = Some(SecretFile { secrets: Secrets::read(&path).unwrap(), path });
        config::Dns { cookies: CookieKeys { secret_file, ..CookieKeys::default() }, ..config::Dns::default() }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn without_a_file_the_secret_is_this_process_s_own() {
        let kept = |own| Kept::new(config::Dns::default(), own, Family::default()).publisher.current();
        let cookies = kept(secret(7)).cookies.clone().unwrap();
        assert_eq!((cookies.current, cookies.next, cookies.require), (secret(7), None, false));
        let mut off = config::Dns::default();
        off.cookies.enabled = false;
        assert_eq!(Kept::new(off, secret(7), Family::default()).publisher.current().cookies, None);
    }

    #[tokio::test]
    async fn the_file_is_followed_and_a_bad_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cookies");
        // As an operator's tools do it: a file is there whole or not at all.
        let write = |text: &str| {
            let new = directory.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, &path).unwrap();
        };
        write(&line(1));
        let changes = Family::<Outcome, Counter>::default();
        let count = |outcome| changes.get_or_create(&Outcome { outcome }).get();
        let dns = with_file(path.clone());
        let kept = Kept::new(dns.clone(), secret(9), changes.clone());
        let (published, stop) = (kept.publisher.reader(), CancellationToken::new());
        let used = || {
            let cookies = published.load().cookies.clone().unwrap();
            (cookies.current, cookies.next)
        };
        let (configurations, receiver) = watch::channel(dns.clone());
        let task = tokio::spawn(kept.run(receiver, Duration::from_millis(5), stop.clone()));
        assert_eq!(used(), (secret(1), None));
        write(&(line(1) + &line(2)));
        until("the next secret is known", || used() == (secret(1), Some(secret(2)))).await;
        assert_eq!((count("applied"), count("refused")), (1, 0));

        write("not a secret\n");
        until("it is refused", || count("refused") == 1).await;
        std::fs::remove_file(&path).unwrap();
        until("that it is gone is told, too", || count("refused") == 2).await;
        assert_eq!((used(), count("applied")), ((secret(1), Some(secret(2))), 1));

        write(&(line(2) + &line(1)));
        until("it is taken again", || used() == (secret(2), Some(secret(1)))).await;
        assert_eq!((count("applied"), count("refused")), (2, 2));

        // A configuration without a file: this process's own, and nothing is looked at any more.
        configurations.send_replace(config::Dns::default());
        until("the file counts no more", || used() == (secret(9), None)).await;
        stop.cancel();
        task.await.unwrap();
    }
}
