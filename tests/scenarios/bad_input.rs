//! Bad DNS messages against dns-b's referral and fall-back addresses and against dns-lb, over UDP
//! and TCP: the response code that the RFCs ask for where a header can be read, silence where not;
//! counted, and the next good question is answered.

mod cases;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use dglb_scenarios::{
    Admin, Chain, Counters, Size,
    chain::nothing_more,
    configs::{WWW, in_label},
    eventually,
    ground::dns,
    question::Question,
    raw::{self, framed},
    scenario, so,
};
use hickory_proto::{op::Message, rr::RecordType};
use tokio::{io::AsyncWriteExt, net::UdpSocket};

use cases::{Case, FORMERR, Want, cases, message};

/// Everything bad that was counted since `before` is what these cases must have moved.
fn counted(cases: &[Case], before: &Counters, now: &Counters) {
    let mut want: BTreeMap<String, u64> = BTreeMap::new();
    for series in cases.iter().flat_map(Case::series).filter(|s| !s.is_empty()) {
        *want.entry(series).or_default() += 1;
    }
    let bad = ["malformed", "dropped", "refused", "FORMERR", "NOTIMP", "REFUSED", "BADVERS", "SERVFAIL", "other"];
    let mut got = now.since(before);
    got.retain(|series, _| series.starts_with("dglb_dns_") && bad.iter().any(|b| series.contains(&format!("\"{b}\""))));
    assert_eq!(got, want);
}

/// One address to be asked, and what it answers well.
struct Target<'c> {
    server: SocketAddr,
    good: Question,
    admin: &'c Admin,
}

fn targets(chain: &Chain) -> [Target<'_>; 3] {
    let from = chain.ground.isp(1);
    let target = |address, name: &str, admin| {
        let good = Question::new(from, name, RecordType::A);
        Target { server: dns(address), good, admin }
    };
    let label = in_label("lb1");
    [
        target(chain.ground.referral(1), WWW, &**chain.b(1)),
        target(chain.ground.fallback(1), &label, &**chain.b(1)),
        target(chain.ground.lb(1), &label, &**chain.lb(1)),
    ]
}

const SIZE: Size = Size { servers: 1, lbs: 1, sites: 1 };

async fn settled(ground: dglb_scenarios::Ground) -> Chain {
    Chain::settled(ground, SIZE, nothing_more).await
}

#[test]
fn over_udp_it_is_refused_or_passed_over_and_the_next_good_question_is_answered() {
    let name = "bad_input::over_udp_it_is_refused_or_passed_over_and_the_next_good_question_is_answered";
    scenario(name, async |ground| {
        let chain = settled(ground).await;
        for target in targets(&chain) {
            let cases = cases();
            let before = target.admin.counters().await;
            let socket = UdpSocket::bind((chain.ground.isp(1), 0)).await.unwrap();
            socket.connect(target.server).await.unwrap();
            for case in &cases {
                // Datagrams of one socket are answered in their order, so whatever the bad one is
                // answered with comes before the answer to the good one.
                socket.send(&case.packet).await.unwrap();
                let good = target.good.message();
                socket.send(&good.to_vec().unwrap()).await.unwrap();
                let mut first = received(&socket, &case.what).await;
                if case.want != Want::Silence {
                    case.check(&first);
                    first = received(&socket, &case.what).await;
                }
                let answer = Message::from_vec(&first).unwrap();
                assert_eq!(answer.metadata.id, good.metadata.id, "{}: {answer}", case.what);
                assert_eq!(answer.answers.len(), 1, "{}: {answer}", case.what);
            }
            counted(&cases, &before, &target.admin.counters().await);
        }
        far_too_long(&chain).await;
    });
}

async fn received(socket: &UdpSocket, what: &str) -> Vec<u8> {
    let mut octets = vec![0; 65_536];
    let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut octets)).await;
    octets.truncate(length.unwrap_or_else(|_| panic!("{what}: no answer any more")).unwrap());
    octets
}

/// Datagrams longer than any question are not looked at.
async fn far_too_long(chain: &Chain) {
    let series = "dglb_dns_incidents_total{incident=\"oversized\"}";
    for target in targets(chain) {
        let before = target.admin.counter(series).await;
        let socket = UdpSocket::bind((chain.ground.isp(1), 0)).await.unwrap();
        socket.connect(target.server).await.unwrap();
        for length in [5_000, 60_000] {
            socket.send(&message([1, 0, 0, 0], &vec![0; length])).await.unwrap();
        }
        assert_eq!(target.good.ask(target.server).await.0.answers.len(), 1);
        assert_eq!(target.admin.counter(series).await - before, 2);
    }
}

#[test]
fn over_tcp_it_is_refused_or_the_connection_ends() {
    scenario("bad_input::over_tcp_it_is_refused_or_the_connection_ends", async |ground| {
        let chain = settled(ground).await;
        for target in targets(&chain) {
            let cases = cases();
            let before = target.admin.counters().await;
            for case in &cases {
                let good = target.good.message();
                let octets = [framed(&case.packet), framed(&good.to_vec().unwrap())].concat();
                let replies = raw::over_tcp(chain.ground.isp(1), target.server, &octets).await;
                if case.want == Want::Silence {
                    // Who says such things does not speak DNS.
                    assert!(replies.is_empty(), "{}: {replies:02x?}", case.what);
                    continue;
                }
                assert_eq!(replies.len(), 2, "{}: {replies:02x?}", case.what);
                case.check(&replies[0]);
                let answer = Message::from_vec(&replies[1]).unwrap();
                assert_eq!((answer.metadata.id, answer.answers.len()), (good.metadata.id, 1), "{}", case.what);
            }
            counted(&cases, &before, &target.admin.counters().await);
            assert_eq!(target.good.clone().over_tcp().ask(target.server).await.0.answers.len(), 1);
        }
    });
}

#[test]
fn tcp_streams_that_end_amid_a_message_or_stand_still_harm_nobody() {
    let name = "bad_input::tcp_streams_that_end_amid_a_message_or_stand_still_harm_nobody";
    scenario(name, async |ground| {
        let chain = settled(ground).await;
        let from = chain.ground.isp(1);
        // A daemon each: both take their time, and count.
        let [referral, _, lb] = targets(&chain);
        tokio::join!(odd_streams(from, &referral), odd_streams(from, &lb));
    });
}

async fn odd_streams(from: IpAddr, target: &Target<'_>) {
    let before = target.admin.counters().await;
    let question = target.good.message().to_vec().unwrap();
    // Half a length, a length, half a message; then the end.
    for octets in [&[0][..], &[0, 40], &framed(&question)[..question.len()]] {
        assert!(raw::over_tcp(from, target.server, octets).await.is_empty(), "half a message was answered");
    }
    // A length that is announced, and nothing; or half a message. Nobody may stay so.
    let mut silent = raw::connect(from, target.server).await;
    silent.write_all(&[0xff, 0xff]).await.unwrap();
    let mut half = raw::connect(from, target.server).await;
    half.write_all(&framed(&question)[..question.len()]).await.unwrap();
    // The longest message that there is, of which nothing can be made.
    let zeros = raw::over_tcp(from, target.server, &framed(&[0; 65_535])).await;
    assert_eq!((zeros.len(), zeros[0][3] & 0x0f), (1, FORMERR as u8));
    // Octet by octet it is a good question all the same, and meanwhile others are answered.
    let mut slow = raw::connect(from, target.server).await;
    for octet in framed(&question) {
        slow.write_all(&[octet]).await.unwrap();
        assert_eq!(target.good.ask(target.server).await.0.answers.len(), 1);
    }
    let answer = Message::from_vec(&raw::next_message(&mut slow).await.unwrap()).unwrap();
    assert_eq!(answer.answers.len(), 1);

    for mut stream in [silent, half, slow] {
        assert!(raw::until_closed(&mut stream).await.is_empty());
    }
    let timed_out = "dglb_dns_connections_total{transport=\"tcp\",event=\"idle\"}";
    eventually("all three are counted as timed out", async || {
        let now = target.admin.counter(timed_out).await - before.of(timed_out);
        so(now == 3, now)
    })
    .await;
    assert_eq!(target.admin.counters().await.replies("FORMERR") - before.replies("FORMERR"), 1);
}

#[test]
fn one_client_cannot_take_all_connections() {
    scenario("bad_input::one_client_cannot_take_all_connections", async |ground| {
        let chain = settled(ground).await;
        for target in targets(&chain) {
            let evicted = "dglb_dns_connections_total{transport=\"tcp\",event=\"evicted\"}";
            let before = target.admin.counter(evicted).await;
            let mut taken = Vec::new();
            for _ in 0..60 {
                taken.push(raw::connect(chain.ground.ip(9), target.server).await);
            }
            eventually("ten of its own made room for ten more", async || {
                let now = target.admin.counter(evicted).await - before;
                so(now == 10, now)
            })
            .await;
            assert_eq!(target.good.clone().over_tcp().ask(target.server).await.0.answers.len(), 1, "another client");
        }
    });
}
