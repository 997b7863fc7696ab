//! HTTPS records (RFC 9460).

use std::net::IpAddr;

use dglb_core::{
    catalogue::{CatalogueError, HttpsRecord},
    directory::Directory,
    dns::{Decision, Role},
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        RData, RecordType,
        rdata::{
            HTTPS,
            svcb::{Alpn, SvcParamKey, SvcParamValue},
        },
    },
};
use proptest::prelude::*;

use crate::world::{ask, catalogue, dns_b, dns_b_with, dns_lb, ranking, text};

const WWW: &str = "www.sea1.glb.foobar.test.";
const API: &str = "api.glb.foobar.test.";
const OLD: &str = "old.glb.foobar.test.";

/// The one record of an answer, with its TTL.
fn record(reply: &Message) -> (u32, &HTTPS) {
    match &reply.answers[..] {
        [record] => match &record.data {
            RData::HTTPS(https) => (record.ttl, https),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn keys(https: &HTTPS) -> Vec<u16> {
    https.svc_params.iter().map(|(key, _)| u16::from(*key)).collect()
}

/// All hints, as they stand.
fn hints(https: &HTTPS) -> Vec<IpAddr> {
    let of = |value: &SvcParamValue| -> Vec<IpAddr> {
        match value {
            SvcParamValue::Ipv4Hint(list) => list.0.iter().map(|a| IpAddr::V4(a.0)).collect(),
            SvcParamValue::Ipv6Hint(list) => list.0.iter().map(|a| IpAddr::V6(a.0)).collect(),
            _ => vec![],
        }
    };
    https.svc_params.iter().flat_map(|(_, value)| of(value)).collect()
}

/// The addresses of A and AAAA of the same name, with the times to live of the records.
fn addresses(directory: &Directory, role: Role, owner: &str) -> (Vec<IpAddr>, Vec<u32>) {
    let replies = [RecordType::A, RecordType::AAAA].map(|rtype| ask(directory, role, owner, rtype).1);
    let records = replies.iter().flat_map(|reply| &reply.answers);
    let address = |data: &RData| data.ip_addr().unwrap_or_else(|| panic!("{data}"));
    records.map(|record| (address(&record.data), record.ttl)).unzip()
}

#[test]
fn the_record_says_what_the_catalogue_says_with_the_addresses_of_the_answer() {
    for (directory, role) in [(dns_b(), Role::Fallback), (dns_lb(), Role::DnsLb)] {
        let (handled, reply) = ask(&directory, role, WWW, RecordType::HTTPS);
        assert!(reply.metadata.authoritative && reply.authorities.is_empty());
        assert_eq!(handled.decision, Decision::Label);
        let (ttl, https) = record(&reply);
        assert_eq!((https.svc_priority, https.target_name.to_string()), (1, ".".to_owned()));
        let alpn = SvcParamValue::Alpn(Alpn(vec!["h3".to_owned(), "h2".to_owned()]));
        assert_eq!(https.svc_params[0], (SvcParamKey::Alpn, alpn));
        assert_eq!(https.svc_params[1], (SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn));
        assert_eq!(https.svc_params[2], (SvcParamKey::Port, SvcParamValue::Port(8443)));
        assert_eq!(keys(https), [1, 2, 3, 4, 6]);
        let (addresses, ttls) = addresses(&directory, role, WWW);
        assert_eq!(hints(https), addresses);
        assert_eq!(addresses, ["203.0.113.2", "2001:db8:5::2"].map(|a| a.parse::<IpAddr>().unwrap()));
        assert_eq!((ttl, ttls), (300, vec![300, 300]));
    }
}

#[test]
fn a_referral_comes_before_it() {
    let (handled, reply) = ask(&dns_b(), Role::Referral, "www.glb.foobar.test.", RecordType::HTTPS);
    assert_eq!(handled.decision, Decision::Mapped);
    assert_eq!(text(&reply.answers), ["www.glb.foobar.test. 3600 CNAME www.sea1.glb.foobar.test."]);
}

#[test]
fn direct_mode_and_forwarded_questions_have_it_too() {
    let (handled, reply) = ask(&dns_b(), Role::Referral, API, RecordType::HTTPS);
    assert_eq!(handled.decision, Decision::Direct);
    let (ttl, https) = record(&reply);
    assert_eq!((ttl, keys(https)), (300, vec![4, 6]));
    let lb = dns_lb();
    assert_eq!(hints(record(&ask(&lb, Role::DnsLb, API, RecordType::HTTPS).1).1), hints(https));
}

#[test]
fn without_one_and_for_svcb_there_is_no_data() {
    let (b, lb) = (dns_b(), dns_lb());
    let questions = [
        (&b, Role::Referral, OLD, RecordType::HTTPS),
        (&b, Role::Fallback, "old.sea1.glb.foobar.test.", RecordType::HTTPS),
        (&lb, Role::DnsLb, "old.sea1.glb.foobar.test.", RecordType::HTTPS),
        (&b, Role::Referral, API, RecordType::SVCB),
        (&b, Role::Fallback, WWW, RecordType::SVCB),
        (&lb, Role::DnsLb, WWW, RecordType::SVCB),
        (&b, Role::Fallback, "sea1.glb.foobar.test.", RecordType::HTTPS),
        (&b, Role::Referral, "glb.foobar.test.", RecordType::HTTPS),
    ];
    for (directory, role, owner, rtype) in questions {
        let (_, reply) = ask(directory, role, owner, rtype);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{owner} {rtype}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{owner} {rtype}");
        assert_eq!((reply.authorities.len(), reply.authorities[0].ttl), (1, 30), "{owner} {rtype}");
    }
}

#[test]
fn a_stand_ins_record_lives_no_longer_than_its_addresses() {
    let mut directory = dns_b();
    for label in ["sea1", "tok1"] {
        let lb = directory.lb_of(&label.parse().unwrap()).unwrap();
        directory.remove_rankings(lb);
    }
    let (handled, reply) = ask(&directory, Role::Referral, API, RecordType::HTTPS);
    assert_eq!(handled.decision, Decision::CustomerOrder);
    let (ttl, https) = record(&reply);
    let (addresses, ttls) = addresses(&directory, Role::Referral, API);
    assert_eq!((ttl, ttls), (30, vec![30, 30]));
    assert_eq!(hints(https), addresses);
}

#[test]
fn a_record_without_hints_is_the_same_for_everybody() {
    let mut catalogue = catalogue();
    catalogue.services[1].https = Some(HttpsRecord::default());
    let directory = dns_b_with(catalogue);
    let (_, reply) = ask(&directory, Role::Referral, API, RecordType::HTTPS);
    assert_eq!(text(&reply.answers), ["api.glb.foobar.test. 300 HTTPS 1 ."]);
}

#[test]
fn a_record_that_would_be_too_large_is_never_taken_in() {
    let mut bad = catalogue();
    bad.services[0].https = Some(HttpsRecord { alpn: vec!["x".repeat(64)], ..HttpsRecord::default() });
    let errors = dns_b().set_zone(bad).unwrap_err();
    assert!(matches!(&errors[..], [CatalogueError::Range { what: "https.alpn", .. }]), "{errors:?}");
    assert!(errors[0].to_string().contains("at most 64 octets"), "{errors:?}");
}

proptest! {
    /// Whatever is up and however many answers are wanted, the hints are the addresses.
    #[test]
    fn hints_are_what_would_be_answered(
        order in Just(vec![1, 2, 3, 4]).prop_shuffle(),
        marks in prop::collection::vec(prop::sample::select(vec!["", "-", "4", "6"]), 4),
        answers in 1u8..=16,
        margin in prop::sample::select(vec![0, 10, 1000]),
    ) {
        let mut catalogue = catalogue();
        catalogue.services[1].answers = answers;
        catalogue.services[1].policy.margin_ms = margin;
        let mut directory = dns_b_with(catalogue);
        let sea = directory.lb_of(&"sea1".parse().unwrap()).unwrap();
        let order: Vec<String> = order.iter().zip(&marks).map(|(n, mark)| format!("{mark}site{n}")).collect();
        let order: Vec<&str> = order.iter().map(String::as_str).collect();
        directory.set_ranking(sea, &ranking("api", &order)).unwrap();
        let reply = ask(&directory, Role::Referral, API, RecordType::HTTPS).1;
        let https = record(&reply).1;
        let (addresses, _) = addresses(&directory, Role::Referral, API);
        prop_assert!(!addresses.is_empty());
        prop_assert_eq!(hints(https), addresses);
        let mut sorted = keys(https);
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(keys(https), sorted);
    }
}
