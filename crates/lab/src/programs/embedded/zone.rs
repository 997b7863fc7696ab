//! One zone in memory: its records by name and type, and where a question ends up in it (RFC 1034
//! section 4.3.2). The apex always holds exactly one SOA and at least one NS.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_proto::serialize::txt::Parser;

/// The records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordSet {
    /// One TTL for all (RFC 2181 section 5.2).
    pub(super) ttl: u32,
    /// The data, without duplicates.
    pub(super) data: Vec<RData>,
}

impl RecordSet {
    /// The records under this owner name.
    pub(super) fn records(&self, owner: &Name) -> impl Iterator<Item = Record> {
        self.data.iter().map(|data| Record::from_rdata(owner.clone(), self.ttl, data.clone()))
    }
}

/// The records of one name.
pub(super) type Node = BTreeMap<RecordType, RecordSet>;

/// A zone.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    origin: LowerName,
    /// In canonical order (RFC 4034 section 6.1), so that what is below a name follows it.
    nodes: BTreeMap<LowerName, Node>,
}

/// Where a question ended up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'z> {
    /// Records of the type asked for.
    Records(&'z RecordSet),
    /// The name is an alias.
    Alias(&'z RecordSet, &'z Name),
    /// The name is in or below a zone that is delegated at this name.
    Referral(Name, &'z RecordSet),
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NoName,
}

impl Zone {
    /// Reads a master file.
    ///
    /// # Errors
    ///
    /// When it cannot be parsed, lacks SOA or NS at the apex, or holds names outside the zone or a
    /// CNAME beside other records.
    pub(super) fn parse(origin: &Name, text: &str) -> Result<Self, String> {
        let (_, sets) = Parser::new(text, None, Some(origin.clone())).parse().map_err(|error| error.to_string())?;
        let mut zone = Self { origin: origin.into(), nodes: BTreeMap::new() };
        for (key, set) in sets {
            let name = key.name().clone();
            if !zone.origin.zone_of(&name) {
                return Err(format!("{name} is outside the zone"));
            }
            let data = set.records_without_rrsigs().map(|record| record.data.clone()).collect();
            zone.nodes.entry(name).or_default().insert(key.record_type, RecordSet { ttl: set.ttl(), data });
        }
        zone.check()?;
        Ok(zone)
    }

    fn check(&self) -> Result<(), String> {
        let apex = self.node(&self.origin);
        if !apex.is_some_and(|node| node.contains_key(&RecordType::SOA) && node.contains_key(&RecordType::NS)) {
            return Err("SOA and NS are needed at the apex".to_owned());
        }
        match self.nodes.iter().find(|(_, node)| node.len() > 1 && node.contains_key(&RecordType::CNAME)) {
            Some((name, _)) => Err(format!("{name} has a CNAME beside other records")),
            None => Ok(()),
        }
    }

    /// The zone's name.
    pub(super) fn origin(&self) -> &LowerName {
        &self.origin
    }

    /// The records of a name.
    pub(super) fn node(&self, name: &LowerName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The records of a name, to be changed; [`Zone::prune`] must follow.
    pub(super) fn node_mut(&mut self, name: LowerName) -> &mut Node {
        self.nodes.entry(name).or_default()
    }

    /// Forgets names without records.
    pub(super) fn prune(&mut self) {
        self.nodes.retain(|_, node| !node.is_empty());
    }

    /// The SOA record and its TTL.
    pub(super) fn soa(&self) -> Option<(u32, &SOA)> {
        let set = self.node(&self.origin)?.get(&RecordType::SOA)?;
        match set.data.first() {
            Some(RData::SOA(soa)) => Some((set.ttl, soa)),
            _ => None,
        }
    }

    /// The SOA record as it goes into a negative answer: its TTL is how long the answer holds (RFC
    /// 2308 section 3).
    pub(super) fn negative_soa(&self) -> Option<Record> {
        let (ttl, soa) = self.soa()?;
        Some(Record::from_rdata(Name::from(&self.origin), ttl.min(soa.minimum), RData::SOA(soa.clone())))
    }

    /// The A and AAAA records of a name, as far as this zone file has them: authoritative or glue.
    pub(super) fn addresses(&self, name: &Name) -> impl Iterator<Item = Record> {
        let node = self.node(&name.into());
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(move |kind| node?.get(&kind))
            .flat_map(move |set| set.records(name).collect::<Vec<_>>())
    }

    /// Follows a question to its end. The name must be in the zone.
    pub(super) fn find(&self, name: &LowerName, kind: RecordType) -> Found<'_> {
        if let Some((cut, servers)) = self.cut(name, kind) {
            return Found::Referral(Name::from(cut), servers);
        }
        if let Some(node) = self.nodes.get(name) {
            return in_node(node, kind);
        }
        if self.is_above_something(name) {
            return Found::NoData;
        }
        self.wildcard(name).map_or(Found::NoName, |node| in_node(node, kind))
    }

    /// The highest delegation at or above the name, which is for the child to answer; except for DS,
    /// which the parent answers at the cut (RFC 4035 section 3.1.4.1).
    fn cut(&self, name: &LowerName, kind: RecordType) -> Option<(LowerName, &RecordSet)> {
        let below_apex = self.ancestors(name).take_while(|ancestor| *ancestor != self.origin);
        let mut cuts = below_apex.filter_map(|ancestor| {
            let servers = self.nodes.get(&ancestor)?.get(&RecordType::NS)?;
            Some((ancestor, servers))
        });
        let first = cuts.next()?;
        let highest = cuts.last().unwrap_or(first);
        (highest.0 != *name || kind != RecordType::DS).then_some(highest)
    }

    /// The name and what is above it, up to the root.
    fn ancestors(&self, name: &LowerName) -> impl Iterator<Item = LowerName> {
        std::iter::successors(Some(name.clone()), |name| (!name.is_root()).then(|| name.base_name()))
    }

    /// Whether the name is an empty non-terminal, or a node.
    fn is_above_something(&self, name: &LowerName) -> bool {
        self.nodes.range(name..).next().is_some_and(|(next, _)| name.zone_of(next))
    }

    /// The wildcard that covers a name which does not exist (RFC 4592 section 3.3.1): that of its
    /// closest encloser.
    fn wildcard(&self, name: &LowerName) -> Option<&Node> {
        let encloser = self.ancestors(name).skip(1).find(|ancestor| self.is_above_something(ancestor))?;
        let wildcard = Name::from(encloser).prepend_label("*").ok()?;
        self.nodes.get(&LowerName::from(wildcard))
    }
}

fn in_node(node: &Node, kind: RecordType) -> Found<'_> {
    if let Some(set) = node.get(&kind) {
        return Found::Records(set);
    }
    // One record set is enough for ANY (RFC 8482 section 4.1).
    if kind == RecordType::ANY
        && let Some(set) = node.values().next()
    {
        return Found::Records(set);
    }
    let alias = node.get(&RecordType::CNAME).and_then(|set| match set.data.first() {
        Some(RData::CNAME(target)) => Some(Found::Alias(set, &target.0)),
        _ => None,
    });
    alias.unwrap_or(Found::NoData)
}
