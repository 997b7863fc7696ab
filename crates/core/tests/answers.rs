//! Answers on the wire, read back by an independent implementation (hickory-proto).

use std::net::{IpAddr, SocketAddr};

use dglb_core::{
    catalogue::{AllDown, Mode, Policy, Probe, ProbeKind, Service, Site, StaticRecord, ZoneCatalogue, ZoneStyle},
    decided::Answered,
    directory::{Directory, FirstQuestion, LbIndex, LbState, Settings},
    dns::{Asked, Decision, Handled, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    ranked::Turn,
    report::{Figures, Health, RankedSite, Ranking},
    table::Member,
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name as HickoryName, RData, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};

const PEER: &str = "198.51.100.53:4242";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn fleet() -> Fleet {
    let server = |identity: &str, n: u8| FleetServer {
        identity: identity.parse().unwrap(),
        referral: vec![ip(&format!("192.0.2.{n}")), ip(&format!("2001:db8::{n}"))],
        fallback: vec![ip(&format!("192.0.2.{}", n + 1))],
    };
    Fleet::new(Fleet {
        serial: 17,
        operator_zone: name("ops.test"),
        hostmaster: name("hostmaster.ops.test"),
        servers: vec![server("b1", 10), server("b2", 20)],
        labels: vec![],
        ttl: FleetTtls::default(),
    })
    .unwrap()
}

fn site(n: u8) -> Site {
    Site {
        name: format!("site{n}"),
        addresses: vec![ip(&format!("203.0.113.{n}")), ip(&format!("2001:db8:5::{n}"))],
        cost: 0.0,
        ..Site::default()
    }
}

fn service(owner: &str) -> Service {
    Service {
        name: name(owner),
        host: name("www.foobar.test"),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 10_000,
            timeout_ms: 1000,
            fall: 2,
            rise: 2,
        }],
        https: None,
        probe_ceiling: None,
        least_ttl: None,
        sites: vec![site(1), site(2), site(3)],
    }
}

fn zone(style: ZoneStyle) -> ZoneCatalogue {
    let (apex, owner) = match style {
        ZoneStyle::SubZone => ("glb.foobar.test", "www.glb.foobar.test"),
        ZoneStyle::Host => ("www.foobar.test", "www.foobar.test"),
    };
    let text = |owner: String, length: usize| StaticRecord {
        name: name(&owner),
        rtype: 16,
        ttl: 120,
        rdata: std::iter::once(length as u8).chain(std::iter::repeat_n(b'x', length)).collect(),
    };
    ZoneCatalogue {
        zone: name(apex),
        generation: 1,
        soa_serial: 2026,
        style,
        cname_ttl: 3600,
        services: vec![service(owner)],
        records: vec![
            text(format!("a.b.{apex}"), 10),
            text(format!("big.{apex}"), 200),
            text(format!("big.{apex}"), 201),
            text(format!("big.{apex}"), 202),
        ],
    }
}

/// Sites best first; a leading `-` says that all its addresses are down.
fn ranking(order: &[&str]) -> Ranking {
    let sites = order.iter().enumerate().map(|(at, site_name)| {
        let (down, site_name) = site_name.strip_prefix('-').map_or((false, *site_name), |n| (true, n));
        let n: u8 = site_name["site".len()..].parse().unwrap();
        let health = if down { Health::Down } else { Health::Up };
        let figures = site(n).addresses.into_iter().map(|address| Figures { address, health, latency_us: Some(1) });
        RankedSite { site: site_name.to_owned(), score: Some(10.0 * at as f64), addresses: figures.collect(), share: 0 }
    });
    Ranking { service: name("www.glb.foobar.test"), catalogue: 1, sites: sites.collect(), unsettled: false }
}

/// A dns-b that knows two DNS-LBs, both ready.
fn dns_b(style: ZoneStyle) -> Directory {
    let mut directory = Directory::new(Settings::default());
    directory.set_fleet(fleet());
    directory.set_zone(zone(style)).unwrap();
    for (label, n, order) in [("sea1", 1, ["site2", "site1", "site3"]), ("tok1", 2, ["site3", "-site2", "site1"])] {
        let addresses = [ip(&format!("198.18.0.{n}")), ip(&format!("2001:db8:18::{n}"))];
        let index = directory.upsert_lb(&label.parse().unwrap(), &addresses);
        directory.update_lb(index, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
        let mut report = ranking(&order);
        if style == ZoneStyle::Host {
            report.service = name("www.foobar.test");
        }
        directory.set_ranking(index, &report).unwrap();
    }
    directory
}

fn index(directory: &Directory, label: &str) -> LbIndex {
    directory.lb_of(&label.parse().unwrap()).unwrap()
}

fn with_default(mut directory: Directory, label: &str) -> Directory {
    let lb = index(&directory, label);
    directory.set_default_group([Member { lb, preference: 0, weight: 1 }]);
    directory
}

/// The resolver that asks is mapped to this DNS-LB.
fn mapped(mut directory: Directory, label: &str) -> Directory {
    let mut registry = dglb_core::table::Registry::new();
    let claim = dglb_core::table::Claim {
        prefix: "198.51.100.0/24".parse().unwrap(),
        preference: 1,
        weight: 1,
        source: dglb_core::table::Source::Static,
    };
    registry.set(index(&directory, label), 1, None, [claim]).unwrap();
    directory.set_tables(registry.table().clone(), Default::default());
    directory
}

/// INFO-CODE of the extended error (RFC 8914).
fn extended_error(reply: &Message) -> Option<u16> {
    match reply.edns.as_ref()?.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(15, data) => data.first_chunk().map(|code| u16::from_be_bytes(*code)),
        other => panic!("{other:?}"),
    }
}

/// The DNS-LB `sea1` itself.
fn dns_lb() -> Directory {
    let mut directory = dns_b(ZoneStyle::SubZone);
    directory.set_own(index(&directory, "sea1"));
    directory
}

fn packet(owner: &str, rtype: RecordType, edns: Option<Edns>) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(HickoryName::from_ascii(owner).unwrap(), rtype));
    message.edns = edns;
    message.to_vec().unwrap()
}

fn send(directory: &Directory, role: Role, transport: Transport, packet: &[u8]) -> (Handled, Message) {
    let peer: SocketAddr = PEER.parse().unwrap();
    let mut reply = vec![0; 65_535];
    let handled = Responder::with_defaults(directory).respond(&Asked { packet, peer, transport, role }, &mut reply);
    let message = Message::from_vec(&reply[..handled.length]).unwrap();
    assert_eq!(message.metadata.id, 7);
    assert_eq!(u16::from(message.metadata.response_code), handled.rcode);
    assert_eq!(message.metadata.truncation, handled.truncated);
    assert!(message.metadata.recursion_desired && !message.metadata.recursion_available);
    (handled, message)
}

fn ask(directory: &Directory, role: Role, owner: &str, rtype: RecordType) -> (Handled, Message) {
    send(directory, role, Transport::Udp, &packet(owner, rtype, None))
}

/// `owner ttl type rdata` of every record, for comparing.
fn text(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    let line = |r: &hickory_proto::rr::Record| {
        assert_eq!(r.dns_class, DNSClass::IN);
        format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)
    };
    records.iter().map(line).collect()
}

#[test]
fn nothing_is_known_yet() {
    let mut directory = Directory::new(Settings::default());
    let ready = |d: &Directory, role| ask(d, role, "www.glb.foobar.test.", RecordType::A);
    for role in [Role::Referral, Role::Fallback, Role::DnsLb] {
        let (handled, reply) = ready(&directory, role);
        assert_eq!(handled.decision, Decision::NotReady);
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    }
    directory.set_fleet(fleet());
    assert_eq!(ready(&directory, Role::Referral).0.decision, Decision::NotReady);
    directory.set_zone(zone(ZoneStyle::SubZone)).unwrap();
    assert_eq!(ready(&directory, Role::DnsLb).0.decision, Decision::NotReady);
    // A dns-b that has never met a DNS-LB answers in the customer's order, and not for long.
    let (handled, reply) = ready(&directory, Role::Referral);
    assert_eq!(handled.decision, Decision::CustomerOrder);
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 30 A 203.0.113.1"]);
    let (handled, _) = ask(&directory, Role::Referral, "www.elsewhere.test.", RecordType::A);
    assert_eq!((handled.decision, handled.rcode), (Decision::Refused, 5));
}

#[test]
fn an_unready_dns_lb_says_so_with_an_extended_error() {
    let mut directory = dns_lb();
    let own = directory.own().unwrap().0;
    directory.remove_rankings(own);
    let question = packet("www.sea1.glb.foobar.test.", RecordType::A, Some(Edns::new()));
    let (handled, reply) = send(&directory, Role::DnsLb, Transport::Udp, &question);
    // A dns-b is asked, and if none answers, that is it.
    assert_eq!((handled.decision, handled.rcode), (Decision::Relay, 0));
    assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 30 A 203.0.113.1"]);
    assert_eq!(extended_error(&reply), Some(14));
    for (first_question, expected) in
        [(FirstQuestion::CustomerOrder, (Decision::CustomerOrder, 0)), (FirstQuestion::Fail, (Decision::Relay, 2))]
    {
        directory.set_settings(Settings { first_question, ..Settings::default() });
        let (handled, reply) = send(&directory, Role::DnsLb, Transport::Udp, &question);
        assert_eq!((handled.decision, handled.rcode), expected);
        assert_eq!((extended_error(&reply), reply.answers.is_empty()), (Some(14), expected.1 != 0));
    }
    // Its zone's own records need no measurement.
    let (handled, _) = ask(&directory, Role::DnsLb, "sea1.glb.foobar.test.", RecordType::SOA);
    assert_eq!((handled.decision, handled.rcode), (Decision::Authority, 0));
}

#[test]
fn an_unmapped_resolver_gets_the_default_group_for_a_minute() {
    let directory = with_default(dns_b(ZoneStyle::SubZone), "tok1");
    let (handled, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
    assert_eq!(handled.decision, Decision::DefaultGroup);
    assert!(reply.metadata.authoritative);
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 60 CNAME www.tok1.glb.foobar.test."]);
    assert!(reply.authorities.is_empty() && reply.additionals.is_empty());
    // Every type but the DNS-LB's own gets the CNAME.
    for rtype in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::CNAME, RecordType::HTTPS] {
        let (_, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", rtype);
        assert_eq!(reply.answers[0].record_type(), RecordType::CNAME, "{rtype}");
    }
}

#[test]
fn without_a_default_group_the_aggregate_answers() {
    let directory = dns_b(ZoneStyle::SubZone);
    let (handled, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
    assert_eq!(handled.decision, Decision::Aggregate);
    // Mean scores: site1 15, site2 5, site3 10.
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 30 A 203.0.113.2"]);
}

#[test]
fn a_default_dns_lb_is_only_handed_out_when_fit() {
    let mut directory = with_default(dns_b(ZoneStyle::SubZone), "tok1");
    let tok = index(&directory, "tok1");
    type Change = fn(&mut dglb_core::directory::Lb);
    let unfit: [Change; 4] = [
        |lb| lb.state = LbState::Suspect,
        |lb| lb.state = LbState::Gone,
        |lb| lb.drained = true,
        |lb| {
            lb.handed_out = false;
        },
    ];
    for change in unfit {
        let good = directory.find_lb(tok).unwrap().clone();
        directory.update_lb(tok, change);
        let (handled, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
        assert_eq!(handled.decision, Decision::Aggregate);
        assert!(reply.answers[0].ttl <= 30);
        directory.update_lb(tok, |lb| *lb = good);
    }
    directory.remove_ranking(tok, &name("www.glb.foobar.test"));
    let (handled, _) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
    assert_eq!(handled.decision, Decision::Aggregate);
}

#[test]
fn a_label_zone_is_referred_with_its_required_glue() {
    let directory = dns_b(ZoneStyle::SubZone);
    for owner in
        ["www.sea1.glb.foobar.test.", "sea1.glb.foobar.test.", "ns.sea1.glb.foobar.test.", "x.y.sea1.glb.foobar.test."]
    {
        let (handled, reply) = ask(&directory, Role::Referral, owner, RecordType::A);
        assert_eq!(handled.decision, Decision::Referral);
        assert!(!reply.metadata.authoritative && reply.answers.is_empty());
        assert_eq!(
            text(&reply.authorities),
            ["ns", "f1", "f2"].map(|n| format!("sea1.glb.foobar.test. 3600 NS {n}.sea1.glb.foobar.test."))
        );
        let glue = text(&reply.additionals);
        assert_eq!(glue[0], "ns.sea1.glb.foobar.test. 3600 A 198.18.0.1");
        assert_eq!(glue[1], "ns.sea1.glb.foobar.test. 3600 AAAA 2001:db8:18::1");
        assert_eq!(glue.len(), 4);
        assert!(glue[2].starts_with("f1.sea1.glb.foobar.test. 3600 A 192.0.2."));
    }
}

#[test]
fn ds_at_the_cut_is_the_parents_own_nodata() {
    let directory = dns_b(ZoneStyle::SubZone);
    // A fall-back address has both sides of the cut, so it is the parent's, too.
    for role in [Role::Referral, Role::Fallback] {
        for label in ["sea1", "nobody"] {
            let (_, reply) = ask(&directory, role, &format!("{label}.glb.foobar.test."), RecordType::DS);
            assert!(reply.metadata.authoritative && reply.answers.is_empty());
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert_eq!(reply.authorities[0].name.to_string(), "glb.foobar.test.", "{role:?}");
        }
    }
    // The DNS-LB has the child alone.
    let (_, reply) = ask(&dns_lb(), Role::DnsLb, "sea1.glb.foobar.test.", RecordType::DS);
    assert_eq!(reply.authorities[0].name.to_string(), "sea1.glb.foobar.test.");
}

#[test]
fn parent_dns_lb_and_fallback_agree_on_the_name_servers() {
    let (parent, lb) = (dns_b(ZoneStyle::SubZone), dns_lb());
    let (_, referral) = ask(&parent, Role::Referral, "sea1.glb.foobar.test.", RecordType::NS);
    let (_, fallback) = ask(&parent, Role::Fallback, "sea1.glb.foobar.test.", RecordType::NS);
    let (_, own) = ask(&lb, Role::DnsLb, "sea1.glb.foobar.test.", RecordType::NS);
    assert_eq!(text(&referral.authorities), text(&own.answers));
    assert_eq!(text(&fallback.answers), text(&own.answers));
    assert_eq!(text(&referral.additionals), text(&own.additionals));
    for server in ["ns", "f1", "f2"] {
        for rtype in [RecordType::A, RecordType::AAAA] {
            let owner = format!("{server}.sea1.glb.foobar.test.");
            let (_, fallback) = ask(&parent, Role::Fallback, &owner, rtype);
            let (_, own) = ask(&lb, Role::DnsLb, &owner, rtype);
            assert_eq!(text(&fallback.answers), text(&own.answers), "{owner} {rtype}");
            let glue: Vec<_> = referral
                .additionals
                .iter()
                .filter(|r| r.name.to_string() == owner && r.record_type() == rtype)
                .cloned()
                .collect();
            assert_eq!(text(&glue), text(&own.answers), "{owner} {rtype}");
            // The fall-backs have no IPv6: NODATA, never NXDOMAIN.
            assert_eq!(own.metadata.response_code, ResponseCode::NoError);
            assert_eq!(own.answers.is_empty(), server != "ns" && rtype == RecordType::AAAA);
            assert_eq!(own.authorities.len(), usize::from(own.answers.is_empty()));
        }
    }
    let (_, a) = ask(&parent, Role::Fallback, "sea1.glb.foobar.test.", RecordType::SOA);
    let (_, b) = ask(&lb, Role::DnsLb, "sea1.glb.foobar.test.", RecordType::SOA);
    assert_eq!(text(&a.answers), text(&b.answers));
    assert!(text(&a.answers)[0].contains(" 17 "), "the label zone's serial is the fleet's");
}

#[test]
fn a_label_zone_answers_by_that_dns_lbs_ranking() {
    for (directory, role) in [(dns_b(ZoneStyle::SubZone), Role::Fallback), (dns_lb(), Role::DnsLb)] {
        let (handled, reply) = ask(&directory, role, "www.sea1.glb.foobar.test.", RecordType::A);
        assert_eq!(handled.decision, Decision::Label);
        assert!(reply.metadata.authoritative);
        assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 300 A 203.0.113.2"]);
        let (_, reply) = ask(&directory, role, "www.sea1.glb.foobar.test.", RecordType::AAAA);
        assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 300 AAAA 2001:db8:5::2"]);
        let (_, reply) = ask(&directory, role, "www.sea1.glb.foobar.test.", RecordType::MX);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
        assert_eq!(reply.authorities[0].ttl, 30);
        let (handled, _) = ask(&directory, role, "nosuch.sea1.glb.foobar.test.", RecordType::A);
        assert_eq!(handled.rcode, 3);
        // An empty non-terminal.
        let (handled, _) = ask(&directory, role, "sea1.glb.foobar.test.", RecordType::A);
        assert_eq!(handled.rcode, 0);
    }
    // Somebody else's label zone is no business of this DNS-LB, nor is the parent zone.
    let lb = dns_lb();
    for owner in ["www.tok1.glb.foobar.test.", "glb.foobar.test.", "x_y.glb.foobar.test.", "a.b.glb.foobar.test."] {
        assert_eq!(ask(&lb, Role::DnsLb, owner, RecordType::A).0.decision, Decision::Refused, "{owner}");
    }
    // But a service that its ISP forwards to it is.
    let (_, reply) = ask(&lb, Role::DnsLb, "www.glb.foobar.test.", RecordType::A);
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 300 A 203.0.113.2"]);
}

#[test]
fn a_site_is_one_for_both_families() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let sea = index(&directory, "sea1");
    let mut report = ranking(&["site2", "site1", "site3"]);
    report.sites[0].addresses[1].health = Health::Down;
    directory.set_ranking(sea, &report).unwrap();
    let ask = |rtype| ask(&directory, Role::Fallback, "www.sea1.glb.foobar.test.", rtype).1;
    assert_eq!(text(&ask(RecordType::A).answers), ["www.sea1.glb.foobar.test. 300 A 203.0.113.2"]);
    // Its IPv6 is down and its IPv4 up: NODATA, soon asked again.
    let aaaa = ask(RecordType::AAAA);
    assert!(aaaa.answers.is_empty() && aaaa.authorities[0].ttl <= 30);
}

#[test]
fn all_down_answers_with_the_last_good_order() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let sea = index(&directory, "sea1");
    directory.set_ranking(sea, &ranking(&["-site3", "-site1", "-site2"])).unwrap();
    let question = packet("www.sea1.glb.foobar.test.", RecordType::A, Some(Edns::new()));
    let (_, reply) = send(&directory, Role::Fallback, Transport::Udp, &question);
    assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 300 A 203.0.113.3"]);
    assert!(reply.edns.unwrap().option(EdnsCode::Unknown(15)).is_some());
}

#[test]
fn all_down_answers_as_the_policy_says() {
    for (all_down, rcode, answers) in
        [(AllDown::CustomerOrder, 0, &["www.sea1.glb.foobar.test. 300 A 203.0.113.1"][..]), (AllDown::Fail, 2, &[])]
    {
        let mut catalogue = zone(ZoneStyle::SubZone);
        catalogue.services[0].policy.all_down = all_down;
        let service = catalogue.services[0].clone();
        let mut directory = dns_b(ZoneStyle::SubZone);
        directory.set_zone(catalogue).unwrap();
        let sea = index(&directory, "sea1");
        let down = ranking(&["-site3", "-site1", "-site2"]);
        directory.set_ranking(sea, &down).unwrap();
        let put_down = Answered::of(&service, &down, Turn::default()).ipv4;
        assert_eq!(put_down.len(), answers.len(), "what is put down is what is answered");
        let question = packet("www.sea1.glb.foobar.test.", RecordType::A, Some(Edns::new()));
        let (handled, reply) = send(&directory, Role::Fallback, Transport::Udp, &question);
        assert_eq!((handled.rcode, text(&reply.answers)), (rcode, answers.iter().map(|a| (*a).to_owned()).collect()));
        assert!(reply.edns.unwrap().option(EdnsCode::Unknown(15)).is_some(), "{all_down:?}");
        // While one is up, that is answered whatever the policy says of the rest.
        directory.set_ranking(sea, &ranking(&["-site3", "site2", "-site1"])).unwrap();
        let (handled, reply) = send(&directory, Role::Fallback, Transport::Udp, &question);
        assert_eq!((handled.rcode, &*text(&reply.answers)[0]), (0, "www.sea1.glb.foobar.test. 300 A 203.0.113.2"));
    }
}

#[test]
fn several_answers_stay_within_the_margin() {
    let mut catalogue = zone(ZoneStyle::SubZone);
    catalogue.services[0].answers = 3;
    let mut directory = dns_b(ZoneStyle::SubZone);
    directory.set_zone(catalogue).unwrap();
    // Scores 0, 10, 20: the margin of 10 admits two.
    let (_, reply) = ask(&directory, Role::Fallback, "www.sea1.glb.foobar.test.", RecordType::A);
    let owner = "www.sea1.glb.foobar.test. 300 A";
    assert_eq!(text(&reply.answers), [format!("{owner} 203.0.113.2"), format!("{owner} 203.0.113.1")]);
}

#[test]
fn a_valid_label_is_never_denied() {
    let directory = dns_b(ZoneStyle::SubZone);
    for role in [Role::Referral, Role::Fallback] {
        let (handled, reply) = ask(&directory, role, "www.nobody.glb.foobar.test.", RecordType::A);
        assert_eq!(handled.decision, Decision::Aggregate);
        assert_eq!(text(&reply.answers), ["www.nobody.glb.foobar.test. 30 A 203.0.113.2"]);
        for (owner, rtype) in
            [("nobody.glb.foobar.test.", RecordType::A), ("ns.nobody.glb.foobar.test.", RecordType::AAAA)]
        {
            let (handled, _) = ask(&directory, role, owner, rtype);
            assert_eq!(handled.rcode, 0, "{owner}");
        }
        let (_, reply) = ask(&directory, role, "nobody.glb.foobar.test.", RecordType::NS);
        assert_eq!(reply.answers.len(), 2, "its fall-backs");
        for owner in
            ["no_label.glb.foobar.test.", "ns.glb.foobar.test.", "x.www.glb.foobar.test.", "x.b1.glb.foobar.test."]
        {
            let (handled, reply) = ask(&directory, role, owner, RecordType::A);
            assert_eq!(handled.rcode, 3, "{owner}");
            assert_eq!(reply.authorities[0].name.to_string(), "glb.foobar.test.");
        }
    }
    nothing_of_a_label_that_nobody_knows_lives_long();
    // One whose lease is over is referred to as before, for its name may be in caches; when its
    // addresses are forgotten it is a label that nobody knows.
    let mut directory = directory;
    let sea = index(&directory, "sea1");
    directory.update_lb(sea, |lb| lb.state = LbState::Gone);
    let ask = |directory: &Directory| ask(directory, Role::Referral, "www.sea1.glb.foobar.test.", RecordType::A).0;
    assert_eq!(ask(&directory).decision, Decision::Referral);
    directory.remove_rankings(sea);
    directory.update_lb(sea, |lb| lb.addresses.clear());
    assert_eq!((ask(&directory).decision, ask(&directory).rcode), (Decision::Aggregate, 0));
}

/// A dns-b that has just started does not know it yet. With the NS set in a cache resolvers would pass
/// the DNS-LB by for as long as that lives.
fn nothing_of_a_label_that_nobody_knows_lives_long() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let ttl = FleetTtls { negative: 600, ..FleetTtls::default() };
    directory.set_fleet(Fleet::new(Fleet { ttl, ..fleet() }).unwrap());
    for role in [Role::Referral, Role::Fallback] {
        for (label, known) in [("nobody", false), ("sea1", true)] {
            for owner in
                ["", "ns.", "f1.", "f2.", "www.", "nothing."].map(|inner| format!("{inner}{label}.glb.foobar.test."))
            {
                for rtype in [RecordType::A, RecordType::AAAA, RecordType::NS, RecordType::SOA, RecordType::MX] {
                    let (_, reply) = ask(&directory, role, &owner, rtype);
                    let sections = [&reply.answers, &reply.authorities, &reply.additionals];
                    let longest = sections.into_iter().flatten().map(|record| record.ttl).max().expect("a record");
                    assert!(known || longest <= 30, "{role:?}: {owner} {rtype} for {longest} s");
                    let is_server = owner.starts_with(&format!("{label}.")) && rtype == RecordType::NS;
                    assert!(!known || !is_server || longest == 3_600, "{role:?}: {owner} for {longest} s");
                }
            }
        }
    }
}

#[test]
fn who_has_ipv4_alone_is_sent_where_ipv4_is_up() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let sea = index(&directory, "sea1");
    let mut report = ranking(&["site2", "site1", "site3"]);
    report.sites[0].addresses[0].health = Health::Down;
    directory.set_ranking(sea, &report).unwrap();
    let ask = |rtype| ask(&directory, Role::Fallback, "www.sea1.glb.foobar.test.", rtype).1;
    assert_eq!(text(&ask(RecordType::A).answers), ["www.sea1.glb.foobar.test. 300 A 203.0.113.1"]);
    assert_eq!(text(&ask(RecordType::AAAA).answers), ["www.sea1.glb.foobar.test. 300 AAAA 2001:db8:5::2"]);
}

#[test]
fn any_gets_one_of_the_rrsets_that_are_there() {
    let directory = dns_b(ZoneStyle::SubZone);
    for (owner, rtype) in [
        ("glb.foobar.test.", RecordType::SOA),
        ("sea1.glb.foobar.test.", RecordType::SOA),
        ("b1.glb.foobar.test.", RecordType::A),
        ("ns.sea1.glb.foobar.test.", RecordType::A),
        ("a.b.glb.foobar.test.", RecordType::TXT),
        ("www.sea1.glb.foobar.test.", RecordType::A),
        ("www.glb.foobar.test.", RecordType::A),
    ] {
        let (_, reply) = ask(&directory, Role::Fallback, owner, RecordType::ANY);
        assert_eq!(reply.answers.iter().map(|r| r.record_type()).collect::<Vec<_>>(), [rtype], "{owner}");
    }
}

#[test]
fn a_neighbours_ranking_stands_in_and_is_called_stale() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let (sea, tok) = (index(&directory, "sea1"), index(&directory, "tok1"));
    directory.update_lb(sea, |lb| lb.borrows = Some(tok));
    let question = packet("www.sea1.glb.foobar.test.", RecordType::A, Some(Edns::new()));
    let ask = |directory: &Directory| send(directory, Role::Fallback, Transport::Udp, &question).1;
    let reply = ask(&directory);
    assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 30 A 203.0.113.3"]);
    assert_eq!(extended_error(&reply), Some(3));
    // A neighbour that does not rank this service lends nothing.
    directory.remove_rankings(tok);
    let reply = ask(&directory);
    assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 30 A 203.0.113.2"]);
    assert_eq!(extended_error(&reply), Some(3));
}

/// The same where a dns-b answers with sites itself: in direct mode, and for one that is joining.
#[test]
fn a_stale_ranking_is_called_so_at_the_services_own_name() {
    let mut directory = mapped(dns_b(ZoneStyle::SubZone), "sea1");
    let (sea, tok) = (index(&directory, "sea1"), index(&directory, "tok1"));
    let question = packet("www.glb.foobar.test.", RecordType::A, Some(Edns::new()));
    let ask = |directory: &Directory| {
        let (handled, reply) = send(directory, Role::Referral, Transport::Udp, &question);
        (handled.decision, text(&reply.answers), extended_error(&reply))
    };
    let answer = |ttl: u32, n: u8| vec![format!("www.glb.foobar.test. {ttl} A 203.0.113.{n}")];
    directory.update_lb(sea, |lb| lb.handed_out = false);
    assert_eq!(ask(&directory), (Decision::Direct, answer(30, 2), None), "joining");
    directory.update_lb(sea, |lb| lb.borrows = Some(tok));
    assert_eq!(ask(&directory), (Decision::Direct, answer(30, 3), Some(3)), "joining, and its neighbour speaks for it");

    let mut catalogue = zone(ZoneStyle::SubZone);
    (catalogue.services[0].mode, catalogue.generation) = (Mode::Direct, 2);
    directory.set_zone(catalogue).unwrap();
    directory.update_lb(sea, |lb| (lb.handed_out, lb.borrows) = (true, None));
    assert_eq!(ask(&directory), (Decision::Direct, answer(300, 2), None));
    directory.update_lb(sea, |lb| lb.borrows = Some(tok));
    assert_eq!(ask(&directory), (Decision::Direct, answer(30, 3), Some(3)), "the neighbour's");
    // Where there is no neighbour it stands for itself.
    directory.update_lb(sea, |lb| lb.borrows = Some(sea));
    assert_eq!(ask(&directory), (Decision::Direct, answer(30, 2), Some(3)), "its own");
    // That everything is down is worse.
    directory.set_ranking(sea, &ranking(&["-site1", "-site2", "-site3"])).unwrap();
    assert_eq!(ask(&directory).2, Some(0));
    directory.update_lb(sea, |lb| (lb.state, lb.borrows) = (LbState::Suspect, Some(tok)));
    assert_eq!(ask(&directory), (Decision::Suspect, answer(30, 3), Some(3)));
}

/// Names in zones that are served, but whose catalogues have not come, are not refused: that would say
/// that the delegation is lame.
#[test]
fn what_is_to_come_is_not_ready() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let ask = |directory: &Directory, owner: &str| {
        let question = packet(owner, RecordType::A, Some(Edns::new()));
        let (handled, reply) = send(directory, Role::Referral, Transport::Udp, &question);
        (handled.decision, handled.rcode, extended_error(&reply))
    };
    const NOT_READY: (Decision, u16, Option<u16>) = (Decision::NotReady, 2, Some(14));
    const REFUSED: (Decision, u16, Option<u16>) = (Decision::Refused, 5, Some(20));
    assert_eq!(ask(&directory, "www.other.test."), REFUSED);
    directory.set_awaited([name("glb.foobar.test"), name("other.test"), name("glb.third.test")]);
    for owner in ["other.test.", "www.other.test.", "a.b.OTHER.test.", "glb.third.test.", "www.glb.third.test."] {
        assert_eq!(ask(&directory, owner), NOT_READY, "{owner}");
    }
    for owner in [".", "test.", "third.test.", "www.third.test.", "another.test.", "www.elsewhere.test."] {
        assert_eq!(ask(&directory, owner), REFUSED, "{owner}");
    }
    assert_eq!(ask(&directory, "b1.glb.foobar.test.").0, Decision::Authority, "what is there is answered");
    directory
        .set_zone(ZoneCatalogue {
            zone: name("other.test"),
            services: vec![service("www.other.test")],
            records: vec![],
            ..zone(ZoneStyle::SubZone)
        })
        .unwrap();
    assert_eq!(ask(&directory, "www.other.test.").1, 0);
    // A server that knows which zones are its own refuses all else from the beginning.
    let mut empty = Directory::new(Settings::default());
    empty.set_fleet(fleet());
    empty.set_awaited([name("other.test")]);
    assert_eq!((ask(&empty, "www.other.test."), ask(&empty, "elsewhere.test.")), (NOT_READY, REFUSED));
    // One that has not heard which they are refuses nothing.
    directory.set_awaiting_any(true);
    assert_eq!(ask(&directory, "elsewhere.test."), NOT_READY);
    directory.set_awaiting_any(false);
    assert_eq!(ask(&directory, "elsewhere.test."), REFUSED);
    empty.set_awaiting_any(false);
    assert_eq!(ask(&empty, "elsewhere.test."), NOT_READY);
}

#[test]
fn what_is_too_old_does_not_count_in_the_aggregate() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let first =
        |directory: &Directory| text(&ask(directory, Role::Referral, "www.glb.foobar.test.", RecordType::A).1.answers);
    let sea = index(&directory, "sea1");
    directory.set_counted(sea, false);
    assert_eq!(first(&directory), ["www.glb.foobar.test. 30 A 203.0.113.3"], "tok1 alone");
    directory.set_ranking(sea, &ranking(&["site1"])).unwrap();
    assert_eq!(first(&directory), ["www.glb.foobar.test. 30 A 203.0.113.3"]);
    directory.set_counted(sea, true);
    assert_eq!(first(&directory), ["www.glb.foobar.test. 30 A 203.0.113.3"], "site1 is at 10 on average");
    directory.remove_ranking(index(&directory, "tok1"), &name("www.glb.foobar.test"));
    assert_eq!(first(&directory), ["www.glb.foobar.test. 30 A 203.0.113.1"]);
}

#[test]
fn services_come_and_go_without_a_trace() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    for generation in 2..50 {
        let mut catalogue = zone(ZoneStyle::SubZone);
        catalogue.generation = generation;
        catalogue.services.push(service(&format!("s{generation}.glb.foobar.test")));
        directory.set_zone(catalogue).unwrap();
        let mut report = ranking(&["site1"]);
        report.service = name(&format!("s{generation}.glb.foobar.test"));
        directory.set_ranking(index(&directory, "sea1"), &report).unwrap();
        let owner = format!("s{generation}.glb.foobar.test.");
        let (_, reply) = ask(&directory, Role::Referral, &owner, RecordType::A);
        assert_eq!(text(&reply.answers), [format!("{owner} 30 A 203.0.113.1")], "nobody else's numbers");
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    }
    let (_, reply) = ask(&directory, Role::Fallback, "www.sea1.glb.foobar.test.", RecordType::A);
    assert_eq!(text(&reply.answers), ["www.sea1.glb.foobar.test. 300 A 203.0.113.2"]);
}

#[test]
fn names_that_are_ours_are_nobody_elses() {
    let mut catalogue = zone(ZoneStyle::SubZone);
    for owner in ["ns.glb.foobar.test", "f1.glb.foobar.test", "x._dglb.glb.foobar.test"] {
        catalogue.services.push(service(owner));
    }
    let text = |owner: &str, rtype| StaticRecord { name: name(owner), rtype, ttl: 60, rdata: vec![1, b'x'] };
    catalogue.records = vec![
        text("*.glb.foobar.test", 16),
        text("x.glb.foobar.test", 41),
        text("x.glb.foobar.test", 255),
        text("glb.foobar.test", 48),
        text("y.glb.foobar.test", 16),
        text("y.glb.foobar.test", 16),
    ];
    assert_eq!(catalogue.check().len(), 8, "{:?}", catalogue.check());
    // A record at a dns-b's own name is not seen.
    let mut catalogue = zone(ZoneStyle::SubZone);
    catalogue.records = vec![text("_443._tcp.b1.glb.foobar.test", 16)];
    let mut directory = dns_b(ZoneStyle::SubZone);
    directory.set_zone(catalogue).unwrap();
    let (_, reply) = ask(&directory, Role::Referral, "b1.glb.foobar.test.", RecordType::A);
    assert_eq!(reply.answers.len(), 1);
}

#[test]
fn a_store_that_is_filling_promises_nothing_for_long() {
    let mut directory = mapped(with_default(dns_b(ZoneStyle::SubZone), "tok1"), "sea1");
    for (filling, ttl) in [(true, 60), (false, 3600)] {
        directory.set_filling(filling);
        let (handled, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
        assert_eq!(handled.decision, Decision::Mapped);
        assert_eq!(text(&reply.answers), [format!("www.glb.foobar.test. {ttl} CNAME www.sea1.glb.foobar.test.")]);
    }
}

#[test]
fn the_apex_is_the_same_everywhere() {
    let directory = dns_b(ZoneStyle::SubZone);
    let (_, reply) = ask(&directory, Role::Referral, "glb.foobar.test.", RecordType::NS);
    assert_eq!(text(&reply.answers), ["b1", "b2"].map(|b| format!("glb.foobar.test. 86400 NS {b}.glb.foobar.test.")));
    assert_eq!(reply.additionals.len(), 4);
    let (_, reply) = ask(&directory, Role::Referral, "b1.glb.foobar.test.", RecordType::AAAA);
    assert_eq!(text(&reply.answers), ["b1.glb.foobar.test. 86400 AAAA 2001:db8::10"]);
    let (_, reply) = ask(&directory, Role::Referral, "glb.foobar.test.", RecordType::SOA);
    assert_eq!(
        text(&reply.answers),
        ["glb.foobar.test. 30 SOA b1.glb.foobar.test. hostmaster.ops.test. 2026 3600 600 604800 30"]
    );
    let (handled, reply) = ask(&directory, Role::Referral, "glb.foobar.test.", RecordType::A);
    assert_eq!((handled.rcode, reply.authorities.len()), (0, 1));
}

#[test]
fn host_style_puts_the_service_at_the_apex() {
    let directory = with_default(dns_b(ZoneStyle::Host), "sea1");
    let (_, reply) = ask(&directory, Role::Referral, "www.foobar.test.", RecordType::AAAA);
    assert_eq!(text(&reply.answers), ["www.foobar.test. 60 CNAME sea1.www.foobar.test."]);
    for rtype in [RecordType::SOA, RecordType::NS] {
        let (_, reply) = ask(&directory, Role::Referral, "www.foobar.test.", rtype);
        assert_eq!(reply.answers[0].record_type(), rtype);
    }
    for rtype in [RecordType::DS, RecordType::DNSKEY, RecordType::CDS, RecordType::CDNSKEY, RecordType::NSEC] {
        let (handled, reply) = ask(&directory, Role::Referral, "www.foobar.test.", rtype);
        assert_eq!((handled.rcode, reply.answers.len(), reply.authorities.len()), (0, 0, 1), "{rtype}");
    }
    let (_, reply) = ask(&directory, Role::Fallback, "sea1.www.foobar.test.", RecordType::A);
    assert_eq!(text(&reply.answers), ["sea1.www.foobar.test. 300 A 203.0.113.2"]);
    let (_, reply) = ask(&directory, Role::Fallback, "sea1.www.foobar.test.", RecordType::NS);
    assert_eq!(reply.answers.len(), 3);
}

#[test]
fn direct_mode_answers_with_addresses() {
    let mut catalogue = zone(ZoneStyle::SubZone);
    catalogue.services[0].mode = Mode::Direct;
    let mut directory = with_default(dns_b(ZoneStyle::SubZone), "tok1");
    directory.set_zone(catalogue).unwrap();
    let (_, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 60 A 203.0.113.3"]);
}

#[test]
fn static_records_and_the_names_above_them() {
    let directory = dns_b(ZoneStyle::SubZone);
    let (_, reply) = ask(&directory, Role::Referral, "a.b.glb.foobar.test.", RecordType::TXT);
    assert_eq!(text(&reply.answers), ["a.b.glb.foobar.test. 120 TXT xxxxxxxxxx"]);
    for (owner, rtype) in [("a.b.glb.foobar.test.", RecordType::A), ("b.glb.foobar.test.", RecordType::TXT)] {
        let (handled, reply) = ask(&directory, Role::Referral, owner, rtype);
        assert_eq!((handled.rcode, reply.answers.len(), reply.authorities.len()), (0, 0, 1), "{owner}");
    }
    assert_eq!(ask(&directory, Role::Referral, "c.b.glb.foobar.test.", RecordType::A).0.rcode, 3);
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let directory = dns_b(ZoneStyle::SubZone);
    let ask = |edns: Option<Edns>, transport| {
        send(&directory, Role::Referral, transport, &packet("big.glb.foobar.test.", RecordType::TXT, edns)).1
    };
    let sized = |payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        Some(edns)
    };
    let reply = ask(None, Transport::Udp);
    assert!(reply.metadata.truncation && reply.answers.is_empty() && reply.edns.is_none());
    let reply = ask(sized(600), Transport::Udp);
    assert!(reply.metadata.truncation && reply.answers.is_empty() && reply.edns.is_some());
    for whole in [ask(sized(1232), Transport::Udp), ask(sized(65_000), Transport::Udp), ask(None, Transport::Tcp)] {
        assert!(!whole.metadata.truncation);
        assert_eq!(whole.answers.len(), 3);
    }
}

#[test]
fn the_question_comes_back_as_it_was_asked() {
    let directory = dns_b(ZoneStyle::SubZone);
    let mut question = packet("www.sea1.glb.foobar.test.", RecordType::A, None);
    for (at, octet) in question[12..].iter_mut().enumerate() {
        if at % 2 == 0 {
            octet.make_ascii_uppercase();
        }
    }
    let peer = PEER.parse().unwrap();
    let mut reply = vec![0; 1232];
    let asked = Asked { packet: &question, peer, transport: Transport::Udp, role: Role::Fallback };
    let handled = Responder::with_defaults(&directory).respond(&asked, &mut reply);
    assert_eq!(handled.decision, Decision::Label);
    assert_eq!(reply[12..question.len()], question[12..]);
}

#[test]
fn client_subnets_are_echoed_where_they_are_trusted() {
    let ecs = |source: u8| {
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(ip("192.0.2.0"), source, 0)));
        packet("www.glb.foobar.test.", RecordType::A, Some(edns))
    };
    let echoed = |directory: &Directory, role, question: &[u8]| {
        let (_, reply) = send(directory, role, Transport::Udp, question);
        match reply.edns.unwrap().option(EdnsCode::Subnet) {
            Some(EdnsOption::Subnet(subnet)) => Some((subnet.source_prefix(), subnet.scope_prefix())),
            _ => None,
        }
    };
    let stranger = dns_b(ZoneStyle::SubZone);
    assert_eq!(echoed(&stranger, Role::Referral, &ecs(24)), None);
    let mut zero = Edns::new();
    zero.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(ip("0.0.0.0"), 0, 0)));
    let zero = packet("www.glb.foobar.test.", RecordType::A, Some(zero));
    assert_eq!(echoed(&stranger, Role::Referral, &zero), Some((0, 0)));
    let mut trusting = stranger.clone();
    trusting.set_settings(Settings { ecs_from: vec!["198.51.100.0/24".parse().unwrap()], ..Settings::default() });
    // No client network is known: the scope is everybody.
    assert_eq!(echoed(&trusting, Role::Referral, &ecs(24)), Some((24, 0)));
}

#[test]
fn a_dns_lb_proves_that_an_address_is_its_own() {
    let check = "0123456789abcdef._dglb.sea1.glb.foobar.test.";
    let (_, reply) = ask(&dns_lb(), Role::DnsLb, check, RecordType::TXT);
    match &reply.answers[0].data {
        RData::TXT(txt) => {
            let strings: Vec<&[u8]> = txt.txt_data.iter().map(|s| &s[..]).collect();
            assert_eq!(strings, [&b"sea1"[..], b"0123456789abcdef"]);
        }
        other => panic!("{other}"),
    }
    assert_eq!(reply.answers[0].ttl, 0);
    // Neither the fall-back nor another DNS-LB can.
    assert_eq!(ask(&dns_b(ZoneStyle::SubZone), Role::Fallback, check, RecordType::TXT).0.rcode, 3);
    let other = check.replace("sea1", "tok1");
    assert_eq!(ask(&dns_lb(), Role::DnsLb, &other, RecordType::TXT).0.decision, Decision::Refused);
}

#[test]
fn a_catalogue_change_carries_rankings_over() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let mut catalogue = zone(ZoneStyle::SubZone);
    catalogue.generation = 2;
    catalogue.services[0].sites.remove(0);
    directory.set_zone(catalogue).unwrap();
    let (handled, reply) = ask(&directory, Role::Fallback, "www.tok1.glb.foobar.test.", RecordType::A);
    assert_eq!(handled.decision, Decision::Label);
    assert_eq!(text(&reply.answers), ["www.tok1.glb.foobar.test. 300 A 203.0.113.3"]);
    let (handled, reply) = ask(&directory, Role::Referral, "www.glb.foobar.test.", RecordType::A);
    assert_eq!(handled.decision, Decision::Aggregate);
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 30 A 203.0.113.2"]);
}

#[test]
fn a_bad_catalogue_changes_nothing_and_lists_every_mistake() {
    let mut directory = dns_b(ZoneStyle::SubZone);
    let mut catalogue = zone(ZoneStyle::SubZone);
    catalogue.services[0].answers = 0;
    catalogue.services[0].probes.clear();
    catalogue.services.push(service("www.elsewhere.test"));
    let errors = directory.set_zone(catalogue).unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert_eq!(ask(&directory, Role::Fallback, "www.sea1.glb.foobar.test.", RecordType::A).0.decision, Decision::Label);
}
