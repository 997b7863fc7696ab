//! What an explanation says, beside what is answered.

use dglb_core::{
    directory::{Directory, LbState},
    dns::{Asked, Responder, Role, Transport, explain::Explanation},
};
use hickory_proto::rr::RecordType;

use crate::world::{RESOLVER, dns_b, dns_lb, packet};

fn explain(directory: &Directory, role: Role, owner: &str) -> Explanation {
    let packet = packet(owner, RecordType::A, 1232, &[]);
    let peer = RESOLVER.parse().unwrap();
    let asked = Asked { packet: &packet, peer, transport: Transport::Tcp, role };
    Responder::with_defaults(directory).explain(&asked, &mut vec![0; 65_535]).1
}

fn sites(why: &Explanation) -> Vec<&str> {
    why.sites.iter().map(|site| site.site.as_str()).collect()
}

#[test]
fn a_referral_comes_with_the_map_the_dns_lb_and_what_that_is_going_to_say() {
    let directory = dns_b();
    let why = explain(&directory, Role::Referral, "www.glb.foobar.test.");
    assert_eq!((why.decision, why.catalogue), ("mapped", Some(1)));
    let matched = why.matched.unwrap();
    assert_eq!((matched.prefix, matched.by_subnet), (Some("198.51.100.0/24".parse().unwrap()), false));
    assert_eq!(why.dns_lb, Some("sea1".parse().unwrap()));
    assert_eq!((sites(&why), why.ranked_by.as_ref()), (vec!["site2", "site1", "site3"], why.dns_lb.as_ref()));
    assert_eq!(why.sites[1].score, Some(10.0));
    assert_eq!(why.service.unwrap().ttl, 300);
}

#[test]
fn what_keeps_a_dns_lb_from_being_handed_out_is_said() {
    let mut directory = dns_b();
    let sea1 = directory.lb_of(&"sea1".parse().unwrap()).unwrap();
    directory.update_lb(sea1, |lb| (lb.state, lb.drained) = (LbState::Gone, true));
    let why = explain(&directory, Role::Referral, "www.glb.foobar.test.");
    // Its resolver is known, and yet it gets what all rankings come to.
    assert_eq!((why.decision, &why.dns_lb, &why.ranked_by), ("aggregate", &None, &None));
    let [candidate] = &why.candidates[..] else { panic!("{why:?}") };
    assert_eq!((candidate.worth, candidate.chosen), ("none", false));
    assert_eq!(candidate.lacks, ["it is drained by the operator", "it is gone: its lease is over"]);

    directory.update_lb(sea1, |lb| (lb.state, lb.drained) = (LbState::Alive, false));
    directory.remove_ranking(sea1, &"www.glb.foobar.test".parse().unwrap());
    let why = explain(&directory, Role::Referral, "www.glb.foobar.test.");
    let [candidate] = &why.candidates[..] else { panic!("{why:?}") };
    assert_eq!((candidate.worth, &candidate.lacks[..]), ("joining", &["it has not ranked the service"][..]));
}

#[test]
fn a_dns_lb_explains_its_label_and_its_own_order() {
    let directory = dns_lb();
    for (owner, decision) in [("www.sea1.glb.foobar.test.", "label"), ("www.glb.foobar.test.", "label")] {
        let why = explain(&directory, Role::DnsLb, owner);
        assert_eq!((why.decision, sites(&why)), (decision, vec!["site2", "site1", "site3"]), "{owner}");
        assert_eq!((&why.dns_lb, why.matched), (&Some("sea1".parse().unwrap()), None));
    }
    let other = explain(&directory, Role::DnsLb, "www.tok1.glb.foobar.test.");
    assert_eq!((other.decision, &other.dns_lb, sites(&other).len()), ("refused", &None, 0));
}
