//! Whatever comes in, `respond` returns, stays within its bounds, and what it says can be read.

use std::net::SocketAddr;

use dglb_core::{
    directory::{Directory, Settings},
    dns::{Asked, Decision, Responder, Role, Transport},
};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

fn check(packet: &[u8]) -> Result<(), TestCaseError> {
    let directory = Directory::new(Settings::default());
    let peer: SocketAddr = "[2001:db8::1]:5300".parse().unwrap();
    for (transport, most) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
        let mut reply = vec![0; 65_535];
        let handled = Responder::with_defaults(&directory)
            .respond(&Asked { packet, peer, transport, role: Role::Referral }, &mut reply);
        prop_assert!(handled.length <= most);
        prop_assert_eq!(handled.length == 0, handled.decision == Decision::Dropped);
        if handled.length > 0 {
            let message = Message::from_vec(&reply[..handled.length]);
            prop_assert!(message.is_ok(), "{:?}", message);
            prop_assert_eq!(&reply[..2], &packet[..2]);
            prop_assert_eq!(reply[2] & 0x80, 0x80);
        }
    }
    Ok(())
}

fn good() -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("www.glb.foobar.test.").unwrap(), RecordType::A));
    message.edns = Some(hickory_proto::op::Edns::new());
    message.to_vec().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_octets(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&packet)?;
    }

    #[test]
    fn nearly_good_questions(flips in proptest::collection::vec((0usize..60, any::<u8>()), 1..5), cut in 0usize..60) {
        let mut packet = good();
        for (at, octet) in flips {
            let at = at % packet.len();
            packet[at] = octet;
        }
        packet.truncate(packet.len().saturating_sub(cut % 20));
        check(&packet)?;
    }
}
