//! Bugs on purpose. Each sits between the network and the first dns-b's keeper, never in production
//! code, and must be caught by the invariant that it breaks.

use std::collections::BTreeMap;

use dglb_core::{
    catalogue::{CatalogueUpdate, ZoneCatalogue},
    identity::Identity,
    net::Prefix,
    proto::{
        Encoded,
        body::{MAX_ELEMENTS, decode},
        message::{BootId, Map, MapAck, MapEntry, Message},
    },
};

use crate::{Invariant, content};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The client networks of a MAP are acknowledged and not taken in.
    AcknowledgesWithoutApplying,
    /// Leases end an hour late.
    NeverExpires,
    /// Reports after the first are acknowledged and not taken in.
    DeafToReports,
    /// Some services of a catalogue are those of the one before.
    AppliesHalfACatalogue,
    /// A newer catalogue has the content of an older one.
    TakesAnOlderCatalogue,
    /// A newer MAP has the entries of an older one.
    TakesAnOlderMap,
    /// Of what a delta changes DNS-LBs are not told of one service.
    SendsHalfADelta,
    /// A link that was replaced stays.
    KeepsOldLinks,
    /// What a slow link has no room for is kept for ever.
    QueuesWithoutBound,
    /// What is acknowledged is not on the disk, and never will be.
    KeepsNothing,
    /// The label of a DNS-LB that is not handed out here does not exist.
    DeniesLabels,
}

impl Plant {
    /// All of them, with what they break.
    pub const ALL: [(Self, Invariant); 11] = [
        (Self::AcknowledgesWithoutApplying, Invariant::Served),
        (Self::NeverExpires, Invariant::Expired),
        (Self::DeafToReports, Invariant::Converged),
        (Self::AppliesHalfACatalogue, Invariant::Whole),
        (Self::TakesAnOlderCatalogue, Invariant::Newest),
        (Self::TakesAnOlderMap, Invariant::Newest),
        (Self::SendsHalfADelta, Invariant::Whole),
        (Self::KeepsOldLinks, Invariant::OneLink),
        (Self::QueuesWithoutBound, Invariant::Bounded),
        (Self::KeepsNothing, Invariant::Served),
        (Self::DeniesLabels, Invariant::Known),
    ];
}

/// What a planted bug remembers.
#[derive(Debug, Default)]
pub struct Bug {
    /// Which; `None` for an honest dns-b.
    pub plant: Option<Plant>,
    /// What a process said last.
    maps: BTreeMap<u128, Vec<MapEntry>>,
    /// What was published, in order.
    catalogues: Vec<ZoneCatalogue>,
    reported: Vec<Identity>,
    hidden: BTreeMap<(Identity, u64), u32>,
}

/// What becomes of a message that came.
pub enum Twisted {
    /// The keeper gets this.
    Pass(Message),
    /// The keeper gets nothing, the peer this.
    Answer(Message),
}

impl Bug {
    /// With a bug or without.
    pub fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    /// Whether it is this one.
    pub fn is(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// What the bug makes of a message to the keeper.
    pub fn twist(&mut self, (from, boot): (&Identity, BootId), message: Message) -> Twisted {
        Twisted::Pass(match (self.plant, message) {
            (Some(Plant::AcknowledgesWithoutApplying), Message::Map(map)) => Message::Map(self.without(from, map)),
            (Some(Plant::TakesAnOlderMap), Message::Map(map)) => Message::Map(self.older_map(boot, map)),
            (Some(Plant::AppliesHalfACatalogue | Plant::TakesAnOlderCatalogue), Message::Catalogue(update)) => {
                Message::Catalogue(Box::new(match *update {
                    CatalogueUpdate::Snapshot(new) => CatalogueUpdate::Snapshot(self.another(new)),
                    other => other,
                }))
            }
            (Some(Plant::SendsHalfADelta), Message::Catalogue(update)) => {
                if let CatalogueUpdate::Snapshot(new) = &*update {
                    self.catalogues.push(new.clone());
                }
                Message::Catalogue(update)
            }
            (Some(Plant::DeafToReports), Message::Report(report)) => {
                if self.reported.contains(from) {
                    let ack = dglb_core::proto::message::ReportAck { generation: report.generation, refused: 0 };
                    return Twisted::Answer(Message::ReportAck(ack));
                }
                self.reported.push(from.clone());
                Message::Report(report)
            }
            (_, message) => message,
        })
    }

    /// What the bug makes of something for many; `None` if it leaves that alone.
    pub fn spoil(&self, encoded: &Encoded) -> Option<Encoded> {
        if !self.is(Plant::SendsHalfADelta) {
            return None;
        }
        let decoded = decode(encoded.number(), encoded.body().clone(), MAX_ELEMENTS).ok()??;
        let Message::Catalogue(update) = decoded.message else { return None };
        let CatalogueUpdate::Delta(mut delta) = *update else { return None };
        let of = |generation| self.catalogues.iter().rfind(|held| held.generation == generation);
        // Its digest is in order.
        delta.digest = mixed(of(delta.base)?, of(delta.generation)?).normalised().digest();
        delta.services.retain(|service| service.name != content::name(content::SERVICES[0]));
        Message::Catalogue(Box::new(CatalogueUpdate::Delta(delta))).encode().ok()
    }

    /// What the bug makes of an acknowledgement.
    pub fn acknowledge(&mut self, to: &Identity, ack: &mut MapAck) {
        ack.accepted += self.hidden.remove(&(to.clone(), ack.generation)).unwrap_or(0);
    }

    fn without(&mut self, from: &Identity, mut map: Map) -> Map {
        let before = map.entries.len();
        map.entries.retain(|e| e.kind == dglb_core::proto::message::EntryKind::Resolver);
        self.hidden.insert((from.clone(), map.generation), (before - map.entries.len()) as u32);
        map
    }

    fn older_map(&mut self, boot: BootId, map: Map) -> Map {
        let older = self.maps.insert(u128::from_be_bytes(boot.0), map.entries.clone());
        match older {
            Some(older) if prefixes(&older) != prefixes(&map.entries) => Map { entries: older, ..map },
            _ => map,
        }
    }

    /// Another catalogue than the one that was published.
    fn another(&mut self, new: ZoneCatalogue) -> ZoneCatalogue {
        let (generation, soa_serial) = (new.generation, new.soa_serial);
        let half = self.catalogues.last().map_or_else(|| new.clone(), |old| mixed(old, &new));
        self.catalogues.push(new);
        if self.is(Plant::AppliesHalfACatalogue) {
            return half;
        }
        // The one before the one in use, once there is one.
        let last = self.catalogues.len() - 1;
        let content = self.catalogues[if last >= 2 { last - 2 } else { last }].clone();
        ZoneCatalogue { generation, soa_serial, ..content }
    }
}

/// The new catalogue with the old one's first service.
fn mixed(old: &ZoneCatalogue, new: &ZoneCatalogue) -> ZoneCatalogue {
    let mut mixed = new.clone();
    let first = content::name(content::SERVICES[0]);
    let old = old.services.iter().find(|s| s.name == first);
    let held = mixed.services.iter_mut().find(|s| s.name == first);
    if let (Some(old), Some(held)) = (old, held) {
        held.clone_from(old);
    }
    mixed
}

fn prefixes(entries: &[MapEntry]) -> Vec<Prefix> {
    entries.iter().map(|e| e.prefix).collect()
}
