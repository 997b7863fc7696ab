//! The DNS side of all DNS-LBs, as far as a dns-b looks at it before it hands them out: the SOA of a label
//! zone, and the echo of a nonce. Served by our own lanes, at every address of this net.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use dglb_core::dns::{Asked, Decision, Handled, Kind, Role};
use dglb_node::{
    lifecycle::Tasks,
    metrics::DnsCounters,
    serve::{Endpoint, Held, Server, Source},
};

use crate::serve;

/// Connections at once: the checks of many DNS-LBs come from one dns-b.
const CONNECTIONS: usize = 2_000;

/// Answers in the name of whichever DNS-LB is asked.
#[derive(Clone, Copy, Debug)]
struct Everybody;

/// Starts to answer, at port 53.
///
/// # Errors
/// When somebody else does, or there is no room for a thread.
pub(super) fn start(tasks: &mut Tasks) -> io::Result<()> {
    let settings = serve::configuration(Some(CONNECTIONS))?.settings;
    let endpoint = Endpoint { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 53)), role: Role::Referral };
    Server::bind(&[endpoint], settings).map_err(io::Error::other)?.run(Everybody, &DnsCounters::new(), tasks)
}

impl Source for Everybody {
    type Held = Self;

    fn hold(&self) -> Self {
        *self
    }
}

impl Held for Everybody {
    fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        let Some(length) = answer(asked.packet, reply) else { return Handled::DROPPED };
        Handled { length, decision: Decision::Authority, kind: Kind::Answer, ..Handled::DROPPED }
    }
}

const SOA: u16 = 6;
const TXT: u16 = 16;

/// Writes the answer and returns its length; `None` for what no check asks.
fn answer(packet: &[u8], reply: &mut [u8]) -> Option<usize> {
    let mut labels = Vec::new();
    let mut at = 12;
    while *packet.get(at)? != 0 {
        let length = usize::from(packet[at]);
        labels.push(packet.get(at + 1..at + 1 + length)?);
        at += 1 + length;
    }
    let question = packet.get(12..at + 5)?;
    let rtype = u16::from_be_bytes([packet[at + 1], packet[at + 2]]);
    let data = match (rtype, &labels[..]) {
        // Names and numbers of no meaning.
        (SOA, _) => vec![0; 22],
        (TXT, [nonce, b"_dglb", label, ..]) => [&[label.len() as u8], *label, &[nonce.len() as u8], nonce].concat(),
        _ => return None,
    };
    let [t0, t1] = rtype.to_be_bytes();
    let [l0, l1] = (data.len() as u16).to_be_bytes();
    let header = [packet[0], packet[1], 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let record = [0xc0, 12, t0, t1, 0, 1, 0, 0, 0, 0, l0, l1];
    let whole = [&header[..], question, &record, &data].concat();
    reply.get_mut(..whole.len())?.copy_from_slice(&whole);
    Some(whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::packet;

    fn asked(name: &str, rtype: u16) -> Option<Vec<u8>> {
        let mut question = packet(name, &[]);
        let at = question.len() - 11 - 4;
        question[at..at + 2].copy_from_slice(&rtype.to_be_bytes());
        let mut reply = [0; 512];
        answer(&question, &mut reply).map(|length| reply[..length].to_vec())
    }

    #[test]
    fn checks_are_answered_and_nothing_else() {
        let txt = asked("abc._dglb.lb7.glb.load.test", TXT).unwrap();
        assert!(txt.ends_with(&[0, 8, 3, b'l', b'b', b'7', 3, b'a', b'b', b'c']), "{txt:02x?}");
        assert_eq!(txt[2..8], [0x84, 0, 0, 1, 0, 1]);
        assert!(asked("lb7.glb.load.test", SOA).is_some());
        assert_eq!(asked("lb7.glb.load.test", TXT), None);
        assert_eq!(asked("lb7.glb.load.test", 1), None);
    }
}
