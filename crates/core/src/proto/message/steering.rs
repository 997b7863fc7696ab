//! What dns-bs tell DNS-LBs about sites, services and each other: WANT, LABEL-RANKING, VERDICT,
//! BUDGET.

use std::net::IpAddr;

use crate::{identity::Identity, name::Name, report::Ranking};

/// WANT: somebody asked me for this service, and I do not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The service, by its name in the zone: the question's name without the DNS-LB's label.
    pub service: Name,
}

/// LABEL-RANKING: what a neighbour reported, for whoever is to answer in its name.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRanking {
    /// Whose label it is.
    pub identity: Identity,
    /// Its DNS addresses.
    pub addresses: Vec<IpAddr>,
    /// The generation of its report; strictly increasing.
    pub generation: u64,
    /// As in its report, all of them; none where it is withdrawn.
    pub rankings: Vec<Ranking>,
    /// Nobody is to answer in its name any longer.
    pub withdrawn: bool,
}

/// VERDICT: several POPs say this of a site, so probe it again now. It says nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The service.
    pub service: Name,
    /// The site.
    pub site: String,
    /// They say that it is down; `false`: no longer.
    pub down: bool,
    /// How many POPs say so.
    pub pops: u32,
    /// How many were asked.
    pub of: u32,
}

/// BUDGET: replaces what the same dns-b said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Strictly increasing for each dns-b's process.
    pub generation: u64,
    /// Among how many DNS-LBs the ceilings are shared.
    pub of: u32,
    /// The receiver's share; an address without one has no ceiling.
    pub shares: Vec<BudgetShare>,
}

/// BUDGET-ACK: from now on no more is probed than this BUDGET allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetAck {
    /// Of the BUDGET.
    pub generation: u64,
}

/// The most that one DNS-LB probes one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetShare {
    /// A site's address.
    pub address: IpAddr,
    /// Thousandths of a probe in a second, over all services and kinds of probes.
    pub milliprobes_per_second: u32,
}
