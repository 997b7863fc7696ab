//! Asks a DNS-LB's advertised addresses what only that DNS-LB can answer (design section 4): UDP 53
//! may be filtered, the DNS side may hang, and a hostile peer may advertise somebody else's address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use dglb_core::{dns::rcode, name::Name};
use dglb_node::ask::{AskError, Asker, ask_all, question};
use futures_util::future::join_all;
use hickory_proto::{
    op::Message,
    rr::{RData, RecordType},
};

use crate::keeper::{CheckOutcome, Checked, Target};

const PORT: u16 = 53;

/// One round: every address, for the label's SOA and for a nonce, over UDP and, where the target says
/// so, over TCP, all at once.
pub async fn check(target: Target, asker: &Asker, timeout: Duration) -> Checked {
    let each = target.addresses.iter().map(|address| check_address(&target, *address, asker, timeout));
    let asked = join_all(each).await;
    let mut reachable = 0;
    let mut outcome = None;
    for answer in asked {
        match answer {
            Ok(()) => reachable += 1,
            // This host has no route for the whole family: that says nothing about the DNS-LB.
            Err(Problem::NoRoute) => {}
            Err(Problem::Wrong(problem)) => outcome = outcome.or(Some(CheckOutcome::Failed(problem))),
        }
    }
    let outcome = outcome.unwrap_or_else(|| match reachable {
        0 => CheckOutcome::Failed("no route to any of its addresses".into()),
        _ => CheckOutcome::Passed,
    });
    Checked { lb: target.lb, boot: target.boot, addresses: target.addresses, outcome }
}

enum Problem {
    NoRoute,
    Wrong(String),
}

async fn check_address(target: &Target, address: IpAddr, asker: &Asker, timeout: Duration) -> Result<(), Problem> {
    let udp = over_udp(target, address, asker, timeout);
    if !target.tcp {
        return udp.await;
    }
    let (udp, tcp) = tokio::join!(udp, over_tcp(target, address, timeout));
    udp.and(tcp)
}

async fn over_udp(target: &Target, address: IpAddr, asker: &Asker, timeout: Duration) -> Result<(), Problem> {
    let failed = |what: String| Problem::Wrong(format!("{address} over UDP: {what}"));
    let unanswered = |error: AskError| no_route(&error).unwrap_or_else(|| failed(error.to_string()));
    let server = SocketAddr::new(address, PORT);
    let nonce = Nonce::draw(target).map_err(failed)?;
    let (soa, txt) = tokio::join!(
        asker.ask(server, &target.label_zone, RecordType::SOA, timeout),
        asker.ask(server, &nonce.name, RecordType::TXT, timeout),
    );
    nonce.judge(target, &soa.map_err(unanswered)?, &txt.map_err(unanswered)?).map_err(failed)
}

async fn over_tcp(target: &Target, address: IpAddr, timeout: Duration) -> Result<(), Problem> {
    let failed = |what: String| Problem::Wrong(format!("{address} over TCP: {what}"));
    let unanswered = |error: AskError| no_route(&error).unwrap_or_else(|| failed(error.to_string()));
    let nonce = Nonce::draw(target).map_err(failed)?;
    let soa = question(&target.label_zone, RecordType::SOA).map_err(unanswered)?;
    let mut txt = question(&nonce.name, RecordType::TXT).map_err(unanswered)?;
    // Two answers on one connection are told apart by it.
    txt.metadata.id = soa.metadata.id.wrapping_add(1);
    let answers = ask_all(SocketAddr::new(address, PORT), &[soa, txt], timeout).await.map_err(unanswered)?;
    match &answers[..] {
        [soa, txt] => nonce.judge(target, soa, txt).map_err(failed),
        _ => Err(failed("does not answer everything".to_owned())),
    }
}

/// What nobody can know who is not asked.
struct Nonce {
    text: String,
    name: Name,
}

impl Nonce {
    fn draw(target: &Target) -> Result<Self, String> {
        let text = format!("{:016x}", rand::random::<u64>());
        let name = target.label_zone.child("_dglb").and_then(|n| n.child(&text)).map_err(|error| error.to_string())?;
        Ok(Self { text, name })
    }

    /// Whether these are answers that only this DNS-LB gives.
    fn judge(&self, target: &Target, soa: &Message, txt: &Message) -> Result<(), String> {
        if !is_own_soa(soa) {
            return Err(format!("no authoritative SOA of {}: {}", target.label_zone, soa.metadata.response_code));
        }
        if !echoes(txt, target.identity.as_str(), &self.text) {
            return Err("does not answer as this DNS-LB".to_owned());
        }
        Ok(())
    }
}

fn no_route(error: &AskError) -> Option<Problem> {
    let AskError::Socket { source, .. } = error else { return None };
    let none = matches!(source.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable);
    none.then_some(Problem::NoRoute)
}

fn is_own_soa(reply: &Message) -> bool {
    reply.metadata.authoritative
        && u16::from(reply.metadata.response_code) == rcode::NOERROR
        && reply.answers.iter().any(|r| r.record_type() == RecordType::SOA)
}

fn echoes(reply: &Message, identity: &str, nonce: &str) -> bool {
    reply.answers.iter().any(|record| match &record.data {
        RData::TXT(txt) => {
            let strings: Vec<&[u8]> = txt.txt_data.iter().map(|s| &s[..]).collect();
            strings == [identity.as_bytes(), nonce.as_bytes()]
        }
        _ => false,
    })
}
