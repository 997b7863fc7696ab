//! Asks a DNS-LB's advertised addresses what only that DNS-LB can answer (design section 4): UDP 53
//! may be filtered, the DNS side may hang, and a hostile peer may advertise somebody else's address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use dglb_core::dns::rcode;
use dglb_node::ask::{AskError, Via, ask};
use futures_util::future::join_all;
use hickory_proto::{
    op::Message,
    rr::{RData, RecordType},
};

use crate::keeper::{CheckOutcome, Checked, Target};

const PORT: u16 = 53;

/// One round: every address over UDP and TCP for the label's SOA and for a nonce, all at once.
pub async fn check(target: Target, timeout: Duration) -> Checked {
    let asked = join_all(target.addresses.iter().map(|address| check_address(&target, *address, timeout))).await;
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

async fn check_address(target: &Target, address: IpAddr, timeout: Duration) -> Result<(), Problem> {
    let (udp, tcp) = tokio::join!(
        check_over(target, address, (Via::Udp, "UDP"), timeout),
        check_over(target, address, (Via::Tcp, "TCP"), timeout),
    );
    udp.and(tcp)
}

async fn check_over(
    target: &Target,
    address: IpAddr,
    (via, transport): (Via, &str),
    timeout: Duration,
) -> Result<(), Problem> {
    let server = SocketAddr::new(address, PORT);
    let wrong = |what: &str| Problem::Wrong(format!("{address} over {transport}: {what}"));
    let unanswered = |error: AskError| no_route(&error).unwrap_or_else(|| wrong(&error.to_string()));
    let reply = ask(server, via, &target.label_zone, RecordType::SOA, timeout).await.map_err(unanswered)?;
    if !is_own_soa(&reply) {
        let rcode = reply.metadata.response_code;
        return Err(wrong(&format!("no authoritative SOA of {}: {rcode}", target.label_zone)));
    }
    let nonce = format!("{:016x}", rand::random::<u64>());
    let name = target.label_zone.child("_dglb").and_then(|n| n.child(&nonce));
    let name = name.map_err(|error| wrong(&error.to_string()))?;
    let reply = ask(server, via, &name, RecordType::TXT, timeout).await.map_err(unanswered)?;
    if !echoes(&reply, target.identity.as_str(), &nonce) {
        return Err(wrong("does not answer as this DNS-LB"));
    }
    Ok(())
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
