//! The daemons through the lab's executable: the same main, the same exit codes.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dglb_lab::programs::{HostContext, prepare};

const FLEET: &str = include_str!("../../../../config/fleet.toml");
const SAMPLES: [(&str, &str); 3] = [
    ("dns-b", include_str!("../../../../config/dns-b.toml")),
    ("dns-lb", include_str!("../../../../config/dns-lb.toml")),
    ("dns-a-sync", include_str!("../../../../config/dns-a-sync.toml")),
];

/// Prepares a daemon with this configuration, checks it and returns what came of it.
fn check(kind: &str, config: &str, dir: &Path) -> Output {
    let mut table = toml::Table::new();
    table.insert("kind".into(), kind.into());
    table.insert("config".into(), config.into());
    table.insert("files".into(), toml::Table::from_iter([("fleet.toml".to_owned(), FLEET.into())]).into());
    table.insert("args".into(), vec!["--check"].into());
    let addresses: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
    let host = HostContext { name: kind, addresses: &addresses, dir, rootless: false, lookup: &|_| None };
    let launch = prepare(&table.into(), &host).unwrap();
    Command::new(&launch.argv[0]).args(&launch.argv[1..]).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_daemon_runs_inside_the_lab() {
    for (kind, sample) in SAMPLES {
        let dir = tempfile::tempdir().unwrap();
        // As it is shipped, but with certificates that are there.
        let identity = sample.lines().find_map(|line| line.strip_prefix("identity = ")).unwrap().trim_matches('"');
        let name = format!("dglb:{kind}:{identity}").parse().unwrap();
        dglb_ca::Ephemeral::new().unwrap().write(&name, dir.path()).unwrap();
        let output = check(kind, &sample.replace("/etc/dglb/tls/", ""), dir.path());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{kind}: {said}");
        assert!(said.contains(&format!("{kind}.toml: ok")), "{kind}: {said}");
        let output = check(kind, "no-such-key = 1\n", dir.path());
        assert_eq!(output.status.code(), Some(78), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
