//! The conduct of replies, octet by octet: options, cookies, CHAOS, padding, rates. Asked is a server
//! without any content.

use std::net::SocketAddr;

use dglb_core::{
    directory::{Directory, Settings},
    dns::{
        Asked, Conduct, Decision, Exchange, Handled, Names, Responder, Role, Standing, Transport,
        conduct::Text,
        cookie::{Cookies, Secret},
        rate::{Limiter, Limits},
        rcode,
    },
};

const NSID: u16 = 3;
const CLIENT_SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const EXTENDED_ERROR: u16 = 15;

const A: u16 = 1;
const TXT: u16 = 16;
const ANY: u16 = 255;
const IN: u16 = 1;
const CH: u16 = 3;

const NOW: u32 = 1_800_000_000;
const PEER: &str = "192.0.2.1:5300";

/// A conduct with everything that there is.
fn everything() -> Conduct {
    let text = |text: &str| Some(text.parse::<Text>().unwrap());
    let cookies = Cookies { current: Secret::new([1; 16]), next: None, require: false };
    Conduct {
        nsid: text("pop 7"),
        identity: text("sea1"),
        version: text("dglb 9"),
        cookies: Some(cookies),
        keepalive: Some(100),
        ..Conduct::DEFAULT
    }
}

fn requiring() -> Conduct {
    let mut conduct = everything();
    conduct.cookies.as_mut().unwrap().require = true;
    conduct
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> = labels.flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn question(name: &str, rtype: u16, class: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0x10, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(wire(name));
    packet.extend([rtype.to_be_bytes(), class.to_be_bytes()].concat());
    packet
}

/// With an OPT record that has these options, of a client that takes 1 232 octets.
fn with_options(mut packet: Vec<u8>, options: &[(u16, &[u8])]) -> Vec<u8> {
    let option =
        |(code, data): &(u16, &[u8])| [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), *data].concat();
    let data: Vec<u8> = options.iter().flat_map(option).collect();
    packet[11] += 1;
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    packet.extend((data.len() as u16).to_be_bytes());
    packet.extend(data);
    packet
}

/// Owner as it stands in the reply, type, class, TTL and data.
type Record = (Vec<u8>, u16, u16, u32, Vec<u8>);

/// A reply taken apart.
#[derive(Debug)]
struct Reply {
    octets: Vec<u8>,
    handled: Handled,
    /// All but OPT.
    records: Vec<Record>,
    /// Options of the OPT record, if there was one.
    options: Option<Vec<(u16, Vec<u8>)>>,
}

impl Reply {
    fn read(octets: &[u8], handled: Handled) -> Self {
        let mut reply = Self { octets: octets.to_vec(), handled, records: Vec::new(), options: None };
        let mut at = 12;
        for _ in 0..reply.count(4) {
            at = name_end(octets, at) + 4;
        }
        for _ in 0..reply.count(6) + reply.count(8) + reply.count(10) {
            let end = name_end(octets, at);
            let owner = octets[at..end].to_vec();
            let number = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
            let data = octets[end + 10..][..usize::from(number(end + 8))].to_vec();
            at = end + 10 + data.len();
            if number(end) == 41 {
                assert!(reply.options.is_none(), "two OPT records");
                assert_eq!(owner, [0]);
                // The extended response code is whole.
                let extended = u16::from(octets[end + 4]) << 4 | u16::from(octets[3] & 0x0f);
                assert_eq!(extended, handled.rcode);
                reply.options = Some(options(&data));
            } else {
                let ttl = u32::from(number(end + 4)) << 16 | u32::from(number(end + 6));
                reply.records.push((owner, number(end), number(end + 2), ttl, data));
            }
        }
        assert_eq!(at, octets.len(), "octets that belong to nothing");
        assert_eq!(octets[2] & 0x02 != 0, handled.truncated);
        reply
    }

    fn count(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.octets[at], self.octets[at + 1]])
    }

    fn is_authoritative(&self) -> bool {
        self.octets[2] & 0x04 != 0
    }

    /// The one option of this code; none, too, where there is no OPT record.
    fn option(&self, code: u16) -> Option<&[u8]> {
        let mut found = self.options.iter().flatten().filter(|(c, _)| *c == code).map(|(_, data)| &data[..]);
        let first = found.next();
        assert_eq!(found.next(), None, "option {code} twice");
        first
    }

    fn error(&self) -> Option<u16> {
        self.option(EXTENDED_ERROR).map(|data| u16::from_be_bytes([data[0], data[1]]))
    }
}

fn name_end(octets: &[u8], mut at: usize) -> usize {
    loop {
        match octets[at] {
            0 => return at + 1,
            0xc0.. => return at + 2,
            length => at += 1 + usize::from(length),
        }
    }
}

fn options(mut data: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while let [c0, c1, l0, l1, rest @ ..] = data {
        let (option, rest) = rest.split_at(usize::from(u16::from_be_bytes([*l0, *l1])));
        options.push((u16::from_be_bytes([*c0, *c1]), option.to_vec()));
        data = rest;
    }
    assert!(data.is_empty());
    options
}

/// A server that takes everybody's client subnets, and has nothing else.
fn empty() -> Directory {
    let everybody = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap());
    Directory::new(Settings { ecs_from: everybody.into(), ..Settings::default() })
}

fn ask_at(conduct: &Conduct, transport: Transport, packet: &[u8], unix_seconds: u32) -> Reply {
    let directory = empty();
    let responder = Responder { directory: &directory, conduct, unix_seconds };
    let mut reply = vec![0; 65_535];
    let asked = Asked { packet, peer: PEER.parse().unwrap(), transport, role: Role::Referral };
    let handled = responder.respond(&asked, &mut reply);
    Reply::read(&reply[..handled.length], handled)
}

fn ask(conduct: &Conduct, transport: Transport, packet: &[u8]) -> Reply {
    ask_at(conduct, transport, packet, NOW)
}

fn udp(conduct: &Conduct, packet: &[u8]) -> Reply {
    ask(conduct, Transport::Udp, packet)
}

#[test]
fn chaos_says_who_and_what_the_server_is() {
    for (name, text) in
        [("id.server", "sea1"), ("HostName.Bind", "sea1"), ("vErSiOn.BiNd", "dglb 9"), ("version.server", "dglb 9")]
    {
        for (rtype, transport) in [(TXT, Transport::Udp), (ANY, Transport::Udp), (TXT, Transport::Tcp)] {
            let packet = question(name, rtype, CH);
            let reply = ask(&everything(), transport, &packet);
            assert!(reply.is_authoritative());
            assert_eq!((reply.handled.rcode, reply.handled.decision), (rcode::NOERROR, Decision::Chaos));
            // The question comes back byte for byte, and the owner points at it.
            assert_eq!(reply.octets[12..packet.len()], packet[12..]);
            let data = [&[text.len() as u8], text.as_bytes()].concat();
            assert_eq!(reply.records, [(vec![0xc0, 12], TXT, CH, 0, data)]);
            assert_eq!((reply.count(6), &reply.options), (1, &None));
        }
    }
    let with_opt = with_options(question("id.server", TXT, CH), &[(NSID, b""), (COOKIE, &[7; 8])]);
    let reply = udp(&everything(), &with_opt);
    assert_eq!((reply.option(NSID), reply.option(COOKIE).map(<[u8]>::len)), (Some(&b"pop 7"[..]), Some(24)));
}

#[test]
fn other_classes_names_and_types_are_refused_and_so_is_what_is_switched_off() {
    let off = Conduct { identity: None, version: None, ..everything() };
    let names = ["id.server", "hostname.bind", "version.bind", "version.server"];
    let mut refused: Vec<_> = names.map(|name| (&off, question(name, TXT, CH), 20)).into();
    let on = everything();
    refused.extend([
        (&on, question("id.server", A, CH), 20),
        (&on, question("authors.bind", TXT, CH), 20),
        (&on, question("x.id.server", TXT, CH), 20),
        (&on, question("server", TXT, CH), 20),
        (&on, question("", TXT, CH), 20),
        (&on, question("id.server", TXT, 4), 20),
        (&on, question("id.server", TXT, 254), 20),
        (&on, question("id.server", TXT, 255), 20),
        (&on, question("id.server", 252, IN), 21),
        (&on, question("id.server", 251, IN), 21),
    ]);
    for (conduct, packet, error) in refused {
        let reply = udp(conduct, &packet);
        assert_eq!((reply.handled.rcode, reply.handled.decision), (rcode::REFUSED, Decision::Refused));
        assert_eq!((reply.octets.len(), reply.is_authoritative()), (packet.len(), false));
        assert_eq!(reply.octets[12..], packet[12..]);
        let reply = udp(conduct, &with_options(packet, &[]));
        assert_eq!((reply.handled.rcode, reply.error()), (rcode::REFUSED, Some(error)));
    }
}

#[test]
fn the_name_server_identifier_is_given_to_who_asks() {
    let asked = |options: &[(u16, &[u8])]| with_options(question("x", A, IN), options);
    assert_eq!(udp(&everything(), &asked(&[(NSID, b"")])).option(NSID), Some(&b"pop 7"[..]));
    assert_eq!(udp(&everything(), &asked(&[(NSID, b"who")])).option(NSID), None);
    assert_eq!(udp(&everything(), &asked(&[])).option(NSID), None);
    let off = Conduct { nsid: None, ..everything() };
    assert_eq!(udp(&off, &asked(&[(NSID, b"")])).options.unwrap().len(), 1, "the extended error alone");
    assert_eq!(udp(&everything(), &question("x", A, IN)).options, None);
}

#[test]
fn a_cookie_is_answered_at_once_and_then_kept() {
    let with_cookie = |cookie: &[u8]| with_options(question("x", A, IN), &[(COOKIE, cookie)]);
    for transport in Transport::ALL {
        let first = ask(&everything(), transport, &with_cookie(&[7; 8]));
        assert_eq!((first.handled.rcode, first.handled.standing), (rcode::SERVFAIL, Standing::ClientOnly));
        let cookie = first.option(COOKIE).unwrap().to_vec();
        assert_eq!((cookie.len(), &cookie[..12]), (24, &[7, 7, 7, 7, 7, 7, 7, 7, 1, 0, 0, 0][..]));
        assert_eq!(cookie[12..16], NOW.to_be_bytes());
        let again = ask_at(&everything(), transport, &with_cookie(&cookie), NOW + 1_800);
        assert_eq!((again.handled.standing, again.option(COOKIE)), (Standing::Valid, Some(&cookie[..])));
        let later = ask_at(&everything(), transport, &with_cookie(&cookie), NOW + 1_801);
        let renewed = later.option(COOKIE).unwrap();
        assert_eq!((later.handled.standing, &renewed[12..16]), (Standing::Valid, &(NOW + 1_801).to_be_bytes()[..]));
        let expired = ask_at(&everything(), transport, &with_cookie(&cookie), NOW + 3_601);
        assert_eq!((expired.handled.standing, expired.handled.rcode), (Standing::Invalid, rcode::SERVFAIL));
        assert_eq!(expired.option(COOKIE).unwrap()[12..16], (NOW + 3_601).to_be_bytes());
    }
    let none = Conduct { cookies: None, ..everything() };
    let reply = udp(&none, &with_cookie(&[7; 8]));
    assert_eq!((reply.handled.standing, reply.option(COOKIE)), (Standing::Absent, None));
}

#[test]
fn what_no_cookie_can_be_is_malformed() {
    for length in 0..=48 {
        let packet = with_options(question("x", A, IN), &[(COOKIE, &[7; 48][..length])]);
        let reply = udp(&everything(), &packet);
        if matches!(length, 8 | 16..=40) {
            assert_eq!((reply.handled.rcode, reply.option(COOKIE).unwrap().len()), (rcode::SERVFAIL, 24), "{length}");
        } else {
            assert_eq!((reply.handled.rcode, reply.option(COOKIE)), (rcode::FORMERR, None), "{length}");
            assert!(reply.options.is_some());
        }
    }
    // Of several the first counts, whatever the others are.
    let several = with_options(question("x", A, IN), &[(COOKIE, &[7; 8]), (COOKIE, &[8; 8]), (COOKIE, &[9; 3])]);
    let reply = udp(&everything(), &several);
    assert_eq!((reply.handled.rcode, &reply.option(COOKIE).unwrap()[..8]), (rcode::SERVFAIL, &[7; 8][..]));
}

#[test]
fn where_a_cookie_is_required_it_is_asked_for_over_udp_alone() {
    let with_cookie = |cookie: &[u8]| with_options(question("id.server", TXT, CH), &[(COOKIE, cookie)]);
    let first = udp(&requiring(), &with_cookie(&[7; 8]));
    assert_eq!((first.handled.rcode, first.handled.decision), (rcode::BADCOOKIE, Decision::BadCookie));
    assert_eq!((first.records.len(), first.is_authoritative(), first.error()), (0, false, None));
    let cookie = first.option(COOKIE).unwrap().to_vec();
    assert_eq!(udp(&requiring(), &with_cookie(&cookie)).handled.rcode, rcode::NOERROR);
    assert_eq!(udp(&requiring(), &with_cookie(&[7; 24])).handled.rcode, rcode::BADCOOKIE);
    // Who shows nothing is answered, and so is who cannot forge its address.
    assert_eq!(udp(&requiring(), &question("id.server", TXT, CH)).handled.rcode, rcode::NOERROR);
    assert_eq!(udp(&requiring(), &with_options(question("id.server", TXT, CH), &[])).handled.rcode, rcode::NOERROR);
    for transport in &Transport::ALL[1..] {
        let reply = ask(&requiring(), *transport, &with_cookie(&[7; 8]));
        assert_eq!((reply.handled.rcode, reply.option(COOKIE).is_some()), (rcode::NOERROR, true));
    }
}

#[test]
fn messages_that_are_no_questions_get_their_opt_and_cookie_too() {
    let header = |flags: u8, questions: u8| vec![0x12, 0x34, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    let cookie: (u16, &[u8]) = (COOKIE, &[7; 8]);
    // RFC 7873 section 5.4: a query without a question asks for a cookie; RFC 9619 has the code.
    let reply = udp(&everything(), &with_options(header(0, 0), &[cookie]));
    assert_eq!((reply.handled.rcode, reply.option(COOKIE).unwrap().len()), (rcode::FORMERR, 24));
    assert_eq!(udp(&everything(), &header(0, 0)).octets.len(), 12);
    // However many questions there are, and whatever the opcode: where the form can be read.
    let several = [&question("x", A, IN)[..], &question("y", A, IN)[12..]].concat();
    let mut several = with_options(several, &[cookie]);
    several[5] = 2;
    let reply = udp(&everything(), &several);
    assert_eq!((reply.handled.rcode, reply.option(COOKIE).is_some(), reply.count(4)), (rcode::FORMERR, true, 0));
    for opcode in 1..16 {
        let mut packet = with_options(question("x", 6, IN), &[cookie]);
        packet[2] = opcode << 3;
        let reply = udp(&everything(), &packet);
        assert_eq!((reply.handled.rcode, reply.octets[2] >> 3 & 15), (rcode::NOTIMP, opcode));
        assert_eq!((reply.option(COOKIE).is_some(), reply.count(4)), (true, 0), "opcode {opcode}");
        packet.truncate(packet.len() - 1);
        let reply = udp(&everything(), &packet);
        assert_eq!((reply.handled.rcode, reply.octets.len()), (rcode::NOTIMP, 12), "opcode {opcode}, cut off");
    }
}

#[test]
fn an_unknown_version_gets_no_options() {
    let mut packet = with_options(question("x", A, IN), &[(NSID, b""), (COOKIE, &[7; 8])]);
    let version = packet.len() - 21;
    packet[version] = 1;
    let reply = udp(&everything(), &packet);
    assert_eq!((reply.handled.rcode, reply.options), (rcode::BADVERS, Some(vec![])));
}

#[test]
fn the_idle_time_out_is_told_over_connections() {
    let asked = |timeout: &[u8]| with_options(question("id.server", TXT, CH), &[(KEEPALIVE, timeout)]);
    for transport in Transport::ALL {
        let told = matches!(transport, Transport::Tcp | Transport::Tls);
        let reply = ask(&everything(), transport, &asked(b""));
        assert_eq!(reply.option(KEEPALIVE), told.then_some(&[0, 100][..]), "{transport:?}");
        // A client's option is empty; where it means nothing it is ignored whatever it is.
        let reply = ask(&everything(), transport, &asked(&[0, 50]));
        let expected = if told { rcode::FORMERR } else { rcode::NOERROR };
        assert_eq!((reply.handled.rcode, reply.option(KEEPALIVE)), (expected, None), "{transport:?}");
    }
    let unasked = ask(&everything(), Transport::Tcp, &with_options(question("id.server", TXT, CH), &[]));
    assert_eq!(unasked.option(KEEPALIVE), None);
    let off = Conduct { keepalive: None, ..everything() };
    assert_eq!(ask(&off, Transport::Tcp, &asked(b"")).option(KEEPALIVE), None);
}

#[test]
fn what_is_encrypted_and_was_padded_is_padded() {
    for length in 1..200 {
        let name = format!("{}.{}.x", "y".repeat(length.min(63)), "z".repeat((length / 4).max(1)));
        for (rtype, class) in [(A, IN), (TXT, CH)] {
            let padded = with_options(question(&name, rtype, class), &[(PADDING, &[0; 9]), (COOKIE, &[7; 8])]);
            for transport in Transport::ALL {
                let reply = ask(&everything(), transport, &padded);
                if transport.is_encrypted() {
                    assert_eq!(reply.octets.len() % 468, 0);
                    let last = reply.options.as_ref().unwrap().last().unwrap();
                    assert!(last.0 == PADDING && last.1.iter().all(|octet| *octet == 0));
                } else {
                    assert_eq!(reply.option(PADDING), None, "{transport:?}");
                }
            }
        }
    }
    let unasked = ask(&everything(), Transport::Tls, &with_options(question("x", A, IN), &[]));
    assert_eq!(unasked.option(PADDING), None);
    let off = Conduct { padding: 0, ..everything() };
    let asked = with_options(question("x", A, IN), &[(PADDING, b"")]);
    assert_eq!(ask(&off, Transport::Tls, &asked).option(PADDING), None);
}

#[test]
fn all_options_fit_the_smallest_reply() {
    let name = [63, 63, 63, 61].map(|length| "n".repeat(length)).join(".");
    assert_eq!(wire(&name).len(), 255);
    let subnet = [&[0, 2, 128, 0, 0x20][..], &[1; 15]].concat();
    let asked: [(u16, &[u8]); 3] = [(NSID, b""), (COOKIE, &[7; 8]), (CLIENT_SUBNET, &subnet)];
    let mut packet = with_options(question(&name, A, IN), &asked);
    // A client that takes the least there is.
    let payload = 12 + 255 + 4 + 3;
    packet[payload..payload + 2].copy_from_slice(&[2, 0]);
    let longest = Conduct { nsid: Some(Text::new([b'n'; Text::MAX]).unwrap()), ..everything() };
    let reply = udp(&longest, &packet);
    assert_eq!(reply.option(NSID).map(<[u8]>::len), Some(Text::MAX));
    assert_eq!((reply.option(COOKIE).map(<[u8]>::len), reply.error()), (Some(24), Some(14)));
    assert_eq!(reply.option(CLIENT_SUBNET).map(<[u8]>::len), Some(20));
    assert!(!reply.handled.truncated && reply.octets.len() <= 512, "{}", reply.octets.len());
    assert!(Text::new([b'n'; Text::MAX + 1]).is_err() && Text::new("").is_err());
}

#[test]
fn padding_never_goes_beyond_the_room_there_is() {
    let name = [63, 63, 63, 61].map(|length| "n".repeat(length)).join(".");
    let subnet = [&[0, 2, 128, 0, 0x20][..], &[1; 15]].concat();
    let asked: [(u16, &[u8]); 4] = [(PADDING, b""), (NSID, b""), (COOKIE, &[7; 8]), (CLIENT_SUBNET, &subnet)];
    let packet = with_options(question(&name, A, IN), &asked);
    let longest = Conduct { nsid: Some(Text::new([b'n'; Text::MAX]).unwrap()), ..everything() };
    let directory = empty();
    let responder = Responder { directory: &directory, conduct: &longest, unix_seconds: NOW };
    let asked = Asked { packet: &packet, peer: PEER.parse().unwrap(), transport: Transport::Tls, role: Role::Referral };
    // More than one block of 468 octets without padding, and room for less than two, or for two.
    for (room, padded) in [(935, false), (936, true), (2_000, true)] {
        let mut reply = vec![0; room];
        let handled = responder.respond(&asked, &mut reply);
        let reply = Reply::read(&reply[..handled.length], handled);
        assert_eq!(reply.option(PADDING).is_some(), padded, "room for {room}");
        assert_eq!(reply.octets.len() == 936, padded, "room for {room}");
        assert!(reply.octets.len() > 468 && reply.option(NSID).is_some());
    }
}

/// Answers and limits these packets as one batch.
fn limited(conduct: &Conduct, packets: &[Vec<u8>], transport: Transport, limiter: &mut Limiter) -> Vec<Option<Reply>> {
    let directory = Directory::new(Settings::default());
    let responder = Responder { directory: &directory, conduct, unix_seconds: NOW };
    let mut buffers = vec![vec![0; 1_232]; packets.len()];
    let peer: SocketAddr = PEER.parse().unwrap();
    let mut exchanges: Vec<Exchange<'_>> = packets
        .iter()
        .zip(&mut buffers)
        .map(|(packet, reply)| {
            let asked = Asked { packet, peer, transport, role: Role::Referral };
            Exchange { asked, reply, handled: Handled::DROPPED }
        })
        .collect();
    responder.respond_batch(&mut exchanges, &mut Names::default());
    responder.limit_batch(&mut exchanges, limiter, 0);
    let read = |e: &Exchange<'_>| (e.handled.length > 0).then(|| Reply::read(&e.reply[..e.handled.length], e.handled));
    exchanges.iter().map(read).collect()
}

fn two_a_second(slip: u32) -> Conduct {
    Conduct { limits: Some(Limits::new(2, slip, [])), ..everything() }
}

#[test]
fn what_is_too_much_is_sent_short_or_not_at_all() {
    let packets = vec![with_options(question("id.server", TXT, CH), &[(NSID, b"")]); 6];
    let replies = limited(&two_a_second(2), &packets, Transport::Udp, &mut Limiter::new(64, [1, 2], 1));
    let sent: Vec<bool> = replies.iter().map(Option::is_some).collect();
    assert_eq!(sent, [true, true, false, true, false, true]);
    for (at, reply) in replies.iter().enumerate() {
        let Some(reply) = reply else { continue };
        assert_eq!((reply.handled.rcode, reply.option(NSID)), (rcode::NOERROR, Some(&b"pop 7"[..])));
        if at < 2 {
            assert_eq!((reply.handled.decision, reply.records.len()), (Decision::Chaos, 1));
        } else {
            // TC, no records, the question and OPT kept.
            assert_eq!((reply.handled.decision, reply.handled.truncated), (Decision::RateLimited, true));
            assert_eq!((reply.records.len(), reply.is_authoritative()), (0, false));
            assert_eq!(reply.octets[12..27], packets[0][12..27]);
        }
    }
    let malformed = vec![question("x", A, IN)[..18].to_vec(); 3];
    let replies = limited(&two_a_second(1), &malformed, Transport::Udp, &mut Limiter::new(64, [1, 2], 1));
    let last = replies[2].as_ref().unwrap();
    assert_eq!((last.handled.rcode, last.handled.truncated), (rcode::FORMERR, true));
}

#[test]
fn under_attack_a_cookie_is_the_way_out() {
    let with_cookie = |cookie: &[u8]| with_options(question("id.server", TXT, CH), &[(COOKIE, cookie)]);
    let (conduct, mut limiter) = (two_a_second(1), Limiter::new(64, [1, 2], 1));
    let replies = limited(&conduct, &vec![with_cookie(&[7; 8]); 3], Transport::Udp, &mut limiter);
    let told = replies[2].as_ref().unwrap();
    assert_eq!((told.handled.rcode, told.handled.decision), (rcode::BADCOOKIE, Decision::RateLimited));
    assert!(!told.handled.truncated && told.records.is_empty());
    let cookie = told.option(COOKIE).unwrap().to_vec();
    let replies = limited(&conduct, &vec![with_cookie(&cookie); 100], Transport::Udp, &mut limiter);
    assert!(replies.iter().flatten().filter(|reply| reply.handled.decision == Decision::Chaos).count() == 100);
    // With slip 0 nobody is told anything.
    let replies = limited(&two_a_second(0), &vec![with_cookie(&[7; 8]); 3], Transport::Udp, &mut limiter);
    assert!(replies.iter().all(Option::is_none));
}

#[test]
fn connections_and_servers_without_limits_are_not_limited() {
    let packets = vec![question("id.server", TXT, CH); 100];
    for transport in &Transport::ALL[1..] {
        let replies = limited(&two_a_second(2), &packets, *transport, &mut Limiter::new(64, [1, 2], 1));
        assert!(replies.iter().all(Option::is_some));
    }
    let replies = limited(&everything(), &packets, Transport::Udp, &mut Limiter::new(64, [1, 2], 1));
    assert!(replies.iter().all(Option::is_some));
}
