//! The keys of `[dns]` that every DNS server of ours has.

use std::num::NonZeroUsize;

use dglb_core::dns::Conduct;

use super::{Section, integer, transports};
use crate::serve::Settings;

/// What `[dns]` says of serving, whoever serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Sockets and threads.
    pub settings: Settings,
    /// How questions are answered.
    pub conduct: Conduct,
}

impl Dns {
    /// Reads the shared keys of `[dns]`; the daemon's own are the caller's to read.
    pub fn read(section: &Section<'_>) -> Self {
        let mut dns = Self::default();
        let lanes = section.optional("lanes", integer(1..=1_024_usize)).and_then(NonZeroUsize::new);
        dns.settings.lanes = lanes.unwrap_or(dns.settings.lanes);
        dns.settings.tcp = transports::tcp(section);
        dns.conduct.udp_payload = section.or("udp-payload", integer(512..=4096), dns.conduct.udp_payload);
        dns
    }
}
