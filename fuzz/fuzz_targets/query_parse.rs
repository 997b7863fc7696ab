//! One DNS packet from anybody. The first octet says over what and to which address.
#![no_main]

use std::sync::LazyLock;

use dglb_core::{
    directory::{Directory, Settings},
    dns::{
        Asked, Decision, Responder, Role, Transport,
        qname::QName,
        query::{HEADER, Parsed, Query, parse},
    },
};
use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;

static EMPTY: LazyLock<Directory> = LazyLock::new(|| Directory::new(Settings::default()));

fuzz_target!(|input: &[u8]| {
    let Some((mode, packet)) = input.split_first() else { return };
    let mut name = QName::default();
    let mut query = Query::default();
    if parse(packet, &mut name, &mut query) == Parsed::Query {
        assert!(packet[HEADER..].starts_with(query.question), "the question is a part of the packet");
        assert!(query.question.len() > 4 && query.name.last() == Some(&0));
        assert!(!query.name.iter().any(u8::is_ascii_uppercase));
    }
    let (transport, most) = if mode & 1 == 0 { (Transport::Udp, 1_232) } else { (Transport::Tcp, 65_535) };
    let role = [Role::Referral, Role::Fallback, Role::DnsLb][usize::from(mode >> 1) % 3];
    let asked = Asked { packet, peer: "[2001:db8::1]:5300".parse().expect("sound"), transport, role };
    let mut reply = [0; 65_535];
    let handled = Responder::with_defaults(&EMPTY).respond(&asked, &mut reply);
    assert!(handled.length <= most);
    assert_eq!(handled.length == 0, handled.decision == Decision::Dropped);
    if handled.length > 0 {
        let message = Message::from_vec(&reply[..handled.length]);
        assert!(message.is_ok(), "{message:?}");
        assert_eq!(reply[..2], packet[..2]);
    }
});
