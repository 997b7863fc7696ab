//! Cookies (RFC 7873) as RFC 9018 makes them, one secret for a fleet.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use dglb_scenarios::{
    configs::{WWW, ZONE},
    eventually,
    packet::{Packet, option, rtype},
    so,
    strict::Strict,
};

use super::world::{Role, Setup, Way, World, scenario};

const SECRET: &str = "5f1c0e4d9a3b7286c4d1e0f39b8a7265";
const NEXT: &str = "00112233445566778899aabbccddeeff";
const FILE: &str = "cookies.secrets";
const CLIENT: [u8; 8] = *b"a client";

/// Everybody has the same secret; `more` of `[dns.cookies]`.
async fn world(ground: dglb_scenarios::Ground, dns: &'static str) -> World {
    World::start(ground, Setup { dns, beside: vec![(FILE, format!("{SECRET}\n"))], ..Setup::default() }).await
}

#[test]
fn cookies_are_given_checked_and_shared() {
    scenario("conduct::cookies::cookies_are_given_checked_and_shared", async |ground| {
        let world = world(ground, "[dns.cookies]\nsecret-file = 'cookies.secrets'\n").await;
        a_client_without_one_is_answered_and_gets_one(&world).await;
        one_is_good_at_every_server_of_the_fleet(&world).await;
        one_is_good_for_its_address_and_its_time(&world).await;
        what_is_no_cookie_is_malformed(&world).await;
        whatever_the_answer_is_it_carries_one(&world).await;
        secrets_roll_over(&world).await;
    });
}

#[test]
fn where_they_are_required_clients_that_know_them_need_a_good_one() {
    let name = "conduct::cookies::where_they_are_required_clients_that_know_them_need_a_good_one";
    scenario(name, async |ground| {
        let world = world(ground, "[dns.cookies]\nsecret-file = 'cookies.secrets'\nrequire = true\n").await;
        for way in world.everywhere() {
            let first = packet(&CLIENT);
            let decision = if way.tcp { answered(&way) } else { "bad-cookie" };
            let reply = way.ask_with_cookie(&first, decision, "client-only").await;
            let given = cookie(&reply);
            // RFC 7873 section 5.2.3: over TCP its address is not forged.
            assert_eq!((reply.rcode(), reply.answer.len()), if way.tcp { (0, 1) } else { (23, 0) }, "{way}");
            let reply = way.ask_with_cookie(&packet(&given), answered(&way), "valid").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
            let mut forged = given.clone();
            forged[20] ^= 1;
            let reply = way.ask_with_cookie(&packet(&forged), decision, "invalid").await;
            assert_eq!(reply.rcode(), if way.tcp { 0 } else { 23 }, "{way}");
            assert!(is_ours(&way, &cookie(&reply)), "{way}");
            // Who does not know cookies is answered (section 5.2.1).
            let reply = way.ask(&Packet::new(WWW, rtype::A).edns(1_232), answered(&way)).await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
        }
    });
}

#[test]
fn they_can_be_switched_off() {
    scenario("conduct::cookies::they_can_be_switched_off", async |ground| {
        let world = World::start(ground, Setup { dns: "cookies.enabled = false\n", ..Setup::default() }).await;
        for way in world.everywhere() {
            let reply = way.ask(&packet(&CLIENT), answered(&way)).await;
            assert_eq!((reply.answer.len(), reply.option(option::COOKIE)), (1, None), "{way}");
        }
    });
}

fn packet(cookie: &[u8]) -> Packet {
    Packet::new(WWW, rtype::A).option(option::COOKIE, cookie)
}

fn answered(way: &Way<'_>) -> &'static str {
    if way.place.role == Role::Lb { "label" } else { "mapped" }
}

fn cookie(reply: &Strict) -> Vec<u8> {
    reply.option(option::COOKIE).unwrap_or_else(|| panic!("no cookie: {reply:?}")).to_vec()
}

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as u32
}

/// A cookie for `client`, made at `made` (RFC 9018 section 4).
fn made(secret: &str, own: [u8; 8], client: IpAddr, made: u32) -> Vec<u8> {
    let mut whole = [&own[..], &[1, 0, 0, 0], &made.to_be_bytes()].concat();
    let address = match client {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let hash = siphash(secret, &[&whole[..], &address].concat());
    whole.extend(hash.to_le_bytes());
    whole
}

/// SipHash-2-4 (Aumasson and Bernstein), written out again so that nothing is shared with what is
/// tested.
fn siphash(secret: &str, input: &[u8]) -> u64 {
    fn round(v: &mut [u64; 4]) {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
    let octets = |at: usize| u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).expect("hexadecimal digits");
    let half = |half: usize| u64::from_le_bytes(std::array::from_fn(|at| octets(8 * half + at)));
    let (k0, k1) = (half(0), half(1));
    let mut v = [
        0x736f_6d65_7073_6575 ^ k0,
        0x646f_7261_6e64_6f6d ^ k1,
        0x6c79_6765_6e65_7261 ^ k0,
        0x7465_6462_7974_6573 ^ k1,
    ];
    let mut padded = input.to_vec();
    padded.resize(input.len() / 8 * 8 + 7, 0);
    padded.push(input.len() as u8);
    for word in padded.chunks_exact(8) {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        v[3] ^= word;
        (0..2).for_each(|_| round(&mut v));
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// Made with the secret of all, for who asks there, just now.
fn is_ours(way: &Way<'_>, cookie: &[u8]) -> bool {
    let time = cookie.get(12..16).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_be_bytes);
    now().abs_diff(time) <= 5 && cookie == made(SECRET, CLIENT, way.place.from, time)
}

/// RFC 7873 section 5.2.3: at once.
async fn a_client_without_one_is_answered_and_gets_one(world: &World) {
    for way in world.everywhere() {
        let reply = way.ask_with_cookie(&packet(&CLIENT), answered(&way), "client-only").await;
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
        assert!(is_ours(&way, &cookie(&reply)), "{way}: {:02x?}", cookie(&reply));
        // Who sends none gets none.
        let reply = way.ask(&Packet::new(WWW, rtype::A).edns(1_232), answered(&way)).await;
        assert_eq!(reply.option(option::COOKIE), None, "{way}");
    }
}

async fn one_is_good_at_every_server_of_the_fleet(world: &World) {
    let giver = world.way(Role::Referral, false);
    let given = cookie(&giver.ask_with_cookie(&packet(&CLIENT), "mapped", "client-only").await);
    for way in world.everywhere() {
        let reply = way.ask_with_cookie(&packet(&given), answered(&way), "valid").await;
        assert_eq!((reply.answer.len(), cookie(&reply)), (1, given.clone()), "{way}: a young one comes back");
    }
}

/// RFC 9018 section 4.3: good for an hour, made anew after half of it, five minutes ahead at most.
async fn one_is_good_for_its_address_and_its_time(world: &World) {
    const MINUTE: u32 = 60;
    for way in world.everywhere() {
        let (from, now) = (way.place.from, now());
        for (time, worth, kept) in [
            (now, "valid", true),
            (now - 29 * MINUTE, "valid", true),
            (now - 31 * MINUTE, "valid", false),
            (now - 59 * MINUTE, "valid", false),
            (now - 61 * MINUTE, "invalid", false),
            (now.wrapping_sub(1 << 31), "invalid", false),
            (now + 4 * MINUTE, "valid", true),
            (now + 6 * MINUTE, "invalid", false),
        ] {
            let sent = made(SECRET, CLIENT, from, time);
            let reply = way.ask_with_cookie(&packet(&sent), answered(&way), worth).await;
            // Where nobody asks for more, a bad one is no reason not to answer (RFC 7873 section 5.2.4).
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
            let back = cookie(&reply);
            assert_eq!(back == sent, kept, "{way}: {time} at {now}");
            assert!(kept || is_ours(&way, &back), "{way}: {time} at {now}");
        }
        let others = [
            made(SECRET, CLIENT, world.ground.isp(2), now),
            made(NEXT, CLIENT, from, now),
            made(SECRET, *b"somebody", from, now)[8..].to_vec(),
            [&CLIENT[..], &[7; 8]].concat(),
            [&CLIENT[..], &[7; 32]].concat(),
        ];
        for sent in others {
            let sent = if sent.starts_with(&CLIENT) { sent } else { [&CLIENT[..], &sent].concat() };
            let reply = way.ask_with_cookie(&packet(&sent), answered(&way), "invalid").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
            assert!(is_ours(&way, &cookie(&reply)), "{way}");
        }
    }
}

/// RFC 7873 section 5.2.2.
async fn what_is_no_cookie_is_malformed(world: &World) {
    for way in world.everywhere() {
        for length in (0..8).chain(9..16).chain([41, 64]) {
            let reply = way.ask(&packet(&vec![7; length]), "malformed").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (1, 0), "{way}: {length} octets");
        }
    }
}

async fn whatever_the_answer_is_it_carries_one(world: &World) {
    for way in world.everywhere() {
        let role = way.place.role;
        let cases = [
            (Packet::new("elsewhere.test", rtype::A), "refused", true),
            (Packet::new(ZONE, rtype::SOA).class(4), "refused", true),
            (Packet::new(ZONE, 252), "refused", true),
            (Packet::new(&format!("c.b.{ZONE}"), rtype::A), "authority", role != Role::Lb),
            (Packet::new(&format!("www.lb1.{ZONE}"), rtype::A), "referral", role == Role::Referral),
            (Packet::new(&format!("big.{ZONE}"), rtype::TXT), "authority", role != Role::Lb),
        ];
        for (packet, decision, _) in cases.into_iter().filter(|(_, _, here)| *here) {
            let packet = packet.edns(512).option(option::COOKIE, &CLIENT);
            let reply = way.ask_with_cookie(&packet, decision, "client-only").await;
            assert!(is_ours(&way, &cookie(&reply)), "{way}: {decision}");
        }
    }
}

/// A new secret is given out first as the one to come, then as the one in use (RFC 9018 section 5).
async fn secrets_roll_over(world: &World) {
    let write = |text: &str| world.files.iter().for_each(|files| files.write(FILE, text));
    write(&format!("{NEXT}\n{SECRET}\n"));
    for way in world.everywhere() {
        let from = way.place.from;
        eventually("cookies are made with the new secret", async || {
            let reply = Strict::read(&way.send(&packet(&CLIENT).octets()).await)?;
            let given = cookie(&reply);
            let time = given[12..16].try_into().map_or(0, u32::from_be_bytes);
            so(given == made(NEXT, CLIENT, from, time), given)
        })
        .await;
        let old = made(SECRET, CLIENT, from, now());
        let reply = way.ask_with_cookie(&packet(&old), answered(&way), "valid").await;
        assert_eq!(cookie(&reply)[..12], made(NEXT, CLIENT, from, 0)[..12]);
        assert_ne!(cookie(&reply), old, "{way}: an old one is exchanged");
    }
    // What nobody can understand changes nothing.
    write("not a secret\n");
    for server in [&*world.servers[0], world.lb()] {
        eventually("the file is refused", async || {
            let refused = server.counter("dglb_dns_cookie_secret_changes_total{outcome=\"refused\"}").await;
            so(refused == 1, refused)
        })
        .await;
    }
    for way in world.everywhere() {
        let sent = made(NEXT, CLIENT, way.place.from, now());
        way.ask_with_cookie(&packet(&sent), answered(&way), "valid").await;
    }
}
