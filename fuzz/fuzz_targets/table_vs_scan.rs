//! The mapping table against a linear scan: any changes, then any questions.
#![no_main]

use std::net::IpAddr;

use arbitrary::Arbitrary;
use dglb_core::{
    net::{Prefix, canonical, family_bits},
    table::{Claim, LbIndex, Located, Registry, Source, reference},
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Address {
    // Few different octets, so that prefixes meet.
    V4([Octet; 4]),
    V6([Octet; 4], u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Octet {
    Zero,
    Ones,
    High,
    Any(u8),
}

impl Octet {
    fn value(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::Ones => 0xff,
            Self::High => 0x80,
            Self::Any(octet) => octet,
        }
    }
}

impl Address {
    fn ip(&self) -> IpAddr {
        match self {
            Self::V4(octets) => IpAddr::from(octets.map(Octet::value)),
            Self::V6(octets, last) => {
                let mut address = [0; 16];
                address[..4].copy_from_slice(&octets.map(Octet::value));
                address[15] = *last;
                canonical(IpAddr::from(address))
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Claim(Address, u8, u8),
    Withdraw(Address, u8),
    Lookup(Address, u8),
    Nearest(Address, u8),
}

fn prefix(address: &Address, bits: u8) -> Prefix {
    let address = address.ip();
    Prefix::containing(address, bits % (family_bits(address) + 1)).expect("not too long")
}

fn agree(table: Option<Located<'_>>, scan: Option<reference::Found<'_, u16>>) {
    let value = |l: &Located<'_>| l.group.map(|g| g.members()[0].preference);
    let table = table.map(|l| (value(&l), l.matched, l.scope));
    assert_eq!(table, scan.map(|f| (f.value.copied(), f.matched, f.scope)));
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut registry, mut scan) = (Registry::new(), reference::Scan::default());
    let lb = LbIndex(7);
    for step in steps.iter().take(60) {
        match step {
            Step::Claim(address, bits, value) => {
                let (prefix, preference) = (prefix(address, *bits), u16::from(value % 4));
                let claim = Claim { prefix, preference, weight: 1, source: Source::Static };
                registry.add(lb, 1, None, [claim]).expect("there is room");
                scan.set(prefix, Some(preference));
            }
            Step::Withdraw(address, bits) => {
                registry.remove(lb, [prefix(address, *bits)]);
                scan.set(prefix(address, *bits), None);
            }
            Step::Lookup(address, source) => {
                let address = address.ip();
                let source = source % (family_bits(address) + 1);
                agree(Some(registry.table().lookup(address, source)), Some(scan.lookup(address, source)));
            }
            Step::Nearest(address, bits) => {
                let address = address.ip();
                let bits = bits % (family_bits(address) + 1);
                agree(registry.table().nearest(address, bits), scan.nearest(address, bits));
            }
        }
    }
    let table: Vec<_> = registry.table().iter().map(|(p, g)| (p, g.members()[0].preference)).collect();
    let plain: Vec<_> = scan.sorted().into_iter().map(|(p, v)| (p, *v)).collect();
    assert_eq!(table, plain);
});
