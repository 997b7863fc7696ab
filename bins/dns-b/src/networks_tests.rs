use std::net::Ipv4Addr;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_built_in_list_is_sound_and_has_the_known_ones() {
    let networks = Networks::read(&Sources::default()).unwrap();
    for open in [
        "8.8.8.8",
        "2001:4860:4860::8888",
        "1.0.0.1",
        "2606:4700:4700::1111",
        "9.9.9.9",
        "2620:fe::fe",
        "208.67.220.220",
        "2620:119:35::35",
        "94.140.15.15",
        "2a10:50c0::ad1:ff",
        "77.88.8.8",
        "2a02:6b8::feed:ff",
    ] {
        assert!(networks.is_open_resolver(ip(open)), "{open}");
    }
    for other in ["192.0.2.1", "10.0.0.1", "8.8.9.1", "2001:db8::1", "203.0.113.7"] {
        assert!(!networks.is_open_resolver(ip(other)), "{other}");
    }
    assert_eq!(networks.number_of(ip("192.0.2.1")), None);
}

#[test]
fn a_file_adds_to_it_and_mistakes_have_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("open");
    let sources = Sources { open_resolvers: Some(path.clone()), as_database: None };
    assert!(matches!(Networks::read(&sources), Err(NetworksError::Io { .. })));
    std::fs::write(&path, "# ours\n192.0.2.0/25   # a cafe\n\n2001:db8:1:2::7\n").unwrap();
    let networks = Networks::read(&sources).unwrap();
    assert!(networks.is_open_resolver(ip("192.0.2.127")) && !networks.is_open_resolver(ip("192.0.2.128")));
    assert!(networks.is_open_resolver(ip("2001:db8:1:2:3::")), "the whole /64 would be mapped");
    assert!(networks.is_open_resolver(ip("8.8.8.8")));
    std::fs::write(&path, "192.0.2.0/25\n192.0.2.1/25\n").unwrap();
    let error = Networks::read(&sources).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:2: ", path.display())), "{error}");
}

/// A database in MaxMind's format (version 2.0) of one network, `198.51.100.0/24`, in AS 64500.
pub(crate) fn database() -> Vec<u8> {
    // Search tree: one node for each bit of the prefix; to all other sides there is nothing.
    let (bits, nodes) = (Ipv4Addr::new(198, 51, 100, 0).to_bits(), 24_u32);
    let mut octets = Vec::new();
    for depth in 0..nodes {
        // Beyond the nodes: nothing is their number, data begins 16 behind it.
        let next = if depth + 1 == nodes { nodes + 16 } else { depth + 1 };
        let one = bits >> (31 - depth) & 1 == 1;
        let (left, right) = if one { (nodes, next) } else { (next, nodes) };
        for record in [left, right] {
            octets.extend_from_slice(&record.to_be_bytes()[1..]);
        }
    }
    octets.extend_from_slice(&[0; 16]);
    let text = |text: &str| [vec![0x40 | text.len() as u8], text.as_bytes().to_vec()].concat();
    let key = |name: &str| {
        if name.len() < 29 {
            text(name)
        } else {
            [vec![0x5d, name.len() as u8 - 29], name.as_bytes().to_vec()].concat()
        }
    };
    let u32_of = |value: u32| [vec![0xc4], value.to_be_bytes().to_vec()].concat();
    octets.push(0xe1);
    octets.extend(key("autonomous_system_number"));
    octets.extend(u32_of(64_500));
    octets.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let u16_of = |value: u16| [vec![0xa2], value.to_be_bytes().to_vec()].concat();
    octets.push(0xe9);
    octets.extend([key("node_count"), u32_of(nodes)].concat());
    octets.extend([key("record_size"), u16_of(24)].concat());
    octets.extend([key("ip_version"), u16_of(4)].concat());
    octets.extend([key("database_type"), text("Test-ASN")].concat());
    octets.extend([key("languages"), vec![0x00, 0x04]].concat());
    octets.extend([key("binary_format_major_version"), u16_of(2)].concat());
    octets.extend([key("binary_format_minor_version"), u16_of(0)].concat());
    octets.extend([key("build_epoch"), vec![0x01, 0x02, 0x01]].concat());
    octets.extend([key("description"), vec![0xe0]].concat());
    octets
}

#[test]
fn numbers_come_from_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asn.mmdb");
    let sources = Sources { open_resolvers: None, as_database: Some(path.clone()) };
    std::fs::write(&path, b"nonsense").unwrap();
    let error = Networks::read(&sources).unwrap_err();
    assert!(matches!(error, NetworksError::Database { .. }) && error.is_of(&path), "{error}");
    std::fs::write(&path, database()).unwrap();
    let networks = Networks::read(&sources).unwrap();
    assert_eq!(networks.number_of(ip("198.51.100.53")), Some(64_500));
    assert_eq!(networks.number_of(ip("198.51.101.53")), None);
    assert_eq!(networks.number_of(ip("2001:db8::1")), None);
}

#[tokio::test]
async fn files_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("open");
    std::fs::write(&path, "192.0.2.0/25\n").unwrap();
    let sources = Sources { open_resolvers: Some(path.clone()), as_database: None };
    const PERIOD: Duration = Duration::from_millis(20);
    let mut tasks = Tasks::new();
    let (mut networks, _sources) = follow(sources, PERIOD, &mut tasks);
    // Before the first look what the start has read stands.
    tokio::time::sleep(PERIOD * 10).await;
    std::fs::write(directory.path().join("new"), "192.0.2.0/24 # all of it\n").unwrap();
    std::fs::rename(directory.path().join("new"), &path).unwrap();
    let read = tokio::time::timeout(Duration::from_secs(60), networks.recv()).await.unwrap().unwrap();
    assert!(read.is_open_resolver(ip("192.0.2.255")));
    // A bad one changes nothing; the next good one does.
    std::fs::write(&path, "no network\n").unwrap();
    tokio::time::sleep(PERIOD * 10).await;
    assert!(networks.try_recv().is_err());
    std::fs::write(&path, "198.51.100.0/24\n").unwrap();
    let read = tokio::time::timeout(Duration::from_secs(60), networks.recv()).await.unwrap().unwrap();
    assert!(read.is_open_resolver(ip("198.51.100.1")) && !read.is_open_resolver(ip("192.0.2.255")));
}
