//! What the operator sets for answers.

use std::collections::BTreeSet;

use crate::{name::Name, net::Prefix, zone::ZoneSettings};

/// What the operator sets for answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most seconds for a CNAME that is a guess. Default 60, never more (design section 3).
    pub guess_ttl: u32,
    /// Most seconds for an answer that stands in for a referral. Default 30, never more.
    pub direct_ttl: u32,
    /// Resolvers whose client subnet option counts. Default none.
    pub ecs_from: Vec<Prefix>,
    /// Zones in which it counts for nobody. Default none.
    pub ecs_off_zones: BTreeSet<Name>,
    /// Zones that a DNS-LB gets only once somebody asks it for a service of theirs, so that it is
    /// handed out before it has ranked any. Default none.
    pub on_referral: ZoneChoice,
    /// Whether a CNAME into a label zone has the label zone's NS set and glue beside it, where they
    /// fit. Default no: few resolvers believe them (design section 3).
    pub referral_with_cname: bool,
    /// Leading bits that an unmapped IPv4 resolver must share with a mapped one to be taken for
    /// its neighbour; `None`: never.
    pub neighbour_bits_v4: Option<u8>,
    /// The same for IPv6.
    pub neighbour_bits_v6: Option<u8>,
    /// At a DNS-LB: what is answered for a service before it has ranked it, in this run or an earlier one.
    pub first_question: FirstQuestion,
}

/// What a DNS-LB answers for a service that it has not ranked yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstQuestion {
    /// What a dns-b answers, which may have an earlier report; if none does, the customer's order.
    #[default]
    Hint,
    /// The customer's order.
    CustomerOrder,
    /// What a dns-b answers; if none does, SERVFAIL.
    Fail,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            guess_ttl: 60,
            direct_ttl: 30,
            ecs_from: Vec::new(),
            ecs_off_zones: BTreeSet::new(),
            on_referral: ZoneChoice::default(),
            referral_with_cname: false,
            neighbour_bits_v4: None,
            neighbour_bits_v6: None,
            first_question: FirstQuestion::default(),
        }
    }
}

/// Some of all zones, also of those that are still to come; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneChoice {
    /// Whether a zone belongs to them unless it is an exception.
    pub all: bool,
    /// Zones with which it is the other way round.
    pub exceptions: BTreeSet<Name>,
}

impl ZoneChoice {
    /// Whether the zone is one of them.
    pub fn contains(&self, zone: &Name) -> bool {
        self.all != self.exceptions.contains(zone)
    }

    /// Whether there can be any.
    pub fn is_empty(&self) -> bool {
        !self.all && self.exceptions.is_empty()
    }
}

impl Settings {
    /// What a zone needs of the settings.
    pub(super) fn of(&self, zone: &Name) -> ZoneSettings {
        ZoneSettings { takes_subnets: !self.ecs_off_zones.contains(zone), on_referral: self.on_referral.contains(zone) }
    }
}
