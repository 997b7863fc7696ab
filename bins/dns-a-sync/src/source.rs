//! Reads the sites' addresses from DNS-A. A [`Reading`] is of one moment or does not exist: the
//! zone's serial was the same before and after, and every name was answered. A name whose answer
//! cannot be used is told apart from one that has no addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use dglb_core::name::Name;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType},
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    dns_a::{AskError, DnsA},
    wire::from_hickory,
};

/// Questions under way at one time: a DNS-A is not a load test.
const PARALLEL: usize = 16;
/// Most aliases in a row.
const MAX_ALIASES: usize = 8;
/// Readings that may be lost to a zone that changes meanwhile.
const ATTEMPTS: u32 = 3;

/// What DNS-A says at one serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The serial of the enterprise zone's SOA.
    pub serial: u32,
    /// The addresses of every site's name, IPv4 first, sorted; empty if the name has none.
    pub addresses: BTreeMap<Name, Vec<IpAddr>>,
    /// Names whose answer cannot be used, and why; they are not among `addresses`.
    pub unreadable: BTreeMap<Name, String>,
}

/// Why there is no reading. Nothing changes downstream then.
#[derive(Debug, Error)]
pub enum SourceError {
    /// DNS-A did not answer, or has no authority over its zone.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// DNS-A has no SOA at the enterprise zone's apex.
    #[error("{0} is no zone of this server: it has no SOA record")]
    NoZone(Name),
    /// The serial changed during every attempt.
    #[error("the zone changed while it was read, {ATTEMPTS} times in a row")]
    Unstable,
    /// A reading task ended early: a bug.
    #[error("a reading task failed")]
    Task,
}

/// Why the answer for one name cannot be used.
#[derive(Debug, Error)]
enum NameError {
    /// An error code, or no authority.
    #[error(transparent)]
    Ask(AskError),
    /// An alias to a name that this server does not hold.
    #[error("{name} is an alias that leads to {target}, which this server does not hold")]
    Alias { name: Name, target: Name },
    /// "No data" without the SOA that proves it (RFC 2308 section 2.2).
    #[error("the answer for {0} has neither addresses nor the SOA record that says there are none")]
    NoProof(Name),
}

/// Reads at once, at the configured interval and when the configuration changes, until told to
/// stop or nobody listens.
pub async fn poll(
    mut config: watch::Receiver<Arc<Config>>,
    readings: mpsc::Sender<Result<Reading, SourceError>>,
    stop: CancellationToken,
) {
    let work = async {
        loop {
            let current = Arc::clone(&config.borrow_and_update());
            if readings.send(Source::configured(&current).read().await).await.is_err() {
                return;
            }
            tokio::select! {
                changed = config.changed() => if changed.is_err() { return },
                () = sleep(current.dns_a.interval) => {}
            }
        }
    };
    let _ = stop.run_until_cancelled(work).await;
}

/// What is read, and where.
#[derive(Clone, Debug)]
pub struct Source {
    dns_a: Arc<DnsA>,
    zone: Name,
    names: BTreeSet<Name>,
}

impl Source {
    /// Reads `names` from `dns_a`, whose zone `zone` gives the serial.
    pub fn new(dns_a: Arc<DnsA>, zone: Name, names: BTreeSet<Name>) -> Self {
        Self { dns_a, zone, names }
    }

    /// Reads every site's name.
    pub fn configured(config: &Config) -> Self {
        let dns_a = DnsA::new(config.dns_a.server, config.dns_a.timeout, None);
        let services = config.zones.iter().flat_map(|z| &z.services);
        let names = services.flat_map(|s| &s.sites).map(|s| s.dns_name.clone()).collect();
        Self::new(Arc::new(dns_a), config.dns_a.zone.clone(), names)
    }

    /// Reads once.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn read(&self) -> Result<Reading, SourceError> {
        let mut serial = self.serial().await?;
        for _ in 0..ATTEMPTS {
            let reading = self.addresses(serial).await?;
            let after = self.serial().await?;
            if after == serial {
                return Ok(reading);
            }
            serial = after;
        }
        Err(SourceError::Unstable)
    }

    async fn serial(&self) -> Result<u32, SourceError> {
        let answer = self.dns_a.ask_authority(&self.zone, RecordType::SOA).await?;
        let serials = answer.answers.iter().filter(|r| from_hickory(&r.name).as_ref() == Some(&self.zone));
        serials
            .filter_map(|r| if let RData::SOA(soa) = &r.data { Some(soa.serial) } else { None })
            .next()
            .ok_or_else(|| SourceError::NoZone(self.zone.clone()))
    }

    async fn addresses(&self, serial: u32) -> Result<Reading, SourceError> {
        let mut questions = self.names.iter().flat_map(|n| [(n, RecordType::A), (n, RecordType::AAAA)]);
        let addresses = self.names.iter().map(|n| (n.clone(), Vec::new())).collect();
        let mut reading = Reading { serial, addresses, unreadable: BTreeMap::new() };
        let mut running = JoinSet::new();
        loop {
            while running.len() < PARALLEL
                && let Some((name, rtype)) = questions.next()
            {
                running.spawn(ask(Arc::clone(&self.dns_a), name.clone(), rtype));
            }
            let Some(done) = running.join_next().await else { break };
            let (name, found) = done.map_err(|_| SourceError::Task)??;
            match found {
                Ok(addresses) => reading.addresses.entry(name).or_default().extend(addresses),
                Err(error) => _ = reading.unreadable.insert(name, error.to_string()),
            }
        }
        reading.addresses.retain(|name, _| !reading.unreadable.contains_key(name));
        for addresses in reading.addresses.values_mut() {
            addresses.sort_unstable();
            addresses.dedup();
        }
        Ok(reading)
    }
}

/// Without an answer the server is in trouble, and there is no use in asking it for more names.
async fn ask(
    dns_a: Arc<DnsA>,
    name: Name,
    rtype: RecordType,
) -> Result<(Name, Result<Vec<IpAddr>, NameError>), SourceError> {
    let found = match dns_a.ask_authority(&name, rtype).await {
        Ok(answer) => addresses(&answer, &name),
        Err(error @ AskError::None(_)) => return Err(error.into()),
        Err(error) => Err(NameError::Ask(error)),
    };
    Ok((name, found))
}

/// The addresses at the end of the chain of aliases that starts at `name`.
fn addresses(answer: &Message, name: &Name) -> Result<Vec<IpAddr>, NameError> {
    let mut owner = name.clone();
    for _ in 0..=MAX_ALIASES {
        let at_owner = || answer.answers.iter().filter(|r| from_hickory(&r.name).as_ref() == Some(&owner));
        let found: Vec<IpAddr> = at_owner().filter_map(|r| r.data.ip_addr()).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let alias = at_owner().find_map(|r| if let RData::CNAME(to) = &r.data { from_hickory(to) } else { None });
        let Some(target) = alias else { break };
        owner = target;
    }
    let proven = answer.response_code == ResponseCode::NXDomain
        || answer.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
    match proven {
        true => Ok(Vec::new()),
        false if owner != *name => Err(NameError::Alias { name: name.clone(), target: owner }),
        false => Err(NameError::NoProof(name.clone())),
    }
}
