//! The world that the tour and the scenarios play in: two ISPs, three sites, three DNS-LBs, two
//! dns-bs, and an enterprise's DNS-A behind a root and a TLD.
//!
//! Which site is best for whom is drawn from a seed, so nothing passes by luck: the default
//! group's best site is the worst for both ISPs, and so is, for at least one of them, the first in
//! the customer's order.

mod configs;
mod distances;
mod running;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use dglb_ca::AuthorityError;
pub use distances::Distances;
pub use running::{LookUp, World, WorldError};

use crate::{
    programs,
    topology::{HostSpec, Latency, RoundTrip, Topology},
};

/// The enterprise's zone, where its sites and the delegation live.
pub const ENTERPRISE: &str = "foobar.test";
/// What clients ask for, in both styles.
pub const WWW: &str = "www.foobar.test";
/// Number of ISPs; DNS-LB `lb<n>` sits in ISP `n`, and the next one is the default group.
pub const ISPS: usize = 2;
/// The dns-bs.
pub const SERVERS: [&str; 2] = ["b1", "b2"];
/// Number of sites.
pub const SITES: usize = 3;

/// A program that can stand where the DNS-ISP stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolver {
    /// The lab's own.
    Embedded,
    /// NLnet Labs Unbound.
    Unbound,
    /// ISC BIND.
    Bind,
    /// CZ.NIC Knot Resolver.
    Knot,
    /// PowerDNS Recursor.
    PowerDns,
}

impl Resolver {
    /// Every real one.
    pub const REAL: [Self; 4] = [Self::Unbound, Self::Bind, Self::Knot, Self::PowerDns];

    /// The `kind` of its program in a topology.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Embedded => "resolver",
            Self::Unbound => "unbound",
            Self::Bind => "bind",
            Self::Knot => "kresd",
            Self::PowerDns => "pdns-recursor",
        }
    }

    /// What people call it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Embedded => "the lab's own",
            Self::Unbound => "Unbound",
            Self::Bind => "BIND",
            Self::Knot => "Knot Resolver",
            Self::PowerDns => "PowerDNS Recursor",
        }
    }
}

impl DnsA {
    /// The `kind` of its program in a topology.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Embedded => "name-server",
            Self::Bind => "bind-auth",
        }
    }

    /// What people call it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Embedded => "the lab's own",
            Self::Bind => "BIND",
        }
    }
}

/// A program that can stand where DNS-A stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsA {
    /// The lab's own.
    Embedded,
    /// ISC BIND.
    Bind,
}

/// How the service's zone is cut out of the enterprise's (design section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// `glb.foobar.test` is delegated.
    SubZone,
    /// `www.foobar.test` itself is delegated.
    Host,
}

/// Which addresses the world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Draws which site is best for whom.
    pub seed: u64,
    /// The DNS-ISP of each ISP.
    pub resolvers: [Resolver; ISPS],
    /// `qmin` of each resolver: `on`, `off` or `strict`.
    pub qmin: [&'static str; ISPS],
    /// The enterprise's server.
    pub dns_a: DnsA,
    /// How the zone is cut out.
    pub style: Style,
    /// Which addresses there are.
    pub families: Families,
    /// Seconds that a site's address may be cached.
    pub address_ttl: u32,
    /// Run the shipped binaries of this folder instead of the lab's own.
    pub binaries: Option<PathBuf>,
    /// Whether the dns-bs let the DNS-LBs map their ISPs' resolvers. Where they do not, every client
    /// is led to the default group: a world in which checks must fail.
    pub mapping: bool,
    /// Whether the DNS-LBs prove where they are, and check whether their ISP's users reach them. The
    /// operator zone `ops.test` delegates what that takes in every world.
    pub proving: bool,
}

impl Plan {
    /// The lab's own programs throughout, both families, sub-zone style.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            resolvers: [Resolver::Embedded; ISPS],
            qmin: ["on"; ISPS],
            dns_a: DnsA::Embedded,
            style: Style::SubZone,
            families: Families::Dual,
            address_ttl: 1,
            binaries: None,
            mapping: true,
            proving: false,
        }
    }

    /// Like [`Plan::new`], with real programs where they are installed: a different resolver at each
    /// ISP, and BIND as DNS-A.
    pub fn of_installed(seed: u64) -> Self {
        let mut plan = Self::new(seed);
        let mut installed = Resolver::REAL.into_iter().filter(|r| programs::is_usable(r.kind()));
        for resolver in &mut plan.resolvers {
            *resolver = installed.next().unwrap_or(*resolver);
        }
        if programs::is_usable(DnsA::Bind.kind()) {
            plan.dns_a = DnsA::Bind;
        }
        plan
    }

    /// Who is how far from whom.
    pub fn distances(&self) -> Distances {
        Distances::new(self.seed)
    }

    /// The topology: hosts, programs, distances. The hosts of the daemons get new certificates each time.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn topology(&self) -> Result<Topology, AuthorityError> {
        let distances = self.distances();
        Ok(Topology {
            latency: Latency { default: 20.0, ..Latency::default() },
            hosts: configs::hosts(self)?,
            round_trips: distances.round_trips(),
            one_ways: Vec::new(),
        })
    }

    /// The zone that is delegated to the dns-bs.
    pub fn zone(&self) -> &'static str {
        match self.style {
            Style::SubZone => "glb.foobar.test",
            Style::Host => WWW,
        }
    }

    /// The service's name in the zone.
    pub fn service(&self) -> &'static str {
        match self.style {
            Style::SubZone => "www.glb.foobar.test",
            Style::Host => WWW,
        }
    }

    /// A service's name in a DNS-LB's label zone.
    pub fn label_name(&self, lb: &str) -> String {
        match self.style {
            Style::SubZone => format!("www.{lb}.{}", self.zone()),
            Style::Host => format!("{lb}.{}", self.zone()),
        }
    }

    /// The addresses of a place on the map, of the families that this world has.
    fn addresses(&self, [net, host]: [u8; 2]) -> Vec<IpAddr> {
        let v4 = IpAddr::V4(Ipv4Addr::new(10, 66, net, host));
        let v6 = IpAddr::V6(Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, net.into(), host.into()));
        match self.families {
            Families::V4 => vec![v4],
            Families::V6 => vec![v6],
            Families::Dual => vec![v4, v6],
        }
    }

    /// The addresses of a host by its name; for a dns-b those where it refers.
    pub fn host_addresses(&self, host: &str) -> Vec<IpAddr> {
        PLACES.iter().find(|(name, _)| *name == host).map_or_else(Vec::new, |(_, place)| self.addresses(*place))
    }

    /// The addresses where a dns-b answers label zones itself.
    pub fn fallback_addresses(&self, host: &str) -> Vec<IpAddr> {
        PLACES
            .iter()
            .find(|(name, _)| *name == host)
            .map_or_else(Vec::new, |(_, [net, host])| self.addresses([*net, host + 1]))
    }

    fn host(&self, name: &str) -> HostSpec {
        HostSpec::new(name, self.host_addresses(name))
    }
}

/// Every host and where its address lies: `10.66.x.y` and `fd66::x:y`.
const PLACES: [(&str, [u8; 2]); 17] = [
    ("client1", [1, 10]),
    ("client2", [2, 10]),
    ("isp1", [1, 53]),
    ("isp2", [2, 53]),
    ("lb1", [1, 54]),
    ("lb2", [2, 54]),
    ("lb3", [3, 54]),
    ("root", [9, 1]),
    ("tld", [9, 2]),
    ("dnsa", [10, 53]),
    ("sync", [12, 1]),
    ("b1", [20, 1]),
    ("b2", [21, 1]),
    // For scenarios that add one.
    ("b3", [22, 1]),
    ("site1", [101, 80]),
    ("site2", [102, 80]),
    ("site3", [103, 80]),
];

/// A round trip in milliseconds.
fn rtt(a: &str, b: &str, ms: f64) -> RoundTrip {
    RoundTrip { between: [a.to_owned(), b.to_owned()], ms, jitter: 0.0, loss: 0.0, reorder: false }
}

/// The name of site `n`, counted from 0.
pub fn site(n: usize) -> String {
    format!("site{}", n + 1)
}
