//! DNS over TLS, HTTPS and QUIC (RFC 7858, RFC 8484, RFC 9250): the same answers, padded for who
//! pads (RFC 8467), with certificates that may change.

use std::process::Command;

use dglb_lab::sandbox::skip;
use dglb_scenarios::{
    Ground,
    configs::{WWW, ZONE},
    eventually,
    packet::{Packet, option, rtype},
    so,
    strict::Strict,
};

use super::{
    clients::{Client, Over, pair},
    world::{Role, Setup, World, scenario},
};

/// RFC 8467 section 4.1.
const BLOCK: usize = 468;

/// A world with all transports, and a client that trusts it.
pub(super) async fn world(ground: Ground) -> (World, Client) {
    let [certificate, key] = pair();
    let client = Client::new(ground.isp(1), &certificate);
    let beside = vec![("dns-cert.pem", certificate), ("dns-key.pem", key)];
    (World::start(ground, Setup { encrypted: true, beside, ..Setup::default() }).await, client)
}

#[test]
fn the_encrypted_transports_answer_as_the_others_do() {
    scenario("conduct::encrypted::the_encrypted_transports_answer_as_the_others_do", async |ground| {
        let (world, client) = world(ground).await;
        replies_are_those_of_tcp(&world, &client).await;
        who_pads_is_padded(&world, &client).await;
        kdig_understands_them(&world);
        certificates_may_change(&world, &client).await;
    });
}

/// A packet as every transport takes it: QUIC wants the id to be 0 (RFC 9250 section 4.2.1).
fn octets(packet: &Packet) -> Vec<u8> {
    let mut octets = packet.octets();
    octets[..2].fill(0);
    octets
}

async fn replies_are_those_of_tcp(world: &World, client: &Client) {
    for role in [Role::Referral, Role::Fallback, Role::Lb] {
        let way = world.way(role, true);
        for packet in [
            Packet::new(WWW, rtype::A),
            Packet::new(WWW, rtype::AAAA).edns(512),
            Packet::new(&format!("huge.{ZONE}"), rtype::TXT),
            Packet::new(&format!("www.lb1.{ZONE}"), rtype::A).option(option::NSID, &[]),
            Packet::new("elsewhere.test", rtype::A).edns(1_232).flags(0x0110),
            Packet::new("id.server", rtype::TXT).class(3),
        ] {
            let octets = octets(&packet);
            let over_tcp = way.send(&octets).await;
            for over in Over::ALL {
                let series = |name: &str| format!("dglb_dns_{name}_total{{transport=\"{}\"", over.as_str());
                let (questions, accepted) = (series("questions") + "}", series("connections") + ",event=\"accepted\"}");
                let before = way.counters().await;
                let reply = client.ask(over, way.place.server.ip(), &octets).await;
                assert_eq!(reply.as_ref(), Some(&over_tcp), "{role:?} over {over:?}: {packet:?}");
                let now = way.counters().await;
                let grown = [&questions, &accepted].map(|series| now.of(series) - before.of(series));
                assert_eq!(grown, [1, 1], "{role:?} over {over:?}");
            }
        }
        // Connections that are kept open say for how long, but for HTTP's and QUIC's, which have
        // ways of their own.
        let keepalive = octets(&Packet::new(WWW, rtype::A).option(option::KEEPALIVE, &[]));
        let reply = client.ask(Over::Tls, way.place.server.ip(), &keepalive).await.expect("a reply");
        assert_eq!(Strict::read(&reply).unwrap().option(option::KEEPALIVE), Some(&[0, 100][..]), "{role:?}");
        let reply = client.ask(Over::Https, way.place.server.ip(), &keepalive).await.expect("a reply");
        assert_eq!(Strict::read(&reply).unwrap().option(option::KEEPALIVE), None, "{role:?}");
        // RFC 9250 section 5.5.2: a protocol error.
        assert_eq!(client.ask(Over::Quic, way.place.server.ip(), &keepalive).await, None, "{role:?}");
    }
}

async fn who_pads_is_padded(world: &World, client: &Client) {
    for role in [Role::Referral, Role::Fallback, Role::Lb] {
        let server = world.place(role).server.ip();
        for over in Over::ALL {
            for (name, kind) in [(WWW, rtype::A), (&format!("huge.{ZONE}"), rtype::TXT), ("elsewhere.test", rtype::A)] {
                let packet = Packet::new(name, kind).edns(1_232);
                let plain = client.ask(over, server, &octets(&packet)).await.expect("a reply");
                let plain = Strict::read(&plain).unwrap();
                assert_eq!(plain.option(option::PADDING), None, "{role:?} over {over:?}: {name}");
                let padded = octets(&packet.option(option::PADDING, &[0; 30]));
                let padded = Strict::read(&client.ask(over, server, &padded).await.expect("a reply")).unwrap();
                assert_eq!(padded.octets.len() % BLOCK, 0, "{role:?} over {over:?}: {name}");
                let padding = padded.option(option::PADDING).expect("it is padded");
                assert!(padding.iter().all(|octet| *octet == 0), "RFC 7830 section 3");
                assert_eq!(padded.answers(), plain.answers(), "{role:?} over {over:?}: {name}");
                let needed = (plain.octets.len() + 4).next_multiple_of(BLOCK);
                assert_eq!(padded.octets.len(), needed, "{role:?} over {over:?}: {name}");
            }
        }
        // In the clear there is nothing to hide (RFC 7830 section 6).
        for way in world.ways(role) {
            let packet = Packet::new(WWW, rtype::A).option(option::PADDING, &[0; 30]);
            let reply = Strict::read(&way.send(&packet.octets()).await).unwrap();
            assert_eq!(reply.option(option::PADDING), None, "{way}");
        }
    }
}

/// An implementation that is not ours.
fn kdig_understands_them(world: &World) {
    if Command::new("kdig").arg("-V").output().is_err() {
        return skip("kdig");
    }
    for role in [Role::Referral, Role::Fallback, Role::Lb] {
        let server = format!("@{}", world.place(role).server.ip());
        for over in ["+tls", "+https", "+quic"] {
            let arguments = [&server, over, "+norec", "+retry=0", WWW, "A"];
            let output = Command::new("kdig").args(arguments).output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(told.contains("status: NOERROR") && told.contains("ANSWER: 1;"), "{role:?} {over}: {told}");
            assert!(told.contains(";; TLS session") || told.contains(";; QUIC session"), "{role:?} {over}: {told}");
        }
    }
}

/// Without a restart; and who trusts the old one alone is not answered any more.
async fn certificates_may_change(world: &World, old: &Client) {
    let [certificate, key] = pair();
    for files in &world.files {
        files.write("dns-key.pem", &key);
        files.write("dns-cert.pem", &certificate);
    }
    let new = Client::new(world.ground.isp(1), &certificate);
    for role in [Role::Referral, Role::Fallback, Role::Lb] {
        let server = world.place(role).server.ip();
        for over in [Over::Tls, Over::Https] {
            eventually("the new certificate is shown", async || {
                so(new.connect(over, server).await.is_ok(), "the old one")
            })
            .await;
            assert!(old.connect(over, server).await.is_err(), "{role:?} over {over:?}");
        }
        assert!(!old.reaches_over_quic(server).await, "{role:?}");
        for over in Over::ALL {
            let reply = new.ask(over, server, &octets(&Packet::new(WWW, rtype::A))).await;
            assert_eq!(Strict::read(&reply.expect("a reply")).unwrap().answer.len(), 1, "{role:?} over {over:?}");
        }
    }
}
