//! The accepting end of a link, played by the test: it says what the test wants a dns-b to say.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use dglb_core::{
    catalogue::{CatalogueUpdate, ZoneCatalogue},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    proto::message::{BootId, CatalogueAck, Delegation, FleetStamp, Message, PeerRole, Welcome, ZoneGeneration},
};
use dglb_node::link::{AcceptSettings, Acceptor, Decision, LinkEvent, LinkId, LinkMetrics, LinkSender};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::tls::links;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A dns-b played by the test.
pub(crate) struct DnsB {
    identity: &'static str,
    pub(crate) address: SocketAddr,
    fleet: Fleet,
    /// The fleet document that the last HELLO named.
    pub(crate) named: FleetStamp,
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
    link: Option<LinkSender>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl DnsB {
    pub(crate) async fn start(identity: &'static str) -> Self {
        Self::start_at(identity, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(identity: &'static str, address: SocketAddr) -> Self {
        let link = links(&format!("dglb:dns-b:{identity}"));
        let settings = AcceptSettings { link, ..AcceptSettings::default() };
        let acceptor = Acceptor::bind(address, settings, LinkMetrics::default()).await.unwrap();
        let address = acceptor.local_addr().unwrap();
        let (sender, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let task = tokio::spawn(acceptor.run(sender, stop.clone()));
        Self { identity, address, fleet: fleet(1), named: FleetStamp::default(), events, link: None, stop, task }
    }

    /// Lets the next dns-a-sync in and says that it holds these generations.
    pub(crate) async fn welcome(&mut self, held: &[(&str, u64)]) {
        let hello = loop {
            if let LinkEvent::Hello { hello, remote, decision } = self.next().await {
                break (hello, remote, decision);
            }
        };
        let (hello, remote, decision) = hello;
        self.named = hello.fleet;
        assert_eq!((hello.role, hello.identity.as_str()), (PeerRole::DnsASync, "sync"));
        let welcome = Welcome {
            version: 1,
            identity: self.identity.parse().unwrap(),
            boot: BootId([2; 16]),
            observed: remote,
            features: 0,
            fleet: (hello.fleet != self.fleet.stamp()).then(|| self.fleet.clone()),
            map_generation: 0,
            report_generation: 0,
            catalogues: held.iter().map(zone_generation).collect(),
        };
        decision.send(Decision::Welcome(Box::new(welcome))).unwrap();
        match self.next().await {
            LinkEvent::Up { link, .. } => self.link = Some(link),
            other => panic!("not up but {other:?}"),
        }
    }

    /// Its fleet document has this serial from the next WELCOME on.
    pub(crate) fn with_serial(mut self, serial: u32) -> Self {
        self.fleet = fleet(serial);
        self
    }

    /// The next catalogue, neither accepted nor refused yet.
    pub(crate) async fn catalogue(&mut self) -> ZoneCatalogue {
        match self.next().await {
            LinkEvent::Message(Message::Catalogue(update)) => match *update {
                CatalogueUpdate::Snapshot(catalogue) => catalogue,
                other => panic!("no snapshot but {other:?}"),
            },
            other => panic!("no catalogue but {other:?}"),
        }
    }

    /// The next withdrawal, accepted: the zone, and the generation.
    pub(crate) async fn withdrawal(&mut self) -> (String, u64) {
        let gone = match self.next().await {
            LinkEvent::Message(Message::Catalogue(update)) => match *update {
                CatalogueUpdate::Withdrawn(gone) => gone,
                other => panic!("no withdrawal but {other:?}"),
            },
            other => panic!("no withdrawal but {other:?}"),
        };
        let (zone, generation) = (gone.zone.clone(), gone.generation);
        self.say(Message::CatalogueAck(CatalogueAck { zone: gone.zone, generation, held: generation, refused: None }))
            .await;
        (zone.to_string(), generation)
    }

    /// The next catalogue, accepted.
    pub(crate) async fn accept(&mut self) -> ZoneCatalogue {
        let catalogue = self.catalogue().await;
        self.answer(&catalogue, None).await;
        catalogue
    }

    /// Answers a catalogue.
    pub(crate) async fn answer(&self, catalogue: &ZoneCatalogue, refused: Option<&str>) {
        let (zone, generation) = (catalogue.zone.clone(), catalogue.generation);
        let held = if refused.is_some() { 0 } else { generation };
        let refused = refused.map(str::to_owned);
        self.say(Message::CatalogueAck(CatalogueAck { zone, generation, held, refused })).await;
    }

    /// Says how the zone wants to be delegated.
    pub(crate) async fn delegation(&self, zone: &str, servers: &[(&str, &str)]) {
        let zone: Name = zone.parse().unwrap();
        let servers = servers.iter().map(|(name, a)| (name.parse().unwrap(), vec![a.parse().unwrap()])).collect();
        self.say(Message::Delegation(Delegation { zone, ttl: 300, servers })).await;
    }

    pub(crate) async fn say(&self, message: Message) {
        self.link.as_ref().unwrap().send(message).await.unwrap();
    }

    /// Nothing comes for a while, in which something would if it did at all.
    pub(crate) async fn silence(&mut self) {
        if let Ok(event) = timeout(Duration::from_millis(400), self.events.recv()).await {
            panic!("something came: {event:?}");
        }
    }

    /// Waits until the link is over.
    pub(crate) async fn down(&mut self) {
        self.link = None;
        while !matches!(self.next().await, LinkEvent::Down(_)) {}
    }

    /// Leaves; returns where it was.
    pub(crate) async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        drop(self.events);
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.address
    }

    async fn next(&mut self) -> LinkEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("nothing comes").expect("the acceptor is gone").1
    }
}

/// A fleet document of this serial.
pub(crate) fn fleet(serial: u32) -> Fleet {
    let server = FleetServer {
        identity: "b1".parse().unwrap(),
        referral: vec!["192.0.2.1".parse().unwrap()],
        fallback: vec!["192.0.2.2".parse().unwrap()],
    };
    let fleet = Fleet {
        serial,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![server],
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    Fleet::new(fleet).unwrap()
}

/// The addresses of every site of the only service.
pub(crate) fn sites(catalogue: &ZoneCatalogue) -> BTreeMap<String, Vec<String>> {
    let service = &catalogue.services[0];
    service.sites.iter().map(|s| (s.name.clone(), s.addresses.iter().map(ToString::to_string).collect())).collect()
}

fn zone_generation((zone, generation): &(&str, u64)) -> ZoneGeneration {
    ZoneGeneration { zone: zone.parse().unwrap(), generation: *generation, on_referral: false }
}
