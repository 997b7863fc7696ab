//! What peers say, as the program uses it. How it looks on the wire is the codec's affair.

mod publish;
mod residence;
mod steering;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

pub use publish::{CatalogueAck, Delegation, Resync, ZoneGeneration};
pub use residence::{Challenge, Nonce, Proof, ProofSecret, Seen, SeenOutcome};
pub use steering::{Budget, BudgetAck, BudgetShare, LabelRanking, Verdict, Want};

use crate::{
    catalogue::{CatalogueUpdate, ZoneCatalogue},
    fleet::Fleet,
    identity::Identity,
    name::Name,
    net::Prefix,
    report::Ranking,
};

/// One whole message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// First from the side that dialled.
    Hello(Hello),
    /// First from the side that accepted: the link is up.
    Welcome(Box<Welcome>),
    /// First from the side that accepted: the link is not wanted, and why.
    Refuse(Refuse),
    /// Down: a newer fleet document.
    Fleet(Box<Fleet>),
    /// Up: every dns-b I reach has acknowledged me.
    Ready(Ready),
    /// Up: where I am and which resolvers I sit beside.
    Map(Map),
    /// Down: what became of a MAP.
    MapAck(MapAck),
    /// Up: no longer beside these.
    Unmap(Unmap),
    /// Down: ask your DNS-ISP for these names.
    Challenge(Challenge),
    /// Up: what they were answered with.
    Proof(Proof),
    /// Down: what became of a challenge.
    Seen(Seen),
    /// Up: rankings that changed, or all of them.
    Report(Report),
    /// Down: the report is in use.
    ReportAck(ReportAck),
    /// Down: what a neighbour reported.
    LabelRanking(Box<LabelRanking>),
    /// Up from dns-a-sync, down to DNS-LBs: the news of one zone.
    Catalogue(Box<CatalogueUpdate>),
    /// The other way: accepted, or refused and why.
    CatalogueAck(CatalogueAck),
    /// Your base is unknown to me: send everything.
    Resync(Resync),
    /// Up: a service that I was asked for and do not know.
    Want(Want),
    /// Down: report now.
    GetReport,
    /// Down: several POPs say this of a site.
    Verdict(Verdict),
    /// Down: how much you may probe.
    Budget(Box<Budget>),
    /// Up: so much and no more from now on.
    BudgetAck(BudgetAck),
    /// Down: the operator drains you, or no longer.
    Drain(bool),
    /// Down to dns-a-sync: how a zone wants to be delegated.
    Delegation(Delegation),
    /// Are you there?
    Ping(u64),
    /// Yes; the PING's value.
    Pong(u64),
    /// I leave, and why.
    Bye(Bye),
}

impl Message {
    /// CATALOGUE with everything about one zone.
    pub fn snapshot(zone: ZoneCatalogue) -> Self {
        Self::Catalogue(Box::new(CatalogueUpdate::Snapshot(zone)))
    }
}

/// What kind of daemon a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// Referral server; accepts.
    DnsB,
    /// Load balancer at a POP; dials.
    DnsLb,
    /// Agent beside DNS-A; dials.
    DnsASync,
    /// Measurement agent; dials. Reserved.
    Mservice,
}

/// Drawn anew at every start of a process: tells a restart from a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

/// In hexadecimal.
impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Which fleet document a side holds; by default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FleetStamp {
    /// The document's serial.
    pub serial: u32,
    /// Of its content, 0 where none is held.
    pub digest: u64,
}

/// HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version that I speak.
    pub version_min: u16,
    /// Highest version that I speak.
    pub version_max: u16,
    /// What I am.
    pub role: PeerRole,
    /// Who I am.
    pub identity: Identity,
    /// This run of me.
    pub boot: BootId,
    /// Milliseconds that I have been running.
    pub uptime_ms: u64,
    /// Bit set of optional features; none are defined yet.
    pub features: u64,
    /// The fleet document that I hold, so that it need not be sent again.
    pub fleet: FleetStamp,
}

/// WELCOME.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// The version spoken from now on: the highest that both know.
    pub version: u16,
    /// Who I am.
    pub identity: Identity,
    /// This run of me.
    pub boot: BootId,
    /// The address under which I see you.
    pub observed: SocketAddr,
    /// Features that we both have.
    pub features: u64,
    /// The fleet document that I hold; `None` when HELLO named the same one.
    pub fleet: Option<Fleet>,
    /// The newest MAP generation of yours that I hold, 0 for none.
    pub map_generation: u64,
    /// The newest REPORT generation of yours that I hold, 0 for none.
    pub report_generation: u64,
    /// What is held of the zones that you may publish; to a DNS-LB, of every zone.
    pub catalogues: Vec<ZoneGeneration>,
}

/// REFUSE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// Why, for programs.
    pub reason: RefuseReason,
    /// Why, for people.
    pub text: String,
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// No version in common.
    Version,
    /// Identity or role unknown or not allowed here.
    Identity,
    /// A newer boot of the same identity is connected.
    Duplicate,
    /// No room; come back later.
    Busy,
    /// The HELLO broke the protocol.
    Protocol,
    /// A reason of a later version.
    Other(u32),
}

/// READY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The MAP generation that all of them acknowledged.
    pub map_generation: u64,
    /// The dns-bs that I reach.
    pub servers: Vec<Identity>,
}

/// MAP (FIG. 4): always the whole set. The newest generation replaces what came before; entries
/// live while frames arrive on the link, and for `lease_ms` after the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Strictly increasing.
    pub generation: u64,
    /// Milliseconds.
    pub lease_ms: u32,
    /// The DNS-LB's own DNS addresses.
    pub addresses: Vec<IpAddr>,
    /// What it sits beside.
    pub entries: Vec<MapEntry>,
}

/// One line of a MAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// Resolver address or network.
    pub prefix: Prefix,
    /// Resolver egress or client network.
    pub kind: EntryKind,
    /// Lower is taken first.
    pub preference: u16,
    /// Share among equals, at least 1.
    pub weight: u16,
}

/// What a mapped prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Where a DNS-ISP asks from.
    Resolver,
    /// Where clients are, for ECS.
    Client,
}

/// MAP-ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapAck {
    /// Of the MAP.
    pub generation: u64,
    /// Entries in use.
    pub accepted: u32,
    /// Entries not in use, and why.
    pub refused: Vec<Refused>,
}

/// One refused entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The entry.
    pub prefix: Prefix,
    /// Why, for programs.
    pub reason: RefusedReason,
    /// Why, for people.
    pub text: String,
}

/// Why an entry or a proof of residence was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedReason {
    /// The identity has no authority over it.
    NotAllowed,
    /// Too many entries.
    Limit,
    /// The generation is not newer than the one held.
    Stale,
    /// A resolver's entry needs a proof of residence, and there is none.
    NotProven,
    /// The proof came too late.
    Expired,
    /// No challenge has this nonce, or it was used.
    UnknownNonce,
    /// The secret is not the one that was answered.
    WrongSecret,
    /// Anybody can ask from there: the network of a public resolver.
    OpenResolver,
    /// Outside the prefixes that the operator set for the identity's resolvers.
    OutsideBounds,
    /// A reason of a later version.
    Other(u32),
}

/// UNMAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// Strictly increasing, shared with MAP.
    pub generation: u64,
    /// What to withdraw; empty for everything.
    pub prefixes: Vec<Prefix>,
}

/// REPORT.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Strictly increasing.
    pub generation: u64,
    /// The generation that this one changes; 0: `rankings` is everything.
    pub base: u64,
    /// New or changed rankings.
    pub rankings: Vec<Ranking>,
    /// Services no longer ranked.
    pub removed: Vec<Name>,
}

/// REPORT-ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportAck {
    /// Of the REPORT.
    pub generation: u64,
    /// How many of its rankings are not kept: they are more than one DNS-LB may have.
    pub refused: u32,
}

/// BYE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Why, for programs.
    pub reason: ByeReason,
    /// Why, for people.
    pub text: String,
}

/// Why a side leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByeReason {
    /// It shuts down.
    Shutdown,
    /// The peer broke the protocol.
    Protocol,
    /// A newer boot of the same identity has come.
    Duplicate,
    /// Nothing was heard for too long.
    TimedOut,
    /// The peer did not read what was sent to it.
    Slow,
    /// The peer's certificate, or its right to be here, was taken back.
    Identity,
    /// The peer has said more than it may, for too long.
    Quota,
    /// A reason of a later version.
    Other(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_reads_as_its_octets_in_order() {
        let boot = BootId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(boot.to_string(), "000102030405060708090a0b0c0d0eff");
    }
}
