//! A dns-b as far as a DNS-LB can tell: it accepts a link through the same code as the real one,
//! welcomes, acknowledges, and remembers all that was said.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use dglb_core::{
    catalogue::ZoneCatalogue,
    fleet::{Fleet, FleetServer, FleetTtls},
    proto::{
        CloseReason,
        message::{
            BootId, CatalogueAck, FleetStamp, Hello, Map, MapAck, Message, Ready, Refuse, RefuseReason, Report,
            ReportAck, Welcome,
        },
    },
};
use dglb_node::link::{AcceptSettings, Acceptor, Decision, DownReason, LinkEvent, LinkMetrics, LinkSender};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::tls::links;

/// What a dns-b remembers, and what it says.
pub(crate) struct State {
    pub(crate) identity: &'static str,
    pub(crate) fleet: Fleet,
    /// Sent right after WELCOME.
    pub(crate) catalogues: Vec<ZoneCatalogue>,
    /// What WELCOME says of MAP and REPORT.
    pub(crate) held: (u64, u64),
    /// Whether MAPs and REPORTs are acknowledged.
    pub(crate) acknowledges: bool,
    /// Whether it lets anybody in.
    pub(crate) welcomes: bool,
    pub(crate) hellos: Vec<Hello>,
    pub(crate) maps: Vec<Map>,
    pub(crate) readies: Vec<Ready>,
    pub(crate) reports: Vec<Report>,
    pub(crate) catalogue_acks: Vec<CatalogueAck>,
    /// How links ended.
    pub(crate) ends: Vec<String>,
    /// Everything that may never happen.
    pub(crate) violations: Vec<String>,
    pub(crate) link: Option<LinkSender>,
}

/// A running dns-b. What it remembers outlives it: [`Backbone::restart`].
pub(crate) struct Backbone {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) fn fleet(serial: u32) -> Fleet {
    let server = |identity: &str, n: u8| FleetServer {
        identity: identity.parse().unwrap(),
        referral: vec![[203, 0, 113, n].into()],
        // Of this host, where nobody is to be asked on the DNS-LB's behalf.
        fallback: vec![[127, 0, 113, n + 100].into()],
    };
    Fleet::new(Fleet {
        serial,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![server("b1", 1), server("b2", 2)],
        labels: vec![],
        ttl: FleetTtls::default(),
    })
    .unwrap()
}

impl State {
    fn welcome(&self, named: FleetStamp, observed: SocketAddr) -> Decision {
        if !self.welcomes {
            return Decision::Refuse(Refuse { reason: RefuseReason::Busy, text: "not now".to_owned() });
        }
        Decision::Welcome(Box::new(Welcome {
            version: 1,
            identity: self.identity.parse().unwrap(),
            boot: BootId([3; 16]),
            observed,
            features: 0,
            fleet: (named != self.fleet.stamp()).then(|| self.fleet.clone()),
            map_generation: self.held.0,
            report_generation: self.held.1,
            catalogues: vec![],
        }))
    }

    fn said(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Map(map) => {
                let again = map.generation == self.held.0 && self.maps.last() == Some(&map);
                if map.generation <= self.held.0 && !again {
                    self.violations.push(format!("MAP {} after {}", map.generation, self.held.0));
                }
                self.held.0 = map.generation;
                let accepted = u32::try_from(map.entries.len()).unwrap();
                let ack = MapAck { generation: map.generation, accepted, refused: vec![] };
                self.maps.push(map);
                self.acknowledges.then_some(Message::MapAck(ack))
            }
            Message::Report(report) => {
                if report.generation <= self.held.1 || (report.base != 0 && report.base != self.held.1) {
                    let (generation, base) = (report.generation, report.base);
                    self.violations.push(format!("REPORT {generation} on {base} after {}", self.held.1));
                }
                self.held.1 = report.generation;
                let ack = ReportAck { generation: report.generation, refused: 0 };
                self.reports.push(report);
                self.acknowledges.then_some(Message::ReportAck(ack))
            }
            Message::Ready(ready) => {
                if ready.map_generation != self.held.0 {
                    self.violations.push(format!("READY {} while {} is held", ready.map_generation, self.held.0));
                }
                self.readies.push(ready);
                None
            }
            Message::CatalogueAck(ack) => {
                self.catalogue_acks.push(ack);
                None
            }
            // Somebody asked between WELCOME and the catalogue.
            Message::Want(_) => None,
            other => {
                self.violations.push(format!("{other:?}"));
                None
            }
        }
    }

    /// The sites of the service that the last report has on top, best first.
    pub(crate) fn reported_order(&self, service: &str) -> Vec<String> {
        let service = service.parse().unwrap();
        let rankings = self.reports.iter().rev().flat_map(|r| &r.rankings);
        let last = rankings.into_iter().find(|r| r.service == service);
        last.map_or_else(Vec::new, |r| r.sites.iter().map(|s| s.site.clone()).collect())
    }

    /// The dns-bs of the last READY.
    pub(crate) fn ready(&self) -> Vec<&str> {
        self.readies.last().map_or_else(Vec::new, |r| r.servers.iter().map(|s| s.as_str()).collect())
    }
}

impl Backbone {
    pub(crate) async fn start(identity: &'static str, catalogues: Vec<ZoneCatalogue>) -> Self {
        let state = State {
            identity,
            fleet: fleet(1),
            catalogues,
            held: (0, 0),
            acknowledges: true,
            welcomes: true,
            hellos: vec![],
            maps: vec![],
            readies: vec![],
            reports: vec![],
            catalogue_acks: vec![],
            ends: vec![],
            violations: vec![],
            link: None,
        };
        Self::on("127.0.0.1:0".parse().unwrap(), Arc::new(Mutex::new(state))).await
    }

    async fn on(address: SocketAddr, state: Arc<Mutex<State>>) -> Self {
        let link = links(&format!("dglb:dns-b:{}", state.lock().unwrap().identity));
        let settings = AcceptSettings { link, ..AcceptSettings::default() };
        let acceptor = Acceptor::bind(address, settings, LinkMetrics::default()).await.unwrap();
        let (address, stop) = (acceptor.local_addr().unwrap(), CancellationToken::new());
        let (sender, events) = mpsc::channel(64);
        let accepting = tokio::spawn(acceptor.run(sender, stop.clone()));
        let listening = tokio::spawn(listen(events, Arc::clone(&state)));
        Self { address, state, stop, tasks: vec![accepting, listening] }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Says something to the DNS-LB.
    pub(crate) fn say(&self, message: Message) {
        self.state().link.as_ref().expect("no link").try_send(message).unwrap();
    }

    /// Stops it; its memory and address are left.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            tokio::time::timeout(Duration::from_secs(10), task).await.expect("the dns-b did not stop").unwrap();
        }
    }

    /// Stops it and starts it again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        *self = Self::on(self.address, Arc::clone(&self.state)).await;
    }
}

async fn listen(mut events: mpsc::Receiver<(dglb_node::link::LinkId, LinkEvent)>, state: Arc<Mutex<State>>) {
    while let Some((_, event)) = events.recv().await {
        let mut state = state.lock().unwrap();
        match event {
            LinkEvent::Hello { hello, remote, decision } => {
                let named = hello.fleet;
                state.hellos.push(hello);
                // The link may be gone again.
                let _ = decision.send(state.welcome(named, remote));
            }
            LinkEvent::Up { link, .. } => {
                for catalogue in state.catalogues.clone() {
                    let _ = link.try_send(Message::snapshot(catalogue));
                }
                state.link = Some(link);
            }
            LinkEvent::Message(message) => {
                if let (Some(answer), Some(link)) = (state.said(message), state.link.clone()) {
                    let _ = link.try_send(answer);
                }
            }
            LinkEvent::Down(down) => {
                state.link = None;
                state.ends.push(match down.reason {
                    DownReason::Closed(CloseReason::ByeFromPeer(bye)) => format!("BYE {:?}", bye.reason),
                    other => other.to_string(),
                });
            }
        }
    }
}
