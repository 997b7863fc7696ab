//! A dns-b's process: the real keeper and, in the order of `dns_b::run`, what its task does around it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use dglb_core::{
    dns::{Decision, Role},
    identity::Identity,
    name::{Name, labels},
    proto::message::{BootId, Bye, ByeReason, Hello, Message},
};
use dns_b::keeper::{Checked, Keeper, LinkId, Outgoing, Target, Verdict};

use crate::{
    Ms,
    ask::{NXDOMAIN, Reply, ask},
    content,
    disk::{Disk, Store},
    endpoint::{Command, Endpoint, Unsent},
    plant::{Bug, Plant, Twisted},
    random::Random,
};

/// Messages that may wait for a peer beside its link's own queue; more, and it starts over.
pub const BACKLOG: usize = 10;
/// Of so many ticks one is a slow one.
const SLOW: u32 = 5;

/// See the module's description.
#[derive(Debug)]
pub struct DnsB {
    /// The truth.
    pub keeper: Keeper,
    /// Every link that was let in, until its end.
    pub links: BTreeMap<u64, (Identity, BootId)>,
    backlog: BTreeMap<u64, VecDeque<Command>>,
    answers: Vec<(u64, Message)>,
    ticks: u32,
    store: Store,
    bug: Bug,
}

impl DnsB {
    /// The `n`th of `count`, just started, with what is on its disk.
    pub fn new((n, count): (usize, usize), boot: BootId, now: Instant, (disk, random): (Disk, Random)) -> Self {
        let mut keeper = Keeper::new(&content::config(n, count), boot, now);
        disk.restore(&mut keeper, now);
        Self {
            keeper,
            links: BTreeMap::new(),
            backlog: BTreeMap::new(),
            answers: Vec::new(),
            ticks: 0,
            store: Store::new(disk, random),
            bug: Bug::default(),
        }
    }

    /// The same with a bug.
    #[must_use]
    pub fn with(self, plant: Option<Plant>) -> Self {
        Self { bug: Bug::new(plant), ..self }
    }

    /// Begins to write what has changed. Returns how long that takes, if it has begun.
    pub fn write(&mut self, now: Ms) -> Option<Ms> {
        if self.bug.is(Plant::KeepsNothing) { None } else { self.store.write(&mut self.keeper, now) }
    }

    /// What waited for the disk and is let out now, by link.
    pub fn written(&mut self, now: Ms) -> Vec<(u64, Message)> {
        self.store.written(now)
    }

    /// What may be said now of this; the rest waits for the disk.
    pub fn hold(&mut self, link: u64, outgoing: Outgoing) -> Option<Outgoing> {
        match outgoing {
            Outgoing::After(number, message) if !self.bug.is(Plant::KeepsNothing) => {
                self.store.hold(number, link, message).map(Outgoing::One)
            }
            Outgoing::After(_, message) => Some(Outgoing::One(message)),
            other => Some(other),
        }
    }

    /// What is on its disk when it ends.
    pub fn end(mut self, clean: bool) -> Disk {
        if clean && !self.bug.is(Plant::KeepsNothing) {
            self.store.finish(&mut self.keeper);
        }
        self.store.end()
    }

    /// Somebody wants in.
    pub fn hello(&mut self, link: u64, hello: &Hello, from: IpAddr, now: Instant) -> Verdict {
        let verdict = self.keeper.hello(LinkId(link), hello, SocketAddr::new(from, 1_024), now);
        if matches!(verdict, Verdict::Welcome(_)) {
            self.links.insert(link, (hello.identity.clone(), hello.boot));
        }
        verdict
    }

    /// It is in. Says whether that is still wanted.
    pub fn established(&mut self, link: u64) -> bool {
        let known = self.keeper.knows(LinkId(link));
        if known {
            self.keeper.established(LinkId(link));
        }
        known
    }

    /// It said something.
    pub fn said(&mut self, link: u64, message: Message, now: Instant) {
        let Some((from, boot)) = self.links.get(&link) else { return };
        match self.bug.twist((from, *boot), message) {
            Twisted::Pass(message) => self.keeper.message(LinkId(link), message, now),
            Twisted::Answer(answer) => self.answers.push((link, answer)),
        }
    }

    /// Its link is over; `heard` is when it last said something.
    pub fn closed(&mut self, link: u64, heard: Instant) {
        self.links.remove(&link);
        self.backlog.remove(&link);
        let late = if self.bug.is(Plant::NeverExpires) { Duration::from_secs(3_600) } else { Duration::ZERO };
        self.keeper.closed(LinkId(link), heard + late);
    }

    /// Time went by. Returns who is to be checked, in a fixed order.
    pub fn tick(&mut self, now: Instant) -> Vec<Target> {
        self.keeper.tick(now);
        let mut due = self.keeper.take_due_checks(now);
        due.sort_by(|a, b| a.identity.cmp(&b.identity));
        self.ticks += 1;
        if self.ticks.is_multiple_of(SLOW) {
            self.keeper.slow_tick(now);
        }
        due
    }

    /// A check is over.
    pub fn checked(&mut self, checked: Checked, now: Instant) {
        self.keeper.checked(checked, now);
    }

    /// What the keeper has to say, by link and in order: links are independent, so theirs is fixed here.
    pub fn take_outbox(&mut self) -> Vec<(u64, Outgoing)> {
        let mut out: Vec<(u64, Outgoing)> =
            self.answers.drain(..).map(|(link, message)| (link, Outgoing::One(message))).collect();
        out.extend(self.keeper.take_outbox().into_iter().map(|(link, outgoing)| (link.0, outgoing)));
        out.sort_by_key(|(link, _)| *link);
        for (link, outgoing) in &mut out {
            if let Outgoing::Shared(encoded) = outgoing
                && let Some(spoilt) = self.bug.spoil(encoded)
            {
                *encoded = spoilt;
            }
            if let Outgoing::One(Message::MapAck(ack)) | Outgoing::After(_, Message::MapAck(ack)) = outgoing
                && let Some((to, _)) = self.links.get(link)
            {
                self.bug.acknowledge(&to.clone(), ack);
            }
        }
        out
    }

    /// Hands one thing on to its link.
    pub fn hand_on(&mut self, link: u64, outgoing: Outgoing, end: &mut Endpoint) {
        let queue = self.backlog.entry(link).or_default();
        let command = match outgoing {
            Outgoing::Leave(_) if self.bug.is(Plant::KeepsOldLinks) => return,
            Outgoing::Leave(bye) => return end.close(bye),
            Outgoing::One(message) | Outgoing::After(_, message) => Command::One(message),
            Outgoing::Shared(encoded) => Command::Shared(encoded),
        };
        if queue.len() >= BACKLOG && !self.bug.is(Plant::QueuesWithoutBound) {
            return end.close(Bye { reason: ByeReason::Slow, text: "the queue is full".to_owned() });
        }
        queue.push_back(command);
        self.flush(link, end);
    }

    /// Hands over as much as there is room for.
    pub fn flush(&mut self, link: u64, end: &mut Endpoint) {
        let Some(queue) = self.backlog.get_mut(&link) else { return };
        while let Some(next) = queue.front() {
            match end.send(next.clone()) {
                Ok(()) => drop(queue.pop_front()),
                Err(Unsent::Full) => return,
                Err(Unsent::Closed) => queue.clear(),
            }
        }
    }

    /// The longest backlog of any link.
    pub fn longest_backlog(&self) -> usize {
        self.backlog.values().map(VecDeque::len).max().unwrap_or(0)
    }

    /// Answers a question.
    pub fn ask(&self, from: IpAddr, question: (&Name, u16), role: Role) -> Reply {
        let mut reply = ask(self.keeper.directory(), from, question, role);
        if self.bug.is(Plant::DeniesLabels) && reply.decision != Decision::NotReady && self.is_unknown(question.0) {
            reply.rcode = NXDOMAIN;
        }
        reply
    }

    /// Whether a name is below the label of a DNS-LB that is not handed out here.
    fn is_unknown(&self, name: &Name) -> bool {
        let zone: Name = content::zone();
        let Some(label) = name.strip(&zone).and_then(|relative| labels(relative).last()) else { return false };
        let mut lbs = self.keeper.directory().lbs();
        labels(name.wire()).count() > labels(zone.wire()).count() + 1
            && !lbs.any(|(_, lb)| lb.handed_out && lb.identity.as_str().as_bytes() == label)
    }
}
