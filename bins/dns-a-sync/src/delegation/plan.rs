//! From what DNS-A serves and what it should serve to the changes between. Pure. What is not ours
//! is never changed: it is a [`Conflict`], and a person must decide.

use dglb_core::name::Name;
use hickory_proto::rr::RecordType;
use thiserror::Error;

use super::{
    records::{Data, RrSet},
    wanted::{Wanted, is_ours},
};

/// What DNS-A serves at the name of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The NS set, if the zone is delegated.
    pub ns: Option<RrSet>,
    /// Address sets of name servers, as far as DNS-A shows them.
    pub glue: Vec<RrSet>,
    /// Whether there is a DS record.
    pub ds: bool,
    /// The target of an alias at the name.
    pub alias: Option<Name>,
    /// Types of records at the name that a delegation hides.
    pub hidden: Vec<RecordType>,
}

/// What DNS-A serves at the name that clients use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The alias, a set of one.
    pub alias: Option<RrSet>,
    /// Types of other records there.
    pub others: Vec<RecordType>,
}

/// What an update demands to be true (RFC 2136 section 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// No set of this type.
    Absent(Name, RecordType),
    /// No record of any type.
    Unused(Name),
    /// This set and nothing more.
    Exactly(RrSet),
}

/// A set that changes; either side may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As DNS-A has it.
    pub before: Option<RrSet>,
    /// As it shall be.
    pub after: Option<RrSet>,
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// What must be true.
    pub prerequisites: Vec<Prerequisite>,
    /// What changes; an empty list means that all is well.
    pub changes: Vec<Change>,
}

/// Why nothing is changed. A person must decide.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The zones of the dns-bs are not signed: with a DS, validating resolvers would fail.
    #[error("DNS-A has a DS record for {0}, which is not signed: remove the DS first")]
    Ds(Name),
    /// Somebody else's delegation.
    #[error("DNS-A delegates {zone} to {server}, which is not a dns-b: remove that NS record first")]
    ForeignServer {
        /// The zone.
        zone: Name,
        /// Its name server.
        server: Name,
    },
    /// A delegation cannot stand beside an alias (RFC 2181 section 10.1).
    #[error("DNS-A has {zone} CNAME {target}: remove it, then the delegation will be written")]
    AliasAtZone {
        /// The zone.
        zone: Name,
        /// Where it leads.
        target: Name,
    },
    /// An address where glue shall go, from before the delegation.
    #[error("DNS-A has {name} {address}, which is not that dns-b's address: remove it first")]
    ForeignGlue {
        /// The name server.
        name: Name,
        /// Its foreign address.
        address: Data,
    },
    /// Somebody else's alias.
    #[error("DNS-A has {host} CNAME {target}, which leads elsewhere: replace it by {wanted}")]
    ForeignAlias {
        /// The name that clients use.
        host: Name,
        /// Where it leads.
        target: Name,
        /// Where it should.
        wanted: Name,
    },
    /// An alias cannot stand beside other records (RFC 1034 section 3.6.2).
    #[error("DNS-A has {types} at {host}: remove them, then {host} CNAME {wanted} will be written")]
    Occupied {
        /// The name that clients use.
        host: Name,
        /// The types of the records there.
        types: String,
        /// Where the alias should lead.
        wanted: Name,
    },
}

impl Update {
    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn change(&mut self, before: Option<&RrSet>, after: Option<&RrSet>) {
        if before != after {
            self.changes.push(Change { before: before.cloned(), after: after.cloned() });
        }
    }
}

/// What must change so that the zone is delegated as wanted.
///
/// # Errors
/// [`Conflict`]; a DS comes first, since it makes every delegation wrong.
pub fn plan_cut(cut: &Cut, wanted: &Wanted) -> Result<Update, Conflict> {
    let zone = &wanted.zone;
    if cut.ds {
        return Err(Conflict::Ds(zone.clone()));
    }
    if let Some(target) = &cut.alias {
        return Err(Conflict::AliasAtZone { zone: zone.clone(), target: target.clone() });
    }
    let ns = wanted.ns();
    let mut update = Update::default();
    update.prerequisites.push(Prerequisite::Absent(zone.clone(), RecordType::DS));
    match &cut.ns {
        Some(found) => {
            let foreign = |data: &Data| matches!(data, Data::Ns(name) if !is_ours(name, zone)).then(|| data.clone());
            if let Some(Data::Ns(server)) = found.data.iter().find_map(foreign) {
                return Err(Conflict::ForeignServer { zone: zone.clone(), server });
            }
            update.prerequisites.push(Prerequisite::Exactly(found.clone()));
        }
        None => {
            if let Some(conflict) = foreign_glue(cut, wanted) {
                return Err(conflict);
            }
            update.prerequisites.push(Prerequisite::Absent(zone.clone(), RecordType::NS));
            update.prerequisites.push(Prerequisite::Absent(zone.clone(), RecordType::CNAME));
        }
    }
    update.change(cut.ns.as_ref(), Some(&ns));
    plan_glue(cut, wanted, &mut update);
    Ok(update)
}

fn plan_glue(cut: &Cut, wanted: &Wanted, update: &mut Update) {
    let glue: Vec<RrSet> = wanted.glue().collect();
    let same = |a: &RrSet, b: &RrSet| a.name == b.name && a.rtype == b.rtype;
    for after in &glue {
        update.change(cut.glue.iter().find(|before| same(before, after)), Some(after));
    }
    let gone = cut.glue.iter().filter(|before| is_ours(&before.name, &wanted.zone));
    for before in gone.filter(|before| !glue.iter().any(|after| same(before, after))) {
        update.change(Some(before), None);
    }
}

/// An address at a name server's name that is not that server's. Below a cut that is an old
/// address of ours; without a cut it is somebody's record.
fn foreign_glue(cut: &Cut, wanted: &Wanted) -> Option<Conflict> {
    cut.glue.iter().find_map(|set| {
        let own = wanted.servers.get(&set.name)?;
        let foreign = set.data.iter().find(|d| !matches!(d, Data::Address(a) if own.contains(a)))?;
        Some(Conflict::ForeignGlue { name: set.name.clone(), address: foreign.clone() })
    })
}

/// What must change so that `host` leads to `target` (sub-zone style). An alias that leads into
/// one of `zones` is ours, any other is not.
///
/// # Errors
/// [`Conflict`].
pub fn plan_alias(host: &Host, wanted: &RrSet, zones: &[Name]) -> Result<Update, Conflict> {
    let name = &wanted.name;
    let target =
        |set: &RrSet| set.data.iter().find_map(|d| if let Data::Cname(to) = d { Some(to.clone()) } else { None });
    let to = target(wanted).unwrap_or_else(|| name.clone());
    let mut update = Update::default();
    match &host.alias {
        Some(found) => {
            let leads = target(found).filter(|t| !zones.iter().any(|zone| t.is_within(zone)));
            if let Some(foreign) = leads {
                return Err(Conflict::ForeignAlias { host: name.clone(), target: foreign, wanted: to });
            }
            update.prerequisites.push(Prerequisite::Exactly(found.clone()));
        }
        None if host.others.is_empty() => update.prerequisites.push(Prerequisite::Unused(name.clone())),
        None => {
            let types = host.others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Conflict::Occupied { host: name.clone(), types, wanted: to });
        }
    }
    update.change(host.alias.as_ref(), Some(wanted));
    Ok(update)
}
