//! A dns-a-sync as small as can be: the real numbering of generations, and a newest catalogue for
//! everybody who does not have it.

use std::{collections::BTreeMap, sync::Arc};

use dglb_core::{
    catalogue::ZoneCatalogue,
    identity::Identity,
    proto::message::{Message, Welcome},
};
use dns_a_sync::generation::Origin;

use crate::content;

/// See the module's description.
#[derive(Debug)]
pub struct Publisher {
    origin: Origin,
    /// The link to each dns-b that is up.
    pub links: BTreeMap<Identity, u64>,
    /// What is to be sent.
    pub outbox: Vec<(Identity, Message)>,
}

/// What it finds on disk when it starts again.
#[derive(Clone, Debug)]
pub struct Disk {
    issued: Arc<ZoneCatalogue>,
    sent: std::collections::BTreeSet<Identity>,
}

impl Publisher {
    /// Just started, with what an earlier run left.
    pub fn new(disk: Option<Disk>, edition: u16) -> Self {
        let origin = disk.map_or_else(Origin::default, |d| Origin::restored(ZoneCatalogue::clone(&d.issued), d.sent));
        let mut publisher = Self { origin, links: BTreeMap::new(), outbox: Vec::new() };
        publisher.offer(edition);
        publisher
    }

    /// The enterprise has something new.
    pub fn offer(&mut self, edition: u16) {
        if self.origin.offer(&content::catalogue(edition)).is_some() {
            self.publish();
        }
    }

    /// The link to a dns-b is up.
    pub fn up(&mut self, link: u64, welcome: &Welcome) {
        self.links.insert(welcome.identity.clone(), link);
        let zone = content::zone();
        let held = welcome.catalogues.iter().find(|z| z.zone == zone).map_or(0, |z| z.generation);
        match self.origin.heard(&welcome.identity, held) {
            Ok(Some(_)) => self.publish(),
            Ok(None) => self.send(welcome.identity.clone()),
            Err(_) => {}
        }
    }

    /// The link to a dns-b is down.
    pub fn down(&mut self, server: &Identity) {
        self.links.remove(server);
    }

    /// What a later run finds.
    pub fn disk(&self) -> Option<Disk> {
        let issued = Arc::clone(self.origin.current()?);
        Some(Disk { issued, sent: self.origin.recipients().clone() })
    }

    fn publish(&mut self) {
        let servers: Vec<Identity> = self.links.keys().cloned().collect();
        servers.into_iter().for_each(|server| self.send(server));
    }

    fn send(&mut self, server: Identity) {
        if let Some(current) = self.origin.current().cloned() {
            self.origin.sent(&server);
            self.outbox.push((server, Message::snapshot(ZoneCatalogue::clone(&current))));
        }
    }
}
