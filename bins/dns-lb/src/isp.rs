//! Asks the DNS-ISP as this host's programs would: with recursion, at port 53. Bounded in time and in
//! number.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dglb_core::name::Name;
use dglb_node::ask::{Via, ask_message, question};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType},
};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    keeper::Event,
    proof::LookUp,
    self_check::{Arrived, Check},
};

/// How long the DNS-ISP has: a challenge is good for five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// Questions under way.
const UNDER_WAY: usize = 64;
const PORT: u16 = 53;

/// Asks, and tells the keeper what came of it.
#[derive(Clone, Debug)]
pub struct Asker {
    answers: mpsc::Sender<Event>,
    permits: Arc<Semaphore>,
}

impl Asker {
    /// Answers go to the other end of the channel.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (answers, receiver) = mpsc::channel(UNDER_WAY);
        (Self { answers, permits: Arc::new(Semaphore::new(UNDER_WAY)) }, receiver)
    }

    /// Asks for a nonce. If too many questions are under way this one is not asked; there will be
    /// another challenge.
    pub fn look_up(&self, look_up: LookUp) {
        self.ask(look_up.resolver, Some(look_up.name.clone()), |answer| {
            Some(Event::LookedUp(look_up, answer.as_ref().and_then(text)?))
        });
    }

    /// Asks where a question below this DNS-LB's own label arrives.
    pub fn check(&self, check: Check, identity: String) {
        let resolver = check.resolver;
        self.ask(resolver, check.name(), move |answer| {
            Some(Event::Arrived(
                resolver,
                answer.map_or(Arrived::Nowhere, |answer| arrived(&answer, &check, &identity)),
            ))
        });
    }

    /// Asks for TXT; a lost datagram is sent once more.
    fn ask(
        &self,
        resolver: IpAddr,
        name: Option<Name>,
        event: impl FnOnce(Option<Message>) -> Option<Event> + Send + 'static,
    ) {
        let (Ok(permit), Some(name)) = (Arc::clone(&self.permits).try_acquire_owned(), name) else { return };
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let mut answer = None;
            for _ in 0..2 {
                answer = ask_once(resolver, &name).await;
                if answer.is_some() {
                    break;
                }
            }
            drop(permit);
            if let Some(event) = event(answer) {
                // Nobody listens any more when the daemon stops.
                let _ = answers.send(event).await;
            }
        });
    }
}

async fn ask_once(resolver: IpAddr, name: &Name) -> Option<Message> {
    let mut question = question(name, RecordType::TXT).ok()?;
    question.metadata.recursion_desired = true;
    ask_message(SocketAddr::new(resolver, PORT), Via::UdpThenTcp, &question, PATIENCE / 2).await.ok()
}

/// The first TXT record.
fn text(answer: &Message) -> Option<Vec<u8>> {
    strings(answer).map(|strings| strings.concat())
}

fn strings(answer: &Message) -> Option<Vec<&[u8]>> {
    answer.answers.iter().find_map(|record| match &record.data {
        RData::TXT(txt) => Some(txt.txt_data.iter().map(|string| &string[..]).collect()),
        _ => None,
    })
}

/// Only the DNS-LB itself has the record. A fall-back denies it, with the label zone's SOA.
fn arrived(answer: &Message, check: &Check, identity: &str) -> Arrived {
    if strings(answer).is_some_and(|strings| strings == [identity.as_bytes(), check.nonce.as_bytes()]) {
        return Arrived::Itself;
    }
    let denied = matches!(answer.metadata.response_code, ResponseCode::NXDomain | ResponseCode::NoError);
    let label_zone = check.label_zone.to_string();
    let soa = answer.authorities.iter().find(|record| record.record_type() == RecordType::SOA);
    let by_its_own = soa.is_some_and(|soa| soa.name.to_lowercase().to_string() == label_zone);
    if denied && by_its_own { Arrived::FallBack } else { Arrived::Nowhere }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{
        Name as HickoryName, Record,
        rdata::{SOA, TXT},
    };

    use super::*;

    fn check() -> Check {
        let resolver = "192.0.2.1".parse().unwrap();
        Check { resolver, label_zone: "sea1.glb.test".parse().unwrap(), nonce: "0123".to_owned() }
    }

    fn reply(code: ResponseCode, soa: Option<&str>, txt: &[&str]) -> Message {
        let mut message = Message::query().into_response();
        message.metadata.response_code = code;
        let name = HickoryName::from_ascii("0123._dglb.sea1.glb.test.").unwrap();
        if !txt.is_empty() {
            let data = TXT::new(txt.iter().map(|s| (*s).to_owned()).collect());
            message.add_answer(Record::from_rdata(name.clone(), 0, RData::TXT(data)));
        }
        if let Some(owner) = soa {
            let soa = SOA::new(name.clone(), name, 1, 2, 3, 4, 5);
            message.add_authority(Record::from_rdata(HickoryName::from_ascii(owner).unwrap(), 0, RData::SOA(soa)));
        }
        message
    }

    #[test]
    fn it_shows_where_a_question_arrived() {
        let of = |message: &Message| arrived(message, &check(), "sea1");
        assert_eq!(of(&reply(ResponseCode::NoError, None, &["sea1", "0123"])), Arrived::Itself);
        assert_eq!(of(&reply(ResponseCode::NoError, None, &["sea2", "0123"])), Arrived::Nowhere);
        assert_eq!(of(&reply(ResponseCode::NoError, None, &["sea1", "9999"])), Arrived::Nowhere, "not this question");
        assert_eq!(of(&reply(ResponseCode::NXDomain, Some("Sea1.glb.test."), &[])), Arrived::FallBack);
        assert_eq!(
            of(&reply(ResponseCode::NXDomain, Some("glb.test."), &[])),
            Arrived::Nowhere,
            "the label is unknown"
        );
        assert_eq!(of(&reply(ResponseCode::NXDomain, None, &[])), Arrived::Nowhere);
        assert_eq!(of(&reply(ResponseCode::ServFail, Some("sea1.glb.test."), &[])), Arrived::Nowhere);
    }

    #[test]
    fn the_secret_is_the_first_text() {
        assert_eq!(text(&reply(ResponseCode::NoError, None, &["ab", "cd"])), Some(b"abcd".to_vec()));
        assert_eq!(text(&reply(ResponseCode::NoError, Some("x."), &[])), None);
    }
}
