//! Whether an answer is of one version: the name that it gives comes from the map, its time to live
//! from the settings, and both were published together.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use super::writer::{WATCHED, ttl_of};
use crate::{questions::packet, world};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Versions that must be seen, or nothing was shown.
const VERSIONS: usize = 10;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Answers.
    pub(super) answers: usize,
    /// Different ones among them.
    pub(super) versions: usize,
}

/// Asks for the watched network's answer, one question after the other.
///
/// # Errors
/// When an answer is missing or mixes two versions.
pub(super) fn check(server: SocketAddrV4, time: Duration) -> io::Result<Seen> {
    let socket = UdpSocket::bind((Ipv4Addr::from_bits(WATCHED.to_bits() + 9), 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let question = packet(&world::name(0), &[]);
    let (mut reply, mut seen, mut answers) = ([0; 1_500], HashSet::new(), 0);
    let end = Instant::now() + time;
    while Instant::now() < end {
        socket.send(&question)?;
        let length = socket.recv(&mut reply)?;
        let said = read(&reply[..length], question.len());
        let Some((watcher, ttl)) = said else {
            return Err(io::Error::other(format!("not an answer of ours: {:02x?}", &reply[..length])));
        };
        if ttl != ttl_of(watcher) {
            return Err(io::Error::other(format!("mixed: lb{watcher} with {ttl} s instead of {}", ttl_of(watcher))));
        }
        seen.insert(watcher);
        answers += 1;
    }
    if seen.len() < VERSIONS {
        return Err(io::Error::other(format!("only {} versions were seen", seen.len())));
    }
    Ok(Seen { answers, versions: seen.len() })
}

/// Number of the DNS-LB in the CNAME of a reply to a question of this length (with its OPT), and the
/// record's time to live.
fn read(reply: &[u8], question: usize) -> Option<(u32, u32)> {
    // Behind the question there is a pointer to its name, then TYPE, CLASS, TTL, RDLENGTH, and the
    // target: the service's label, then the DNS-LB's.
    const OPT: usize = 11;
    let record = reply.get(question - OPT..)?;
    let [0xc0, 12, 0, 5, 0, 1, t0, t1, t2, t3, _, _, target @ ..] = record else { return None };
    let behind = 1 + usize::from(*target.first()?);
    let length = usize::from(*target.get(behind)?);
    let label = target.get(behind + 1..behind + 1 + length)?;
    let number = std::str::from_utf8(label).ok()?.strip_prefix("lb")?.parse().ok()?;
    Some((number, u32::from_be_bytes([*t0, *t1, *t2, *t3])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_a_reply() {
        let question = packet(&world::name(0), &[]);
        let mut reply = question[..question.len() - 11].to_vec();
        reply.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 44, 0, 13]);
        reply.extend_from_slice(b"\x04www0\x04lb43\xc0\x11");
        assert_eq!(read(&reply, question.len()), Some((43, 44)));
        assert_eq!(ttl_of(43), 44);
        for cut in 0..reply.len() - 2 {
            assert_eq!(read(&reply[..cut], question.len()), None, "{cut}");
        }
        assert_eq!(read(&question, question.len()), None);
    }
}
