//! What a link does with its peer's certificate: HELLO and WELCOME must name its holder, and once it
//! is revoked the link is over.

use dglb_core::{
    peer_name::PeerName,
    proto::{
        Event, Peer,
        message::{Bye, ByeReason, PeerRole, Refuse, RefuseReason},
    },
};
use tracing::debug;

use super::{Certified, Link};
use crate::link::{IdentityProblem, TlsError, identity::agree};

impl Link {
    /// The session's next event, unless the peer is not whom its certificate names: then it is told
    /// so, and the daemon hears of the end alone.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let event = self.session.poll_event()?;
        let Err(problem) = self.identify(&event) else { return Some(event) };
        debug!(peer = %self.driver.remote, %problem, "wrong certificate");
        let text = problem.to_string();
        self.driver.metrics.tls_failed(&TlsError::Identity(problem.clone()));
        self.why = Some(problem.into());
        match event {
            // What it gets by then was not sent to it.
            Event::HelloReceived(_) => _ = self.session.refuse(Refuse { reason: RefuseReason::Identity, text }),
            _ => self.session.close(Bye { reason: ByeReason::Identity, text }),
        }
        self.session.poll_event()
    }

    fn identify(&self, event: &Event) -> Result<(), IdentityProblem> {
        let Some(certified) = &self.driver.certified else { return Ok(()) };
        let claimed = match event {
            Event::HelloReceived(hello) => PeerName::new(hello.role, hello.identity.clone()),
            Event::Established(Peer::Acceptor(welcome)) => PeerName::new(PeerRole::DnsB, welcome.identity.clone()),
            _ => return Ok(()),
        };
        agree(&certified.name, &claimed)
    }

    /// The peer's certificate was revoked.
    pub(super) fn distrust(&mut self) {
        self.driver.certified = None;
        self.driver.metrics.revoked.inc();
        self.why = Some(TlsError::Revoked.into());
        self.farewell(Bye { reason: ByeReason::Identity, text: "the certificate is revoked".to_owned() });
    }
}

/// Waits until the peer's certificate is revoked.
pub(super) async fn revoked(certified: &mut Option<Box<Certified>>) {
    match certified {
        Some(certified) => certified.revoked().await,
        None => std::future::pending().await,
    }
}
