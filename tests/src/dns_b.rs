//! A dns-b as far as a DNS-LB can tell, which lets everybody in and acknowledges what a scenario
//! wants it to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use dglb_core::{
    fleet::Fleet,
    proto::message::{BootId, Map, MapAck, Message, Ready, ReportAck, Welcome},
};
use dglb_node::link::{AcceptSettings, Acceptor, Decision, LinkEvent, LinkId, LinkMetrics, LinkSender};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::tls;

/// What it knows and does.
#[derive(Debug)]
pub struct State {
    identity: String,
    fleet: Fleet,
    /// Whether MAPs are acknowledged.
    pub acknowledges: bool,
    /// MAPs that came.
    pub maps: Vec<Map>,
    /// READYs that came.
    pub readies: Vec<Ready>,
    link: Option<LinkSender>,
}

/// A running one; it ends with the value.
#[derive(Debug)]
pub struct StandIn {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl StandIn {
    /// Listens for map links.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start(address: SocketAddr, identity: &str, fleet: Fleet) -> Self {
        let link = tls::links(&format!("dglb:dns-b:{identity}"));
        let settings = AcceptSettings { link, ..AcceptSettings::default() };
        let acceptor = Acceptor::bind(address, settings, LinkMetrics::default()).await;
        let acceptor = acceptor.unwrap_or_else(|error| panic!("{address}: {error}"));
        let state = State {
            identity: identity.to_owned(),
            fleet,
            acknowledges: true,
            maps: vec![],
            readies: vec![],
            link: None,
        };
        let (state, stop) = (Arc::new(Mutex::new(state)), CancellationToken::new());
        let (sender, events) = mpsc::channel(64);
        tokio::spawn(acceptor.run(sender, stop.clone()));
        tokio::spawn(listen(events, Arc::clone(&state)));
        Self { state, stop }
    }

    /// What it knows.
    ///
    /// # Panics
    /// When its own task has.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("its task does not panic")
    }

    /// Acknowledges the last MAP.
    ///
    /// # Panics
    /// When there is no link, or no MAP has come.
    pub fn acknowledge(&self) {
        let state = self.state();
        let ack = ack(state.maps.last().expect("a MAP"));
        state.link.as_ref().expect("a link").try_send(ack).expect("room on the link");
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl State {
    fn welcome(&self, observed: SocketAddr) -> Decision {
        Decision::Welcome(Box::new(Welcome {
            version: 1,
            identity: self.identity.parse().expect("an identity"),
            boot: BootId([3; 16]),
            observed,
            features: 0,
            fleet: Some(self.fleet.clone()),
            map_generation: 0,
            report_generation: 0,
            catalogues: vec![],
        }))
    }

    fn said(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Map(map) => {
                let ack = ack(&map);
                self.maps.push(map);
                self.acknowledges.then_some(ack)
            }
            Message::Report(report) => {
                Some(Message::ReportAck(ReportAck { generation: report.generation, refused: 0 }))
            }
            Message::Ready(ready) => {
                self.readies.push(ready);
                None
            }
            _ => None,
        }
    }
}

fn ack(map: &Map) -> Message {
    let accepted = u32::try_from(map.entries.len()).unwrap_or(u32::MAX);
    Message::MapAck(MapAck { generation: map.generation, accepted, refused: vec![] })
}

async fn listen(mut events: mpsc::Receiver<(LinkId, LinkEvent)>, state: Arc<Mutex<State>>) {
    while let Some((_, event)) = events.recv().await {
        let Ok(mut state) = state.lock() else { return };
        match event {
            // The link may be gone again, here and below.
            LinkEvent::Hello { remote, decision, .. } => drop(decision.send(state.welcome(remote))),
            LinkEvent::Up { link, .. } => state.link = Some(link),
            LinkEvent::Message(message) => {
                if let (Some(answer), Some(link)) = (state.said(message), &state.link) {
                    let _ = link.try_send(answer);
                }
            }
            LinkEvent::Down(_) => state.link = None,
        }
    }
}
