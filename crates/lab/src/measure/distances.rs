//! What probes find of distances, beside the stamps of the router that every packet passes.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Probe, ProbeKind},
    name::Name,
};
use dglb_probe::{
    probe::{Means, Outcome, probe},
    trust::Trust,
};

use crate::{
    wire::Handshake,
    world::{ISPS, SITES, World, WorldError, site},
};

/// A site's port that is probed.
const PORT: u16 = 80;

/// A site as a DNS-LB sees it.
#[derive(Clone, Debug)]
pub struct Distance {
    /// The DNS-LB's host.
    pub from: String,
    /// The site.
    pub to: String,
    /// Median round trip of the probes.
    pub probed: Duration,
    /// Median from the router's taking in a SYN until its handing over the reply.
    pub stamped: Duration,
}

/// How far the two may be apart: 1 ms and 2 %.
pub(super) fn allowed(stamped: Duration) -> Duration {
    Duration::from_millis(1) + stamped / 50
}

/// Probes every site so many times from the host of every ISP's DNS-LB.
///
/// # Errors
/// [`WorldError`] when a probe does not succeed, or none was seen on the wire.
pub fn distances(world: &World, probes: usize) -> Result<Vec<Distance>, WorldError> {
    let mut found = Vec::new();
    for isp in 1..=ISPS {
        for s in 0..SITES {
            found.push(distance(world, (&format!("lb{isp}"), &site(s)), probes)?);
        }
    }
    Ok(found)
}

fn distance(world: &World, (from, to): (&str, &str), probes: usize) -> Result<Distance, WorldError> {
    let hosts = &world.lab().topology().hosts;
    let number = |name: &str| hosts.iter().position(|host| host.name == name);
    let wrong = |reason: String| WorldError::Admin { host: from.to_owned(), path: to.to_owned(), reason };
    let address = world.plan().host_addresses(to)[0];
    let seen = world.lab().wire().watch_handshakes();
    let round_trips = world.lab().in_host(from, || round_trips(address, probes))?.map_err(wrong)?;
    let pair = (number(from), number(to));
    let of_pair = seen.try_iter().filter(|h| (Some(h.client), Some(h.server)) == pair);
    let stamped = median(stamps(of_pair)).ok_or_else(|| wrong("no handshake was seen".to_owned()))?;
    let probed = median(round_trips).ok_or_else(|| wrong("no probe was made".to_owned()))?;
    Ok(Distance { from: from.to_owned(), to: to.to_owned(), probed, stamped })
}

/// One after the other, as the DNS-LB would.
fn round_trips(address: IpAddr, probes: usize) -> Result<Vec<Duration>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let wanted =
        Probe { kind: ProbeKind::http(PORT, "/health"), interval_ms: 1_000, timeout_ms: 2_000, fall: 2, rise: 2 };
    let means = Means { body_limit: 1 << 10, trust: Trust::nobody() };
    let host = Name::root();
    let once = || runtime.block_on(probe(&wanted, address, &host, &means));
    let round_trip = |_| match once().outcome {
        Outcome::Good(times) => Ok(times.connect),
        outcome => Err(format!("a probe ended by {}", outcome.as_str())),
    };
    (0..probes).map(round_trip).collect()
}

/// From each SYN to its reply.
fn stamps(seen: impl Iterator<Item = Handshake>) -> Vec<Duration> {
    let mut open: HashMap<u16, Instant> = HashMap::new();
    let mut found = Vec::new();
    for Handshake { at, port, reply, .. } in seen {
        if !reply {
            open.entry(port).or_insert(at);
        } else if let Some(began) = open.remove(&port) {
            found.push(at.duration_since(began));
        }
    }
    found
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
