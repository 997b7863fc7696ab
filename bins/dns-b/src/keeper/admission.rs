//! Who may be here at all, and which process of an identity.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    identity::Identity,
    proto::message::{Hello, PeerRole},
};

use super::{
    Keeper,
    duplicates::{Holder, Process},
};
use crate::config::DnsLbs;

impl Keeper {
    /// Whether who says so may be here; with certificates, it has shown that it is who it says.
    pub(super) fn admission(&self, identity: &Identity, role: PeerRole) -> Result<(), String> {
        let anybody = self.dns_lbs == DnsLbs::Certified && role == PeerRole::DnsLb;
        match self.peers.get(identity) {
            Some(peer) if peer.role == role => Ok(()),
            Some(_) => Err(format!("\"{identity}\" has another role here")),
            // The labels of the dns-bs are taken, whoever certifies.
            None if anybody && self.fleet.server(identity).is_none() => Ok(()),
            None => Err(format!("no [[peer]] \"{identity}\" is configured here")),
        }
    }

    /// Whether a process may have the place of its identity: of two hosts with one identity the one
    /// that started later is the one that was meant (design section 6).
    pub(super) fn take_place(&mut self, hello: &Hello, from: SocketAddr, now: Instant) -> Result<(), String> {
        let linked = self.linked.get(&hello.identity).and_then(|link| self.links.get(link));
        let linked = linked.map(|l| Holder::Linked(l.boot));
        let truth = || self.directory.lb_of(&hello.identity).and_then(|index| self.lbs.get(&index));
        let leased = || truth().filter(|t| t.gone_since.is_none()).map(|t| Holder::Leased(t.boot));
        let holder = linked.or_else(leased).unwrap_or(Holder::Nobody);
        let comer = Process { boot: hello.boot, started: started(hello, now), from, displaced: false };
        let (may, news) = self.duplicates.of(&hello.identity).comes(comer, holder, now);
        if news {
            self.figures.duplicates += 1;
            tracing::error!(identity = %hello.identity, %from, "two processes of one identity are at work");
        }
        may.map_err(|why| why.to_string())
    }
}

/// When a process started; `None` for before this host's clock began.
fn started(hello: &Hello, now: Instant) -> Option<Instant> {
    now.checked_sub(Duration::from_millis(hello.uptime_ms))
}
