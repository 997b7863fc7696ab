//! From the zones to the sections of an answer. Delegations never carry AA, everything else that is
//! ours does (RFC 1034 section 6.2).

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use super::zone::{Found, RecordSet, Zone};

/// The longest chain of aliases that is followed within our own zones.
const MOST_ALIASES: usize = 8;

/// What kind of end a question came to; the name server counts these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Records of the type asked for.
    Answer,
    /// A delegation.
    Referral,
    /// No such type at this name.
    NoData,
    /// No such name.
    NoName,
    /// Not in our zones.
    Refused,
}

/// The sections of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// RFC 1035 response code.
    pub(super) code: ResponseCode,
    /// The AA bit: about the first name of the answer section, or the name asked for.
    pub(super) authoritative: bool,
    /// Answer section.
    pub(super) answers: Vec<Record>,
    /// Authority section.
    pub(super) authorities: Vec<Record>,
    /// Additional section.
    pub(super) additionals: Vec<Record>,
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// Answers one question of class IN from the zones.
pub(super) fn answer(zones: &[Zone], question: &Query) -> Answer {
    let kind = question.query_type();
    let mut out = Answer {
        code: ResponseCode::NoError,
        authoritative: true,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        outcome: Outcome::Answer,
    };
    // The owner is spelled as it was asked for, so that resolvers which vary the case see theirs.
    let mut name = question.name().clone();
    for _ in 0..=MOST_ALIASES {
        let lower = LowerName::from(&name);
        let Some(zone) = closest(zones, &lower, kind) else {
            return out.outside();
        };
        match zone.find(&lower, kind) {
            Found::Alias(set, target) => {
                out.answers.extend(set.records(&name));
                name = target.clone();
            }
            Found::Records(set) => return out.records(zone, &name, set),
            Found::Referral(cut, servers) => return out.referral(zone, &cut, servers),
            Found::NoData => return out.negative(zone, ResponseCode::NoError),
            Found::NoName => return out.negative(zone, ResponseCode::NXDomain),
        }
    }
    out
}

/// The zone that answers for a name: the deepest one; but for DS at a zone's apex its parent, if we
/// have that too.
fn closest<'z>(zones: &'z [Zone], name: &LowerName, kind: RecordType) -> Option<&'z Zone> {
    let holds = |zone: &&Zone| zone.origin().zone_of(name);
    let depth = |zone: &&Zone| zone.origin().num_labels();
    let above = |zone: &&Zone| kind == RecordType::DS && zone.origin() != name;
    let parent = zones.iter().filter(holds).filter(above).max_by_key(depth);
    parent.or_else(|| zones.iter().filter(holds).max_by_key(depth))
}

impl Answer {
    fn records(mut self, zone: &Zone, owner: &Name, set: &RecordSet) -> Self {
        self.answers.extend(set.records(owner));
        self.additionals = targets(set).flat_map(|name| zone.addresses(name)).collect();
        self
    }

    fn referral(mut self, zone: &Zone, cut: &Name, servers: &RecordSet) -> Self {
        self.authoritative = !self.answers.is_empty();
        self.authorities.extend(servers.records(cut));
        self.additionals = targets(servers).flat_map(|name| zone.addresses(name)).collect();
        self.outcome = Outcome::Referral;
        self
    }

    fn negative(mut self, zone: &Zone, code: ResponseCode) -> Self {
        self.code = code;
        self.authorities.extend(zone.negative_soa());
        self.outcome = if code == ResponseCode::NXDomain { Outcome::NoName } else { Outcome::NoData };
        self
    }

    /// The name is not in our zones: refused, unless an alias led here, which is an answer already.
    fn outside(mut self) -> Self {
        if self.answers.is_empty() {
            self.code = ResponseCode::Refused;
            self.authoritative = false;
            self.outcome = Outcome::Refused;
        }
        self
    }
}

/// The names that a client will need addresses of next.
fn targets(set: &RecordSet) -> impl Iterator<Item = &Name> {
    set.data.iter().filter_map(|data| match data {
        RData::NS(name) => Some(&name.0),
        RData::MX(mx) => Some(&mx.exchange),
        RData::SRV(srv) => Some(&srv.target),
        _ => None,
    })
}
