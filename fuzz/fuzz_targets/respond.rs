//! Questions to a server that knows zones, DNS-LBs in every state, maps and rankings. Names are
//! mostly put together from labels that mean something there, so that every way is taken.
#![no_main]

use dglb_core::{
    directory::Directory,
    dns::{Asked, Decision, Handled, Role, Transport},
    identity::Identity,
};
use dglb_fuzz::{Input, only_malformed_over_connections, responder};
use hickory_proto::op::{Message, ResponseCode};
use libfuzzer_sys::fuzz_target;

fn ask(directory: &Directory, asked: &Asked<'_>) -> (Handled, Option<Message>) {
    let mut reply = vec![0; 65_535];
    let handled = responder(directory).respond(asked, &mut reply);
    let most = if asked.transport == Transport::Udp { 1_232 } else { 65_535 };
    assert!(handled.length <= most);
    assert_eq!(handled.length == 0, handled.decision == Decision::Dropped);
    let read = (handled.length > 0).then(|| Message::from_vec(&reply[..handled.length]).expect("a readable reply"));
    if let Some(reply) = &read {
        assert_eq!((reply.metadata.id, reply.metadata.truncation), (0x1234, handled.truncated));
        assert_eq!(u16::from(reply.metadata.response_code), handled.rcode);
        // Without a limit of its own a client takes 512 octets (RFC 1035 section 4.2.1).
        assert!(asked.packet[11] > 0 || asked.transport == Transport::Tcp || handled.length <= 512);
    }
    (handled, read)
}

fuzz_target!(|input: Input| {
    let packet = input.packet();
    let (peer, (directory, role)) = (input.peer(), input.server());
    let udp = ask(directory, &Asked { packet: &packet, peer, transport: Transport::Udp, role });
    let tcp = ask(directory, &Asked { packet: &packet, peer, transport: Transport::Tcp, role });
    if only_malformed_over_connections(udp.0.rcode, tcp.0.rcode) {
        return;
    }
    assert_eq!((udp.0.decision, udp.0.rcode), (tcp.0.decision, tcp.0.rcode), "the transport decides");
    let (Some(short), Some(whole)) = (udp.1, tcp.1) else { panic!("a question without a reply") };
    assert!(!whole.metadata.truncation);
    if !short.metadata.truncation {
        assert_eq!((&short.answers, &short.authorities), (&whole.answers, &whole.authorities));
    }
    if role == Role::DnsLb
        || input.class.is_some_and(|class| class != 1)
        || whole.metadata.response_code > ResponseCode::NXDomain
    {
        return;
    }
    let asked = whole.queries[0].name.to_ascii().to_lowercase();
    let service = ["www.glb.foobar.test.", "direct.glb.foobar.test.", "a.b.glb.foobar.test.", "www.host.test."]
        .contains(&asked.as_str());
    if service && [1, 28].contains(&input.rtype()) && whole.metadata.response_code != ResponseCode::FormErr {
        assert_eq!(whole.metadata.response_code, ResponseCode::NoError, "{whole}");
        assert!(!whole.answers.is_empty(), "a service without an answer: {whole}");
    }
    // A label that a DNS-LB could have is denied by nobody.
    let label = asked.strip_suffix(".glb.foobar.test.").filter(|label| Identity::is_valid_label(label.as_bytes()));
    if label.is_some() {
        assert_ne!(whole.metadata.response_code, ResponseCode::NXDomain, "{whole}");
    }
});
