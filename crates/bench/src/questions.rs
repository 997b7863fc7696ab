//! What is asked: packets made before the clock runs, of which only a few octets differ from
//! question to question.

use std::net::Ipv4Addr;

use clap::ValueEnum;

use crate::{random::Random, world};

/// Different questions of a scenario before the first comes again.
pub(crate) const QUESTIONS: usize = 1 << 18;

/// Who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The same name every time, from one address.
    OneName,
    /// One name for clients in random /24s of the map, told by the client subnet option.
    RandomSubnets,
    /// One name, from random addresses of 127.0.0.0/8: the map decides by source.
    RandomSources,
    /// Every service, from random addresses whose DNS-LB has ranked it.
    Services,
    /// Names that do not exist.
    Nxdomain,
}

impl Scenario {
    /// As printed.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OneName => "one name",
            Self::RandomSubnets => "random ECS /24s",
            Self::RandomSources => "random sources",
            Self::Services => "1 000 services",
            Self::Nxdomain => "NXDOMAIN flood",
        }
    }

    /// Whether the client sends from many addresses.
    pub(crate) fn sends_from_many(self) -> bool {
        matches!(self, Self::RandomSources | Self::Services)
    }

    /// Response code and number of answers of every right reply.
    pub(crate) fn expected(self) -> (u8, u16) {
        if self == Self::Nxdomain { (3, 0) } else { (0, 1) }
    }
}

/// The questions of a scenario: templates, and what is written into them.
#[derive(Debug)]
pub(crate) struct Questions {
    templates: Vec<Vec<u8>>,
    varying: Varying,
    /// Template and variation of each question.
    order: Vec<(u16, u32)>,
}

/// What differs within one template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Varying {
    Nothing,
    /// The three octets of a subnet stand here.
    Subnet(usize),
    /// The source of the datagram.
    Source,
    /// Eight hexadecimal digits stand here.
    Digits(usize),
}

/// A question that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Octets.
    pub(crate) length: usize,
    /// The address to send from, where it matters.
    pub(crate) source: Option<Ipv4Addr>,
}

impl Questions {
    /// The questions of a scenario, the same in every run.
    pub(crate) fn of(scenario: Scenario) -> Self {
        let mut random = Random(scenario as u64 + 11);
        let one = || vec![packet(&world::name(0), &[])];
        let mut each = |pick: &mut dyn FnMut(&mut Random) -> (u16, u32)| -> Vec<(u16, u32)> {
            (0..QUESTIONS).map(|_| pick(&mut random)).collect()
        };
        match scenario {
            Scenario::OneName => Self { templates: one(), varying: Varying::Nothing, order: vec![(0, 0)] },
            Scenario::RandomSubnets => {
                let template = packet(&world::name(0), &subnet_option());
                let varying = Varying::Subnet(template.len() - 3);
                let mut prefixes = world::prefix_seed();
                let order = each(&mut |random| (0, subnet_of_map(&mut prefixes, random)));
                Self { templates: vec![template], varying, order }
            }
            Scenario::RandomSources => {
                Self { templates: one(), varying: Varying::Source, order: each(&mut |random| (0, source(random))) }
            }
            Scenario::Services => {
                let templates = (0..world::SERVICES).map(|service| packet(&world::name(service), &[])).collect();
                let order = each(&mut |random| {
                    let source = source(random);
                    let lb = world::lb_of_loopback(Ipv4Addr::from_bits(source));
                    (world::ranked(lb, random.below(world::RANKED)) as u16, source)
                });
                Self { templates, varying: Varying::Source, order }
            }
            Scenario::Nxdomain => {
                // An underscore: a label that no DNS-LB can have.
                let template = |zone| packet(&format!("_00000000.{}", world::zone(zone)), &[]);
                let templates = (0..world::ZONES).map(template).collect();
                let order = each(&mut |random| (random.below(world::ZONES) as u16, random.next() as u32));
                Self { templates, varying: Varying::Digits(HEADER + 2), order }
            }
        }
    }

    /// Writes the `nth` question, counted around, with this id.
    pub(crate) fn write(&self, nth: usize, id: u16, into: &mut [u8]) -> Written {
        let (template, variation) = self.order[nth % self.order.len()];
        let template = &self.templates[usize::from(template)];
        into[..template.len()].copy_from_slice(template);
        into[..2].copy_from_slice(&id.to_be_bytes());
        let mut source = None;
        match self.varying {
            Varying::Nothing => {}
            Varying::Subnet(at) => into[at..at + 3].copy_from_slice(&variation.to_be_bytes()[..3]),
            Varying::Source => source = Some(Ipv4Addr::from_bits(variation)),
            Varying::Digits(at) => {
                for (nth, digit) in into[at..at + 8].iter_mut().enumerate() {
                    *digit = b"0123456789abcdef"[(variation >> (4 * nth)) as usize & 0xf];
                }
            }
        }
        Written { length: template.len(), source }
    }
}

/// Octets of a DNS header.
const HEADER: usize = 12;

/// A question for an IPv4 address with EDNS, as every resolver has it, and these options in it.
pub(crate) fn packet(owner: &str, options: &[u8]) -> Vec<u8> {
    let name: dglb_core::name::Name = owner.parse().expect("a name");
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&[0, 1, 0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(options);
    packet
}

/// A client subnet option (RFC 7871 section 6) with 24 bits of an IPv4 address, which end the packet.
fn subnet_option() -> [u8; 11] {
    [0, 8, 0, 7, 0, 1, 24, 0, 0, 0, 0]
}

/// A /24 within, or around, the next prefix of the map.
fn subnet_of_map(prefixes: &mut Random, random: &mut Random) -> u32 {
    let (address, bits) = world::drawn_prefix(prefixes);
    let free = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    (address.to_bits() & !free | random.next() as u32 & free) & 0xffff_ff00
}

/// An address of loopback that is no network's first or last.
fn source(random: &mut Random) -> u32 {
    let net = 0x7f00_0000 + (random.below(1 << 16) << 8);
    net + 1 + random.below(254)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn written(questions: &Questions, nth: usize) -> (Vec<u8>, Option<Ipv4Addr>) {
        let mut buffer = [0; 256];
        let written = questions.write(nth, nth as u16, &mut buffer);
        (buffer[..written.length].to_vec(), written.source)
    }

    #[test]
    fn questions_differ_as_their_scenario_wants() {
        for scenario in Scenario::value_variants() {
            let questions = Questions::of(*scenario);
            let many: Vec<_> = (0..1_000).map(|nth| written(&questions, nth)).collect();
            assert!(many.iter().enumerate().all(|(nth, (packet, _))| packet[..2] == (nth as u16).to_be_bytes()));
            let packets: HashSet<_> = many.iter().map(|(packet, _)| &packet[2..]).collect();
            let sources: HashSet<_> = many.iter().filter_map(|(_, source)| *source).collect();
            let wanted = match scenario {
                Scenario::OneName => (1..=1, 0..=0),
                Scenario::RandomSubnets | Scenario::Nxdomain => (990..=1_000, 0..=0),
                Scenario::RandomSources => (1..=1, 990..=1_000),
                Scenario::Services => (500..=1_000, 990..=1_000),
            };
            assert!(wanted.0.contains(&packets.len()), "{scenario:?}: {} packets", packets.len());
            assert!(wanted.1.contains(&sources.len()), "{scenario:?}: {} sources", sources.len());
            assert!(sources.iter().all(Ipv4Addr::is_loopback));
            assert_eq!(scenario.sends_from_many(), !sources.is_empty());
        }
    }

    #[test]
    fn what_varies_stands_where_it_belongs() {
        let (subnet, _) = written(&Questions::of(Scenario::RandomSubnets), 5);
        assert_eq!(subnet[subnet.len() - 11..subnet.len() - 3], [0, 8, 0, 7, 0, 1, 24, 0]);
        let (nonsense, _) = written(&Questions::of(Scenario::Nxdomain), 5);
        assert_eq!((nonsense[HEADER], nonsense[HEADER + 1]), (9, b'_'));
        assert!(nonsense[HEADER + 2..HEADER + 10].iter().all(u8::is_ascii_hexdigit));
        assert!(nonsense[HEADER + 10..].starts_with(b"\x04glb") || nonsense[HEADER + 10..].starts_with(b"\x05glb"));
    }
}
