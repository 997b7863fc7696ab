//! Limits on what one network is sent over UDP, where the sender's address may be forged.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_scenarios::{
    Ground,
    configs::WWW,
    packet::{Packet, option, rtype},
    raw,
    strict::Strict,
};
use tokio::{net::UdpSocket, time::timeout};

use super::world::{Role, Setup, Way, World, scenario};

/// Replies of one kind in a second: more than the dns-bs' checks of the DNS-LB need.
const RATE: usize = 25;
/// What is asked at once.
const BURST: usize = 200;
/// How long one that is not limited may take to be answered.
const PATIENCE: Duration = Duration::from_secs(20);
/// This ISP's resolver is on the allow-list.
const EXEMPT: u8 = 2;

#[test]
fn one_network_gets_so_many_replies_and_no_more() {
    scenario("conduct::rrl::one_network_gets_so_many_replies_and_no_more", async |ground| {
        let world = limited(ground, "slip = 2").await;
        for role in [Role::Referral, Role::Fallback, Role::Lb] {
            let way = world.way(role, false);
            let got = burst(&world, &way, &Packet::new(WWW, rtype::A)).await;
            // Every second of those that are too many is a short one, which TCP is tried for.
            got.assert_limited(&way, 2);
            got.limited.iter().for_each(|reply| {
                assert!(reply.is_truncated() && reply.rcode() == 0, "{way}: {reply:?}");
                assert!(reply.answer.is_empty() && reply.authority.is_empty() && reply.additional.is_empty());
            });
            networks_have_limits_of_their_own(&world, role).await;
            other_kinds_have_limits_of_their_own(&world, &way).await;
            who_cannot_be_forged_is_not_limited(&world, role).await;
            a_client_with_cookies_is_told_to_bring_one(&world, &way).await;
        }
    });
}

#[test]
fn slip_is_as_configured() {
    scenario("conduct::rrl::slip_is_as_configured", async |ground| {
        let world = limited(ground, "slip = 1").await;
        let way = world.way(Role::Referral, false);
        burst(&world, &way, &Packet::new(WWW, rtype::A)).await.assert_limited(&way, 1);
        burst(&world, &way, &Packet::new("elsewhere.test", rtype::A)).await.assert_limited(&way, 1);
    });
}

#[test]
fn nothing_slips_where_nothing_may() {
    scenario("conduct::rrl::nothing_slips_where_nothing_may", async |ground| {
        let world = limited(ground, "slip = 0").await;
        for role in [Role::Fallback, Role::Lb] {
            let way = world.way(role, false);
            burst(&world, &way, &Packet::new(WWW, rtype::A)).await.assert_limited(&way, 0);
        }
    });
}

async fn limited(ground: Ground, slip: &str) -> World {
    let exempt = ground.isp(EXEMPT);
    let table = format!("[dns.rate-limit]\nresponses-per-second = {RATE}\nexempt = ['{exempt}']\n{slip}\n");
    World::start(ground, Setup { dns: table.leak(), ..Setup::default() }).await
}

/// What became of many questions at once.
struct Burst {
    whole: usize,
    limited: Vec<Strict>,
    counted: u64,
    /// From before the first question was sent until the last reply had come.
    took: Duration,
    /// When the last questions were sent, the first of which may have found something saved up.
    spent: Instant,
}

impl Burst {
    /// As many as a second allows, and what was saved up; of the others every `slip`-th is sent short.
    fn assert_limited(&self, way: &Way<'_>, slip: usize) {
        let most = RATE + 1 + (self.took.as_secs_f64() * RATE as f64).ceil() as usize;
        assert!((1..=most).contains(&self.whole), "{way}: {} replies in {:?}", self.whole, self.took);
        let too_many = BURST - self.whole;
        assert_eq!(self.counted, too_many as u64, "{way}: counted as limited");
        let short = too_many.checked_div(slip).unwrap_or_default();
        assert!(self.limited.len().abs_diff(short) <= 1, "{way}: {} of {too_many} are short", self.limited.len());
    }
}

async fn burst(world: &World, way: &Way<'_>, packet: &Packet) -> Burst {
    let series = "dglb_dns_decisions_total{decision=\"rate-limited\"}";
    let before = way.counters().await;
    let socket = UdpSocket::bind((way.place.from, 0)).await.unwrap();
    socket.connect(way.place.server).await.unwrap();
    let started = Instant::now();
    let (mut whole, mut limited, mut spent) = (0, vec![], started);
    let mut octets = vec![0; 4_096];
    // One that is never limited comes behind all that its lane was asked before it.
    let behind = Packet::new(WWW, rtype::A).octets();
    let exempt = world.ground.isp(EXEMPT);
    // In parts that sockets can hold.
    for _ in 0..BURST / 20 {
        spent = Instant::now();
        for _ in 0..20 {
            socket.send(&packet.octets()).await.unwrap();
        }
        raw::over_udp_within(exempt, way.place.server, &behind, PATIENCE).await.expect("an answer to the exempt");
        // Of what was sent before that one's answer nothing is still to come, but for the moment it takes.
        while let Ok(length) = timeout(Duration::from_millis(10), socket.recv(&mut octets)).await {
            let reply = Strict::read(&octets[..length.unwrap()]).unwrap();
            if reply.is_truncated() || reply.rcode() == 23 { limited.push(reply) } else { whole += 1 }
        }
    }
    let took = started.elapsed();
    let counted = way.counters().await.of(series) - before.of(series);
    Burst { whole, limited, counted, took, spent }
}

/// A /24 is one client, whichever of its addresses ask; the next /24 is another one.
async fn networks_have_limits_of_their_own(world: &World, role: Role) {
    let [first, beside] = [1, 3].map(|isp| world.way(role, false).from(world.ground.isp(isp)));
    let IpAddr::V4(own) = world.ground.isp(1) else { panic!("the ground is IPv4's") };
    let [a, b, c, d] = own.octets();
    let other = world.way(role, false).from([a, b, c ^ 1, d].into());
    let packet = Packet::new("elsewhere.test", rtype::A);
    // What another address of the network has used up is gone.
    let spent = burst(world, &first, &packet).await;
    spent.assert_limited(&first, 2);
    let got = burst(world, &beside, &packet).await;
    let since = spent.spent.elapsed();
    let most = 2 + (since.as_secs_f64() * RATE as f64).ceil() as usize;
    assert!(got.whole <= most, "{beside}: {} replies {since:?} after all was spent", got.whole);
    let got = burst(world, &other, &packet).await;
    assert!(got.whole >= RATE, "{other}: {} replies", got.whole);
    got.assert_limited(&other, 2);
}

/// Right after the answers are used up, errors are not.
async fn other_kinds_have_limits_of_their_own(world: &World, way: &Way<'_>) {
    burst(world, way, &Packet::new(WWW, rtype::A)).await;
    let octets = Packet::new("elsewhere.test", rtype::A).octets();
    let reply = raw::over_udp_within(way.place.from, way.place.server, &octets, Duration::from_secs(5)).await;
    assert_eq!(Strict::read(&reply.expect("an error of its own kind")).unwrap().rcode(), 5, "{way}");
    burst(world, way, &Packet::new("elsewhere.test", rtype::A)).await.assert_limited(way, 2);
}

/// Over TCP, with a good cookie, or on the allow-list.
async fn who_cannot_be_forged_is_not_limited(world: &World, role: Role) {
    let way = world.way(role, false);
    burst(world, &way, &Packet::new(WWW, rtype::A)).await;
    let first = Packet::new(WWW, rtype::A).option(option::COOKIE, b"a client");
    let octets: Vec<u8> = (0..BURST).flat_map(|_| raw::framed(&first.octets())).collect();
    let replies = raw::over_tcp(way.place.from, way.place.server, &octets).await;
    assert_eq!(replies.len(), BURST, "{way}: over TCP");
    let replies: Vec<Strict> = replies.iter().map(|reply| Strict::read(reply).unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.answer.len() == 1 && !reply.is_truncated()), "{way}: over TCP");
    let cookie = replies[0].option(option::COOKIE).expect("a cookie");
    let got = burst(world, &way, &Packet::new(WWW, rtype::A).option(option::COOKIE, cookie)).await;
    assert_eq!((got.whole, got.counted), (BURST, 0), "{way}: with a good cookie");
    let way = way.from(world.ground.isp(EXEMPT));
    let got = burst(world, &way, &Packet::new(WWW, rtype::A)).await;
    assert_eq!((got.whole, got.counted), (BURST, 0), "{way}: on the allow-list");
}

/// RFC 7873 section 5.2.3: the short one of who knows cookies is BADCOOKIE, with a good one.
async fn a_client_with_cookies_is_told_to_bring_one(world: &World, way: &Way<'_>) {
    let got = burst(world, way, &Packet::new(WWW, rtype::A).option(option::COOKIE, b"a client")).await;
    got.assert_limited(way, 2);
    for reply in &got.limited {
        assert_eq!((reply.rcode(), reply.answer.len()), (23, 0), "{way}");
        assert_eq!(reply.option(option::COOKIE).map(<[u8]>::len), Some(24), "{way}");
    }
}
