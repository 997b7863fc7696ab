//! Signed updates: who may, who may not, and which answers are believed.

use std::{net::SocketAddr, time::Duration};

use dglb_node::ask::AskError;
use dns_a_sync::{
    delegation::{
        plan::{Prerequisite, Update},
        update::message,
    },
    dns_a::{DnsA, Key, UpdateError, algorithm},
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Named, SECRET, Zone, key, name, program};

const ZONE: Zone<'static> = Zone("foobar.test", "x A 192.0.2.1");

/// An update that changes nothing, for what is not allowed must fail all the same.
fn harmless() -> Message {
    message(&name("foobar.test"), &Update::default())
}

#[tokio::test]
async fn bind_tells_apart_what_is_wrong_with_a_key() {
    let Some(program) = program() else { return };
    let named = Named::start(&program, &[ZONE]);
    named.client(Some(key("dglb", SECRET))).update(harmless()).await.unwrap();

    let error = named.client(Some(key("dglb", b"another secret"))).update(harmless()).await.unwrap_err();
    assert!(error.to_string().contains("BADSIG"), "{error}");
    let error = named.client(Some(key("nobody", SECRET))).update(harmless()).await.unwrap_err();
    assert!(error.to_string().contains("BADKEY"), "{error}");
    let sha512 = Key::new(&name("dglb"), algorithm("hmac-sha512").unwrap(), SECRET.to_vec()).unwrap();
    let error = named.client(Some(sha512)).update(harmless()).await.unwrap_err();
    assert!(error.to_string().contains("BADKEY"), "{error}");
    // A good key without the right: the answer is signed, so the refusal is believed.
    let error = named.client(Some(key("other", SECRET))).update(harmless()).await.unwrap_err();
    assert!(matches!(error, UpdateError::Refused { rcode: ResponseCode::Refused, .. }), "{error}");
    let error = named.client(None).update(harmless()).await.unwrap_err();
    assert!(matches!(error, UpdateError::Refused { rcode: ResponseCode::Refused, .. }), "{error}");
}

#[tokio::test]
async fn prerequisites_are_demanded() {
    let Some(program) = program() else { return };
    let named = Named::start(&program, &[ZONE]);
    let client = named.client(Some(key("dglb", SECRET)));
    let demand = async |prerequisite| {
        let update = Update { prerequisites: vec![prerequisite], changes: vec![] };
        client.update(message(&name("foobar.test"), &update)).await
    };
    let (x, y) = (name("x.foobar.test"), name("y.foobar.test"));
    demand(Prerequisite::Absent(x.clone(), RecordType::AAAA)).await.unwrap();
    demand(Prerequisite::Unused(y)).await.unwrap();
    let error = demand(Prerequisite::Absent(x.clone(), RecordType::A)).await.unwrap_err();
    assert!(matches!(error, UpdateError::Changed(ResponseCode::YXRRSet)), "{error}");
    let error = demand(Prerequisite::Unused(x)).await.unwrap_err();
    assert!(matches!(error, UpdateError::Changed(ResponseCode::YXDomain)), "{error}");
}

/// A server that says NOERROR to whatever comes, and changes its answer as `forge` likes.
async fn forger(forge: impl Fn(Message) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut octets).await.unwrap();
            let answer = forge(Message::from_vec(&octets).unwrap());
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_answer_without_our_signature_is_not_believed() {
    let unsigned = forger(|question| {
        let mut answer = question.into_response();
        answer.signature = None;
        answer.to_vec().unwrap()
    });
    // The question's own signature sent back is a signature, but not over the answer.
    let echoed = forger(|question| question.into_response().to_vec().unwrap());
    let other = forger(|question| {
        let mut answer = question.into_response();
        answer.metadata.id ^= 1;
        answer.to_vec().unwrap()
    });
    for address in [unsigned.await, echoed.await] {
        let client = DnsA::new(address, Duration::from_secs(3), Some(key("dglb", SECRET)));
        let error = client.update(harmless()).await.unwrap_err();
        assert!(matches!(error, UpdateError::Unsigned(_)), "{error}");
    }
    let client = DnsA::new(other.await, Duration::from_secs(3), Some(key("dglb", SECRET)));
    let error = client.update(harmless()).await.unwrap_err();
    assert!(matches!(error, UpdateError::None(AskError::Mismatch { .. })), "{error}");
}

#[tokio::test]
async fn a_silent_server_costs_one_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = DnsA::new(listener.local_addr().unwrap(), Duration::from_millis(100), Some(key("dglb", SECRET)));
    let error = client.update(harmless()).await.unwrap_err();
    assert!(matches!(error, UpdateError::None(AskError::TimedOut { .. })), "{error}");
    let listener = listener.into_std().unwrap();
    listener.accept().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was tried once");
}

#[test]
fn a_key_never_shows_its_secret() {
    let shown = format!("{:?}", key("dglb", b"supersecret"));
    assert_eq!(shown, "Key(dglb. hmac-sha256)");
}
