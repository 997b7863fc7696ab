//! A referral beside a CNAME: off by default, and never a reason for TC.

use dglb_core::{
    directory::{Directory, Settings},
    dns::{Decision, Kind, Role},
};
use hickory_proto::rr::{RecordType, rdata::opt::EdnsOption};

use crate::world::{ask, dns_b, packet, send, text};

const WWW: &str = "www.glb.foobar.test.";

fn talkative() -> Directory {
    let mut directory = dns_b();
    directory.set_settings(Settings { referral_with_cname: true, ..directory.settings().clone() });
    directory
}

#[test]
fn by_default_the_cname_stands_alone() {
    let (_, reply) = ask(&dns_b(), Role::Referral, WWW, RecordType::A);
    assert_eq!((reply.answers.len(), reply.authorities.len(), reply.additionals.len()), (1, 0, 0));
}

#[test]
fn it_is_the_referral_that_the_target_would_get() {
    let directory = talkative();
    let (handled, reply) = ask(&directory, Role::Referral, WWW, RecordType::A);
    assert_eq!((handled.decision, handled.kind), (Decision::Mapped, Kind::Answer));
    assert!(reply.metadata.authoritative && !reply.metadata.truncation);
    assert_eq!(text(&reply.answers), [format!("{WWW} 3600 CNAME www.sea1.glb.foobar.test.")]);
    let (_, referral) = ask(&directory, Role::Referral, "www.sea1.glb.foobar.test.", RecordType::A);
    assert_eq!(text(&reply.authorities), text(&referral.authorities));
    assert_eq!(text(&reply.additionals), text(&referral.additionals));
    assert_eq!((reply.authorities.len(), reply.additionals.len()), (3, 6));
    // Nothing of the kind where there is no CNAME.
    let (_, direct) = ask(&directory, Role::Referral, "api.glb.foobar.test.", RecordType::A);
    assert_eq!((direct.answers.len(), direct.authorities.len(), direct.additionals.len()), (1, 0, 0));
}

/// From the least size at which it fits on it is there whole, below it is not there at all.
#[test]
fn it_is_whole_or_not_there_and_never_truncates() {
    let directory = talkative();
    let whole = ask(&directory, Role::Referral, WWW, RecordType::A).0.length;
    // An option that is ignored makes nothing longer than it is.
    let sized = |payload| packet(WWW, RecordType::A, payload, &[EdnsOption::Unknown(65_001, vec![0; 8])]);
    let mut seen = [false; 2];
    for payload in 512..=1232 {
        let (handled, reply) = send(&directory, Role::Referral, &sized(payload));
        assert!(!handled.truncated && reply.answers.len() == 1 && reply.edns.is_some(), "{payload}");
        let there = (reply.authorities.len(), reply.additionals.len());
        assert_eq!(there, if usize::from(payload) >= whole { (3, 6) } else { (0, 0) }, "{payload}");
        assert!(handled.length <= usize::from(payload));
        seen[usize::from(there == (3, 6))] = true;
    }
    assert!(seen[1], "it never fitted");
}
