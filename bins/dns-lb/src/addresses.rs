//! Under which addresses the world asks this DNS-LB: as configured, or those that the host's
//! interfaces have, looked at again and again.
//!
//! Invariant: addresses that were learnt stay until others are there. An interface that has none for a
//! moment changes nothing.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::sync::mpsc;

/// How often the interfaces are looked at.
pub const POLL: Duration = Duration::from_millis(500);
/// Most addresses that are said of one DNS-LB.
const MAX_ADDRESSES: usize = 16;
/// Where the kernel shows its IPv4 routes, those to its own addresses among them; by thread, as threads may be
/// in different network namespaces.
const FIB_TRIE: &str = "/proc/thread-self/net/fib_trie";
/// Where it lists IPv6 addresses with their flags.
const IF_INET6: &str = "/proc/thread-self/net/if_inet6";
/// Temporary, failed, deprecated or not sure yet (`IFA_F_…` in `linux/if_addr.h`): no address for glue.
const UNFIT: u32 = 0x01 | 0x08 | 0x20 | 0x40;

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration.
    Fixed(Vec<IpAddr>),
    /// The interfaces, as far as a wildcard of their family is listened on.
    Interfaces {
        /// `0.0.0.0`
        v4: bool,
        /// `[::]`
        v6: bool,
    },
}

impl Source {
    /// The addresses as of now; none if they cannot be had.
    pub fn read(&self) -> Vec<IpAddr> {
        match self {
            Self::Fixed(addresses) => addresses.clone(),
            Self::Interfaces { v4, v6 } => {
                let read = |path| std::fs::read_to_string(path).unwrap_or_default();
                let v4 = v4.then(|| own_v4(&read(FIB_TRIE))).into_iter().flatten().map(IpAddr::V4);
                let v6 = v6.then(|| own_v6(&read(IF_INET6))).into_iter().flatten().map(IpAddr::V6);
                v4.chain(v6).filter(is_for_the_world).take(MAX_ADDRESSES).collect()
            }
        }
    }
}

/// Reads `source` every `period` and sends what it says whenever that differs from `known`. Ends when
/// nobody listens any more, and at once for a source that cannot change.
pub async fn watch(source: Source, mut known: Vec<IpAddr>, period: Duration, changes: mpsc::Sender<Vec<IpAddr>>) {
    if matches!(source, Source::Fixed(_)) {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = changes.closed() => return,
        }
        let again = source.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || again.read()).await else { return };
        if !read.is_empty() && read != known {
            known.clone_from(&read);
            if changes.send(read).await.is_err() {
                return;
            }
        }
    }
}

fn is_for_the_world(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()),
    }
}

/// The host's IPv4 addresses: a line with an address, then one for each kind of route to it.
fn own_v4(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut address: Option<Ipv4Addr> = None;
    let mut own = BTreeSet::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.parse().ok();
        } else if line == "/32 host LOCAL" {
            own.extend(address);
        }
    }
    own
}

/// The host's IPv6 addresses, but for those that are not to be told anybody. A line has the address in
/// hexadecimal, index, prefix length, scope, flags and name.
fn own_v6(if_inet6: &str) -> BTreeSet<Ipv6Addr> {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        (flags & UNFIT == 0).then(|| Ipv6Addr::from_bits(address))
    };
    if_inet6.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_lists_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    \x20    |-- 192.0.2.0\n        /24 link UNICAST\nLocal:\n        +-- 192.0.2.0/24 2 0 2\n\
                    \x20          |-- 192.0.2.7\n              /32 host LOCAL\n\
                    \x20          |-- 192.0.2.255\n              /32 link BROADCAST\n\
                    \x20       |-- 127.0.0.1\n           /32 host LOCAL\nnonsense\n|-- x\n/32 host LOCAL\n";
        let expected: Vec<Ipv4Addr> = ["127.0.0.1", "192.0.2.7"].map(|a| a.parse().unwrap()).to_vec();
        assert_eq!(own_v4(trie).into_iter().collect::<Vec<_>>(), expected);
        let listed = "20010db8000000000000000000000001 02 40 00 80     eth0\n\
                      20010db8000000000000000000000002 02 40 00 01     eth0\n\
                      20010db8000000000000000000000003 02 40 00 20     eth0\n\
                      20010db8000000000000000000000004 02 40 00 c0     eth0\n\
                      nonsense\nfe80 1\n";
        assert_eq!(own_v6(listed).into_iter().collect::<Vec<_>>(), ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn what_means_nothing_beyond_this_host_is_left_out() {
        for (address, told) in [
            ("192.0.2.1", true),
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.7.7", false),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_for_the_world(&address.parse().unwrap()), told, "{address}");
        }
        assert!(own_v4(&std::fs::read_to_string(FIB_TRIE).unwrap()).contains(&Ipv4Addr::LOCALHOST));
        assert_eq!(Source::Interfaces { v4: false, v6: false }.read(), [""; 0].map(|a| a.parse::<IpAddr>().unwrap()));
    }

    #[tokio::test]
    async fn fixed_addresses_are_not_watched() {
        let source = Source::Fixed(vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(source.read().len(), 1);
        let (changes, _listener) = mpsc::channel(1);
        tokio::time::timeout(Duration::from_secs(5), watch(source, vec![], POLL, changes)).await.unwrap();
    }
}
