//! Client subnet options, well-formed and not, from a resolver that is trusted with them (RFC 7871).
//!
//! What is well-formed is said here a second time, from the RFC's text. A good option is echoed,
//! and whoever asks from inside the scope that it got is answered alike.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use arbitrary::Arbitrary;
use dglb_core::dns::{Asked, Responder, Role, Transport};
use dglb_fuzz::DNS_B;
use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;

/// From `ecs_from`'s network in the world of these targets.
const TRUSTED: [u8; 4] = [203, 0, 113, 53];
const CODE: u16 = 8;

#[derive(Arbitrary, Debug)]
enum Option8 {
    /// Anything.
    Raw(Vec<u8>),
    /// Near the mapped networks, mostly with the right number of octets.
    Near { low: [u8; 2], source: u8, v6: bool, cut: Option<u8>, scope: u8 },
}

#[derive(Arbitrary, Debug)]
struct Input {
    option: Option8,
    /// A second place to ask from, within the first one's scope.
    elsewhere: u128,
    twice: bool,
}

impl Option8 {
    fn data(&self) -> Vec<u8> {
        match self {
            Self::Raw(octets) => octets[..octets.len().min(64)].to_vec(),
            Self::Near { low, source, v6, cut, scope } => {
                let whole: Vec<u8> = if *v6 {
                    [&[0x20, 1, 0xd, 0xb8, 0, 0x18], &low[..], &[0; 8]].concat()
                } else {
                    vec![198, 51, low[0] & 3 | 100, low[1]]
                };
                let source = source % (if *v6 { 130 } else { 34 });
                let right = usize::from(source.div_ceil(8)).min(whole.len());
                let kept = cut.map_or(right, |cut| usize::from(cut) % (whole.len() + 1));
                let mut address = whole[..kept].to_vec();
                if cut.is_none()
                    && let Some(last) = address.last_mut()
                    && source % 8 > 0
                {
                    *last &= 0xff << (8 - source % 8);
                }
                [&[0, 1 + u8::from(*v6), source, *scope & 1][..], &address].concat()
            }
        }
    }
}

/// RFC 7871 section 6: two octets of family, the source prefix, a scope of zero, and as many
/// octets of address as the prefix needs, zero behind it.
fn well_formed(data: &[u8]) -> bool {
    if data.len() < 4 || data[0] != 0 || data[3] != 0 {
        return false;
    }
    let bits = match data[1] {
        1 => 32,
        2 => 128,
        _ => return false,
    };
    let source = usize::from(data[2]);
    let beyond = |bit: usize| data[4 + bit / 8] >> (7 - bit % 8) & 1 == 1;
    source <= bits && data.len() == 4 + source.div_ceil(8) && !(source..8 * (data.len() - 4)).any(beyond)
}

fn packet(data: &[u8], twice: bool) -> Vec<u8> {
    let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(b"\x03www\x03glb\x06foobar\x04test\0\0\x01\0\x01");
    let option = [&CODE.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat();
    let options = if twice { [&option[..], &option].concat() } else { option };
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(&options);
    packet
}

/// The reply, and the client subnet option's data in it.
fn ask(data: &[u8], twice: bool) -> (Message, Option<Vec<u8>>) {
    let packet = packet(data, twice);
    let peer = SocketAddr::new(IpAddr::from(TRUSTED), 4_242);
    let asked = Asked { packet: &packet, peer, transport: Transport::Udp, role: Role::Referral };
    let mut reply = [0; 4_096];
    let handled = Responder::with_defaults(&DNS_B).respond(&asked, &mut reply);
    let reply = &reply[..handled.length];
    let message = Message::from_vec(reply).expect("a readable reply");
    // The OPT is the last record; its options are walked over octet by octet, since a reader that
    // puts them right would hide what is wrong.
    let at = reply.windows(5).rposition(|w| w == [0, 0, 41, 4, 208]).expect("an OPT in the reply");
    let mut rest = &reply[at + 11..];
    let mut found = None;
    while let [c0, c1, l0, l1, tail @ ..] = rest {
        let (data, tail) = tail.split_at(usize::from(u16::from_be_bytes([*l0, *l1])));
        if u16::from_be_bytes([*c0, *c1]) == CODE {
            assert!(found.replace(data.to_vec()).is_none(), "one option");
        }
        rest = tail;
    }
    (message, found)
}

fuzz_target!(|input: Input| {
    let data = input.option.data();
    let (reply, echoed) = ask(&data, input.twice);
    let code = u16::from(reply.metadata.response_code);
    if !well_formed(&data) || input.twice {
        assert_eq!((code, reply.answers.len(), echoed), (1, 0, None), "FORMERR and no more");
        return;
    }
    assert_eq!(code, 0);
    assert!(!reply.answers.is_empty(), "a service is always answered");
    let echoed = echoed.expect("a trusted resolver's option is echoed");
    assert_eq!((&echoed[..3], &echoed[4..]), (&data[..3], &data[4..]), "family, source and address");
    let (scope, source, bits) = (echoed[3], data[2], if data[1] == 1 { 32 } else { 128 });
    assert!(scope <= bits);
    if source == 0 {
        assert_eq!(scope, 0, "the client's address plays no part");
        return;
    }
    // Somebody else inside the scope (or, where it is longer than the source, inside the source).
    let shared = scope.min(source);
    let mut other = vec![0; usize::from(source.div_ceil(8))];
    for bit in 0..usize::from(source) {
        let own = data[4 + bit / 8] >> (7 - bit % 8) & 1;
        let theirs = (input.elsewhere >> (bit % 128) & 1) as u8;
        other[bit / 8] |= (if bit < usize::from(shared) { own } else { theirs }) << (7 - bit % 8);
    }
    if scope <= source {
        let (theirs, echo) = ask(&[&data[..4], &other].concat(), false);
        assert_eq!(theirs.answers, reply.answers, "answers differ inside the scope /{scope}");
        assert_eq!(echo.expect("an echo")[3], scope, "scopes differ inside the scope /{scope}");
    }
});
