//! What nobody configured: NODATA with the SOA for every type of every name that exists, NXDOMAIN for
//! those that do not, for no longer than the SOA says (RFC 2308).

use std::net::SocketAddr;

use dglb_core::{
    directory::Directory,
    dns::{Asked, Kind, Responder, Role, Transport},
};
use hickory_proto::{
    op::Message,
    rr::{RData, Record, RecordType},
};

use crate::world::{RESOLVER, ask, dns_b, dns_lb, packet, ranking, text};

/// How long a negative answer may be cached: by the SOA's own TTL and its MINIMUM (RFC 2308 section 5).
fn lifetime(authorities: &[Record]) -> u32 {
    match authorities {
        [Record { data: RData::SOA(soa), ttl, .. }] => (*ttl).min(soa.minimum),
        other => panic!("{other:?}"),
    }
}

/// The types for which the name has data, of the assigned ones and a sample of the others; meta types
/// are left out (RFC 6895 section 3.1).
fn answered_types(directory: &Directory, role: Role, owner: &str) -> Vec<u16> {
    let mut question = packet(owner, RecordType::A, 1232, &[]);
    let at = 12 + owner.len() + 1;
    assert_eq!(question[at..at + 4], [0, 1, 0, 1]);
    let peer: SocketAddr = RESOLVER.parse().unwrap();
    let (mut reply, mut answered) = (vec![0; 1232], Vec::new());
    let data = (1..128).filter(|rtype| *rtype != 41);
    for rtype in data.chain(256..512).chain((512..=u16::MAX).step_by(97)).chain([32_768, 32_769, u16::MAX]) {
        question[at..at + 2].copy_from_slice(&rtype.to_be_bytes());
        let asked = Asked { packet: &question, peer, transport: Transport::Udp, role };
        let handled = Responder::with_defaults(directory).respond(&asked, &mut reply);
        assert_eq!((handled.rcode, handled.truncated), (0, false), "{owner} {rtype}");
        if handled.kind == Kind::NoData {
            let message = Message::from_vec(&reply[..handled.length]).unwrap();
            assert!(message.metadata.authoritative && message.answers.is_empty(), "{owner} {rtype}");
            assert_eq!(lifetime(&message.authorities), 30, "{owner} {rtype}");
        } else {
            assert_eq!(handled.kind, Kind::Answer, "{owner} {rtype}");
            answered.push(rtype);
        }
    }
    answered
}

#[test]
fn every_other_type_is_no_data() {
    let (b, lb) = (dns_b(), dns_lb());
    let (parent, label) = (Role::Referral, Role::Fallback);
    let cases: [(&Directory, Role, &str, &[u16]); 12] = [
        (&b, parent, "glb.foobar.test.", &[2, 6]),
        (&b, parent, "api.glb.foobar.test.", &[1, 28, 65]),
        (&b, parent, "old.glb.foobar.test.", &[1, 28]),
        (&b, parent, "b1.glb.foobar.test.", &[1, 28]),
        (&b, parent, "b.glb.foobar.test.", &[]),
        (&b, parent, "a.b.glb.foobar.test.", &[16]),
        (&b, label, "sea1.glb.foobar.test.", &[2, 6]),
        (&b, label, "www.sea1.glb.foobar.test.", &[1, 28, 65]),
        (&b, label, "ns.sea1.glb.foobar.test.", &[1, 28]),
        (&lb, Role::DnsLb, "sea1.glb.foobar.test.", &[2, 6]),
        (&lb, Role::DnsLb, "old.sea1.glb.foobar.test.", &[1, 28]),
        (&lb, Role::DnsLb, "f2.sea1.glb.foobar.test.", &[1, 28]),
    ];
    for (directory, role, owner, answered) in cases {
        assert_eq!(answered_types(directory, role, owner), answered, "{owner} {role:?}");
    }
}

#[test]
fn what_does_not_exist_is_denied_by_its_zones_soa() {
    let (b, lb) = (dns_b(), dns_lb());
    let cases = [
        (&b, Role::Referral, "c.b.glb.foobar.test.", "glb.foobar.test."),
        (&b, Role::Referral, "x.b1.glb.foobar.test.", "glb.foobar.test."),
        (&b, Role::Referral, "x_y.glb.foobar.test.", "glb.foobar.test."),
        (&b, Role::Fallback, "no.sea1.glb.foobar.test.", "sea1.glb.foobar.test."),
        (&lb, Role::DnsLb, "no.sea1.glb.foobar.test.", "sea1.glb.foobar.test."),
    ];
    for (directory, role, owner, soa) in cases {
        for rtype in [RecordType::A, RecordType::HTTPS, RecordType::SVCB, RecordType::Unknown(64_999)] {
            let (handled, reply) = ask(directory, role, owner, rtype);
            assert_eq!((handled.rcode, handled.kind), (3, Kind::NxDomain), "{owner}");
            assert_eq!(reply.authorities[0].name.to_string(), soa, "{owner}");
            assert_eq!(lifetime(&reply.authorities), 30, "{owner}");
        }
    }
}

/// Design section 5: "no IPv6 now" lives at most 30 s, and no longer than an address would have.
#[test]
fn a_family_that_is_down_comes_back_soon() {
    for (ttl, longest) in [(300, 30), (7, 7)] {
        let mut catalogue = crate::world::catalogue();
        catalogue.services[1].ttl = ttl;
        let mut directory = crate::world::dns_b_with(catalogue);
        let sea = directory.lb_of(&"sea1".parse().unwrap()).unwrap();
        directory.set_ranking(sea, &ranking("api", &["4site2", "4site1"])).unwrap();
        let (handled, reply) = ask(&directory, Role::Referral, "api.glb.foobar.test.", RecordType::AAAA);
        assert_eq!(handled.kind, Kind::NoData);
        assert_eq!(lifetime(&reply.authorities), longest);
        let (_, reply) = ask(&directory, Role::Referral, "api.glb.foobar.test.", RecordType::A);
        assert_eq!(reply.answers[0].ttl, ttl);
    }
}

/// Design section 4: no query for a service ends without an answer while any site is known. Somebody
/// with IPv4 alone cannot go where IPv6 leads.
#[test]
fn ipv4_that_is_down_everywhere_is_answered_all_the_same() {
    let mut directory = dns_b();
    let sea = directory.lb_of(&"sea1".parse().unwrap()).unwrap();
    directory.set_ranking(sea, &ranking("api", &["-site2", "6site1", "6site3"])).unwrap();
    let ask = |rtype| text(&ask(&directory, Role::Referral, "api.glb.foobar.test.", rtype).1.answers);
    assert_eq!(ask(RecordType::AAAA), ["api.glb.foobar.test. 300 AAAA 2001:db8:5::1"]);
    assert_eq!(ask(RecordType::A), ["api.glb.foobar.test. 300 A 203.0.113.2"]);
    // As soon as one is up, that one.
    directory.set_ranking(sea, &ranking("api", &["-site2", "6site1", "site3"])).unwrap();
    let (_, reply) = crate::world::ask(&directory, Role::Referral, "api.glb.foobar.test.", RecordType::A);
    assert_eq!(text(&reply.answers), ["api.glb.foobar.test. 300 A 203.0.113.3"]);
}
