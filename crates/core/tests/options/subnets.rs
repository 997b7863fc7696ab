//! Zones in which client subnets count for nobody (RFC 7871 section 7.2).

use dglb_core::{
    directory::{Directory, Settings},
    dns::Role,
};
use hickory_proto::rr::{
    RecordType,
    rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
};

use crate::world::{dns_b, ip, name, packet, send, text};

const WWW: &str = "www.glb.foobar.test.";

/// The answer for a client, with source and scope of the option that came back.
fn ask(directory: &Directory, owner: &str, client: &str, source: u8) -> (Vec<String>, Option<(u8, u8)>) {
    let option = EdnsOption::Subnet(ClientSubnet::new(ip(client), source, 0));
    let question = packet(owner, RecordType::A, 1232, &[option]);
    let (_, reply) = send(directory, Role::Referral, &question);
    let echoed = match reply.edns.unwrap().option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some((subnet.source_prefix(), subnet.scope_prefix())),
        _ => None,
    };
    (text(&reply.answers), echoed)
}

fn settings(directory: &Directory, off: &[&str]) -> Settings {
    let ecs_off_zones = off.iter().map(|zone| name(zone)).collect();
    Settings { ecs_off_zones, ..directory.settings().clone() }
}

fn cname(label: &str) -> Vec<String> {
    vec![format!("{WWW} 3600 CNAME www.{label}.glb.foobar.test.")]
}

#[test]
fn a_zone_can_be_taken_out_and_back_while_it_is_served() {
    let mut directory = dns_b();
    let published = directory.clone();
    for _ in 0..2 {
        // Trusted: the client decides, and is told for whom else it holds.
        assert_eq!(ask(&directory, WWW, "203.0.112.0", 24), (cname("tok1"), Some((24, 24))));
        directory.set_settings(settings(&directory, &["glb.foobar.test", "other.test"]));
        // Off: the resolver decides, and the option is left out, as for a resolver nobody trusts.
        assert_eq!(ask(&directory, WWW, "203.0.112.0", 24), (cname("sea1"), None));
        directory.set_settings(settings(&directory, &["other.test", "foobar.test"]));
    }
    // Readers of an older version never see the change.
    assert_eq!(ask(&published, WWW, "203.0.112.0", 24), (cname("tok1"), Some((24, 24))));
}

#[test]
fn it_holds_for_every_name_of_the_zone_and_for_zones_that_come_later() {
    let mut directory = dns_b();
    let owners =
        [WWW, "glb.foobar.test.", "api.glb.foobar.test.", "www.sea1.glb.foobar.test.", "no.b.glb.foobar.test."];
    for owner in owners {
        let (_, echoed) = ask(&directory, owner, "203.0.112.0", 24);
        assert!(echoed.is_some(), "{owner}");
    }
    directory.set_settings(settings(&directory, &["glb.foobar.test", "late.test"]));
    for owner in owners {
        assert_eq!(ask(&directory, owner, "203.0.112.0", 24).1, None, "{owner}");
    }
    let mut late = crate::world::catalogue();
    (late.zone, late.records) = (name("late.test"), vec![]);
    late.services.truncate(1);
    late.services[0].name = name("www.late.test");
    directory.set_zone(late).unwrap();
    assert_eq!(ask(&directory, "www.late.test.", "203.0.112.0", 24).1, None);
    // A newer catalogue changes nothing about it.
    directory.set_zone(crate::world::catalogue()).unwrap();
    assert_eq!(ask(&directory, WWW, "203.0.112.0", 24), (cname("sea1"), None));
}

/// RFC 7871 section 7.1.2: "do not use my address" is obeyed and confirmed, in every zone.
#[test]
fn source_prefix_zero_is_answered_by_the_resolvers_address() {
    let mut directory = dns_b();
    assert_eq!(ask(&directory, WWW, "0.0.0.0", 0), (cname("sea1"), Some((0, 0))));
    directory.set_settings(settings(&directory, &["glb.foobar.test"]));
    assert_eq!(ask(&directory, WWW, "0.0.0.0", 0), (cname("sea1"), Some((0, 0))));
    directory.set_settings(Settings::default());
    assert_eq!(ask(&directory, WWW, "0.0.0.0", 0), (cname("sea1"), Some((0, 0))));
}
