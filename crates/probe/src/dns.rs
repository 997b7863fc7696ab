//! A DNS question over UDP (RFC 1035 section 4). It asks a server about itself, without recursion.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use dglb_core::name::Name;
use tokio::net::UdpSocket;

use crate::{
    connection::of_connect,
    outcome::Failure,
    probe::{Run, Stop},
};

const HEADER: usize = 12;
/// Octets that are read of a response; the rest says nothing more.
const MOST: usize = 4_096;
const CLASS_IN: u16 = 1;

/// Asks and waits for the answer.
pub(crate) async fn ask(run: &mut Run, to: SocketAddr, name: &Name, rtype: u16) -> Result<(), Stop> {
    let socket = open(to).await.map_err(|e| of_connect(&e))?;
    let question = question(rand::random(), name, rtype);
    socket.send(&question).await.map_err(|e| of_connect(&e))?;
    let mut buffer = vec![0; MOST];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|e| of_connect(&e))?;
        // What answers another question may be late; whether it is somebody's who guesses is no matter,
        // since nothing of it is believed but that something answers.
        if let Some(verdict) = verdict(&question, &buffer[..length]) {
            run.times.connect = run.started.elapsed();
            return verdict.map_err(Stop::Failed);
        }
    }
}

async fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

fn question(id: u16, name: &Name, rtype: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + name.wire().len() + 4);
    message.extend_from_slice(&id.to_be_bytes());
    // No flags, one question, nothing else.
    message.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(name.wire());
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message
}

/// What a message says to a question; `None` if it is no response to it.
fn verdict(question: &[u8], message: &[u8]) -> Option<Result<(), Failure>> {
    let head: &[u8; HEADER] = message.first_chunk()?;
    let is_response = head[2] & 0x80 != 0 && head[..2] == question[..2];
    if !is_response {
        return None;
    }
    let rcode = head[3] & 0x0f;
    // A server that cannot read the question need not repeat it.
    let repeats = message.get(HEADER..question.len()).is_some_and(|q| q.eq_ignore_ascii_case(&question[HEADER..]));
    if rcode == 0 && !(repeats && head[4..6] == [0, 1]) {
        return None;
    }
    let truncated = head[2] & 0x02 != 0;
    let records = u16::from_be_bytes([head[6], head[7]]);
    Some(if rcode == 0 && (records > 0 || truncated) { Ok(()) } else { Err(Failure::WrongAnswer(rcode)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        "www.foobar.com".parse().unwrap()
    }

    /// The question of a good response with other octets at some places.
    fn response(places: &[(usize, u8)]) -> Vec<u8> {
        let mut message = question(0x1234, &name(), 1);
        (message[2], message[7]) = (0x84, 1);
        for (at, octet) in places {
            message[*at] = *octet;
        }
        message
    }

    #[test]
    fn what_a_response_says() {
        let asked = question(0x1234, &name(), 1);
        assert_eq!(verdict(&asked, &response(&[])), Some(Ok(())));
        assert_eq!(verdict(&asked, &response(&[(13, b'W')])), Some(Ok(())), "the case is no matter");
        assert_eq!(verdict(&asked, &response(&[(7, 0)])), Some(Err(Failure::WrongAnswer(0))), "no data");
        assert_eq!(verdict(&asked, &response(&[(7, 0), (2, 0x86)])), Some(Ok(())), "truncated");
        assert_eq!(verdict(&asked, &response(&[(3, 3)])), Some(Err(Failure::WrongAnswer(3))));
        let refused = &response(&[(3, 5), (5, 0)])[..HEADER];
        assert_eq!(verdict(&asked, refused), Some(Err(Failure::WrongAnswer(5))));
        for other in [&[(0, 0)][..], &[(2, 4)], &[(14, b'x')], &[(5, 2)]] {
            assert_eq!(verdict(&asked, &response(other)), None, "{other:?}");
        }
        for length in 0..HEADER {
            assert_eq!(verdict(&asked, &response(&[])[..length]), None);
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_and_one_that_does_not() {
        use dglb_core::catalogue::{Probe, ProbeKind};

        use crate::probe::{Means, Outcome, Phase, probe};

        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            // First something that answers nothing.
            server.send_to(b"?", from).await.unwrap();
            (buffer[2], buffer[7]) = (0x84, 1);
            server.send_to(&buffer[..length], from).await.unwrap();
            // And then nothing any more.
            std::future::pending::<()>().await;
        });
        let kind = ProbeKind::Dns { port, name: None, rtype: 1 };
        let wanted = Probe { kind, interval_ms: 1_000, timeout_ms: 300, fall: 2, rise: 2 };
        let means = Means { body_limit: 0, trust: crate::trust::Trust::nobody() };
        let seen = probe(&wanted, [127, 0, 0, 1].into(), &name(), &means).await;
        assert!(matches!(seen.outcome, Outcome::Good(times) if !times.connect.is_zero()), "{seen:?}");
        let seen = probe(&wanted, [127, 0, 0, 1].into(), &name(), &means).await;
        assert_eq!(seen.outcome, Outcome::Failed(Failure::TimedOut(Phase::Connect)));
    }
}
