//! Hostile peers at dns-b's map port: whatever they send, their own link ends, with a reason where
//! one can be given; it is counted; nobody else notices; and memory stays bounded.

mod floods;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::proto::{
    HANDSHAKE_FRAME, MAGIC, Number,
    message::{ByeReason, EntryKind, Hello, Map, MapEntry, Message, PeerRole, RefuseReason, RefusedReason},
};
use dglb_scenarios::{
    Admin, Chain, Counters, Ground, LONG, Size, binaries,
    configs::{self, WWW, in_label},
    eventually,
    ground::dns,
    intruder::{End, Intruder},
    peer::{Peer, hello},
    question::Question,
    scenario, so,
};
use hickory_proto::rr::RecordType;
use tokio::{io::AsyncWriteExt, time::timeout};

/// A chain of one of each, and peers that may dial in and are not there: `evil-lb`, `evil-sync`.
async fn chain(ground: Ground) -> Chain {
    let extra = |ground: &Ground, _| {
        format!(
            "[[peer]]\nidentity = 'evil-lb'\nrole = 'dns-lb'\nmay-map = ['{}']\n\
             [[peer]]\nidentity = 'evil-sync'\nrole = 'dns-a-sync'\nmay-publish = ['evil.test']\n",
            ground.isp(5)
        )
    };
    Chain::settled(ground, Size { servers: 1, lbs: 1, sites: 1 }, extra).await
}

/// The DNS-LB and the agent are linked as they were from the start, and resolvers are answered.
async fn undisturbed(chain: &Chain) {
    for (daemon, admin) in [("lb1", &**chain.lb(1)), ("sync", &*chain.sync)] {
        let counters = admin.counters().await;
        let links = (counters.of("dglb_link_up"), counters.of("dglb_link_established_total"));
        assert_eq!(links, (1, 1), "{daemon}'s link was disturbed");
    }
    let reply = chain.ask_b(1, 1, WWW).await;
    assert_eq!(reply.alias(), Some((format!("{}.", in_label("lb1")), 3_600)));
    assert_eq!(chain.ask_fallback(1, &in_label("lb1")).await.addresses(), [chain.ground.site(1)]);
}

/// Waits until dns-b has counted so many more of each.
async fn counted(chain: &Chain, before: &Counters, wanted: &[(&str, u64)]) {
    eventually("everything is counted", async || {
        let now = chain.b(1).counters().await;
        let grown: Vec<_> = wanted.iter().map(|(series, _)| (*series, now.of(series) - before.of(series))).collect();
        so(grown == wanted, grown)
    })
    .await;
}

#[test]
fn who_cannot_greet_is_turned_away() {
    scenario("hostile::who_cannot_greet_is_turned_away", async |ground| {
        let chain = chain(ground).await;
        let before = chain.b(1).counters().await;
        let (from, map) = (chain.ground.ip(99), chain.ground.map(1));
        let protocol = || End::Refused(RefuseReason::Protocol);
        let long = u32::try_from(HANDSHAKE_FRAME + 1).unwrap().to_be_bytes();
        let octets: [(&str, Vec<u8>); 7] = [
            ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 32]].concat()),
            ("another magic", [&[0, 0, 0, 12, 0, 1, 0, 0][..], b"DGLB-MAQ"].concat()),
            ("the longest length that there is", vec![0xff; 8]),
            ("a length beyond the limit", [&long[..], &[0, 1, 0, 0], &MAGIC].concat()),
            ("a length too short for a magic", vec![0, 0, 0, 11, 0, 1, 0, 0]),
            ("a length of nothing", vec![0; 4]),
        ];
        for (what, octets) in &octets {
            let mut intruder = Intruder::connect(from, map).await;
            intruder.send(octets).await;
            assert_eq!(intruder.end().await, protocol(), "{what}");
        }
        let unwanted = greetings();
        for (what, number, body, end) in &unwanted {
            let mut intruder = Intruder::connect(from, map).await;
            let octets = intruder.frame(number.0, body);
            intruder.send(&octets).await;
            assert_eq!(intruder.end().await, *end, "{what}");
        }
        undisturbed(&chain).await;
        let violations = (octets.len() + unwanted.len() - 3) as u64;
        let wanted = [
            ("dglb_link_violations_total", violations),
            ("dglb_link_handshake_failures_total", violations + 3),
            // Whom the certificate does not name the keeper never hears of.
            ("dglb_link_tls_failures_total{reason=\"identity\"}", 3),
            ("dglb_links_refused_total", 0),
            ("dglb_link_established_total", 0),
        ];
        counted(&chain, &before, &wanted).await;
    });
}

/// First frames that are frames; the last three break no rule, but are not wanted.
fn greetings() -> Vec<(&'static str, Number, Vec<u8>, End)> {
    let greet = |identity: &str, role, versions: (u16, u16)| {
        let (version_min, version_max) = versions;
        let hello = Hello { version_min, version_max, ..hello(identity, role) };
        Message::Hello(hello).encode().unwrap().body().to_vec()
    };
    let good = greet("evil-lb", PeerRole::DnsLb, (1, 1));
    let protocol = || End::Refused(RefuseReason::Protocol);
    let identity = || End::Refused(RefuseReason::Identity);
    vec![
        ("an empty HELLO", Number::HELLO, vec![], protocol()),
        ("a HELLO of garbage", Number::HELLO, vec![0xff; 40], protocol()),
        ("a HELLO cut short", Number::HELLO, good[..good.len() - 3].to_vec(), protocol()),
        ("PING", Number::PING, vec![], protocol()),
        ("a MAP before HELLO", Number::MAP, vec![], protocol()),
        ("a transfer before HELLO", Number::BEGIN, vec![0x08, 0x01, 0x10, 0x05], protocol()),
        ("a message of a later version", Number(0x7fff), vec![1, 2, 3], protocol()),
        (
            "a version that nobody knows",
            Number::HELLO,
            greet("evil-lb", PeerRole::DnsLb, (7, 9)),
            End::Refused(RefuseReason::Version),
        ),
        ("a dns-b that dials", Number::HELLO, greet("b2", PeerRole::DnsB, (1, 1)), identity()),
        ("a stranger", Number::HELLO, greet("stranger", PeerRole::DnsLb, (1, 1)), identity()),
        ("another role", Number::HELLO, greet("evil-lb", PeerRole::DnsASync, (1, 1)), identity()),
        ("a role that is not there yet", Number::HELLO, greet("evil-lb", PeerRole::Mservice, (1, 1)), identity()),
    ]
}

#[test]
fn who_breaks_the_rules_is_thrown_out() {
    scenario("hostile::who_breaks_the_rules_is_thrown_out", async |ground| {
        let chain = chain(ground).await;
        let before = chain.b(1).counters().await;
        let (from, map) = (chain.ground.ip(99), chain.ground.map(1));
        let wrongs = wrongs(&chain);
        for (what, role, number, body) in &wrongs {
            let identity = if *role == PeerRole::DnsLb { "evil-lb" } else { "evil-sync" };
            let mut intruder = Intruder::established(from, map, identity, *role).await;
            let octets = intruder.frame(number.0, body);
            intruder.send(&octets).await;
            assert_eq!(intruder.end().await, End::Bye(ByeReason::Protocol), "{what}");
        }
        // A length that no frame may have is enough, whatever would follow.
        let mut intruder = Intruder::established(from, map, "evil-lb", PeerRole::DnsLb).await;
        intruder.send(&[0x00, 0x10, 0x00, 0x01, 0, 0x20]).await;
        assert_eq!(intruder.end().await, End::Bye(ByeReason::Protocol));
        undisturbed(&chain).await;
        let links = wrongs.len() as u64 + 1;
        let wanted = [
            ("dglb_link_violations_total", links),
            ("dglb_link_established_total", links),
            ("dglb_link_handshake_failures_total", 0),
            ("dglb_map_entries_refused_total", 0),
            ("dglb_catalogues_refused_total", 0),
        ];
        counted(&chain, &before, &wanted).await;
        // None of it has left a trace.
        let status = chain.b(1).status().await;
        assert_eq!((status["prefixes"].as_u64(), status["zones"].as_array().unwrap().len()), (Some(2), 1));
    });
}

/// Frames that end an established link.
fn wrongs(chain: &Chain) -> Vec<(&'static str, PeerRole, Number, Vec<u8>)> {
    use PeerRole::{DnsASync, DnsLb};
    let body = |message: &Message| message.encode().unwrap().body().to_vec();
    let map = body(&Message::Map(map(1, &[chain.ground.isp(5)])));
    let catalogue = body(&Message::snapshot(configs::catalogue(&chain.ground, 1, 99)));
    let greeting = body(&Message::Hello(hello("evil-lb", DnsLb)));
    let too_large = vec![0x08, 0x20, 0x10, 0x81, 0x80, 0x80, 0x20];
    vec![
        ("a MAP from an agent", DnsASync, Number::MAP, map.clone()),
        ("a REPORT from an agent", DnsASync, Number::REPORT, vec![]),
        ("a MAP in parts from an agent", DnsASync, Number::BEGIN, vec![0x08, 0x20, 0x10, 0x05]),
        ("a catalogue from a DNS-LB", DnsLb, Number::CATALOGUE, catalogue),
        ("a FLEET from below", DnsLb, Number::FLEET, vec![]),
        ("DRAIN from below", DnsLb, Number::DRAIN, vec![0x08, 1]),
        ("a second HELLO", DnsLb, Number::HELLO, greeting),
        ("a WELCOME from below", DnsLb, Number::WELCOME, vec![]),
        ("a MAP of garbage", DnsLb, Number::MAP, vec![0xff; 100]),
        ("a MAP cut short", DnsLb, Number::MAP, map[..map.len() - 1].to_vec()),
        ("a transfer of 64 MiB and an octet", DnsLb, Number::BEGIN, too_large),
        ("a PART of nothing", DnsLb, Number::PART, vec![0x0a, 1, 0]),
        ("a COMMIT of nothing", DnsLb, Number::COMMIT, vec![]),
    ]
}

fn map(generation: u64, resolvers: &[IpAddr]) -> Map {
    let entry = |address: &IpAddr| MapEntry {
        prefix: dglb_core::net::Prefix::host(*address),
        kind: EntryKind::Resolver,
        preference: 1,
        weight: 1,
    };
    let addresses = vec!["127.0.0.1".parse().unwrap()];
    Map { generation, lease_ms: 60_000, addresses, entries: resolvers.iter().map(entry).collect() }
}

#[test]
fn who_claims_what_is_not_its_own_gets_nothing() {
    scenario("hostile::who_claims_what_is_not_its_own_gets_nothing", async |ground| {
        let chain = chain(ground).await;
        let before = chain.b(1).counters().await;
        let mut evil = Peer::dial(chain.ground.map(1), "evil-lb", PeerRole::DnsLb).await;
        evil.say(Message::Map(map(1, &[chain.ground.isp(1), chain.ground.isp(5), chain.ground.isp(6)])));
        let ack = evil.hear("MAP-ACK", |m| if let Message::MapAck(ack) = m { Some(ack) } else { None }).await;
        assert_eq!((ack.generation, ack.accepted, ack.refused.len()), (1, 1, 2), "{ack:?}");
        // Proofs are allowed by default, but its word alone is none.
        assert!(ack.refused.iter().all(|refused| refused.reason == RefusedReason::NotProven), "{ack:?}");
        // Somebody else's catalogue: answered, not adopted.
        let mut sync = Peer::dial(chain.ground.map(1), "evil-sync", PeerRole::DnsASync).await;
        sync.say(Message::snapshot(configs::catalogue(&chain.ground, 1, 99)));
        let ack = sync.hear("CATALOGUE-ACK", |m| if let Message::CatalogueAck(ack) = m { Some(ack) } else { None });
        assert!(ack.await.refused.is_some_and(|why| why.contains("may not publish")));
        undisturbed(&chain).await;
        let wanted = [
            ("dglb_map_entries_refused_total", 2),
            ("dglb_catalogues_refused_total", 1),
            ("dglb_link_violations_total", 0),
            ("dglb_link_established_total", 2),
        ];
        counted(&chain, &before, &wanted).await;
        // It advertises an address that does not answer in its name, so it is never handed out: whoever
        // asks from where it may map is served without it.
        eventually("it fails its checks", async || {
            let status = chain.b(1).status().await;
            let lbs = status["dns_lbs"].as_array().cloned().unwrap_or_default();
            let evil = lbs.into_iter().find(|lb| lb["identity"] == "evil-lb").unwrap_or_default();
            so(evil["check"]["problem"].is_string() && evil["handed_out"] == false, evil)
        })
        .await;
        assert_eq!(chain.ask_b(1, 5, WWW).await.addresses(), [chain.ground.site(1)]);
    });
}

#[test]
fn what_later_versions_say_is_skipped_and_counted() {
    scenario("hostile::what_later_versions_say_is_skipped_and_counted", async |ground| {
        let chain = chain(ground).await;
        let before = chain.b(1).counters().await;
        let (from, server) = (chain.ground.ip(99), chain.ground.map(1));
        let mut peer = Intruder::established(from, server, "evil-lb", PeerRole::DnsLb).await;
        for number in [0x7fff, 0x7ffe, 0x7ffd] {
            let octets = peer.frame(number, &[0xff; 20]);
            peer.send(&octets).await;
        }
        // A MAP with a field of the future, 15: 7.
        let known = Message::Map(map(1, &[chain.ground.isp(5)])).encode().unwrap();
        let octets = peer.frame(known.number().0, &[known.body(), &[0x78, 7][..]].concat());
        peer.send(&octets).await;
        loop {
            match peer.next().await {
                Some(Message::MapAck(ack)) => break assert_eq!(ack.accepted, 1),
                Some(_) => {}
                None => panic!("thrown out for what a later version may say"),
            }
        }
        let wanted = [
            ("dglb_link_unknown_messages_total", 3),
            ("dglb_link_unknown_fields_total", 1),
            ("dglb_link_violations_total", 0),
        ];
        counted(&chain, &before, &wanted).await;
        undisturbed(&chain).await;
    });
}

#[test]
fn who_says_half_a_thing_or_nothing_is_let_go() {
    scenario("hostile::who_says_half_a_thing_or_nothing_is_let_go", async |ground| {
        let chain = chain(ground).await;
        let before = chain.b(1).counters().await;
        let (from, server) = (chain.ground.ip(99), chain.ground.map(1));
        // Amid a frame, and gone.
        for octets in [&[][..], &[0], &[0, 0, 0, 50, 0, 1, 0, 0, b'D', b'G']] {
            let mut intruder = Intruder::connect(from, server).await;
            intruder.send(octets).await;
            intruder.stream.shutdown().await.unwrap();
            assert_eq!(intruder.end().await, End::Closed);
        }
        // Amid a frame, and silent; or an octet now and then, which is no handshake either.
        let started = Instant::now();
        let mut silent = Intruder::connect(from, server).await;
        let mut slow = Intruder::connect(from, server).await;
        let greeting = Message::Hello(hello("evil-lb", PeerRole::DnsLb)).encode().unwrap();
        let greeting = slow.frame(Number::HELLO.0, greeting.body());
        let trickle = async {
            for octet in greeting.iter().cycle() {
                if slow.stream.write_all(&[*octet]).await.is_err()
                    || slow.stream.flush().await.is_err()
                    || started.elapsed() > LONG
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let (_, end) = tokio::join!(timeout(Duration::from_secs(8), trickle), silent.end());
        assert_eq!(end, End::Closed);
        assert_eq!(slow.end().await, End::Closed);
        assert!(started.elapsed() < LONG, "a handshake that never ends was waited for");
        // Of an established link, half a frame and the end: nothing of it takes effect.
        let mut gone = Intruder::established(from, server, "evil-lb", PeerRole::DnsLb).await;
        let map = Message::Map(map(1, &[chain.ground.isp(5)])).encode().unwrap();
        let octets = gone.frame(Number::MAP.0, map.body());
        gone.send(&octets[..octets.len() - 1]).await;
        gone.stream.shutdown().await.unwrap();
        assert_eq!(gone.end().await, End::Closed);
        undisturbed(&chain).await;
        let wanted = [
            ("dglb_link_handshake_failures_total", 5),
            ("dglb_link_violations_total", 0),
            ("dglb_link_established_total", 1),
        ];
        counted(&chain, &before, &wanted).await;
        assert_eq!(chain.b(1).counter("dglb_map_prefixes").await, 2);
    });
}

/// Resident memory of a process, in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What is announced costs nothing: the real program, and its memory.
#[test]
fn lengths_that_are_only_announced_cost_no_memory() {
    scenario("hostile::lengths_that_are_only_announced_cost_no_memory", async |ground| {
        let mut extra = String::new();
        for n in 0..100 {
            extra += &format!("[[peer]]\nidentity = 'evil{n}'\nrole = 'dns-lb'\n");
        }
        let files = configs::dns_b(&ground, 1, 1, 0, &extra);
        let b1 = binaries::start("dns-b", &files);
        let admin = Admin::new(files.admin);
        eventually("dns-b runs", async || admin.fetch("/livez").await.map(drop)).await;
        let sync = configs::catalogue(&ground, 1, 1);
        let publisher = Peer::publisher(ground.map(1), &sync).await;
        let before = resident(b1.id());
        let mut links = Vec::new();
        for n in 0..100 {
            let identity = format!("evil{n}");
            let mut link = Intruder::established(ground.ip(99), ground.map(1), &identity, PeerRole::DnsLb).await;
            // The longest transfer that there may be, and the longest frame; of both the beginning.
            let begin = link.frame(Number::BEGIN.0, &[0x08, 0x20, 0x10, 0x80, 0x80, 0x80, 0x04]);
            link.send(&[&begin[..], &[0x00, 0x10, 0x00, 0x00, 0, 8, 0, 0, 0x0a]].concat()).await;
            links.push(link);
        }
        eventually("all that was sent has come", async || {
            let frames = admin.counter("dglb_link_frames_in_total").await;
            so(frames >= 202, frames)
        })
        .await;
        assert_eq!(admin.counter("dglb_link_up").await, 101, "{}", admin.status().await);
        let grown = resident(b1.id()).saturating_sub(before);
        // 0.9 GiB were announced. What a hundred links cost by themselves is far less than this.
        assert!(grown < 16 << 10, "{grown} KiB more for a hundred links that sent nothing");
        let reply = Question::new(ground.isp(1), WWW, RecordType::A).ask(dns(ground.referral(1))).await;
        assert_eq!(reply.addresses(), [ground.site(1)]);
        drop((links, publisher));
    });
}
