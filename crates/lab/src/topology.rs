//! What a lab consists of: hosts, their addresses, the program on each, and the distance between
//! every two. A topology that [`Topology::validate`] accepts can be built; all its mistakes are
//! told at once.
//!
//! ```toml
//! [latency]
//! default = 20                                  # round trip in ms
//!
//! [[host]]
//! name = "client1"
//! addresses = ["10.1.0.10", "fd66:1::10"]
//! resolver = ["isp1"]                           # what its resolv.conf says: hosts or addresses
//!
//! [[host]]
//! name = "isp1"
//! addresses = ["10.1.0.53", "fd66:1::53"]
//! program = { kind = "command", argv = ["sleep", "3600"] }
//! start = false                                 # not by itself; default true
//!
//! [[rtt]]                                       # a later line overrides an earlier one
//! between = ["client1", "*"]
//! ms = 4
//! jitter = 0.5                                  # each way, ± ms
//! loss = 1                                      # each way, percent
//!
//! [[oneway]]                                    # after all rtt lines, one direction
//! from = "client1"
//! to = "isp1"
//! ms = 10
//! ```

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::Deserialize;
use thiserror::Error;

use crate::wire::{Link, Routes, one_way};

/// Most hosts of one lab.
pub const MOST_HOSTS: usize = 250;
/// Longest delay of one direction.
const LONGEST_MS: f64 = 60_000.0;

/// A whole lab on paper.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Between hosts that no other line speaks of.
    #[serde(default)]
    pub latency: Latency,
    /// The hosts; their programs start in this order.
    #[serde(default, rename = "host")]
    pub hosts: Vec<HostSpec>,
    /// Distances, both directions alike; later ones override earlier ones.
    #[serde(default, rename = "rtt")]
    pub round_trips: Vec<RoundTrip>,
    /// Distances of one direction; they override all round trips.
    #[serde(default, rename = "oneway")]
    pub one_ways: Vec<OneWay>,
}

/// The distance between hosts that no other line speaks of.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Round trip in milliseconds.
    pub default: f64,
    /// Each way, ± milliseconds.
    #[serde(default)]
    pub jitter: f64,
    /// Each way, percent.
    #[serde(default)]
    pub loss: f64,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// `[a-z0-9-]`, 1 to 32 characters.
    pub name: String,
    /// At least one; the first of each family is the source of what the host sends unasked.
    pub addresses: Vec<IpAddr>,
    /// The program it runs: a table whose `kind` names it; nothing for a host that only asks.
    #[serde(default)]
    pub program: Option<toml::Value>,
    /// Whether the program starts with the lab.
    #[serde(default = "yes")]
    pub start: bool,
    /// The name servers in its `resolv.conf`: hosts, all of whose addresses are meant, or addresses.
    #[serde(default)]
    pub resolver: Vec<String>,
}

/// The distance between two hosts; `*` is every host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundTrip {
    /// The two.
    pub between: [String; 2],
    /// Round trip in milliseconds.
    pub ms: f64,
    /// Each way, ± milliseconds.
    #[serde(default)]
    pub jitter: f64,
    /// Each way, percent.
    #[serde(default)]
    pub loss: f64,
    /// Whether jitter lets packets overtake each other.
    #[serde(default)]
    pub reorder: bool,
}

/// The distance from one host to another, this direction only; `*` is every host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneWay {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// Delay in milliseconds.
    pub ms: f64,
    /// ± milliseconds.
    #[serde(default)]
    pub jitter: f64,
    /// Percent.
    #[serde(default)]
    pub loss: f64,
    /// Whether jitter lets packets overtake each other.
    #[serde(default)]
    pub reorder: bool,
}

/// Why there is no topology.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not TOML, or not of this shape.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// Everything that is wrong with it.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl HostSpec {
    /// A host without a program.
    pub fn new(name: impl Into<String>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses = addresses.into_iter().collect();
        Self { name: name.into(), addresses, program: None, start: true, resolver: Vec::new() }
    }
}

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let topology: Self = toml::from_str(text)?;
        topology.validate()?;
        Ok(topology)
    }
}

impl Topology {
    /// Reads a topology from a file.
    ///
    /// # Errors
    /// Any [`TopologyError`].
    pub fn load(path: &Path) -> Result<Self, TopologyError> {
        let text = fs::read_to_string(path).map_err(|error| TopologyError::Read { path: path.to_owned(), error })?;
        text.parse()
    }

    /// The number of a host, its place among [`Topology::hosts`].
    pub fn number(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    /// The addresses of a host.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.hosts.iter().find(|host| host.name == name).map(|host| host.addresses.as_slice())
    }

    /// Whether a lab can be built from this.
    ///
    /// # Errors
    /// [`TopologyError::Invalid`] with every mistake.
    pub fn validate(&self) -> Result<(), TopologyError> {
        let mut wrong = Vec::new();
        self.check_hosts(&mut wrong);
        self.check_distances(&mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(TopologyError::Invalid(wrong)) }
    }

    pub(crate) fn routes(&self) -> Routes {
        let of =
            |(number, host): (usize, &HostSpec)| host.addresses.iter().map(move |&a| (a, number)).collect::<Vec<_>>();
        self.hosts.iter().enumerate().flat_map(of).collect()
    }

    /// The link from one host to another.
    pub(crate) fn link(&self, from: usize, to: usize) -> Link {
        let is = |pattern: &str, host: usize| pattern == "*" || pattern == self.hosts[host].name;
        let Latency { default, jitter, loss } = self.latency;
        let mut link = link(one_way(milliseconds(default)), jitter, loss, false);
        for line in &self.round_trips {
            let [a, b] = &line.between;
            if is(a, from) && is(b, to) || is(a, to) && is(b, from) {
                link = self::link(one_way(milliseconds(line.ms)), line.jitter, line.loss, line.reorder);
            }
        }
        for line in self.one_ways.iter().filter(|line| is(&line.from, from) && is(&line.to, to)) {
            link = self::link(milliseconds(line.ms), line.jitter, line.loss, line.reorder);
        }
        link
    }

    /// The name servers of a host, in order.
    pub(crate) fn name_servers(&self, host: &HostSpec) -> Vec<IpAddr> {
        let of = |name: &String| match name.parse() {
            Ok(address) => vec![address],
            Err(_) => self.addresses(name).unwrap_or_default().to_vec(),
        };
        host.resolver.iter().flat_map(of).collect()
    }

    fn check_hosts(&self, wrong: &mut Vec<String>) {
        if self.hosts.is_empty() || self.hosts.len() > MOST_HOSTS {
            wrong.push(format!("a lab has 1 to {MOST_HOSTS} hosts, this one has {}", self.hosts.len()));
        }
        let (mut names, mut owners) = (HashSet::new(), HashMap::new());
        for host in &self.hosts {
            let name = &host.name;
            let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !(1..=32).contains(&name.len()) || !name.bytes().all(fine) {
                wrong.push(format!("host \"{name}\": a name is 1 to 32 of a-z, 0-9 and -"));
            }
            if !names.insert(name) {
                wrong.push(format!("host \"{name}\": there are two of this name"));
            }
            if host.addresses.is_empty() {
                wrong.push(format!("host \"{name}\": has no address"));
            }
            for &address in &host.addresses {
                if !is_unicast(address) {
                    wrong.push(format!("host \"{name}\": {address} cannot be a host's address"));
                }
                if let Some(owner) = owners.insert(address, name) {
                    wrong.push(format!("host \"{name}\": {address} is already an address of \"{owner}\""));
                }
            }
            for resolver in host.resolver.iter().filter(|r| r.parse::<IpAddr>().is_err() && self.number(r).is_none()) {
                wrong.push(format!("host \"{name}\": resolver \"{resolver}\" is neither a host nor an address"));
            }
        }
    }

    fn check_distances(&self, wrong: &mut Vec<String>) {
        let Latency { default, jitter, loss } = self.latency;
        check_numbers("latency", [default, jitter, loss], wrong);
        for RoundTrip { between: [a, b], ms, jitter, loss, .. } in &self.round_trips {
            let line = format!("rtt between \"{a}\" and \"{b}\"");
            check_numbers(&line, [*ms, *jitter, *loss], wrong);
            self.check_pair(&line, [a, b], wrong);
        }
        for OneWay { from, to, ms, jitter, loss, .. } in &self.one_ways {
            let line = format!("oneway from \"{from}\" to \"{to}\"");
            check_numbers(&line, [*ms, *jitter, *loss], wrong);
            self.check_pair(&line, [from, to], wrong);
        }
    }

    fn check_pair(&self, line: &str, pair: [&String; 2], wrong: &mut Vec<String>) {
        for name in pair.into_iter().filter(|name| *name != "*" && self.number(name).is_none()) {
            wrong.push(format!("{line}: there is no host \"{name}\""));
        }
    }
}

fn link(delay: Duration, jitter: f64, loss: f64, reorder: bool) -> Link {
    Link { delay, jitter: milliseconds(jitter), reorder, loss: loss / 100.0, cut: false }
}

/// [`Topology::validate`] has bounded the number.
fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default()
}

fn check_numbers(line: &str, [ms, jitter, loss]: [f64; 3], wrong: &mut Vec<String>) {
    for (what, number, most) in [("ms", ms, 2.0 * LONGEST_MS), ("jitter", jitter, LONGEST_MS), ("loss", loss, 100.0)] {
        if !(0.0..=most).contains(&number) {
            wrong.push(format!("{line}: {what} is between 0 and {most}, not {number}"));
        }
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    match address {
        IpAddr::V4(v4) => !special && !v4.is_broadcast() && v4.octets()[0] != 0,
        IpAddr::V6(v6) => !special && v6.to_ipv4_mapped().is_none() && !v6.is_unicast_link_local(),
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = r#"
        [latency]
        default = 20
        [[host]]
        name = "a"
        addresses = ["10.0.0.1", "fd66::1"]
        resolver = ["b", "192.0.2.1"]
        [[host]]
        name = "b"
        addresses = ["10.0.0.2", "fd66::2"]
        start = false
        program = { kind = "x", depth = 1 }
        [[host]]
        name = "c"
        addresses = ["10.0.0.3"]
        [[rtt]]
        between = ["a", "*"]
        ms = 8
        loss = 50
        [[rtt]]
        between = ["b", "a"]
        ms = 4
        jitter = 1
        [[oneway]]
        from = "c"
        to = "a"
        ms = 7
    "#;

    #[test]
    fn later_lines_override_earlier_ones() {
        let topology: Topology = THREE.parse().unwrap();
        let delay = |from, to| topology.link(from, to).delay.as_micros();
        assert_eq!((delay(1, 2), delay(2, 1)), (10_000, 10_000));
        assert_eq!((delay(0, 1), delay(1, 0)), (2_000, 2_000));
        assert_eq!((delay(0, 2), delay(2, 0)), (4_000, 7_000));
        assert_eq!((topology.link(0, 2).loss, topology.link(2, 0).loss), (0.5, 0.0));
        assert_eq!(topology.link(1, 0).jitter.as_micros(), 1_000);
    }

    #[test]
    fn hosts_are_found_by_name_and_address() {
        let topology: Topology = THREE.parse().unwrap();
        assert_eq!(topology.number("b"), Some(1));
        assert_eq!(topology.routes().get(&"fd66::2".parse().unwrap()), Some(&1));
        let servers: Vec<IpAddr> = ["10.0.0.2", "fd66::2", "192.0.2.1"].map(|a| a.parse().unwrap()).into();
        assert_eq!(topology.name_servers(&topology.hosts[0]), servers);
        assert!(!topology.hosts[1].start && topology.hosts[0].start);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = r#"
            [[host]]
            name = "A"
            addresses = ["10.0.0.1", "127.0.0.1"]
            resolver = ["nobody"]
            [[host]]
            name = "b"
            addresses = ["10.0.0.1"]
            [[host]]
            name = "b"
            addresses = []
            [[rtt]]
            between = ["b", "d"]
            ms = -1
            loss = 101
        "#;
        let Err(TopologyError::Invalid(wrong)) = text.parse::<Topology>() else { panic!("accepted") };
        let told = wrong.join("\n");
        for part in [
            "\"A\": a name",
            "127.0.0.1",
            "already",
            "two of this name",
            "no address",
            "nobody",
            "\"d\"",
            "ms is",
            "loss is",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert_eq!(wrong.len(), 9, "{told}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let told = "[[host]]\nname = \"a\"\naddress = [\"10.0.0.1\"]".parse::<Topology>().unwrap_err().to_string();
        assert!(told.contains("unknown field `address`"), "{told}");
    }
}
