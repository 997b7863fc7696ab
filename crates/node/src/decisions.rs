//! Decisions as they are put down: a line of JSON each, with when, by whom, and all that is needed to decide
//! again.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use dglb_core::{decided::Decided, identity::Identity};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::journal;

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was made, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Which version of the daemon made it.
    pub version: String,
    /// Who made it.
    pub by: Identity,
    /// What, from what, and why.
    #[serde(flatten)]
    pub decided: Decided,
}

impl Record {
    /// A decision of this moment.
    pub fn now(by: Identity, decided: Decided) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { unix_ms, version: env!("CARGO_PKG_VERSION").to_owned(), by, decided }
    }
}

/// Why records cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file.
    #[error("{}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line.
    #[error("{}:{line}: this is no decision of a DGLB daemon, or one of another version: {error}", file.display())]
    Line {
        /// In which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
}

/// Hands on every record of a log, from those that were set aside to the newest, the oldest first.
///
/// # Errors
/// The first thing that cannot be read; what came before it was handed on.
pub fn read(log: &Path, mut to: impl FnMut(Record)) -> Result<(), ReadError> {
    for file in journal::files(log) {
        let failed = |error| ReadError::File { file: file.clone(), error };
        for (number, line) in BufReader::new(File::open(&file).map_err(failed)?).lines().enumerate() {
            let line = line.map_err(failed)?;
            let wrong = |error| ReadError::Line { file: file.clone(), line: number + 1, error };
            to(serde_json::from_str(&line).map_err(wrong)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dglb_core::{
        catalogue::{Mode, Policy, Service, Site},
        estimate::Measured,
        rank::{Inputs, Placed, rank},
        report::{Figures, Health},
    };
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{journal::Journal, lifecycle::Tasks};

    /// All that a record must have. What is added later is not in those that are on disks already.
    const OLDEST: &str = r#"{
        "unix_ms": 1777863721000, "version": "0.1.0", "by": "sea1",
        "service": {
            "name": "www.glb.test.", "host": "www.test.", "mode": "referral", "ttl": 300, "answers": 1,
            "policy": { "margin_ms": 10, "margin_percent": 10, "latency": 1.0, "cost": 0.0 }, "probes": [],
            "sites": [
                { "name": "s1", "addresses": ["192.0.2.1"], "cost": 0.0 },
                { "name": "s2", "addresses": ["192.0.2.2"], "cost": 0.0 }
            ]
        },
        "inputs": {
            "service": "www.glb.test.", "catalogue": 7,
            "policy": { "margin_ms": 10, "margin_percent": 10, "latency": 1.0, "cost": 0.0 },
            "sites": [
                { "site": { "name": "s1", "addresses": [], "cost": 0.0 }, "addresses": [{
                    "figures": { "address": "192.0.2.1", "health": "up", "latency_us": 45000 },
                    "samples": 9, "range_us": [45000, 45500]
                }] },
                { "site": { "name": "s2", "addresses": [], "cost": 0.0 }, "addresses": [{
                    "figures": { "address": "192.0.2.2", "health": "up", "latency_us": 50000 },
                    "samples": 9, "range_us": [50000, 50500]
                }] }
            ],
            "previous": [{ "site": "s2" }, { "site": "s1" }]
        },
        "outcome": {
            "ranking": { "service": "www.glb.test.", "catalogue": 7, "sites": [
                { "site": "s2", "score": 50.0, "addresses": [
                    { "address": "192.0.2.2", "health": "up", "latency_us": 50000 }
                ] },
                { "site": "s1", "score": 45.0, "addresses": [
                    { "address": "192.0.2.1", "health": "up", "latency_us": 45000 }
                ] }
            ] },
            "rule": "margin"
        },
        "answer": { "ipv4": ["192.0.2.2"], "ipv6": [] }
    }"#;

    #[test]
    fn what_an_earlier_version_put_down_is_decided_again_alike() {
        let record: Record = serde_json::from_str(OLDEST).unwrap();
        assert_eq!(record.decided.again(), record.decided);
    }

    fn service(policy: Policy, sites: usize, answers: u8) -> Service {
        let site = |n: usize| Site {
            name: format!("s{n}"),
            addresses: vec![[192, 0, 2, n as u8].into(), format!("2001:db8::{n:x}").parse().unwrap()],
            // No short fraction: what is read back must be the very number.
            ..serde_json::from_value(serde_json::json!({ "name": "", "addresses": [], "cost": n as f64 / 3.0 }))
                .unwrap()
        };
        let name: dglb_core::name::Name = "www.glb.test".parse().unwrap();
        let sites: Vec<Site> = (0..sites).map(site).collect();
        let text = serde_json::json!({ "name": name, "host": name, "mode": Mode::Referral, "ttl": 300,
            "answers": answers, "policy": policy, "probes": [], "sites": sites });
        serde_json::from_value(text).unwrap()
    }

    fn decided() -> impl Strategy<Value = Decided> {
        let health = select(vec![Health::Up, Health::Up, Health::Unknown, Health::Down]);
        let known = (health, prop::option::weighted(0.9, 0..200_000_u32), 0..12_usize, 0..30_000_u32);
        let policy = (select(vec![Policy::FASTEST, Policy::BALANCED, Policy::CHEAPEST]), 0.1..9.9_f64);
        let previous = Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle();
        (vec(known, 12), policy, 1..6_usize, 1..4_u8, previous, any::<bool>()).prop_map(
            |(known, (policy, scale), sites, answers, previous, ranked_before)| {
                let policy = Policy { latency_scale_ms: scale, ..policy };
                let service = service(policy, sites, answers);
                let measured = |site: &Site, address: std::net::IpAddr| {
                    let at = service.sites.iter().position(|s| s.name == site.name).unwrap();
                    let (health, latency_us, samples, doubt) = known[2 * at + usize::from(address.is_ipv6())];
                    let range_us = latency_us.map(|l| (l.saturating_sub(doubt), l + doubt));
                    Measured {
                        figures: Figures { address, health, latency_us },
                        samples,
                        range_us,
                        ..Measured::unknown(address)
                    }
                };
                let mut inputs = Inputs::new(&service, 7, measured, None);
                if ranked_before {
                    let placed = |n: &usize| Placed { site: format!("s{n}"), share: 0 };
                    inputs.previous = previous.iter().filter(|n| **n < sites).map(placed).collect();
                }
                let outcome = rank(&inputs);
                Decided::of(&service, inputs, outcome)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_was_put_down_is_decided_again_alike(decisions in vec(decided(), 1..20)) {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("decisions.jsonl");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut tasks = Tasks::on(runtime.handle().clone());
            let figures = journal::Figures::default();
            let settings = journal::Settings { file: file.clone(), size: 20_000, files: 100 };
            let log = Journal::start(settings, &figures, &mut tasks).unwrap();
            decisions.iter().for_each(|decided| log.write(Record::now("sea1".parse().unwrap(), decided.clone())));
            drop(log);
            runtime.block_on(tasks.stop(Duration::from_secs(10)));
            prop_assert_eq!(figures.written.get(), decisions.len() as u64);
            let mut records = Vec::new();
            read(&file, |record| records.push(record)).unwrap();
            prop_assert_eq!(records.len(), decisions.len());
            for (Record { decided: found, .. }, decided) in records.iter().zip(&decisions) {
                prop_assert_eq!(found, decided);
                prop_assert_eq!(&found.again(), decided);
            }
        }
    }
}
