//! Configuration files, good and bad, as an operator would write them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use dglb_core::{fleet::Fleet, identity::Identity, net::Prefix};

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The mistakes in `name`, one to a line, without the directory.
    fn mistakes<T>(&self, name: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Vec<String> {
        let error = load(&self.path(name), read).err().expect("the file should have been refused");
        let directory = format!("{}/", self.0.path().display());
        error.to_string().lines().map(|line| line.strip_prefix(&directory).unwrap_or(line).to_owned()).collect()
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "read by Debug alone")]
struct Config {
    identity: Identity,
    listen: Vec<SocketAddr>,
    interval: Duration,
    lanes: usize,
    peers: Vec<(Identity, Vec<Prefix>)>,
    cost: Vec<(String, f64)>,
    fleet: Fleet,
}

fn config(section: &Section<'_>) -> Option<Config> {
    let identity = section.required("identity", text);
    let listen = section.required_table("dns").and_then(|dns| dns.required_list("listen", text));
    let interval = section.or("interval", duration("1s", "1h"), Duration::from_secs(10));
    let lanes = section.or("lanes", integer(1..=64), 1);
    let peers: Vec<_> = section.tables("peer").into_iter().map(|p| (peer(&p), p)).collect();
    let identities = peers.iter().filter_map(|(peer, section)| Some((section.clone(), peer.as_ref()?.0.clone())));
    Section::distinct("identity", identities);
    let cost = section.map("cost", number(0.0..=100.0));
    let fleet = section.required_file("fleet", fleet);
    Some(Config {
        identity: identity?,
        listen: listen?,
        interval,
        lanes,
        peers: peers.into_iter().map(|(peer, _)| peer).collect::<Option<_>>()?,
        cost,
        fleet: fleet?,
    })
}

fn peer(section: &Section<'_>) -> Option<(Identity, Vec<Prefix>)> {
    let identity = section.required("identity", text);
    let may_map = section.list("may-map", text);
    Some((identity?, may_map))
}

const FLEET: &str = r#"
serial = 7
operator-zone = "ops.test"
hostmaster = "hostmaster.ops.test."
ttl.negative = "1m"

[[dns-b]]
identity = "b2"
referral = ["192.0.2.3", "2001:db8::3"]
fallback = ["192.0.2.4"]

[[dns-b]]
identity = "b1"
referral = ["192.0.2.1"]

[[label]]
identity = "sea1"
addresses = ["198.51.100.1"]
"#;

#[test]
fn a_good_file_is_read_whole() {
    let files = Files::new(&[
        ("fleet.toml", FLEET),
        (
            "dns-b.toml",
            "identity = 'b1'\nfleet = 'fleet.toml'\ncost = { sea = 1, fra = 2.5 }\n[dns]\nlisten = ['127.0.0.1:53', '[::1]:53']\n\
             [[peer]]\nidentity = 'sea1'\nmay-map = ['10.0.0.0/8']\n",
        ),
    ]);
    let loaded = load(&files.path("dns-b.toml"), config).unwrap();
    assert!(loaded.warnings.is_empty());
    let config = loaded.value;
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.interval, Duration::from_secs(10));
    assert_eq!(config.peers, vec![("sea1".parse().unwrap(), vec!["10.0.0.0/8".parse().unwrap()])]);
    assert_eq!(config.cost, vec![("fra".to_owned(), 2.5), ("sea".to_owned(), 1.0)]);
    assert_eq!(config.fleet.serial, 7);
    assert_eq!((config.fleet.ttl.negative, config.fleet.ttl.label_ns), (60, 3600));
    let servers: Vec<_> = config.fleet.servers.iter().map(|s| s.identity.as_str()).collect();
    assert_eq!(servers, ["b1", "b2"]);
    assert_eq!(config.fleet.labels[0].addresses, ["198.51.100.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_positions() {
    let files = Files::new(&[
        (
            "fleet.toml",
            "serial = 0\nhostmaster = 'h.ops.test'\n[[dns-b]]\nidentity = 'b1'\nreferral = ['192.0.2.1']\nfallback = ['192.0.2.1']\n",
        ),
        (
            "dns-b.toml",
            r#"identity = "B1"
fleet = "fleet.toml"
interval = "10"
lanes = 65
lane = 2
cost = { sea = -1, "frä" = "x" }

[dns]
listen = ["127.0.0.1:53", "é", "localhost"]
lisen = []

[[peer]]
identity = "sea1"
may-map = ["10.0.0.1/8", 7]

[[peer]]
may_map = []

  [[peer]]
  identity = "sea1"
"#,
        ),
    ]);
    assert_eq!(
        files.mistakes("dns-b.toml", config),
        [
            r#"dns-b.toml:1:12: identity: an identity is made of a-z, 0-9 and inner hyphens; "B1" is not"#,
            r#"dns-b.toml:3:12: interval: wanted a duration such as "10s" or "300ms", from 1s to 1h, found "10""#,
            r#"dns-b.toml:4:9: lanes: wanted an integer from 1 to 64, found 65"#,
            r#"dns-b.toml:5:1: unknown key "lane"; did you mean "lanes"?"#,
            r#"dns-b.toml:6:16: cost.sea: wanted a number from 0 to 100, found -1"#,
            r#"dns-b.toml:6:28: cost.frä: wanted a number from 0 to 100, found "x""#,
            r#"dns-b.toml:9:27: dns.listen: "é": invalid socket address syntax"#,
            r#"dns-b.toml:9:32: dns.listen: "localhost": invalid socket address syntax"#,
            r#"dns-b.toml:10:1: unknown key "dns.lisen"; did you mean "listen"?"#,
            r#"dns-b.toml:14:12: peer.may-map: 10.0.0.1/8 has bits set beyond the prefix; the prefix is 10.0.0.0/8"#,
            r#"dns-b.toml:14:26: peer.may-map: wanted a text in quotes, found 7"#,
            r#"dns-b.toml:16:1: peer.identity: this key is missing"#,
            r#"dns-b.toml:17:1: unknown key "peer.may_map"; did you mean "may-map"?"#,
            r#"dns-b.toml:20:14: peer.identity: "sea1" stands twice, first on line 13"#,
            r#"fleet.toml:1:1: operator-zone: this key is missing"#,
            r#"fleet.toml:1:10: serial: wanted an integer from 1 to 4294967295, found 0"#,
            r#"fleet.toml:6:13: dns-b.fallback: 192.0.2.1 is already referral of "b1"; every role needs an address of its own"#,
        ]
    );
}

#[test]
fn kinds_of_tables_are_checked() {
    let files = Files::new(&[("a.toml", "dns = 1\nfleet = 'none.toml'\nidentity='b1'\n[peer]\nidentity = 'x'\n")]);
    assert_eq!(
        files.mistakes("a.toml", config),
        [
            "a.toml:1:7: dns: wanted a table [dns], found 1",
            "a.toml:4:1: peer: wanted tables [[peer]], found a table",
            "none.toml: cannot be read: No such file or directory (os error 2)",
        ]
    );
}

#[test]
fn every_syntax_error_is_reported_and_none_breeds_a_missing_key() {
    let files = Files::new(&[
        ("fleet.toml", FLEET),
        (
            "a.toml",
            "identity = b1\nfleet = 'fleet.toml'\nlanes = 1\nlanes = 2\ninterval = '1h\n[dns\nlisten = ['127.0.0.1:53']\n",
        ),
    ]);
    let mistakes = files.mistakes("a.toml", config);
    for start in ["a.toml:1:12: ", "a.toml:4:1: duplicate key", "a.toml:5:15: ", "a.toml:6:5: "] {
        assert!(mistakes.iter().any(|m| m.starts_with(start)), "{start} is not in {mistakes:#?}");
    }
    assert!(!mistakes.iter().any(|m| m.contains("missing")), "{mistakes:#?}");
}

#[test]
fn odd_files_are_refused_with_a_reason() {
    let files = Files::new(&[("empty.toml", "")]);
    std::fs::write(files.path("latin1.toml"), b"identity = 'b1'\n# caf\xe9\n").unwrap();
    assert_eq!(files.mistakes("latin1.toml", config), ["latin1.toml:2:6: these octets are not UTF-8"]);
    assert_eq!(
        files.mistakes("empty.toml", config),
        ["identity", "dns", "fleet"]
            .map(|key| format!("empty.toml:1:1: {key}: this key is missing"))
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert!(files.mistakes("absent.toml", config)[0].starts_with("absent.toml: cannot be read: "));
    assert!(files.mistakes("", config)[0].contains("cannot be read: "));
    let huge = std::fs::File::create(files.path("huge.toml")).unwrap();
    huge.set_len((16 << 20) + 1).unwrap();
    assert_eq!(files.mistakes("huge.toml", config), ["huge.toml: is larger than 16777216 octets"]);
}

#[test]
fn a_reader_that_gives_up_without_a_word_is_an_error_too() {
    let files = Files::new(&[("a.toml", "")]);
    assert_eq!(files.mistakes("a.toml", |_| None::<()>), ["a.toml: the configuration is incomplete"]);
}

#[test]
fn a_fleet_document_is_checked_across_its_tables() {
    let document = r#"serial = 1
operator-zone = "ops.test"
hostmaster = "h.ops.test"
[ttl]
label-ns = "90m"
negative = 0
refresch = 1
[[dns-b]]
identity = "b1"
referral = []
[[label]]
identity = "b1"
addresses = ["0.0.0.0", "192.0.2.1"]
[[label]]
identity = "ns"
addresses = ["192.0.2.1"]
"#;
    let files = Files::new(&[
        ("fleet.toml", document),
        ("none.toml", "serial=1\noperator-zone='o.test'\nhostmaster='h.o.test'"),
    ]);
    assert_eq!(
        files.mistakes("fleet.toml", fleet),
        [
            r#"fleet.toml:6:12: ttl.negative: wanted whole seconds such as 3600 or "1h", from 1 to 2147483647, found 0"#,
            r#"fleet.toml:7:1: unknown key "ttl.refresch"; did you mean "refresh"?"#,
            r#"fleet.toml:10:12: dns-b.referral: the list must not be empty"#,
            r#"fleet.toml:12:12: label.identity: "b1" stands twice, first on line 9"#,
            r#"fleet.toml:13:14: label.addresses: 0.0.0.0 is not the address of one host"#,
            r#"fleet.toml:15:12: label.identity: "ns" is reserved and cannot be an identity"#,
            r#"fleet.toml:16:14: label.addresses: 192.0.2.1 is already addresses of "b1"; every role needs an address of its own"#,
        ]
    );
    assert_eq!(
        files.mistakes("none.toml", fleet),
        ["none.toml:1:1: dns-b: the fleet document names no dns-b: write at least one [[dns-b]]"]
    );
}

#[test]
fn doubts_are_warnings_and_do_not_refuse() {
    let no_fallback = FLEET.replace("fallback = [\"192.0.2.4\"]", "");
    let files = Files::new(&[("fleet.toml", &no_fallback)]);
    let loaded = load(&files.path("fleet.toml"), fleet).unwrap();
    let shown: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 1);
    assert!(
        shown[0].ends_with("dns-b has a fallback address, so a dead DNS-LB takes its clients with it"),
        "{shown:?}"
    );
}
