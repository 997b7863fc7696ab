//! The links to every dns-b: up again whenever they are down, each under the identity that the
//! configuration expects. What is said over them is the keeper's.
//!
//! Invariant: the keeper hears of a dns-b's link in the order up, said …, down, and of an attempt
//! that failed as down; what could not be sent ends the link, so that the next WELCOME brings both
//! sides together again.

use std::time::Duration;

use dglb_core::{
    identity::Identity,
    peer_name::PeerName,
    proto::{
        Config as SessionConfig,
        message::{Bye, ByeReason, FleetStamp, Message, PeerRole},
    },
};
use dglb_node::{
    boot::Boot,
    lifecycle::Tasks,
    link::{Dialler, Greeting, LinkEvent, LinkId, LinkMetrics, LinkSender, LinkSettings, Named, expect},
};
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    config::{Config, Map, Server},
    keeper::Event,
    registration::Outgoing,
};

/// Events that wait for the keeper; while it is full, the links are not read.
const EVENTS: usize = 256;

/// All links of this DNS-LB.
#[derive(Debug)]
pub struct Uplink {
    links: Vec<Link>,
    /// The fleet document that the next HELLO names.
    held: watch::Sender<FleetStamp>,
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
}

/// The link to one dns-b.
#[derive(Debug)]
struct Link {
    server: Server,
    /// What its HELLO named.
    named: Named,
    /// While there is a connection.
    sender: Option<LinkSender>,
    /// Whether nothing more is said over this connection.
    closing: bool,
    /// Whether the keeper was told that it is up.
    told: bool,
    since: Instant,
    /// Why it is down.
    reason: Option<String>,
}

/// What an operator may see of a link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStatus {
    /// The dns-b.
    pub identity: Identity,
    /// Where it is dialled.
    pub address: std::net::SocketAddr,
    /// `up` or `down`.
    pub state: &'static str,
    /// Seconds since the state changed.
    pub since_seconds: u64,
    /// Why it is down, if that is known.
    pub reason: Option<String>,
}

impl Uplink {
    /// Starts a task for each dns-b that keeps the link up until the daemon stops, and then leaves
    /// with BYE. `held` is the fleet document that is known from before.
    pub fn start(
        config: &Config,
        (boot, held): (Boot, FleetStamp),
        (links, metrics): (LinkSettings, &LinkMetrics),
        tasks: &mut Tasks,
    ) -> Self {
        let Map { keep_alive, dead_after, .. } = config.map;
        let session = SessionConfig { ping_after: keep_alive, dead_after, ..links.session };
        let settings = LinkSettings { session, ..links };
        let (sender, events) = mpsc::channel(EVENTS);
        let (hold, held) = watch::channel(held);
        let mut links = Vec::with_capacity(config.servers.len());
        for (number, server) in config.servers.iter().enumerate() {
            let dialler = Dialler {
                id: LinkId(number as u64),
                server: server.address,
                expected: server.identity.clone(),
                settings: settings.clone(),
                metrics: metrics.clone(),
            };
            let name = PeerName::new(PeerRole::DnsLb, config.identity.clone());
            let (greeting, named) = Greeting::new(name, boot, held.clone());
            let link = dialler.run(move || greeting.hello(), sender.clone(), tasks.stop_token());
            tasks.spawn(format!("link-{}", server.identity), link);
            links.push(Link::new(server.clone(), named));
        }
        Self { links, held: hold, events }
    }

    /// From now on this fleet document is held.
    pub fn hold(&self, fleet: FleetStamp) {
        self.held.send_if_modified(|held| std::mem::replace(held, fleet) != fleet);
    }

    /// The next thing that the keeper has to know; `None` when all links are over for good. Safe
    /// to drop and call again.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let (id, event) = self.events.recv().await?;
            let link = usize::try_from(id.0).ok().and_then(|at| self.links.get_mut(at));
            if let Some(event) = link.and_then(|link| link.handle(event)) {
                return Some(event);
            }
        }
    }

    /// Sends to whom it is for; what cannot be taken is not waited for.
    pub fn send(&mut self, outgoing: Vec<Outgoing>) {
        for (to, message) in outgoing {
            if let Some(link) = self.links.iter_mut().find(|l| l.server.identity == to) {
                link.send(message);
            }
        }
    }

    /// Each link, in the configuration's order.
    pub fn status(&self) -> Vec<LinkStatus> {
        self.links.iter().map(Link::status).collect()
    }

    /// Whether any link is up.
    pub fn is_up(&self) -> bool {
        self.links.iter().any(|l| l.told)
    }
}

impl Link {
    fn new(server: Server, named: Named) -> Self {
        Self { server, named, sender: None, closing: false, told: false, since: Instant::now(), reason: None }
    }

    fn handle(&mut self, event: LinkEvent) -> Option<Event> {
        let identity = self.server.identity.clone();
        match event {
            LinkEvent::Up { peer, link, .. } => {
                let welcome = expect(&identity, peer, &link);
                self.sender = Some(link);
                self.closing = welcome.is_err();
                match welcome {
                    Ok(welcome) => {
                        tracing::info!(server = %identity, address = %self.server.address, "link up");
                        self.told = true;
                        self.since = Instant::now();
                        self.reason = None;
                        Some(Event::Up(identity, welcome, self.named.stamp()))
                    }
                    Err(wrong) => {
                        tracing::warn!(address = %self.server.address, "wrong dns-b: {wrong}");
                        self.reason = Some(wrong.to_string());
                        None
                    }
                }
            }
            LinkEvent::Message(message) => self.told.then_some(Event::Said(identity, message)),
            LinkEvent::Down(down) => {
                // That it was somebody else says more than how the link then ended.
                if self.told || self.reason.is_none() || !down.was_up {
                    self.reason = Some(down.reason.to_string());
                }
                self.sender = None;
                if std::mem::take(&mut self.told) {
                    self.since = Instant::now();
                }
                Some(Event::Down(identity))
            }
            // Only an accepting side hears this.
            LinkEvent::Hello { .. } => None,
        }
    }

    fn send(&mut self, message: Message) {
        let Some(sender) = self.sender.as_ref().filter(|_| !self.closing) else { return };
        if let Err(error) = sender.try_send(message) {
            tracing::warn!(server = %self.server.identity, %error, "message not sent, the link starts anew");
            self.close(ByeReason::Slow, error.to_string());
        }
    }

    /// Leaves. The sender is kept, since dropping it would be a farewell of its own.
    fn close(&mut self, reason: ByeReason, text: String) {
        self.closing = true;
        if let Some(sender) = &self.sender {
            sender.close(Bye { reason, text });
        }
    }

    fn status(&self) -> LinkStatus {
        LinkStatus {
            identity: self.server.identity.clone(),
            address: self.server.address,
            state: if self.told { "up" } else { "down" },
            since_seconds: self.since.elapsed().max(Duration::ZERO).as_secs(),
            reason: self.reason.clone(),
        }
    }
}
