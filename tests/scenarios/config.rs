//! Configuration files, checked by the real programs: the samples are good, and in bad ones every
//! mistake is reported at once with its place.

use std::{
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use dglb_scenarios::{
    Ground,
    binaries::{self, DAEMONS},
    configs::{self, Files},
    tls,
};

const SOON: Duration = Duration::from_secs(20);

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn run(program: &str, arguments: &[&str]) -> Output {
    binaries::run(binaries::command(program, arguments), SOON)
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// Every configuration file among the samples.
fn files() -> Vec<PathBuf> {
    let paths = std::fs::read_dir(samples()).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect()
}

/// Whose certificates the samples want.
const CERTIFIED: [(&str, &str); 3] =
    [("dns-b", "dglb:dns-b:b1"), ("dns-lb", "dglb:dns-lb:sea1"), ("dns-a-sync", "dglb:dns-a-sync:foobar")];

/// The samples, which are good, in a place where they can be spoilt, and where the certificates are
/// that they name.
fn copied() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let own = format!("{}/{name}-tls/", directory.path().display());
        std::fs::write(directory.path().join(format!("{name}.toml")), text.replace("/etc/dglb/tls/", &own)).unwrap();
    }
    for (daemon, name) in CERTIFIED {
        let own = directory.path().join(format!("{daemon}-tls"));
        std::fs::create_dir(&own).unwrap();
        tls::equip(name, &own);
    }
    directory
}

#[test]
fn every_sample_is_good() {
    let mut seen = Vec::new();
    let copied = copied();
    for path in files() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // The fleet document is part of dns-b's configuration, which names it.
        let program = if name == "fleet" { "dns-b" } else { &name };
        assert!(DAEMONS.contains(&program), "whose is {}?", path.display());
        let file = copied.path().join(format!("{program}.toml"));
        let output = run(program, &["--config", file.to_str().unwrap(), "--check"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout), format!("{}: ok\n", file.display()), "a sample with a warning");
        seen.push(name);
    }
    seen.sort();
    assert_eq!(seen, ["dns-a-sync", "dns-b", "dns-lb", "fleet"]);
}

/// Spoils a copy of the samples, line by line, and expects each spoilt line to be reported, all
/// mistakes at once; and, for what follows from them, lines that say this `besides`.
fn spoilt(program: &str, file: &str, changes: &[(&str, &str, &str)], besides: &[&str]) {
    let directory = copied();
    let path = directory.path().join(file);
    let good = std::fs::read_to_string(&path).unwrap();
    let mut bad = good.clone();
    let mut wanted = Vec::new();
    for (old, new, says) in changes {
        let at = good.find(old).unwrap_or_else(|| panic!("{old} is not in {file}"));
        assert!(!old.contains('\n') && !new.contains('\n'), "every change stays on its line");
        let line = 1 + good[..at].matches('\n').count();
        bad = bad.replacen(old, new, 1);
        wanted.push((format!("{}:{line}:", path.display()), *says));
    }
    std::fs::write(&path, bad).unwrap();
    let main = directory.path().join(format!("{program}.toml"));
    for arguments in [&["--check"][..], &[]] {
        let output = run(program, &[&["--config", main.to_str().unwrap()], arguments].concat());
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        for (place, says) in &wanted {
            let reported = |line: &&&str| {
                let column = line.strip_prefix(place.as_str()).and_then(|rest| rest.split(':').next());
                column.is_some_and(|c| c.parse::<usize>().is_ok_and(|c| c > 0)) && line.contains(says)
            };
            assert!(lines.iter().find(reported).is_some(), "no \"{place}… {says}\" in {lines:#?}");
        }
        for says in besides {
            assert!(lines.iter().any(|line| line.contains(says)), "no {says} in {lines:#?}");
        }
        assert_eq!(lines.len(), wanted.len() + besides.len(), "{lines:#?}");
    }
}

#[test]
fn every_mistake_of_dns_b_is_reported_at_once() {
    spoilt(
        "dns-b",
        "dns-b.toml",
        &[
            ("report-stale-after = \"180s\"", "report-stale-after = \"180\"", "a duration"),
            ("guess-ttl = \"60s\"", "guess-ttl = \"61s\"", "from 0 to 60"),
            ("ecs-from = []", "ecs-from = [\"10.0.0.1/8\"]", "the prefix is 10.0.0.0/8"),
            ("listen = [\"192.0.2.53:5300\"]", "listen = [\"192.0.2.53\"]", "listen"),
            ("# plain-tcp = \"never\"", "plain-tcp = \"loopbak\"", "did you mean \"loopback\"?"),
            ("dns-lbs = \"listed\"", "dns-lbs = \"lsited\"", "did you mean \"listed\"?"),
            ("interval = \"10s\"", "intervall = \"10s\"", "did you mean \"interval\"?"),
            ("dns-lb = \"sea1\"", "dns-lb = \"sea9\"", "is no [[peer]]"),
            ("role = \"dns-a-sync\"", "role = \"dns-a\"", "wanted one of \"dns-lb\", \"dns-a-sync\""),
            ("listen = \"unix:/run/dglb/dns-b.sock\"", "listen = \"0.0.0.0:80\"", "loopback"),
        ],
        &[],
    );
}

#[test]
fn every_mistake_of_the_fleet_document_is_reported_through_dns_b() {
    spoilt(
        "dns-b",
        "fleet.toml",
        &[
            ("serial = 1", "serial = -1", "serial"),
            ("hostmaster = \"hostmaster.example.net\"", "hostmaster = \"a..b\"", "hostmaster"),
            ("retry = 600", "retry = \"soon\"", "retry"),
            ("\"198.51.100.53\"", "\"198.51.100.530\"", "198.51.100.530"),
        ],
        &[],
    );
}

#[test]
fn every_mistake_of_dns_lb_is_reported_at_once() {
    spoilt(
        "dns-lb",
        "dns-lb.toml",
        &[
            ("identity = \"sea1\"", "identity = \"Sea1\"", "Sea1"),
            ("\"192.0.2.53:53\"", "\"192.0.2.53\"", "listen"),
            ("\"198.51.100.0/24\"", "\"198.51.100.0/33\"", "33"),
            ("address = \"203.0.113.2:5300\"", "adress = \"203.0.113.2:5300\"", "did you mean \"address\"?"),
            ("# plain-tcp = \"never\"", "plain-tcp = true", "plain-tcp"),
            ("ca = \"", "cea = \"", "did you mean \"ca\"?"),
            ("listen = \"unix:/run/dglb/dns-lb.sock\"", "listen = \"unix:dns-lb.sock\"", "absolute"),
        ],
        &["dns-b.address: this key is missing", "map.tls.ca: this key is missing"],
    );
}

#[test]
fn every_mistake_of_dns_a_sync_is_reported_at_once() {
    spoilt(
        "dns-a-sync",
        "dns-a-sync.toml",
        &[
            ("server = \"192.0.2.1:53\"", "server = \"ns1.example.net\"", "server"),
            ("name = \"www.glb.foobar.com\"", "name = \"www.elsewhere.com\"", "www.elsewhere.com"),
            ("port = 80, path", "port = 80000, path", "80000"),
            ("name = \"fra\"", "name = \"sea\"", "stands twice"),
            ("address = \"203.0.113.1:5300\"", "address = 5300", "address"),
            ("# plain-tcp = \"never\"", "plain_tcp = \"never\"", "did you mean \"plain-tcp\"?"),
        ],
        &[],
    );
}

#[test]
fn files_that_are_none_are_reported_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for program in DAEMONS {
        let missing = directory.path().join("missing.toml");
        let output = run(program, &["--config", missing.to_str().unwrap(), "--check"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(text(&output.stderr).starts_with(&format!("{}: ", missing.display())), "{output:?}");
        let garbage = directory.path().join("garbage.toml");
        std::fs::write(&garbage, b"identity = \"\xff\"\n").unwrap();
        let output = run(program, &["--config", garbage.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(text(&output.stderr).starts_with(&format!("{}:1:13: ", garbage.display())), "{output:?}");
    }
}

/// The configurations of a ground whose ports are as high as everybody may open them.
fn on_high_ports(ground: &Ground) -> [(&'static str, Files); 3] {
    let b = configs::dns_b(ground, 1, 1, 1, "");
    let dns = |name: &str, host| format!("{name} = ['{}']\n", ground.at(host, 5_353));
    b.replace("lanes = 1\n", &format!("lanes = 1\n{}{}", dns("referral", 11), dns("fallback", 12)));
    let lb = configs::dns_lb(ground, 1, 1);
    lb.replace(&format!("listen = ['{}:53']", ground.lb(1)), &dns("listen", 101));
    let sync = configs::dns_a_sync(ground, ground.at(241, 5_353), 1, 1);
    [("dns-b", b), ("dns-lb", lb), ("dns-a-sync", sync)]
}

#[test]
fn a_port_in_use_is_named_and_has_its_own_exit_code() {
    let ground = Ground::claim();
    let files = on_high_ports(&ground);
    let fails = |program: &str, says: &str| {
        let (_, files) = files.iter().find(|(name, _)| *name == program).unwrap();
        let output = run(program, &["--config", files.main().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        assert!(text(&output.stderr).contains(says), "{says}: {output:?}");
    };
    // One socket each, of every kind that a daemon has.
    let udp = UdpSocket::bind(ground.at(11, 5_353)).unwrap();
    fails("dns-b", &format!("dns {} udp", ground.at(11, 5_353)));
    drop(udp);
    for (taken, says) in
        [(ground.at(12, 5_353), "dns"), (ground.map(1), "map listener"), (ground.at(11, 8_053), "admin")]
    {
        let held = TcpListener::bind(taken).unwrap();
        fails("dns-b", &format!("{says} {taken}"));
        drop(held);
    }
    let _held = TcpListener::bind(ground.at(101, 5_353)).unwrap();
    fails("dns-lb", &format!("dns {} tcp", ground.at(101, 5_353)));
    let _held = TcpListener::bind(ground.at(242, 8_053)).unwrap();
    fails("dns-a-sync", &format!("admin {}", ground.at(242, 8_053)));
    // An address that this host does not have.
    let (_, b) = &files[0];
    b.replace(&format!("['{}']", ground.at(12, 5_353)), "['192.0.2.77:5353']");
    fails("dns-b", "192.0.2.77:5353");
}

#[test]
fn programs_say_what_they_are() {
    for program in DAEMONS {
        let version = run(program, &["--version"]);
        assert_eq!(text(&version.stdout), format!("{program} {}\n", env!("CARGO_PKG_VERSION")));
        let help = run(program, &["--help"]);
        for word in ["--config", "--check", "--version", "SIGTERM", "71", "78", &format!("/etc/dglb/{program}.toml")] {
            assert!(text(&help.stdout).contains(word), "{word} is not in {}", text(&help.stdout));
        }
        assert_eq!((version.status.code(), help.status.code()), (Some(0), Some(0)));
        let wrong = run(program, &["--confg", "x"]);
        assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
        assert!(text(&wrong.stderr).contains("--config"), "{wrong:?}");
    }
}
