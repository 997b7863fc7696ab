//! A real server's lanes under a flood: what is sent whole, short and not at all, and what is
//! counted. Asked is for the server's identity, so that no content is needed.

use dglb_core::{
    directory::{self, Directory},
    dns::{
        Conduct, Standing,
        conduct::Text,
        cookie::{Cookies, Secret},
        rate::Limits,
    },
    net::Prefix,
};

use super::*;

/// `id.server TXT` in class CHAOS with these options.
fn question(options: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(b"\x02id\x06server\0\0\x10\0\x03");
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, options.len() as u8]);
    packet.extend(options);
    packet
}

fn cookie(cookie: &[u8]) -> Vec<u8> {
    question(&[&[0, 10, 0, cookie.len() as u8], cookie].concat())
}

/// A server with one lane, and what it is answered from.
struct Limited {
    address: SocketAddr,
    counters: DnsCounters,
    conduct: Publisher<Conduct>,
    _directory: Publisher<Directory>,
    _tasks: Tasks,
}

impl Limited {
    /// Ten replies a second: what is asked at once is far more, and a second adds little to it.
    fn new(slip: u32, exempt: &[&str]) -> Self {
        let exempt: Vec<Prefix> = exempt.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let conduct = Conduct {
            identity: Some("sea1".parse::<Text>().unwrap()),
            cookies: Some(Cookies { current: Secret::new([1; 16]), next: None, require: false }),
            limits: Some(Limits::new(10, slip, exempt)),
            ..Conduct::DEFAULT
        };
        let (conduct, directory) =
            (Publisher::new(conduct), Publisher::new(Directory::new(directory::Settings::default())));
        let endpoint = Endpoint { address: "127.0.0.1:0".parse().unwrap(), role: Role::Referral };
        let server = Server::bind(&[endpoint], lanes(1)).unwrap();
        let address = server.local_addresses()[0];
        let (counters, mut tasks) = (DnsCounters::new(), Tasks::new());
        let content = Content { directory: directory.reader(), conduct: conduct.reader() };
        server.run(content, &counters, &mut tasks).unwrap();
        Self { address, counters, conduct, _directory: directory, _tasks: tasks }
    }

    /// Asks so often, and no faster than a lane takes questions from its socket; the replies.
    fn ask(&self, packet: &[u8], times: usize) -> Vec<Vec<u8>> {
        let asked = || self.counters.totals().questions(Transport::Udp) as usize;
        let dropped = || self.counters.totals().incident(Incident::RateLimited) as usize;
        let (socket, asked_before, dropped_before) = (client(self.address), asked(), dropped());
        let deadline = Instant::now() + 4 * SOON;
        for at in 1..=times {
            socket.send(packet).unwrap();
            while asked() < asked_before + at {
                assert!(Instant::now() < deadline, "question {at} was lost");
                std::thread::yield_now();
            }
        }
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut replies = Vec::new();
        let mut reply = [0; 1_232];
        while replies.len() + dropped() - dropped_before < times {
            assert!(Instant::now() < deadline, "{} replies to {times} questions", replies.len());
            if let Ok(length) = socket.recv(&mut reply) {
                replies.push(reply[..length].to_vec());
            }
        }
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        assert!(socket.recv(&mut reply).is_err(), "more replies than there can be");
        replies
    }
}

/// ANCOUNT, TC, and the extended response code of a reply whose OPT record ends it and has `options`
/// octets of options.
fn shape(reply: &[u8], options: usize) -> (u8, bool, u8) {
    let opt = reply.len() - options - 11;
    assert_eq!(reply[opt..opt + 3], [0, 0, 41], "{reply:02x?}");
    (reply[7], reply[2] & 2 != 0, reply[opt + 5] << 4 | reply[3] & 15)
}

#[tokio::test]
async fn a_flood_gets_its_share_and_every_other_one_is_told_of_tcp() {
    let server = Limited::new(2, &[]);
    let replies = server.ask(&question(&[]), 100);
    let whole = replies.iter().filter(|r| shape(r, 0) == (1, false, 0)).count() as u64;
    let short = replies.iter().filter(|r| shape(r, 0) == (0, true, 0)).count() as u64;
    assert_eq!(whole + short, replies.len() as u64);
    assert!(whole >= 10 && short >= 1, "{whole} whole, {short} short");
    let totals = server.counters.totals();
    let (dropped, slipped) = (totals.incident(Incident::RateLimited), totals.incident(Incident::Slipped));
    assert_eq!((slipped, whole + dropped + slipped), (short, 100));
    // Every second of what was too much.
    assert_eq!(dropped - slipped, (100 - whole) % 2);
    assert_eq!(totals.decision(Decision::Chaos), whole);
    assert_eq!((totals.decision(Decision::RateLimited), totals.truncated), (dropped + slipped, short));

    // Over TCP the same client is answered, however much it asks.
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let packet = question(&[]);
    let framed = [&(packet.len() as u16).to_be_bytes()[..], &packet].concat();
    for _ in 0..50 {
        stream.write_all(&framed).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(shape(&reply, 0), (1, false, 0));
    }
}

#[tokio::test]
async fn under_attack_a_client_that_knows_cookies_gets_one_and_is_free() {
    let server = Limited::new(1, &[]);
    let replies = server.ask(&cookie(&[7; 8]), 60);
    assert_eq!(replies.len(), 60, "with slip 1 nothing is dropped");
    let bad: Vec<_> = replies.iter().filter(|r| shape(r, 28) == (0, false, 23)).collect();
    assert!(!bad.is_empty() && replies.len() - bad.len() >= 10, "{} of {}", bad.len(), replies.len());
    let given = &bad[0][bad[0].len() - 24..];
    let replies = server.ask(&cookie(given), 100);
    assert_eq!(replies.len(), 100);
    assert!(replies.iter().all(|r| shape(r, 28) == (1, false, 0)));
    let totals = server.counters.totals();
    assert_eq!((totals.standing(Standing::ClientOnly), totals.standing(Standing::Valid)), (60, 100));
    assert_eq!(totals.replies(23), bad.len() as u64);
    assert_eq!(totals.incident(Incident::Slipped), bad.len() as u64);
}

#[tokio::test]
async fn the_exempt_are_free_and_a_new_conduct_holds_at_once() {
    let mut server = Limited::new(0, &["127.0.0.0/8"]);
    assert_eq!(server.ask(&question(&[]), 100).len(), 100);
    let strict = Conduct { limits: Some(Limits::new(1, 0, [])), ..(*server.conduct.current()).clone() };
    server.conduct.publish(strict);
    let replies = server.ask(&question(&[]), 100).len();
    assert!(replies < 90, "{replies}");
    let totals = server.counters.totals();
    assert_eq!((totals.incident(Incident::RateLimited), totals.incident(Incident::Slipped)), (100 - replies as u64, 0));
    let free = Conduct { limits: None, ..(*server.conduct.current()).clone() };
    server.conduct.publish(free);
    assert_eq!(server.ask(&question(&[]), 100).len(), 100);
}
