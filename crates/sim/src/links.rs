//! Connections: who dials whom, what goes through them, and what daemons are told of it.

use dglb_core::{
    catalogue::CatalogueUpdate,
    proto::{
        CloseReason, Event, Number, Peer, Session,
        message::{Bye, ByeReason, FleetStamp, Hello, Message},
    },
};
use dns_b::keeper::{Outgoing, Verdict};

use crate::{
    Ms, content,
    dns_b::DnsB,
    endpoint::{Command, Endpoint, Unsent, session_config},
    net::Pipe,
    oracle::Oracle,
    process::{Daemon, End, Kind},
    random::Random,
    world::{Happening, World},
};

/// How long a dialling side waits for an answer from a host that is not reached.
const CONNECT: Ms = 1_500;
/// Until a look whether a process runs again.
const PAUSED: Ms = 250;
/// First and last ceiling of the wait before the next attempt.
const BACKOFF: (Ms, Ms) = (100, 1_600);

/// A connection between two hosts.
#[derive(Debug)]
pub(crate) struct Conn {
    dialler: usize,
    acceptor: usize,
    /// From the dialling side, and to it.
    pipes: [Pipe; 2],
}

impl Conn {
    pub(crate) fn has(&self, host: usize) -> bool {
        self.dialler == host || self.acceptor == host
    }

    pub(crate) fn other(&self, host: usize) -> usize {
        if self.dialler == host { self.acceptor } else { self.dialler }
    }

    pub(crate) fn outward(&mut self, host: usize) -> &mut Pipe {
        &mut self.pipes[usize::from(self.dialler != host)]
    }

    pub(crate) fn inward(&mut self, host: usize) -> &mut Pipe {
        &mut self.pipes[usize::from(self.dialler == host)]
    }

    /// Breaks, both ways, in the middle of what is under way.
    pub(crate) fn tear(&mut self) {
        self.pipes.iter_mut().for_each(Pipe::tear);
    }
}

impl World {
    /// A daemon dials a dns-b.
    pub(crate) fn dial(&mut self, (host, serial, server): (usize, u64, usize)) {
        let Some(process) = self.running(host, serial) else { return };
        if process.ends.values().any(|end| end.peer == server) {
            return;
        }
        let (there, back) = (self.net.way(host, server), self.net.way(server, host));
        let (Some(there), Some(back)) = (there, back) else {
            return self.later(CONNECT, Happening::Undialled { host, serial, server });
        };
        let listening = self.hosts[server].process.is_some();
        let after = there.delay + back.delay;
        self.later(
            after,
            match listening {
                true => Happening::Connected { host, serial, server },
                false => Happening::Undialled { host, serial, server },
            },
        );
    }

    /// A connection stands.
    pub(crate) fn connected(&mut self, (host, serial, server): (usize, u64, usize)) {
        let (now, instant) = (self.now, self.instant());
        let reached = self.hosts[server].process.is_some();
        let kind = self.hosts[host].kind;
        let Some(process) = self.running(host, serial).filter(|_| reached) else {
            return self.undialled((host, serial, server));
        };
        let hello = Hello {
            version_min: dglb_core::proto::VERSION,
            version_max: dglb_core::proto::VERSION,
            role: kind.role(),
            identity: kind.identity(),
            boot: process.boot,
            uptime_ms: now.saturating_sub(process.started),
            features: 0,
            fleet: FleetStamp::default(),
        };
        let Ok(session) = Session::dial(session_config(), hello, instant) else { return };
        let endpoint = Endpoint::new(session, now);
        self.last_link += 1;
        let link = self.last_link;
        let pipe = |way| Pipe::new(Random::new(self.seed, link << 8 | way));
        self.conns.insert(link, Conn { dialler: host, acceptor: server, pipes: [pipe(1), pipe(2)] });
        let end = |endpoint, peer, dialled| End { endpoint, peer, dialled, since: now };
        let accepted = Endpoint::new(Session::accept(session_config(), instant), now);
        for (at, peer, end) in [(host, server, end(endpoint, server, true)), (server, host, end(accepted, host, false))]
        {
            debug_assert_eq!(end.peer, peer);
            if let Some(process) = &mut self.hosts[at].process {
                process.ends.insert(link, end);
            }
        }
        self.trace.note((now, host), "connected to", [server as u64, link]);
        self.flush(host);
    }

    /// A connection was not to be had.
    pub(crate) fn undialled(&mut self, (host, serial, server): (usize, u64, usize)) {
        let instant = self.instant();
        let Some(process) = self.running(host, serial) else { return };
        process.daemon.down(&content::b(server), instant);
        self.dial_again((host, serial, server));
        self.settle(host);
    }

    fn dial_again(&mut self, (host, serial, server): (usize, u64, usize)) {
        let Some(process) = self.running(host, serial) else { return };
        let ceiling = process.backoff.entry(server).or_insert(BACKOFF.0);
        let wait = process.random.below(*ceiling);
        *ceiling = (*ceiling * 2).min(BACKOFF.1);
        self.later(wait, Happening::Dial { host, serial, server });
    }

    /// Reads what has come over a link, and does what follows.
    pub(crate) fn pump(&mut self, host: usize, link: u64) {
        if self.hosts[host].paused == 0 {
            self.receive(host, link);
            self.settle(host);
        }
    }

    /// Reads what has come over a link and tells the daemon.
    pub(crate) fn receive(&mut self, host: usize, link: u64) {
        loop {
            let time = (self.now, self.instant());
            let Some(end) = self.hosts[host].process.as_mut().and_then(|p| p.ends.get_mut(&link)) else { return };
            let Some(conn) = self.conns.get_mut(&link) else { return };
            let open = !self.net.is_shut(end.peer, host);
            let Some(event) = end.endpoint.step(conn.inward(host), open, time) else { break };
            self.event(host, link, event);
            self.drain(host);
        }
    }

    fn event(&mut self, host: usize, link: u64, event: Event) {
        let (now, instant) = (self.now, self.instant());
        if let Event::HelloReceived(hello) = event {
            return self.hello(host, link, &hello);
        }
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(end) = process.ends.get_mut(&link) else { return };
        match event {
            Event::HelloReceived(_) => {}
            Event::Established(Peer::Dialler(_)) => {
                if let Daemon::B(b) = &mut process.daemon
                    && !b.established(link)
                {
                    let text = "a newer link of the same identity has come".to_owned();
                    end.endpoint.close(Bye { reason: ByeReason::Duplicate, text });
                }
            }
            Event::Established(Peer::Acceptor(welcome)) => {
                self.trace.note((now, host), "up", [link, welcome.map_generation]);
                (end.endpoint.announced, end.since) = (true, now);
                process.daemon.up(link, welcome, instant);
            }
            Event::Message(message) => {
                let from = Kind::of(end.peer, self.size).identity();
                self.trace.note((now, host), &message.number().to_string(), [link, number(&message)]);
                self.trace.detail(|| described(&message));
                let is_delta = |update: &CatalogueUpdate| matches!(update, CatalogueUpdate::Delta(_));
                self.oracle.counts.deltas +=
                    u64::from(matches!(&message, Message::Catalogue(update) if is_delta(update)));
                process.daemon.said(link, &from, message, instant);
            }
            Event::Closed(reason) => self.closed(host, link, &reason),
        }
    }

    fn hello(&mut self, host: usize, link: u64, hello: &Hello) {
        let (now, instant) = (self.now, self.instant());
        let Some(process) = &mut self.hosts[host].process else { return };
        let (Some(end), Daemon::B(b)) = (process.ends.get_mut(&link), &mut process.daemon) else { return };
        match b.hello(link, hello, content::address(end.peer), instant) {
            Verdict::Welcome(welcome) => {
                self.trace.note((now, host), "welcomes", [link, welcome.map_generation]);
                self.oracle.linked(host, &hello.identity, link);
                end.endpoint.announced = true;
                // It would be refused only if nobody had said HELLO.
                let _ = end.endpoint.session.welcome(*welcome, instant);
            }
            Verdict::Refuse(refuse) => {
                self.trace.note((now, host), "refuses", [link, 0]);
                self.oracle.counts.duplicates += 1;
                let _ = end.endpoint.session.refuse(refuse);
            }
        }
    }

    fn closed(&mut self, host: usize, link: u64, reason: &CloseReason) {
        let (now, instant) = (self.now, self.instant());
        self.trace.note((now, host), "closed", [link, 0]);
        self.trace.detail(|| reason.to_string());
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(end) = process.ends.get_mut(&link) else { return };
        match reason {
            CloseReason::TimedOut => self.oracle.counts.silent += 1,
            CloseReason::ByeFromUs(Bye { reason: ByeReason::Slow, .. }) => self.oracle.counts.slow += 1,
            CloseReason::Violation(error) => {
                self.broken
                    .get_or_insert((crate::Invariant::Bounded, format!("an honest peer broke the protocol: {error}")));
            }
            _ => {}
        }
        let (heard, last) = (end.endpoint.heard, end.endpoint.session.last_heard());
        if end.dialled {
            let server = end.peer;
            if end.endpoint.announced && now >= end.since + 1_000 {
                process.backoff.remove(&server);
            }
            process.daemon.down(&content::b(server), instant);
        } else if let Daemon::B(b) = &mut process.daemon
            && end.endpoint.announced
        {
            b.closed(link, last);
            self.oracle.unlinked(host, link, heard);
        }
    }

    /// Brings what a daemon has to say to its links.
    pub(crate) fn drain(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if let Daemon::B(b) = &mut process.daemon {
            for (link, outgoing) in b.take_outbox() {
                if let Outgoing::One(Message::MapAck(ack)) | Outgoing::After(_, Message::MapAck(ack)) = &outgoing
                    && let Some((identity, boot)) = b.links.get(&link)
                {
                    self.oracle.acknowledges(host, (identity, *boot), ack);
                }
                let Some(outgoing) = b.hold(link, outgoing) else { continue };
                if let Some(end) = process.ends.get_mut(&link) {
                    promised(&mut self.oracle, host, b, (link, &outgoing));
                    b.hand_on(link, outgoing, &mut end.endpoint);
                }
            }
            let serial = process.serial;
            if let Some(takes) = b.write(self.now) {
                self.later(takes, Happening::Written { host, serial });
            }
            return;
        }
        for (link, message) in process.daemon.take_outbox() {
            if let Message::Map(map) = &message {
                self.oracle.says(process.boot, map);
            }
            let Some(end) = process.ends.get_mut(&link) else { continue };
            if end.endpoint.send(Command::One(message)) == Err(Unsent::Full) {
                end.endpoint.close(Bye { reason: ByeReason::Slow, text: "the queue is full".to_owned() });
            }
        }
    }

    /// Something is on a dns-b's disk: what waited for it is said.
    pub(crate) fn written(&mut self, host: usize, serial: u64) {
        let now = self.now;
        if self.hosts[host].paused > 0 {
            return self.later(PAUSED, Happening::Written { host, serial });
        }
        let Some(process) = self.hosts[host].process.as_mut().filter(|p| p.serial == serial) else { return };
        let Daemon::B(b) = &mut process.daemon else { return };
        for (link, message) in b.written(now) {
            let Some(end) = process.ends.get_mut(&link) else { continue };
            let outgoing = Outgoing::One(message);
            promised(&mut self.oracle, host, b, (link, &outgoing));
            b.hand_on(link, outgoing, &mut end.endpoint);
        }
        self.settle(host);
    }

    /// Whatever is to be said is said and written, and what follows from all that is looked at.
    pub(crate) fn settle(&mut self, host: usize) {
        self.drain(host);
        self.flush(host);
        self.inspect(host);
    }

    /// Writes what all links of a host have to say; lets those go that are over.
    pub(crate) fn flush(&mut self, host: usize) {
        let time = (self.now, self.instant());
        let (mut wakes, mut gone) = (Vec::new(), Vec::new());
        let Some(process) = &mut self.hosts[host].process else { return };
        for (link, end) in &mut process.ends {
            if let Daemon::B(b) = &mut process.daemon {
                b.flush(*link, &mut end.endpoint);
            }
            let Some(conn) = self.conns.get_mut(link) else { continue };
            let way = self.net.nominal(host, end.peer);
            if let Some(at) = end.endpoint.flush(conn.outward(host), way, time) {
                wakes.push((at, end.peer, *link));
            }
            if end.endpoint.is_done() {
                gone.push((*link, end.peer, end.dialled));
            }
        }
        let serial = process.serial;
        for (link, peer, dialled) in gone {
            if let Some(process) = &mut self.hosts[host].process {
                process.ends.remove(&link);
            }
            if self.hosts[peer].process.as_ref().is_none_or(|p| !p.ends.contains_key(&link)) {
                self.conns.remove(&link);
            }
            if dialled {
                self.dial_again((host, serial, peer));
            }
        }
        for (at, host, link) in wakes {
            self.later(at.saturating_sub(self.now), Happening::Pump { host, link });
        }
    }
}

/// An acknowledgement that goes out holds over a restart.
fn promised(oracle: &mut Oracle, host: usize, b: &DnsB, (link, outgoing): (u64, &Outgoing)) {
    if let Outgoing::One(Message::MapAck(ack)) = outgoing
        && let Some((identity, boot)) = b.links.get(&link)
    {
        oracle.promises(host, (identity, *boot), ack);
    }
}

/// What tells a message from others of its kind.
fn number(message: &Message) -> u64 {
    match message {
        Message::Map(map) => map.generation,
        Message::MapAck(ack) => ack.generation,
        Message::Report(report) => report.generation,
        Message::ReportAck(ack) => ack.generation,
        Message::Catalogue(update) => update.generation(),
        Message::CatalogueAck(ack) => ack.generation,
        Message::Ready(ready) => ready.map_generation,
        _ => u64::from(Number::HELLO.0),
    }
}

/// What is in a message that decides, in one line.
fn described(message: &Message) -> String {
    let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(" ");
    match message {
        Message::Map(map) => list(&mut map.entries.iter().map(|e| e.prefix.to_string())),
        Message::MapAck(ack) => format!("{} taken, refused {:?}", ack.accepted, ack.refused),
        Message::Report(report) => {
            let best = |r: &dglb_core::report::Ranking| {
                let sites: Vec<&str> = r.sites.iter().map(|s| s.site.as_str()).collect();
                format!("{}@{}={}", r.service, r.catalogue, sites.join(","))
            };
            format!("on {}: {} gone {:?}", report.base, list(&mut report.rankings.iter().map(best)), report.removed)
        }
        Message::Ready(ready) => list(&mut ready.servers.iter().map(ToString::to_string)),
        Message::CatalogueAck(ack) => format!("refused {:?}", ack.refused),
        _ => String::new(),
    }
}
