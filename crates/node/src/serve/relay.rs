//! The relay: asks other servers of the fleet what this one cannot answer, and passes their answers on.
//! A DNS-LB needs it for a service that it does not know (yet): the dns-bs know it.
//!
//! Invariant: it never waits for anybody but the server that is asked; how many questions wait, how
//! many are under way and how long each may take is bounded, and whoever finds no room gets the reply
//! that was at hand.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dglb_core::{dns::qname::QName, name::Name};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::sync::{Semaphore, mpsc, watch};

use super::slow::{SlowLane, To, Unusual};
use crate::{
    ask::{Via, ask_message},
    lifecycle::Tasks,
};

/// Questions that may wait.
const QUEUE: usize = 256;
/// Questions under way at a time.
const AT_A_TIME: usize = 256;
/// How long one server has; a resolver tries again after a second or so.
const PATIENCE: Duration = Duration::from_millis(600);
/// How many servers are asked, one after the other.
const SERVERS: usize = 2;
/// Octets of a header.
const HEADER: usize = 12;
/// What we send and take over UDP, in octets.
const PAYLOAD: u16 = 1_232;

/// Whom to ask, and who wants to know of it.
#[derive(Debug)]
pub struct Relay {
    /// The servers, the first ones before the others.
    pub servers: watch::Receiver<Arc<[SocketAddr]>>,
    /// Gets the name of every question that is relayed, as long as it has room.
    pub asked: mpsc::Sender<Name>,
    /// What became of them.
    pub metrics: RelayMetrics,
}

/// What became of relayed questions.
#[derive(Clone, Debug, Default)]
pub struct RelayMetrics {
    /// Somebody answered.
    pub answered: Counter,
    /// Nobody did, or there was no room for the answer.
    pub failed: Counter,
}

impl RelayMetrics {
    /// Adds `dglb_dns_relay_…` to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("dglb_dns_relay_answered", "Questions that a dns-b answered for us", self.answered.clone());
        registry.register("dglb_dns_relay_failed", "Questions that no dns-b answered for us", self.failed.clone());
    }
}

impl Relay {
    /// Starts the task; what is to be relayed goes through the lane that is returned.
    pub(super) fn start(self, slow: SlowLane, tasks: &mut Tasks) -> SlowLane {
        let (sender, queue) = mpsc::channel(QUEUE);
        let stop = tasks.stop_token();
        let back = slow.clone();
        tasks.spawn("dns-relay", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.run(queue, back) => {}
            }
        });
        slow.with_relay(sender)
    }

    async fn run(self, mut queue: mpsc::Receiver<Unusual>, slow: SlowLane) {
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        while let Some(mut unusual) = queue.recv().await {
            // Nobody closes it.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            self.tell(&unusual.packet);
            let servers = Arc::clone(&self.servers.borrow());
            let (slow, metrics) = (slow.clone(), self.metrics.clone());
            tokio::spawn(async move {
                let limit = matches!(unusual.to, To::Datagram(..)).then_some(PAYLOAD);
                let answer = answer(&unusual.packet, &servers, limit).await;
                let answered = answer.is_some();
                if let Some(answer) = answer {
                    unusual.reply = answer;
                }
                let sent = slow.finish(unusual);
                if answered && sent { &metrics.answered } else { &metrics.failed }.inc();
                drop(permit);
            });
        }
    }

    /// Somebody may see to it that the next question need not be relayed.
    fn tell(&self, packet: &[u8]) {
        let mut name = QName::default();
        if name.read(packet.get(HEADER..).unwrap_or_default()).is_some()
            && let Ok(name) = Name::from_wire(&name)
        {
            // Who is busy hears of the next one.
            let _ = self.asked.try_send(name);
        }
    }
}

/// The reply to a question, from the first server that has one; over UDP at most `limit` octets.
async fn answer(packet: &[u8], servers: &[SocketAddr], limit: Option<u16>) -> Option<Vec<u8>> {
    let client = Message::from_vec(packet).ok()?;
    let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    question.add_query(client.queries.first()?.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    question.set_edns(edns);
    for server in servers.iter().take(SERVERS) {
        let Ok(answer) = ask_message(*server, Via::UdpThenTcp, &question, PATIENCE).await else { continue };
        // Others say that they cannot help either; who has no authority is no dns-b.
        let helps = matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        if helps && answer.metadata.authoritative {
            return reply(&client, answer, limit);
        }
    }
    None
}

/// The answer as the client would have got it from us.
fn reply(client: &Message, mut answer: Message, limit: Option<u16>) -> Option<Vec<u8>> {
    answer.metadata.id = client.metadata.id;
    answer.metadata.recursion_desired = client.metadata.recursion_desired;
    answer.queries.clone_from(&client.queries);
    let payload = client.edns.as_ref().map(Edns::max_payload);
    if payload.is_none() {
        answer.edns = None;
    }
    let octets = answer.to_vec().ok()?;
    let limit = limit.map_or(usize::from(u16::MAX), |most| payload.unwrap_or(512).max(512).min(most).into());
    if octets.len() <= limit { Some(octets) } else { answer.truncate().to_vec().ok() }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Query,
        rr::{RData, Record, RecordType},
    };

    use super::*;

    fn question(edns: bool) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let name = hickory_proto::rr::Name::from_ascii("wWw.sea1.glb.test.").unwrap();
        message.add_query(Query::query(name, RecordType::A));
        if edns {
            message.set_edns(Edns::new());
        }
        message
    }

    fn answered(records: u8) -> Message {
        let mut message = Message::new(99, MessageType::Response, OpCode::Query);
        message.add_query(Query::query("www.sea1.glb.test.".parse().unwrap(), RecordType::A));
        message.metadata.authoritative = true;
        for n in 0..records {
            let data = RData::A(std::net::Ipv4Addr::new(192, 0, 2, n).into());
            message.add_answer(Record::from_rdata("www.sea1.glb.test.".parse().unwrap(), 60, data));
        }
        message.set_edns(Edns::new());
        message
    }

    #[test]
    fn a_reply_is_the_answer_under_the_clients_own_id_and_question() {
        for edns in [true, false] {
            let client = question(edns);
            let octets = reply(&client, answered(1), Some(PAYLOAD)).unwrap();
            let reply = Message::from_vec(&octets).unwrap();
            assert_eq!((reply.metadata.id, reply.metadata.recursion_desired), (7, true));
            assert_eq!(reply.queries[0].name.to_string(), "wWw.sea1.glb.test.");
            assert!(reply.metadata.authoritative && !reply.metadata.truncation);
            assert_eq!((reply.answers.len(), reply.edns.is_some()), (1, edns));
        }
    }

    #[test]
    fn what_does_not_fit_a_datagram_is_asked_again_over_tcp() {
        let client = question(false);
        let cut = Message::from_vec(&reply(&client, answered(100), Some(PAYLOAD)).unwrap()).unwrap();
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        let whole = Message::from_vec(&reply(&client, answered(100), None).unwrap()).unwrap();
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (100, false));
    }
}
