//! A look-up's way through the world, hop by hop, as it was on the wire.

use std::{
    collections::HashMap,
    fmt::Write,
    net::IpAddr,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType},
};

use crate::{lab::Lab, wire::Seen};

/// Watches the DNS of a lab from now on.
pub(crate) struct Trace<'l> {
    lab: &'l Lab,
    seen: Receiver<Seen>,
    started: Instant,
}

/// One question and what came of it.
#[derive(Debug)]
pub(crate) struct Hop {
    /// Since the trace began.
    pub(crate) at: Duration,
    /// Until the answer left the server, if one did.
    pub(crate) took: Option<Duration>,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) destination: IpAddr,
    pub(crate) question: String,
    pub(crate) answer: String,
}

impl<'l> Trace<'l> {
    pub(crate) fn start(lab: &'l Lab) -> Self {
        Self { lab, seen: lab.wire().watch(), started: Instant::now() }
    }

    /// What was asked so far, and what was answered, in the order of the questions.
    pub(crate) fn hops(&self) -> Vec<Hop> {
        let name = |number: usize| self.lab.topology().hosts[number].name.clone();
        let mut hops: Vec<Hop> = Vec::new();
        let mut open: HashMap<(usize, usize, u16), usize> = HashMap::new();
        for seen in self.seen.try_iter() {
            let Ok(message) = Message::from_vec(&seen.message) else { continue };
            let at = seen.at.duration_since(self.started);
            if message.metadata.message_type == MessageType::Query {
                let Some(query) = message.queries.first() else { continue };
                open.insert((seen.from, seen.to, message.metadata.id), hops.len());
                hops.push(Hop {
                    at,
                    took: None,
                    from: name(seen.from),
                    to: name(seen.to),
                    destination: seen.destination,
                    question: format!("{} {}", short(&query.name().to_ascii()), query.query_type()),
                    answer: "(no answer)".into(),
                });
            } else if let Some(at_hop) = open.remove(&(seen.to, seen.from, message.metadata.id)) {
                hops[at_hop].took = at.checked_sub(hops[at_hop].at);
                hops[at_hop].answer = describe(&message);
            }
        }
        hops
    }
}

/// A name in the letter case that people read, without the final dot.
fn short(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name == "." { name } else { name.trim_end_matches('.').to_owned() }
}

/// What an answer says, in one line.
fn describe(message: &Message) -> String {
    let meta = &message.metadata;
    if meta.response_code != ResponseCode::NoError {
        return meta.response_code.to_string();
    }
    if !message.answers.is_empty() {
        let records: Vec<String> = message.answers.iter().filter_map(record).collect();
        return records.join(", ");
    }
    let servers: Vec<&Record> = message.authorities.iter().filter(|r| r.record_type() == RecordType::NS).collect();
    let Some(first) = servers.first() else {
        return "nothing of this type".into();
    };
    let mut text = format!("ask {} for {} (for ", listed(&servers), short(&first.name.to_ascii()));
    let _ = write!(text, "{})", seconds(first.ttl));
    text
}

fn listed(servers: &[&Record]) -> String {
    let name = |r: &&Record| match &r.data {
        RData::NS(ns) => Some(short(&ns.0.to_ascii()).split('.').next().unwrap_or_default().to_owned()),
        _ => None,
    };
    servers.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

fn record(record: &Record) -> Option<String> {
    let ttl = seconds(record.ttl);
    match &record.data {
        RData::A(a) => Some(format!("address {} (for {ttl})", a.0)),
        RData::AAAA(a) => Some(format!("address {} (for {ttl})", a.0)),
        RData::CNAME(c) => Some(format!("is {} (for {ttl})", short(&c.0.to_ascii()))),
        RData::NS(ns) => Some(format!("name server {}", short(&ns.0.to_ascii()))),
        _ => None,
    }
}

fn seconds(ttl: u32) -> String {
    match ttl {
        86_400 => "a day".into(),
        3_600 => "an hour".into(),
        60 => "a minute".into(),
        s if s > 120 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
