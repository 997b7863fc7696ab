//! DNS over TCP (RFC 7766, RFC 9210): many questions at once, in pieces, and replies that are taken
//! in pieces; who stays without asking is let go.

use std::{collections::BTreeMap, time::Duration};

use dglb_scenarios::{
    LONG,
    configs::{WWW, ZONE},
    eventually,
    packet::{Packet, option, rtype},
    raw, so,
    strict::Strict,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::world::{self, Role, Setup, Way, World, connections, scenario};

#[test]
fn connections_are_used_as_the_client_likes() {
    scenario("conduct::tcp::connections_are_used_as_the_client_likes", async |ground| {
        let world = World::plain(ground).await;
        many_questions_at_once(&world).await;
        what_is_slow_is_overtaken(&world).await;
        octet_by_octet(&world).await;
        replies_wait_for_slow_readers(&world).await;
        lengths_without_a_message_end_it(&world).await;
    });
}

/// RFC 7828, and RFC 7766 section 6.1: caps per client and overall, and who has been idle for
/// longest makes room.
#[test]
fn idle_times_and_caps_are_as_configured() {
    scenario("conduct::tcp::idle_times_and_caps_are_as_configured", async |ground| {
        let dns = "[dns.tcp]\nidle = '20s'\nconnections = 8\nconnections-per-client = 3\n";
        let world = World::start(ground, Setup { dns, ..Setup::default() }).await;
        clients_are_told_how_long_they_may_be_idle(&world, 200).await;
        for role in [Role::Referral, Role::Fallback, Role::Lb] {
            one_s_own_longest_idle_makes_room(&world.way(role, true)).await;
        }
        the_longest_idle_of_all_makes_room(&world).await;
        the_longest_idle_of_all_makes_room_at_the_dns_lb(&world).await;
    });
}

/// However busy it is.
#[test]
fn nobody_stays_for_ever() {
    scenario("conduct::tcp::nobody_stays_for_ever", async |ground| {
        let world = World::start(ground, Setup { dns: "[dns.tcp]\nlife = '10s'\n", ..Setup::default() }).await;
        let [b, lb] = [world.way(Role::Referral, true), world.way(Role::Lb, true)];
        tokio::join!(a_life(&b), a_life(&lb));
    });
}

#[test]
fn who_stays_without_asking_is_let_go() {
    scenario("conduct::tcp::who_stays_without_asking_is_let_go", async |ground| {
        let world = World::plain(ground).await;
        clients_are_told_how_long_they_may_be_idle(&world, 100).await;
        let [b, lb] = [world.way(Role::Referral, true), world.way(Role::Lb, true)];
        tokio::join!(idle(&b), idle(&lb));
    });
}

fn decision(way: &Way<'_>) -> &'static str {
    if way.place.role == Role::Lb { "label" } else { "mapped" }
}

/// Ways over TCP alone.
fn ways(world: &World) -> impl Iterator<Item = Way<'_>> {
    world.everywhere().filter(|way| way.tcp)
}

/// RFC 7766 section 6.2.1.1: all of them are answered, each once, in whatever order.
async fn many_questions_at_once(world: &World) {
    for way in ways(world) {
        let before = way.counters().await;
        let packets: Vec<Packet> = (0..300)
            .map(|n| match n % 3 {
                0 => Packet::new(WWW, rtype::A),
                1 => Packet::new(WWW, rtype::AAAA).edns(1_232),
                _ => Packet::new("elsewhere.test", rtype::A).edns(512),
            })
            .collect();
        let octets: Vec<u8> = packets.iter().flat_map(|packet| raw::framed(&packet.octets())).collect();
        let replies = raw::over_tcp(way.place.from, way.place.server, &octets).await;
        let replies: Vec<Strict> = replies.iter().map(|reply| Strict::read(reply).unwrap()).collect();
        let by_id: BTreeMap<u16, &Strict> = replies.iter().map(|reply| (reply.id, reply)).collect();
        assert_eq!((replies.len(), by_id.len()), (300, 300), "{way}");
        for packet in &packets {
            let id = packet.octets()[..2].try_into().map_or(0, u16::from_be_bytes);
            let reply = by_id[&id];
            assert_eq!(reply.question, packet.question(), "{way}");
            assert_eq!(reply.opt.is_some(), packet.has_edns(), "{way}");
        }
        let now = way.counters().await;
        assert_eq!(now.decisions("refused") - before.decisions("refused"), 100, "{way}");
        assert_eq!(now.decisions(decision(&way)) - before.decisions(decision(&way)), 200, "{way}");
        let accepted = connections("accepted");
        assert!(now.of(&accepted) > before.of(&accepted), "{way}");
    }
}

/// Questions for the slow lane are answered when it comes to them, those behind them at once: each once.
async fn what_is_slow_is_overtaken(world: &World) {
    for way in ways(world) {
        let before = way.counters().await;
        let mut overtaken = 0;
        for _ in 0..20 {
            let mut stream = raw::connect(way.place.from, way.place.server).await;
            let packets: Vec<Packet> = (0..10).map(|_| Packet::new(WWW, rtype::A)).collect();
            let messages = packets.iter().enumerate().map(|(n, packet)| match n {
                0..5 => packet.signed(),
                _ => packet.octets(),
            });
            let messages: Vec<Vec<u8>> = messages.collect();
            stream
                .write_all(&messages.iter().flat_map(|octets| raw::framed(octets)).collect::<Vec<_>>())
                .await
                .unwrap();
            stream.shutdown().await.unwrap();
            let replies = raw::until_closed(&mut stream).await;
            let order: Vec<usize> =
                replies.iter().map(|reply| messages.iter().position(|m| m[..2] == reply[..2]).expect("ours")).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..10), "{way}: {order:?}");
            for (n, reply) in order.iter().zip(&replies) {
                // NOTAUTH, or what a plain question gets.
                assert_eq!(reply[3] & 0x0f, if *n < 5 { 9 } else { 0 }, "{way}: {n}");
            }
            overtaken += usize::from(order != sorted);
        }
        assert!(overtaken > 0, "{way}: everything came in order");
        let now = way.counters().await;
        assert_eq!(now.decisions("signed") - before.decisions("signed"), 100, "{way}");
    }
}

/// Wherever a segment ends, in a length or in a message, the rest is waited for; and what is whole
/// is answered meanwhile.
async fn octet_by_octet(world: &World) {
    for way in ways(world) {
        let mut stream = raw::connect(way.place.from, way.place.server).await;
        stream.set_nodelay(true).unwrap();
        let packets = [Packet::new(WWW, rtype::A), Packet::new(WWW, rtype::TXT).edns(4_096)];
        for packet in &packets {
            for octet in raw::framed(&packet.octets()) {
                stream.write_all(&[octet]).await.unwrap();
                tokio::task::yield_now().await;
            }
            let reply = Strict::read(&raw::next_message(&mut stream).await.expect("an answer")).unwrap();
            assert_eq!(reply.question, packet.question(), "{way}");
        }
        // One and a half, and then the other half.
        let [first, second] = packets.map(|packet| raw::framed(&packet.octets()));
        let (half, rest) = second.split_at(7);
        stream.write_all(&[&first, half].concat()).await.unwrap();
        let reply = raw::next_message(&mut stream).await.expect("the first is answered at once");
        assert_eq!(reply[..2], first[2..4], "{way}");
        stream.write_all(rest).await.unwrap();
        let reply = raw::next_message(&mut stream).await.expect("the second is answered, too");
        assert_eq!(reply[..2], second[2..4], "{way}");
        stream.shutdown().await.unwrap();
        assert!(raw::until_closed(&mut stream).await.is_empty(), "{way}");
    }
}

/// Replies of many times what sockets hold, read with pauses: none is lost, and others are answered
/// meanwhile.
async fn replies_wait_for_slow_readers(world: &World) {
    const QUESTIONS: usize = 4_000;
    for way in ways(world) {
        let (mut reading, mut writing) = raw::connect(way.place.from, way.place.server).await.into_split();
        // The longest that there is: nine texts of 250 octets, or sixteen addresses.
        let (packet, records) = match way.place.role {
            Role::Lb => (Packet::new(&format!("{}.lb1.{ZONE}", world::LONG), rtype::AAAA), 16),
            _ => (Packet::new(&format!("huge.{ZONE}"), rtype::TXT), 9),
        };
        let octets = raw::framed(&packet.octets());
        let writer = tokio::spawn(async move {
            for _ in 0..QUESTIONS {
                writing.write_all(&octets).await.unwrap();
            }
            writing.shutdown().await.unwrap();
        });
        let mut got = 0;
        let mut octets = vec![];
        loop {
            let n = timeout(LONG, reading.read_buf(&mut octets)).await.expect("more, or the end").unwrap();
            if n == 0 {
                break;
            }
            while let Some((length, rest)) = octets.split_first_chunk() {
                let length = usize::from(u16::from_be_bytes(*length));
                let Some(reply) = rest.get(..length) else { break };
                if got % 500 == 0 {
                    assert_eq!(Strict::read(reply).unwrap().answer.len(), records, "{way}");
                    // Nobody else waits for this reader.
                    let other = way.send(&Packet::new(WWW, rtype::A).octets()).await;
                    assert_eq!(Strict::read(&other).unwrap().answer.len(), 1, "{way}");
                }
                got += 1;
                octets.drain(..2 + length);
            }
        }
        writer.await.unwrap();
        assert_eq!(got, QUESTIONS, "{way}: replies are missing");
    }
}

/// A message of no octets is none.
async fn lengths_without_a_message_end_it(world: &World) {
    for way in ways(world) {
        let question = raw::framed(&Packet::new(WWW, rtype::A).octets());
        let octets = [&question[..], &[0, 0], &question].concat();
        let replies = raw::over_tcp(way.place.from, way.place.server, &octets).await;
        assert_eq!(replies.len(), 1, "{way}: {replies:02x?}");
    }
}

/// RFC 7766 section 6.2.3: a connection without a question, and one whose questions are answered.
async fn idle(way: &Way<'_>) {
    let before = way.counters().await;
    let mut silent = raw::connect(way.place.from, way.place.server).await;
    let mut asked = raw::connect(way.place.from, way.place.server).await;
    let packet = Packet::new(WWW, rtype::A);
    asked.write_all(&raw::framed(&packet.octets())).await.unwrap();
    assert!(raw::next_message(&mut asked).await.is_some(), "{way}");
    let started = std::time::Instant::now();
    for stream in [&mut silent, &mut asked] {
        assert!(raw::until_closed(stream).await.is_empty(), "{way}");
    }
    // RFC 7766 section 6.2.3: "on the order of a few seconds", and not at once.
    assert!(started.elapsed() > Duration::from_secs(1), "{way}: closed after {:?}", started.elapsed());
    eventually("both are counted as timed out", async || {
        let idle = connections("idle");
        let now = way.counters().await.of(&idle) - before.of(&idle);
        so(now == 2, now)
    })
    .await;
}

/// RFC 7828 section 3: over connections, who asks is told, in units of 100 ms.
async fn clients_are_told_how_long_they_may_be_idle(world: &World, units: u16) {
    for way in world.everywhere() {
        let asked = |data: &[u8]| Packet::new(WWW, rtype::A).option(option::KEEPALIVE, data);
        let reply = way.ask(&asked(&[]), decision(&way)).await;
        let told = way.tcp.then_some(units.to_be_bytes());
        assert_eq!(reply.option(option::KEEPALIVE), told.as_ref().map(|told| &told[..]), "{way}");
        let reply = way.ask(&Packet::new(WWW, rtype::A).edns(1_232), decision(&way)).await;
        assert_eq!(reply.option(option::KEEPALIVE), None, "{way}: nobody asked");
        // Section 3.2.1: a client's option is empty; over UDP it is passed over.
        let reply = way.ask(&asked(&[0, 1]), if way.tcp { "malformed" } else { decision(&way) }).await;
        assert_eq!(reply.rcode(), u16::from(way.tcp), "{way}");
    }
}

/// Whether a question on this connection is answered; false if it has been closed.
async fn serves(stream: &mut TcpStream) -> bool {
    let packet = raw::framed(&Packet::new(WWW, rtype::A).octets());
    stream.write_all(&packet).await.is_ok() && raw::next_message(stream).await.is_some()
}

async fn one_s_own_longest_idle_makes_room(way: &Way<'_>) {
    let before = way.counters().await;
    let mut open = vec![];
    for _ in 0..3 {
        let mut stream = raw::connect(way.place.from, way.place.server).await;
        assert!(serves(&mut stream).await, "{way}");
        open.push(stream);
    }
    // The first one asks again, so that the second has been idle for longest.
    assert!(serves(&mut open[0]).await, "{way}");
    let mut fourth = raw::connect(way.place.from, way.place.server).await;
    assert!(serves(&mut fourth).await, "{way}: there is room for the fourth");
    assert!(raw::until_closed(&mut open[1]).await.is_empty(), "{way}");
    assert!(serves(&mut open[0]).await && serves(&mut open[2]).await && serves(&mut fourth).await, "{way}");
    let evicted = connections("evicted");
    assert_eq!(way.counters().await.of(&evicted) - before.of(&evicted), 1, "{way}");
}

/// Eight connections of eight clients, and a ninth.
async fn the_longest_idle_of_all_makes_room(world: &World) {
    let way = world.way(Role::Referral, true);
    eventually("those of before are closed", async || {
        let open = way.counters().await.of("dglb_dns_connections_open{transport=\"tcp\"}");
        so(open == 0, open)
    })
    .await;
    let before = way.counters().await;
    let mut open = vec![];
    for client in 1..=8 {
        let mut stream = raw::connect(world.ground.ip(220 + client), way.place.server).await;
        assert!(serves(&mut stream).await, "{way}");
        open.push(stream);
    }
    assert!(serves(&mut open[0]).await, "{way}");
    let mut ninth = raw::connect(world.ground.ip(230), way.place.server).await;
    assert!(serves(&mut ninth).await, "{way}: there is room for the ninth");
    let mut second = open.remove(1);
    assert!(raw::until_closed(&mut second).await.is_empty(), "{way}");
    for stream in open.iter_mut().chain([&mut ninth]) {
        assert!(serves(stream).await, "{way}");
    }
    let evicted = connections("evicted");
    assert_eq!(way.counters().await.of(&evicted) - before.of(&evicted), 1, "{way}");
}

/// The dns-bs' checks of the DNS-LB want places, too, so others may have to go; but in the order of how long
/// they have been idle.
async fn the_longest_idle_of_all_makes_room_at_the_dns_lb(world: &World) {
    let way = world.way(Role::Lb, true);
    let evicted = connections("evicted");
    let before = way.counters().await.of(&evicted);
    let mut open = vec![];
    for client in 1..=9 {
        let mut stream = raw::connect(world.ground.ip(220 + client), way.place.server).await;
        assert!(serves(&mut stream).await, "{way}: there is room for everybody who comes");
        open.push(stream);
    }
    assert!(raw::until_closed(&mut open[0]).await.is_empty(), "{way}");
    assert!(way.counters().await.of(&evicted) > before, "{way}");
    let open_now = way.counters().await.of("dglb_dns_connections_open{transport=\"tcp\"}");
    assert!(open_now <= 8, "{way}: {open_now} are open");
    assert!(serves(&mut open[8]).await, "{way}: the youngest stays");
}

/// A client that asks all the time.
async fn a_life(way: &Way<'_>) {
    let expired = connections("expired");
    let before = way.counters().await.of(&expired);
    let (mut stream, begin) = (raw::connect(way.place.from, way.place.server).await, std::time::Instant::now());
    while serves(&mut stream).await {
        assert!(begin.elapsed() < LONG, "{way}: it lives on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begin.elapsed() >= Duration::from_secs(10), "{way}: closed after {:?}", begin.elapsed());
    eventually("it is counted", async || {
        let now = way.counters().await.of(&expired) - before;
        so(now == 1, now)
    })
    .await;
}
