//! Counters. Those of the DNS side belong to one serving thread each: the thread alone writes
//! them, without a lock or a locked instruction, and a scrape sums them up.

mod connection;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use dglb_core::dns::{DECISIONS, Decision, Handled, STANDINGS, Standing, TRANSPORTS, Transport};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

use crate::lifecycle::Tasks;

use connection::CONNECTION_EVENTS;
pub use connection::ConnectionEvent;

/// A registry with what every daemon says of itself: `dglb_build_info`, reloads.
pub fn registry(daemon: &'static str, tasks: &Tasks) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("daemon", daemon), ("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("dglb_build", "The daemon and its version", build);
    tasks.register(&mut registry);
    registry
}

/// Extended response codes that have a counter of their own; the others share one.
const RCODES: [(u16, &str); 10] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (9, "NOTAUTH"),
    (16, "BADVERS"),
    (23, "BADCOOKIE"),
];

/// An extended response code by name; `other` for those that are never said here.
pub(crate) fn rcode_name(rcode: u16) -> &'static str {
    RCODES.iter().find(|(code, _)| *code == rcode).map_or("other", |(_, name)| name)
}

/// Something that happened at a DNS socket and is no answer; one counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A datagram longer than any question may be; not looked at.
    Oversized,
    /// The system would not take a reply.
    Unsendable,
    /// Receiving or accepting failed.
    ReceiveError,
    /// A reply was not sent, since its network gets no more.
    RateLimited,
    /// A short reply was sent instead, for the same reason.
    Slipped,
    /// Too many unusual messages were waiting for one more to be taken.
    SlowLaneFull,
}

/// The number of [`Incident`]s.
const INCIDENTS: usize = 6;

impl Incident {
    const ALL: [(Self, &str); INCIDENTS] = [
        (Self::Oversized, "oversized"),
        (Self::Unsendable, "unsendable"),
        (Self::ReceiveError, "receive-error"),
        (Self::RateLimited, "rate-limited"),
        (Self::Slipped, "slipped"),
        (Self::SlowLaneFull, "slow-lane-full"),
    ];
}

/// All counters of the DNS side: clone it freely, give each serving thread a [`Lane`].
#[derive(Clone, Debug, Default)]
pub struct DnsCounters(Arc<Mutex<Vec<Arc<Cells>>>>);

/// The counters of one serving thread. Only one of it exists, and counting takes it mutably: that
/// is what makes plain stores exact.
#[derive(Debug)]
pub struct Lane(Arc<Cells>);

/// Sums over all lanes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Replies with TC set.
    pub truncated: u64,
    questions: [u64; TRANSPORTS],
    replies: [u64; RCODES.len() + 1],
    decisions: [u64; DECISIONS],
    standings: [u64; STANDINGS],
    incidents: [u64; INCIDENTS],
    connections: [[u64; CONNECTION_EVENTS]; TRANSPORTS],
}

/// On cache lines of its own: two, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cells {
    truncated: AtomicU64,
    questions: [AtomicU64; TRANSPORTS],
    replies: [AtomicU64; RCODES.len() + 1],
    decisions: [AtomicU64; DECISIONS],
    standings: [AtomicU64; STANDINGS],
    incidents: [AtomicU64; INCIDENTS],
    connections: [[AtomicU64; CONNECTION_EVENTS]; TRANSPORTS],
}

impl DnsCounters {
    /// No lanes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counters for one more serving thread.
    pub fn lane(&self) -> Lane {
        let cells = Arc::new(Cells::default());
        self.lanes().push(Arc::clone(&cells));
        Lane(cells)
    }

    /// The sums of now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.lanes().iter().for_each(|cells| totals.add(cells));
        totals
    }

    /// Adds `dglb_dns_…` to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Cells>>> {
        // A list of counters is whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Counts a message that was looked at and what became of it.
    pub fn count(&mut self, transport: Transport, handled: &Handled) {
        let cells = &self.0;
        bump(&cells.questions[transport as usize]);
        bump(&cells.decisions[handled.decision as usize]);
        if handled.standing != Standing::Absent {
            bump(&cells.standings[handled.standing as usize]);
        }
        if handled.length > 0 {
            let known = RCODES.iter().position(|(code, _)| *code == handled.rcode);
            bump(&cells.replies[known.unwrap_or(RCODES.len())]);
            if handled.truncated {
                bump(&cells.truncated);
            }
        }
    }

    /// Counts an incident.
    pub fn incident(&mut self, incident: Incident) {
        bump(&self.0.incidents[incident as usize]);
    }

    /// Counts what happened to a connection.
    pub fn connection(&mut self, transport: Transport, event: ConnectionEvent) {
        bump(&self.0.connections[transport as usize][event as usize]);
    }
}

impl Totals {
    /// How many messages were received over this transport and looked at.
    pub fn questions(&self, transport: Transport) -> u64 {
        self.questions[transport as usize]
    }

    /// How many messages were decided in this way.
    pub fn decision(&self, decision: Decision) -> u64 {
        self.decisions[decision as usize]
    }

    /// How many messages had a cookie that said this of their sender; those without any are not
    /// counted here.
    pub fn standing(&self, standing: Standing) -> u64 {
        self.standings[standing as usize]
    }

    /// How many replies had this extended response code; codes without a counter of their own
    /// share one.
    pub fn replies(&self, rcode: u16) -> u64 {
        let known = RCODES.iter().position(|(code, _)| *code == rcode);
        self.replies[known.unwrap_or(RCODES.len())]
    }

    /// How often this happened.
    pub fn incident(&self, incident: Incident) -> u64 {
        self.incidents[incident as usize]
    }

    /// How often this happened to connections of this transport.
    pub fn connections(&self, transport: Transport, event: ConnectionEvent) -> u64 {
        self.connections[transport as usize][event as usize]
    }

    /// Connections of this transport that are open.
    pub fn open(&self, transport: Transport) -> u64 {
        let events = ConnectionEvent::ALL.into_iter().filter(|(event, _)| event.is_end());
        let ended: u64 = events.map(|(event, _)| self.connections(transport, event)).sum();
        // The cells are read one by one, so one that has ended may not yet seem accepted.
        self.connections(transport, ConnectionEvent::Accepted).saturating_sub(ended)
    }

    fn add(&mut self, cells: &Cells) {
        let sum = |total: &mut u64, cell: &AtomicU64| *total = total.wrapping_add(cell.load(Relaxed));
        self.questions.iter_mut().zip(&cells.questions).for_each(|(total, cell)| sum(total, cell));
        sum(&mut self.truncated, &cells.truncated);
        self.replies.iter_mut().zip(&cells.replies).for_each(|(total, cell)| sum(total, cell));
        self.decisions.iter_mut().zip(&cells.decisions).for_each(|(total, cell)| sum(total, cell));
        self.standings.iter_mut().zip(&cells.standings).for_each(|(total, cell)| sum(total, cell));
        self.incidents.iter_mut().zip(&cells.incidents).for_each(|(total, cell)| sum(total, cell));
        let connections = self.connections.iter_mut().flatten().zip(cells.connections.iter().flatten());
        connections.for_each(|(total, cell)| sum(total, cell));
    }
}

impl Collector for DnsCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals = self.totals();
        let transports = Transport::ALL.into_iter().map(|t| (t.as_str(), totals.questions(t)));
        family(&mut encoder, ["dglb_dns_questions", "Messages received and looked at", "transport"], transports)?;
        let names = RCODES.iter().map(|(_, name)| *name).chain(["other"]);
        let replies = names.zip(totals.replies);
        family(&mut encoder, ["dglb_dns_replies", "Replies by extended response code", "rcode"], replies)?;
        let decisions = Decision::ALL.into_iter().map(|d| (d.as_str(), totals.decision(d)));
        family(&mut encoder, ["dglb_dns_decisions", "Messages by how the answer was found", "decision"], decisions)?;
        let cookies = Standing::ALL.into_iter().filter(|s| *s != Standing::Absent);
        let cookies = cookies.map(|s| (s.as_str(), totals.standing(s)));
        family(&mut encoder, ["dglb_dns_cookies", "Messages with a cookie by what it is worth", "cookie"], cookies)?;
        let incidents = Incident::ALL.into_iter().map(|(incident, name)| (name, totals.incident(incident)));
        family(&mut encoder, ["dglb_dns_incidents", "What else happened at DNS sockets", "incident"], incidents)?;
        connections(&mut encoder, &totals)?;
        let truncated = ConstCounter::new(totals.truncated);
        let descriptor = encoder.encode_descriptor(
            "dglb_dns_truncated",
            "Replies with TC set",
            None,
            EncodeMetric::metric_type(&truncated),
        )?;
        truncated.encode(descriptor)
    }
}

/// One counter for each value of one label; `[name, help, label]`.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    [name, help, label]: [&str; 3],
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

/// What happened to connections, and how many are open.
fn connections(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> Result<(), fmt::Error> {
    let transports = || Transport::ALL.into_iter().filter(|transport| !transport.is_datagram());
    let (name, help) = ("dglb_dns_connections", "What happened to connections");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for transport in transports() {
        for (event, label) in ConnectionEvent::ALL {
            let labels = [("transport", transport.as_str()), ("event", label)];
            ConstCounter::new(totals.connections(transport, event)).encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = ("dglb_dns_connections_open", "Connections that are open");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for transport in transports() {
        let open = ConstGauge::new(i64::try_from(totals.open(transport)).unwrap_or(i64::MAX));
        open.encode(family.encode_family(&[("transport", transport.as_str())])?)?;
    }
    Ok(())
}

/// One more, by the only writer: a plain load and a plain store.
fn bump(cell: &AtomicU64) {
    cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(length: usize, rcode: u16, truncated: bool, decision: Decision) -> Handled {
        Handled { length, rcode, truncated, decision, ..Handled::DROPPED }
    }

    #[test]
    fn lanes_are_summed_and_shown() {
        let counters = DnsCounters::new();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                let mut lane = counters.lane();
                threads.spawn(move || {
                    for _ in 0..10_000 {
                        lane.count(Transport::Udp, &handled(100, 0, false, Decision::Mapped));
                    }
                    lane.count(Transport::Tcp, &handled(12, 3, true, Decision::Authority));
                    lane.count(Transport::Udp, &handled(0, 0, false, Decision::Dropped));
                    lane.count(Transport::Udp, &handled(12, 4095, false, Decision::Malformed));
                    lane.count(
                        Transport::Udp,
                        &Handled { standing: Standing::Valid, ..handled(0, 0, false, Decision::RateLimited) },
                    );
                    lane.incident(Incident::Unsendable);
                    lane.connection(Transport::Tcp, ConnectionEvent::Accepted);
                    lane.connection(Transport::Tls, ConnectionEvent::Accepted);
                    lane.connection(Transport::Tls, ConnectionEvent::Idle);
                });
            }
        });
        let totals = counters.totals();
        assert_eq!(
            (totals.questions(Transport::Udp), totals.questions(Transport::Tcp), totals.truncated),
            (40_012, 4, 4)
        );
        assert_eq!((totals.replies(0), totals.replies(3), totals.replies(4095)), (40_000, 4, 4));
        assert_eq!((totals.decision(Decision::Mapped), totals.decision(Decision::Dropped)), (40_000, 4));
        assert_eq!(totals.incident(Incident::Unsendable), 4);
        assert_eq!((totals.standing(Standing::Absent), totals.standing(Standing::Valid)), (0, 4));
        assert_eq!((totals.open(Transport::Tcp), totals.open(Transport::Tls)), (4, 0));

        let mut registry = Registry::default();
        counters.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE dglb_dns_decisions counter",
            "dglb_dns_decisions_total{decision=\"mapped\"} 40000",
            "dglb_dns_questions_total{transport=\"tcp\"} 4",
            "dglb_dns_replies_total{rcode=\"NXDOMAIN\"} 4",
            "dglb_dns_replies_total{rcode=\"other\"} 4",
            "dglb_dns_incidents_total{incident=\"unsendable\"} 4",
            "dglb_dns_cookies_total{cookie=\"valid\"} 4",
            "dglb_dns_connections_total{transport=\"tls\",event=\"idle\"} 4",
            "dglb_dns_connections_open{transport=\"tcp\"} 4",
            "dglb_dns_truncated_total 4",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn tables_follow_their_enumerations() {
        for (index, (incident, _)) in Incident::ALL.into_iter().enumerate() {
            assert_eq!(incident as usize, index);
        }
        for (index, standing) in Standing::ALL.into_iter().enumerate() {
            assert_eq!(standing as usize, index);
        }
        for (index, (event, _)) in ConnectionEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
        }
        for (index, decision) in Decision::ALL.into_iter().enumerate() {
            assert_eq!(decision as usize, index);
        }
    }
}
