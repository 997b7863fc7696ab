//! What DNS-LBs and the dns-a-sync say when: after dns-lb's `registration.rs` and `reports.rs`, for
//! thousands at once.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use dglb_core::proto::{
    Encoded, Peer,
    message::{CatalogueAck, Message, Ready, Report, Resync, Welcome},
};
use dglb_node::link::{LinkEvent, LinkId, LinkSender};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    crowd::{Counts, Order},
    fleet,
};
use crate::random::Random;

/// Between two reports of a DNS-LB.
const REPORTS: Duration = Duration::from_secs(10);
/// How often those that are due are looked for.
const TICK: Duration = Duration::from_millis(20);
/// Of a hundred services one has another order in each report.
const CHANGED: u32 = fleet::SERVICES / 100;

/// Everybody's state.
pub(super) struct Script {
    members: Vec<Member>,
    counts: Arc<Counts>,
    /// The catalogue to be published.
    generation: u64,
    /// The dns-a-sync's link.
    sync: Option<LinkSender>,
    random: Random,
    /// The next to report.
    next: usize,
    /// Reports that are due and were not begun, in parts of one.
    due: f64,
}

/// One DNS-LB.
#[derive(Clone, Default)]
struct Member {
    link: Option<LinkSender>,
    /// Generation of the map of now, and the one that is acknowledged.
    map: u64,
    mapped: u64,
    /// The same of reports.
    report: u64,
    reported: u64,
    /// On this link a report was sent, or what is held is enough.
    has_reported: bool,
    settled: bool,
    catalogue: u64,
    /// The resolver that it came to last.
    beside: Option<u32>,
    /// How often each service's order has changed.
    turns: Vec<u8>,
}

impl Script {
    /// Nobody is there yet.
    pub(super) fn new(links: u32, counts: Arc<Counts>) -> Self {
        let member = Member { map: 1, turns: vec![0; fleet::SERVICES as usize], ..Member::default() };
        let members = vec![member; links as usize];
        Self { members, counts, generation: 1, sync: None, random: Random(7), next: 0, due: 0.0 }
    }

    /// Answers what is heard, obeys, and reports in time, for ever.
    pub(super) async fn run(
        mut self,
        mut heard: mpsc::Receiver<(LinkId, LinkEvent)>,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                Some((link, event)) = heard.recv() => self.event(link, event),
                Some(order) = orders.recv() => self.obey(order),
                _ = tick.tick() => {
                    self.report_in_turn(last.elapsed());
                    last = Instant::now();
                }
                else => return,
            }
        }
    }

    fn event(&mut self, link: LinkId, event: LinkEvent) {
        let number = link.0 as usize;
        match event {
            LinkEvent::Up { peer: Peer::Acceptor(welcome), link, .. } if number == self.members.len() => {
                self.sync = Some(link);
                if welcome.catalogues.iter().all(|zone| zone.generation < self.generation) {
                    self.publish();
                }
            }
            LinkEvent::Up { peer: Peer::Acceptor(welcome), link, .. } => self.up(number, &welcome, link),
            LinkEvent::Message(message) => self.message(number, message),
            LinkEvent::Down(_) => match self.members.get_mut(number) {
                Some(member) => {
                    member.link = None;
                    if std::mem::take(&mut member.settled) {
                        self.counts.settled.fetch_sub(1, Relaxed);
                    }
                }
                None => self.sync = None,
            },
            LinkEvent::Up { .. } | LinkEvent::Hello { .. } => self.wrong(),
        }
    }

    fn up(&mut self, number: usize, welcome: &Welcome, link: LinkSender) {
        let member = &mut self.members[number];
        let held = member.catalogue;
        member.link = Some(link);
        member.has_reported = false;
        // What is held of a zone that is offered is said, so that it is brought up to date: nobody knows
        // whether the link was up before the zone was published.
        for offered in &welcome.catalogues {
            self.say(number, &Message::Resync(Resync::Catalogue { zone: offered.zone.clone(), held }));
        }
        let member = &mut self.members[number];
        if welcome.map_generation == member.map {
            member.mapped = member.map;
            self.ready(number);
        } else {
            member.map = member.map.max(welcome.map_generation + 1);
            member.mapped = 0;
            self.say_map(number);
        }
        let member = &mut self.members[number];
        if member.report > 0 && welcome.report_generation == member.report {
            (member.reported, member.has_reported) = (member.report, true);
        } else {
            member.report = member.report.max(welcome.report_generation);
            self.report_all(number);
        }
        self.settle(number);
    }

    fn message(&mut self, number: usize, message: Message) {
        if number == self.members.len() {
            match message {
                Message::CatalogueAck(ack) if ack.refused.is_some() => self.wrong(),
                _ => {}
            }
            return;
        }
        let member = &mut self.members[number];
        match message {
            Message::MapAck(ack) if ack.generation == member.map => {
                member.mapped = ack.generation;
                if ack.accepted != fleet::ENTRIES {
                    self.wrong();
                }
                self.ready(number);
                self.settle(number);
            }
            Message::ReportAck(ack) if ack.generation == member.report => {
                member.reported = ack.generation;
                self.counts.reports.fetch_add(1, Relaxed);
                self.settle(number);
            }
            Message::Catalogue(update) => {
                let (zone, generation) = (update.zone().clone(), update.generation());
                member.catalogue = generation;
                let ack = CatalogueAck { zone, generation, held: generation, refused: None };
                self.say(number, &Message::CatalogueAck(ack));
                if generation == self.generation {
                    self.counts.adopted.fetch_add(1, Relaxed);
                }
                if !self.members[number].has_reported {
                    self.report_all(number);
                }
            }
            Message::Resync(Resync::Map) => self.say_map(number),
            Message::Resync(Resync::Report) => self.report_all(number),
            _ => {}
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Publish(generation) => {
                self.generation = generation;
                self.publish();
            }
            Order::Come { lb, place, said } => {
                let member = &mut self.members[lb as usize];
                member.beside = Some(place);
                member.map += 1;
                self.say_map(lb as usize);
                // Whoever wants to know may have given up.
                let _ = said.send(Instant::now());
            }
        }
    }

    fn publish(&mut self) {
        let catalogue = fleet::catalogue(self.generation);
        let sent = self.sync.as_ref().map(|sync| sync.try_send(Message::snapshot(catalogue)));
        if matches!(sent, Some(Err(_))) {
            self.wrong();
        }
    }

    /// Those whose turn it is within `elapsed` report what has changed.
    fn report_in_turn(&mut self, elapsed: Duration) {
        self.due += self.members.len() as f64 * elapsed.as_secs_f64() / REPORTS.as_secs_f64();
        while self.due >= 1.0 {
            self.due -= 1.0;
            let number = self.next;
            self.next = (self.next + 1) % self.members.len();
            let member = &mut self.members[number];
            if !member.settled {
                continue;
            }
            if member.reported != member.report {
                self.counts.late.fetch_add(1, Relaxed);
                continue;
            }
            let base = member.report;
            member.report += 1;
            let mut rankings = Vec::new();
            for _ in 0..CHANGED.max(1) {
                let service = self.random.below(fleet::SERVICES);
                let turn = &mut member.turns[service as usize];
                *turn = turn.wrapping_add(1);
                rankings.push(fleet::ranking(number as u32, service, u32::from(*turn), member.catalogue));
            }
            let report = Report { generation: member.report, base, rankings, removed: vec![] };
            self.say(number, &Message::Report(report));
        }
    }

    /// Everything that is ranked, once there is something to rank.
    fn report_all(&mut self, number: usize) {
        let member = &mut self.members[number];
        if member.catalogue == 0 {
            return;
        }
        member.has_reported = true;
        member.report += 1;
        let report = fleet::whole_report(number as u32, member.report, &member.turns, member.catalogue);
        self.say(number, &Message::Report(report));
    }

    fn say_map(&mut self, number: usize) {
        let member = &self.members[number];
        let map = fleet::map(number as u32, member.map, member.beside);
        self.say(number, &Message::Map(map));
    }

    fn ready(&mut self, number: usize) {
        let map_generation = self.members[number].map;
        let servers = vec![fleet::DNS_B.parse().expect("an identity")];
        self.say(number, &Message::Ready(Ready { map_generation, servers }));
    }

    /// A DNS-LB has arrived when all that it has to say is acknowledged.
    fn settle(&mut self, number: usize) {
        let member = &mut self.members[number];
        let arrived = member.link.is_some() && member.mapped == member.map;
        if arrived && member.has_reported && member.reported == member.report && !member.settled {
            member.settled = true;
            self.counts.settled.fetch_add(1, Relaxed);
        }
    }

    fn say(&mut self, number: usize, message: &Message) {
        if let Some(Err(_)) = self.members[number].link.as_ref().map(|link| send(link, message)) {
            // It was lost meanwhile, or does not read: the end is told.
            self.members[number].link = None;
        }
    }

    fn wrong(&self) {
        self.counts.wrong.fetch_add(1, Relaxed);
    }
}

/// Encodes here, so that a long message is not kept in both forms.
fn send(link: &LinkSender, message: &Message) -> Result<(), ()> {
    let encoded: Encoded = message.encode().map_err(|_| ())?;
    link.try_send_encoded(encoded).map_err(|_| ())
}
