//! Questions as resolvers ask them, and as much of the reply as the invariants need. What is asked is
//! [`Responder`], as the serving threads do.

use std::net::{IpAddr, SocketAddr};

use dglb_core::{
    directory::Directory,
    dns::{Asked, Decision, Responder, Role, Transport},
    name::Name,
};

/// TYPE A.
pub const A: u16 = 1;
/// TYPE SOA.
pub const SOA: u16 = 6;
const CNAME: u16 = 5;
/// NXDOMAIN.
pub const NXDOMAIN: u16 = 3;
/// SERVFAIL.
pub const SERVFAIL: u16 = 2;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Response code.
    pub rcode: u16,
    /// By which way it was found.
    pub decision: Decision,
    /// Whether it is authoritative.
    pub authoritative: bool,
    /// Records in the answer section.
    pub answers: u16,
    /// Where a CNAME leads, and for how many seconds.
    pub alias: Option<(Name, u32)>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// All of it.
    pub octets: Vec<u8>,
}

/// Asks `directory` for `name`, as `from`, at an address of this role.
pub fn ask(directory: &Directory, from: IpAddr, (name, qtype): (&Name, u16), role: Role) -> Reply {
    let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    let asked = Asked { packet: &packet, peer: SocketAddr::new(from, 5353), transport: Transport::Udp, role };
    let mut octets = vec![0; 1_232];
    let handled = Responder::with_defaults(directory).respond(&asked, &mut octets);
    octets.truncate(handled.length);
    let mut reply = Reply {
        rcode: handled.rcode,
        decision: handled.decision,
        authoritative: octets.get(2).is_some_and(|flags| flags & 4 != 0),
        answers: 0,
        alias: None,
        addresses: Vec::new(),
        octets: Vec::new(),
    };
    // What cannot be read stays out: every invariant that reads a reply misses it then.
    let _ = reply.read(&octets, packet.len());
    reply.octets = octets;
    reply
}

impl Reply {
    fn read(&mut self, octets: &[u8], mut at: usize) -> Option<()> {
        let count = octets.get(6..8).map_or(0, |c| u16::from_be_bytes([c[0], c[1]]));
        for _ in 0..count {
            at = after_name(octets, at)?;
            let fixed = octets.get(at..at + 10)?;
            let rtype = u16::from_be_bytes([fixed[0], fixed[1]]);
            let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
            let data = at + 10..at + 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            match (rtype, octets.get(data.clone())?) {
                (A, [a, b, c, d]) => self.addresses.push(IpAddr::from([*a, *b, *c, *d])),
                (CNAME, _) => self.alias = Some((name_at(octets, data.start)?, ttl)),
                _ => {}
            }
            self.answers += 1;
            at = data.end;
        }
        Some(())
    }
}

fn after_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn name_at(octets: &[u8], mut at: usize) -> Option<Name> {
    let mut wire = Vec::new();
    for _ in 0..128 {
        let length = *octets.get(at)?;
        if length >= 0xc0 {
            at = usize::from(length & 0x3f) << 8 | usize::from(*octets.get(at + 1)?);
            continue;
        }
        let end = at + 1 + usize::from(length);
        wire.extend_from_slice(octets.get(at..end)?);
        at = end;
        if length == 0 {
            return Name::from_wire(&wire).ok();
        }
    }
    None
}
