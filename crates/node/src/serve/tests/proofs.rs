//! Questions for nonces, which the slow lane answers, over UDP and TCP, among others.

use std::sync::Mutex;

use dglb_core::{
    directory::{self, Directory},
    dns::{Conduct, Responder},
    fleet::{Fleet, FleetServer, FleetTtls},
    residence::{Nonce, Secret},
};
use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{Name, RData, RecordType},
};

use super::*;

const ZONE: &str = "4.b1.prove.ops.test.";

fn directory() -> Directory {
    let mut directory = Directory::new(directory::Settings::default());
    directory.set_server("b1".parse().unwrap());
    let (referral, fallback) = (vec!["192.0.2.1".parse().unwrap()], vec![]);
    let fleet = Fleet::new(Fleet {
        serial: 1,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![FleetServer { identity: "b1".parse().unwrap(), referral, fallback }],
        labels: vec![],
        ttl: FleetTtls::default(),
    });
    directory.set_fleet(fleet.unwrap());
    directory
}

/// Knows one nonce, and who asked for it.
struct OneNonce {
    nonce: Nonce,
    directory: Directory,
    askers: Arc<Mutex<Vec<(SocketAddr, Transport)>>>,
}

impl Unhurried for OneNonce {
    fn respond(&mut self, asked: &Asked<'_>, decision: Decision, reply: &mut [u8]) -> usize {
        assert_eq!(decision, Decision::Proof);
        let secret_of = |nonce: &Nonce, _| {
            self.askers.lock().unwrap().push((asked.peer, asked.transport));
            (*nonce == self.nonce).then_some(Secret([0xc3; 16]))
        };
        Responder::with_defaults(&self.directory).respond_proof(asked, secret_of, reply).length
    }
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut question = Message::query();
    question.metadata.id = id;
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT));
    question.set_edns(Edns::new());
    question.to_vec().unwrap()
}

fn nonce(nonce: Nonce) -> String {
    format!("{}.{ZONE}", String::from_utf8(nonce.label().to_vec()).unwrap().to_uppercase())
}

fn secret(reply: &[u8]) -> Option<String> {
    let reply = Message::from_vec(reply).unwrap();
    assert!(reply.metadata.authoritative);
    let RData::TXT(text) = &reply.answers.first()?.data else { return None };
    Some(String::from_utf8(text.txt_data[0].to_vec()).unwrap())
}

#[tokio::test]
async fn a_nonce_is_answered_late_over_udp_and_tcp_and_others_do_not_wait() {
    let known = Nonce([7; 16]);
    let endpoint = Endpoint { address: "127.0.0.1:0".parse().unwrap(), role: Role::Referral };
    let mut server = Server::bind(&[endpoint], lanes(1)).unwrap();
    let (address, counters, mut tasks) = (server.local_addresses()[0], DnsCounters::new(), Tasks::new());
    let askers = Arc::default();
    server.set_unhurried(Box::new(OneNonce { nonce: known, directory: directory(), askers: Arc::clone(&askers) }));
    let (published, conduct) = (Publisher::new(directory()), Publisher::new(Conduct::DEFAULT));
    let content = Content { directory: published.reader(), conduct: conduct.reader() };
    server.run(content, &counters, &mut tasks).unwrap();

    let socket = client(address);
    assert_eq!(secret(&ask(&socket, &question(1, &nonce(known)))), Some("c3".repeat(16)));
    assert_eq!(secret(&ask(&socket, &question(2, &nonce(Nonce([8; 16]))))), None);
    assert_eq!(secret(&ask(&socket, &question(3, ZONE))), None);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&framed(&question(4, &nonce(known)))).unwrap();
    assert_eq!(secret(&read_message(&mut stream)), Some("c3".repeat(16)));
    let here = socket.local_addr().unwrap();
    let expected = [(here, Transport::Udp), (here, Transport::Udp), (stream.local_addr().unwrap(), Transport::Tcp)];
    assert_eq!(*askers.lock().unwrap(), expected);
    let totals = counters.totals();
    assert_eq!((totals.decision(Decision::Proof), totals.decision(Decision::Authority)), (3, 1));
    tasks.stop(SOON).await;
}

/// Where nobody sits in the slow lane, there is no nonce.
#[tokio::test]
async fn without_anybody_there_the_reply_at_hand_is_sent() {
    fn respond(_: &u8, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        Responder::with_defaults(&directory()).respond(asked, reply)
    }
    let serving = Serving::with(&TWO_FAMILIES[..1], lanes(1), respond);
    let reply = ask(&client(serving.addresses[0]), &question(1, &nonce(Nonce([7; 16]))));
    assert_eq!(secret(&reply), None);
    serving.expect("it is counted", |totals| totals.decision(Decision::Proof) == 1);
}
