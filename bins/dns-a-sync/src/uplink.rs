//! What is known of one dns-b and what it still has to be told. A dns-b is told a zone's newest
//! generation only, however often that changed while the link was down or slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use dglb_core::{
    fleet::Fleet,
    identity::Identity,
    name::Name,
    proto::{
        Peer,
        message::{CatalogueAck, Delegation, FleetStamp, Message, Welcome},
    },
};
use dglb_node::link::{Down, LinkSendError, LinkSender, expect};
use tracing::{info, warn};

use crate::{
    config::ServerConfig,
    delegation::{Offer, check},
    metrics::Metrics,
};

/// What one dns-b said to a zone's catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The newest generation that it accepted, or held when the link came up; 0 for none.
    pub accepted: u64,
    /// The generation that it refused last, and why, unless it accepted a newer one since.
    pub refused: Option<(u64, String)>,
}

/// One dns-b.
#[derive(Debug)]
pub struct Uplink {
    server: ServerConfig,
    link: Option<LinkSender>,
    /// A link to somebody else, until it is down.
    stranger: Option<LinkSender>,
    since: Instant,
    error: Option<String>,
    /// Its fleet document.
    fleet: FleetStamp,
    /// What it holds of each zone, by WELCOME and what it accepted since.
    held: BTreeMap<Name, u64>,
    answers: BTreeMap<Name, Answer>,
    offers: BTreeMap<Name, Offer>,
    /// Zones whose catalogue is still to be sent.
    pending: BTreeSet<Name>,
    metrics: Metrics,
}

/// An [`Uplink`] as the status shows it.
#[derive(Clone, Debug)]
pub struct UplinkView {
    /// Who.
    pub identity: Identity,
    /// Where.
    pub address: SocketAddr,
    /// Whether the link is up.
    pub up: bool,
    /// Since when it is up or down.
    pub since: Instant,
    /// Why it is down, or what is wrong with it.
    pub error: Option<String>,
    /// Serial of its fleet document, 0 before the first.
    pub fleet_serial: u32,
    /// What it said to each zone's catalogue.
    pub answers: BTreeMap<Name, Answer>,
}

impl Uplink {
    /// A dns-b that is not linked yet.
    pub fn new(server: ServerConfig, metrics: Metrics) -> Self {
        metrics.link(&server.identity, false);
        Self {
            server,
            link: None,
            stranger: None,
            since: Instant::now(),
            error: None,
            fleet: FleetStamp::default(),
            held: BTreeMap::new(),
            answers: BTreeMap::new(),
            offers: BTreeMap::new(),
            pending: BTreeSet::new(),
            metrics,
        }
    }

    /// The link came up; HELLO named a fleet document. Returns the one that WELCOME brought where that is
    /// another, `None` where the dns-b is not the one that was expected at this address: the link to another
    /// one is closed.
    pub fn up(&mut self, (peer, named): (Peer, FleetStamp), link: LinkSender) -> Option<Option<Fleet>> {
        let welcome = expect(&self.server.identity, peer, &link);
        let Welcome { identity, fleet, catalogues, .. } = match welcome {
            Ok(welcome) => *welcome,
            Err(wrong) => {
                warn!(address = %self.server.address, "wrong dns-b: {wrong}");
                self.error = Some(wrong.to_string());
                self.stranger = Some(link);
                return None;
            }
        };
        self.fleet = fleet.as_ref().map_or(named, Fleet::stamp);
        info!(peer = %identity, fleet = self.fleet.serial, "link up");
        self.metrics.link(&identity, true);
        self.link = Some(link);
        self.since = Instant::now();
        self.error = None;
        self.held = catalogues.into_iter().map(|z| (z.zone, z.generation)).collect();
        self.pending.clear();
        Some(fleet)
    }

    /// The link is over, or could not be had.
    pub fn down(&mut self, down: &Down) {
        self.stranger = None;
        if self.link.take().is_some() {
            self.since = Instant::now();
            self.metrics.link(&self.server.identity, false);
        }
        let error = down.reason.to_string();
        // The reason why we closed it says more than that we did.
        let closed_by_us = down.was_up && self.error.is_some();
        if !closed_by_us && self.error.as_ref() != Some(&error) {
            warn!(peer = %self.server.identity, "no link: {error}");
            self.error = Some(error);
        }
    }

    /// It holds this generation already.
    pub fn holds(&mut self, zone: &Name, generation: u64) {
        self.accepted(zone, generation);
    }

    /// The zone's catalogue is to be sent.
    pub fn want(&mut self, zone: &Name) {
        if self.link.is_some() {
            self.pending.insert(zone.clone());
        }
    }

    /// Sends what is pending, as far as there is room; `current` gives a zone's newest CATALOGUE. Returns
    /// the zones that were sent.
    pub fn flush(&mut self, current: impl Fn(&Name) -> Option<Message>) -> Vec<Name> {
        let Some(link) = &self.link else { return Vec::new() };
        let mut sent = Vec::new();
        for zone in &self.pending {
            let Some(message) = current(zone) else { continue };
            match link.try_send(message) {
                Ok(()) => sent.push(zone.clone()),
                // DOWN follows, and the next WELCOME begins anew.
                Err(LinkSendError::Closed) => break,
                Err(LinkSendError::Full) => break,
            }
        }
        // What is without a catalogue waits for nothing: it becomes pending again when it has one.
        self.pending.retain(|zone| !sent.contains(zone) && current(zone).is_some());
        sent
    }

    /// Whether something waits for room.
    pub fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// It answered a CATALOGUE.
    pub fn acknowledge(&mut self, ack: CatalogueAck) {
        let peer = &self.server.identity;
        let Some(text) = ack.refused else {
            self.accepted(&ack.zone, ack.generation);
            return;
        };
        warn!(%peer, zone = %ack.zone, generation = ack.generation, "catalogue refused: {text}");
        self.metrics.refused(&ack.zone, peer);
        let answer = self.answers.entry(ack.zone).or_insert(Answer { accepted: 0, refused: None });
        answer.refused = Some((ack.generation, text));
    }

    fn accepted(&mut self, zone: &Name, generation: u64) {
        let answer = self.answers.entry(zone.clone()).or_insert(Answer { accepted: 0, refused: None });
        answer.accepted = answer.accepted.max(generation);
        let held = self.held.entry(zone.clone()).or_default();
        *held = (*held).max(generation);
        if answer.refused.as_ref().is_some_and(|(refused, _)| *refused <= generation) {
            answer.refused = None;
        }
        self.metrics.acknowledged(zone, &self.server.identity, answer.accepted);
    }

    /// It has another fleet document. Delegations that it gave before are of the old one.
    pub fn fleet(&mut self, fleet: FleetStamp) {
        self.fleet = fleet;
    }

    /// Whether it is linked and has another fleet document.
    pub fn holds_other_than(&self, fleet: FleetStamp) -> bool {
        self.link.is_some() && self.fleet != fleet
    }

    /// It says how a zone wants to be delegated. Returns whether that is heeded.
    pub fn delegation(&mut self, delegation: Delegation) -> bool {
        if let Err(error) = check(&delegation) {
            let error = format!("DELEGATION of {} is not heeded: {error}", delegation.zone);
            warn!(peer = %self.server.identity, "{error}");
            self.error = Some(error);
            return false;
        }
        let offer = Offer { serial: self.fleet.serial, delegation };
        self.offers.insert(offer.delegation.zone.clone(), offer);
        true
    }

    /// How it wants a zone delegated.
    pub fn offer(&self, zone: &Name) -> Option<&Offer> {
        self.offers.get(zone)
    }

    /// Whether it has accepted a catalogue of the zone, so that it serves it.
    pub fn serves(&self, zone: &Name) -> bool {
        self.answers.get(zone).is_some_and(|a| a.accepted > 0)
    }

    /// What it holds of a zone, 0 for nothing; `None` while there is no link.
    pub fn held(&self, zone: &Name) -> Option<u64> {
        self.link.as_ref().map(|_| self.held.get(zone).copied().unwrap_or(0))
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.server.identity
    }

    /// As the status shows it.
    pub fn view(&self) -> UplinkView {
        UplinkView {
            identity: self.server.identity.clone(),
            address: self.server.address,
            up: self.link.is_some(),
            since: self.since,
            error: self.error.clone(),
            fleet_serial: self.fleet.serial,
            answers: self.answers.clone(),
        }
    }
}
