//! Configuration files, good and bad, as an operator would write them.

use std::{fs, num::NonZeroU32, path::PathBuf, time::Duration};

use dglb_core::catalogue::{
    AllDown, Forced, ForcedState, Form, HttpProbe, HttpsRecord, Location, Mode, PhaseLimits, Policy, ProbeKind,
    ProbeTls, Site, StatusRange, ZoneStyle,
};
use dglb_node::{config::load, lifecycle::Daemon, link::PlainTcp};
use dns_a_sync::{
    DnsASync,
    config::{Config, DelegationMode, config},
};

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sync.toml")
    }

    fn good(&self) -> (Config, Vec<String>) {
        let loaded = DnsASync::<false>::load(&self.path()).unwrap_or_else(|error| panic!("{error}"));
        (loaded.value, loaded.warnings.iter().map(|w| w.message.clone()).collect())
    }

    /// The mistakes as `line:column: message`.
    fn mistakes(&self) -> Vec<String> {
        let error = load(&self.path(), config).expect_err("the file should have been refused").to_string();
        let prefix = format!("{}:", self.path().display());
        error.lines().map(|line| line.strip_prefix(&prefix).unwrap_or(line).to_owned()).collect()
    }
}

const LEAST: &str = r#"
identity = "foobar"
dns-a = { server = "192.0.2.1:53", zone = "foobar.com" }
map.plain-tcp = "loopback"
admin.listen = "127.0.0.1:0"
[[dns-b]]
identity = "b1"
address = "127.0.0.1:5300"
[[zone]]
name = "glb.foobar.com"
[[zone.service]]
name = "www.glb.foobar.com"
host = "www.foobar.com"
probe = [{ kind = "tcp" }]
site = [{ name = "sea", dns-name = "sea.sites.foobar.com" }]
"#;

#[test]
fn the_shipped_sample_is_good_and_says_what_is_default() {
    let sample = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/dns-a-sync.toml")).unwrap();
    let sample = sample.replace("/etc/dglb/tls/", "");
    let certified = |files: &[(&str, &str)]| {
        let files = Files::new(files);
        let name = "dglb:dns-a-sync:foobar".parse().unwrap();
        dglb_ca::Ephemeral::new().unwrap().write(&name, files.0.path()).unwrap();
        files.good()
    };
    let (shipped, warnings) = certified(&[("sync.toml", &sample)]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!((shipped.zones.len(), shipped.servers.len(), shipped.zones[0].records.len()), (1, 2, 1));

    // Every "# key = value" is a key that exists; taking them all in changes nothing but what has
    // no default.
    let whole: String = sample.lines().map(|line| uncomment(line) + "\n").collect();
    let (whole, _) = certified(&[("sync.toml", &whole), ("sync.key", "MDEyMzQ1Njc4OWFiY2RlZg==")]);
    let https = |config: &Config| config.zones[0].services[0].service.https.is_some();
    assert!(whole.dns_a.key.is_some() && whole.state_dir.is_some() && https(&whole) && !https(&shipped));
    let (mut shipped, mut whole) = (shipped, whole);
    for config in [&mut shipped, &mut whole] {
        (config.dns_a.key, config.state_dir) = (None, None);
        assert!(config.security.tls.take().is_some());
        config.zones[0].services[0].service.https = None;
        config.zones[0].services[0].service.probe_ceiling = None;
        config.zones[0].services[0].service.policy.target_load = 0;
        let site = &mut config.zones[0].services[0].sites[0].site;
        (site.capacity, site.location, site.forced) = (None, None, None);
        site.groups.clear();
        site.not_groups.clear();
    }
    assert_eq!(format!("{shipped:?}"), format!("{whole:?}"));
}

fn uncomment(line: &str) -> String {
    let key = |text: &str| {
        let (key, value) = text.split_once(" = ")?;
        let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        (plain && !value.ends_with(',') && toml::from_str::<toml::Table>(text).is_ok()).then(|| text.to_owned())
    };
    line.strip_prefix("# ").and_then(key).unwrap_or_else(|| line.to_owned())
}

#[test]
fn the_least_that_is_enough() {
    let (config, warnings) = Files::new(&[("sync.toml", LEAST)]).good();
    assert!(warnings.is_empty());
    assert_eq!(config.dns_a.interval, Duration::from_secs(10));
    assert_eq!((config.delegation.mode, config.delegation.cname_ttl), (DelegationMode::Print, 3600));
    assert_eq!(config.security.plain_tcp, PlainTcp::Loopback);
    let zone = &config.zones[0];
    let service = &zone.services[0].service;
    assert_eq!((zone.style, zone.cname_ttl), (ZoneStyle::SubZone, 3600));
    assert_eq!((service.mode, service.ttl, service.answers), (Mode::Referral, 300, 1));
    assert_eq!(service.probes[0].kind, ProbeKind::Tcp { port: 80 });
    assert!(!config.force);
    assert!(DnsASync::<true>::load(&Files::new(&[("sync.toml", LEAST)]).path()).unwrap().value.force);
}

#[test]
fn host_style_is_warned_of_unless_it_is_direct() {
    let host = LEAST
        .replace("name = \"glb.foobar.com\"", "name = \"www.foobar.com\"\nstyle = \"host\"")
        .replace("name = \"www.glb.foobar.com\"\nhost = \"www.foobar.com\"\n", "");
    let (config, warnings) = Files::new(&[("sync.toml", &host)]).good();
    let service = &config.zones[0].services[0].service;
    assert_eq!((service.name.to_string(), &service.host), ("www.foobar.com.".to_owned(), &service.name));
    assert_eq!(warnings.len(), 1);
    for word in ["sub-zone", "direct", "RFC 1034"] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
    let direct = host.replace("probe =", "mode = \"direct\"\nprobe =");
    assert!(Files::new(&[("sync.toml", &direct)]).good().1.is_empty());
}

#[test]
fn a_probe_may_ask_for_more() {
    let with = |probe: &str| LEAST.replace("{ kind = \"tcp\" }", probe);
    assert_ne!(with("x"), LEAST, "the probe is somewhere else");
    let probe = |text: &str| {
        let (config, _) = Files::new(&[("sync.toml", &with(text))]).good();
        config.zones[0].services[0].service.probes[0].kind.clone()
    };
    assert_eq!(probe("{ kind = \"icmp\" }"), ProbeKind::Icmp);
    assert_eq!(probe("{ kind = \"dns\", type = \"MX\" }"), ProbeKind::Dns { port: 53, name: None, rtype: 15 });
    let secured = HttpProbe { tls: Some(ProbeTls { server_name: None, verify: true }), ..HttpProbe::get(443, "/") };
    assert_eq!(probe("{ kind = \"https\" }"), ProbeKind::Http(Box::new(secured.clone())));
    let all = "{ kind = \"https\", method = \"GET\", path = \"/up\", host = \"a.test\", headers = [\"x-a: b: c\"], \
               status = [\"200-299\", \"401\"], body = \"ok\", max-body = \"1KiB\", version = \"2\", \
               server-name = \"b.test\", verify = false, status-document = true, connect-timeout = \"200ms\", tls-timeout = \"300ms\", \
               first-byte-timeout = \"400ms\", body-timeout = \"1s\" }";
    let wanted = HttpProbe {
        path: "/up".into(),
        host: Some("a.test".parse().unwrap()),
        headers: vec![("x-a".into(), "b: c".into())],
        statuses: vec![StatusRange { first: 200, last: 299 }, StatusRange { first: 401, last: 401 }],
        body: Some("ok".into()),
        max_body: NonZeroU32::new(1_024),
        http2: true,
        tls: Some(ProbeTls { server_name: Some("b.test".parse().unwrap()), verify: false }),
        status_document: true,
        phases: PhaseLimits {
            connect_ms: NonZeroU32::new(200),
            tls_ms: NonZeroU32::new(300),
            first_byte_ms: NonZeroU32::new(400),
            body_ms: NonZeroU32::new(1_000),
        },
        ..secured
    };
    assert_eq!(probe(all), ProbeKind::Http(Box::new(wanted)));
    for (wrong, word) in [
        ("{ kind = \"http\", status = [\"2xx\"] }", "neither a status"),
        ("{ kind = \"http\", status = [\"600\"] }", "100 to 599"),
        ("{ kind = \"http\", headers = [\"host\"] }", "no colon"),
        ("{ kind = \"http\", headers = [\"host: a\"] }", "sets itself"),
        ("{ kind = \"http\", verify = false }", "unknown key"),
        ("{ kind = \"http\", tls-timeout = \"1ms\" }", "unknown key"),
        ("{ kind = \"http\", connect-timeout = \"1001ms\" }", "at most the probe's timeout"),
        ("{ kind = \"tcp\", path = \"/\" }", "unknown key"),
        ("{ kind = \"https\", method = \"HEAD\", body = \"x\" }", "GET where"),
    ] {
        let mistakes = Files::new(&[("sync.toml", &with(wrong))]).mistakes();
        assert!(mistakes.len() == 1 && mistakes[0].contains(word), "{wrong}: {mistakes:?}");
    }
}

#[test]
fn a_site_may_be_forced_for_a_while() {
    let forced = |until: &str| {
        let forced = format!("foobar.com\", forced = {{ state = 'draining', until = {until}, reason = 'roof' }} }}]");
        let (config, warnings) = Files::new(&[("sync.toml", &LEAST.replace("foobar.com\" }]", &forced))]).good();
        (config.zones[0].services[0].sites[0].site.forced.clone(), warnings)
    };
    let (state, reason) = (ForcedState::Draining, "roof".to_owned());
    let expected = Forced { state, until: 4_099_788_000, reason };
    assert_eq!(forced("2099-12-01T06:00:00Z"), (Some(expected), Vec::new()));
    let (past, warnings) = forced("2001-12-01T06:00:00Z");
    assert!(past.is_some() && warnings.len() == 1 && warnings[0].contains("is over"), "{warnings:?}");
}

#[test]
fn a_service_has_an_https_record_if_it_says_so() {
    let https = |text: &str| {
        let text = LEAST.replace("probe =", &format!("{text}\nprobe ="));
        Files::new(&[("sync.toml", &text)]).good().0.zones.remove(0).services.remove(0).service.https
    };
    assert_eq!(https(""), None);
    assert_eq!(https("https = {}"), Some(HttpsRecord::default()));
    let whole = "https = { alpn = [\"h3\", \"h2\"], no-default-alpn = true, port = 8443, hints = true }";
    let alpn = vec!["h3".to_owned(), "h2".to_owned()];
    assert_eq!(https(whole), Some(HttpsRecord { alpn, no_default_alpn: true, port: Some(8443), hints: true }));
}

/// A mistake stands at its own key, however deep.
#[test]
fn a_preset_is_what_is_not_written() {
    let policy = |text: &str| {
        let file = LEAST.replace("probe =", &format!("policy = {{ {text} }}\nprobe ="));
        let (config, warnings) = Files::new(&[("sync.toml", &file)]).good();
        assert!(warnings.is_empty(), "{warnings:?}");
        config.zones[0].services[0].service.policy
    };
    assert_eq!(policy(""), Policy::FASTEST);
    assert_eq!(policy("preset = 'cheapest'"), Policy::CHEAPEST);
    let balanced = policy("preset = 'balanced', latency-scale = '50ms', cost-scale = 3.0, margin = '5ms'");
    let expected = Policy { latency_scale_ms: 50.0, cost_scale: 3.0, margin_ms: 5, ..Policy::BALANCED };
    assert_eq!(balanced, expected);
    let forms = [
        ("best", Form::Best),
        ("failover", Form::Failover),
        ("weighted", Form::Weighted),
        ("round-robin", Form::RoundRobin),
        ("sticky", Form::Sticky),
    ];
    for (name, form) in forms {
        assert_eq!(policy(&format!("form = '{name}'")).form, form);
    }
    let loaded = policy("load = 50.0, load-scale = 0.5, distance = 2, target-load = 0.8, least-sites = 2");
    let expected =
        Policy { load: 50.0, load_scale: 0.5, distance: 2.0, target_load: 800, least_sites: 2, ..Policy::FASTEST };
    assert_eq!(loaded, expected);
    for (name, all_down) in
        [("last-good", AllDown::LastGood), ("customer-order", AllDown::CustomerOrder), ("fail", AllDown::Fail)]
    {
        assert_eq!(policy(&format!("all-down = '{name}'")), Policy { all_down, ..Policy::FASTEST });
    }
    let file =
        LEAST.replace("probe =", "policy = { preset = 'best', latency-scale = '0s', cost-scale = 0.0 }\nprobe =");
    let mistakes = Files::new(&[("sync.toml", &file)]).mistakes();
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
}

#[test]
fn a_site_says_what_it_can_do_and_for_whom_it_is() {
    let site = |text: &str| LEAST.replace("name = \"sea\",", &format!("name = \"sea\", {text},"));
    let whole = "weight = 3, capacity = 500.0, location = { latitude = 47.6, longitude = -122.3 }, groups = ['eu'], \
                 not-groups = ['isp-7']";
    let (config, warnings) = Files::new(&[("sync.toml", &site(whole))]).good();
    assert!(warnings.is_empty(), "{warnings:?}");
    let expected = Site {
        name: "sea".to_owned(),
        weight: 3,
        capacity: Some(500.0),
        location: Some(Location { latitude: 47.6, longitude: -122.3 }),
        groups: vec!["eu".to_owned()],
        not_groups: vec!["isp-7".to_owned()],
        ..Site::default()
    };
    assert_eq!(config.zones[0].services[0].sites[0].site, expected);
    let bad = "weight = 0, capacity = 0, location = { latitude = 91, longitude = 0 }, groups = ['EU']";
    let mistakes = Files::new(&[("sync.toml", &site(bad))]).mistakes();
    assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    let ttl = |text: &str| {
        let file = LEAST.replace("probe =", &format!("{text}\nprobe ="));
        Files::new(&[("sync.toml", &file)]).good().0.zones[0].services[0].service.least_ttl
    };
    assert_eq!(
        (ttl(""), ttl("ttl = 30"), ttl("least-ttl = 5"), ttl("least-ttl = 300")),
        (Some(60), None, Some(5), None)
    );
}

#[test]
fn mistakes_of_an_https_record_stand_where_it_is() {
    let text = LEAST.replace("probe =", "https = { hints = true, alpn = [\"h 2\"] }\nprobe =");
    let mistakes = Files::new(&[("sync.toml", &text)]).mistakes();
    let line = text.lines().position(|l| l.starts_with("https")).unwrap() + 1;
    assert!(mistakes.len() == 1 && mistakes[0].starts_with(&format!("{line}:32: ")), "{mistakes:?}");
    assert!(mistakes[0].contains("zone.service.https.alpn: "), "{mistakes:?}");
}

#[test]
fn keys_come_from_files_of_their_own() {
    let keyed = LEAST.replace(
        "zone = \"foobar.com\" }",
        "zone = \"foobar.com\", key = { name = \"sync\", secret-file = \"sync.key\" } }\ndelegation.mode = \"update\"",
    );
    let statement = "key \"sync\" {\n\talgorithm hmac-sha256;\n\tsecret \"MDEyMzQ1Njc4OWFiY2RlZg==\";\n};\n";
    let files = Files::new(&[("sync.toml", &keyed), ("sync.key", statement)]);
    let (config, warnings) = files.good();
    assert_eq!(format!("{:?}", config.dns_a.key.unwrap()), "Key(sync. hmac-sha256)");
    assert!(warnings.iter().any(|w| w.contains("can be read by everybody")), "{warnings:?}");
    fs::write(files.0.path().join("sync.key"), "not a secret").unwrap();
    let mistakes = files.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].contains("neither a secret in base64") && !mistakes[0].contains("not a secret"),
        "{mistakes:?}"
    );
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let bad = r#"identity = "Foobar"
stat-dir = "/x"
[dns-a]
server = "192.0.2.1"
zone = "foobar.com"
[map]
plain-tcp = "loopback"
[delegation]
mode = "update"
cname-ttl = 0
[admin]
listen = "192.0.2.1:80"
[[dns-b]]
identity = "b1"
address = "203.0.113.1:5300"
[[dns-b]]
identity = "b1"
address = "127.0.0.1:5300"
[[zone]]
name = "glb.example.net"
records = ["x 60 IN A 192.0.2.1", "@ 60 IN NS ns", "nonsense"]
[[zone.service]]
name = "www.foobar.com"
host = "www.foobar.com"
answers = 17
probe = [{ kind = "ping" }]
[[zone.service.site]]
name = "sea"
dns-name = "sea.sites.foobar.com"
[[zone.service.site]]
name = "sea"
"#;
    let mistakes = Files::new(&[("sync.toml", bad)]).mistakes();
    let places = [
        ("1:", "identity"),
        ("2:1:", "did you mean \"state-dir\""),
        ("4:", "socket address"),
        ("10:", "cname-ttl"),
        ("12:", "not on loopback"),
        ("15:", "need certificates"),
        ("17:", "identity"),
        ("21:11", "type 2"),
        ("21:52", "no record here"),
        ("25:", "answers"),
        ("26:", "kind"),
        ("30:", "dns-name"),
        ("31:", "name"),
    ];
    for (place, word) in places {
        assert!(
            mistakes.iter().any(|m| m.starts_with(place) && m.contains(word)),
            "{place} {word} is not in {mistakes:#?}"
        );
    }
}

const UNTIL: &str = "until = 2099-12-01T06:00:00Z, reason = 'a roof";

/// Each change of the smallest configuration is exactly one mistake, and says this.
#[test]
fn what_cannot_work_is_refused_before_it_starts() {
    let cases = [
        ("zone = \"foobar.com\"", "zone = \"example.com\"", "does not lie below"),
        ("zone = \"foobar.com\"", "zone = \"glb.foobar.com\"", "does not lie below"),
        ("name = \"www.glb.foobar.com\"", "name = \"www.foobar.com\"", "does not belong into zone"),
        ("name = \"www.glb.foobar.com\"", "name = \"glb.foobar.com\"", "does not belong into zone"),
        ("host = \"www.foobar.com\"", "host = \"foobar.com\"", "apex"),
        ("dns-name = \"sea.sites.foobar.com\"", "dns-name = \"sea.glb.foobar.com\"", "delegates away"),
        ("name = \"glb.foobar.com\"", "name = \"glb.foobar.com\"\nrecords = [\"www 60 IN TXT x\"]", "collide"),
        (
            "name = \"glb.foobar.com\"",
            "name = \"glb.foobar.com\"\nrecords = [\"www.foobar.com. 60 IN TXT x\"]",
            "does not belong",
        ),
        ("map.plain-tcp = \"loopback\"", "", "need certificates"),
        ("127.0.0.1:5300", "203.0.113.1:5300", "need certificates"),
        ("map.plain-tcp = \"loopback\"", "map.plain-tcp = \"loopback\"\ndelegation.mode = \"update\"", "needs the key"),
        ("probe = [{ kind = \"tcp\" }]", "", "how shall the sites be measured"),
        ("{ kind = \"tcp\" }", "{ kind = \"tcp\", path = \"/\" }", "unknown key"),
        ("{ kind = \"tcp\" }", "{ kind = \"http\", path = \"health\" }", "starting with a slash"),
        ("site = [{ name = \"sea\", dns-name = \"sea.sites.foobar.com\" }]", "", "no site"),
        ("sea.sites.foobar.com\" }", "x.foobar.com\" }, { name = \"sea\", dns-name = \"y.foobar.com\" }", "twice"),
        ("probe =", "https.alpn = [\"h2,h3\"]\nprobe =", "without quotes, commas"),
        ("probe =", "https.alpn = [\"h2\", \"h2\"]\nprobe =", "distinct"),
        ("probe =", "https.alpn = [\"{LONG}\"]\nprobe =", "at most 64 octets"),
        ("probe =", "https.no-default-alpn = true\nprobe =", "where alpn is empty"),
        ("probe =", "https.port = 0\nprobe =", "from 1 to 65535"),
        ("probe =", "https.hint = true\nprobe =", "did you mean \"hints\""),
        ("probe =", "https = true\nprobe =", "wanted a table"),
        ("foobar.com\" }]", "foobar.com\", forced = { state = \"down\", reason = \"x\" } }]", "missing"),
        ("foobar.com\" }]", "foobar.com\", forced = { state = \"dead\", {UNTIL}' } }]", "wanted one of \"up\""),
        (
            "foobar.com\" }]",
            "foobar.com\", forced = { state = \"up\", {UNTIL}{LONG}{LONG}{LONG}{LONG}' } }]",
            "200 octets",
        ),
    ];
    for (old, new, says) in cases {
        assert!(LEAST.contains(old), "{old}");
        let changed = LEAST.replacen(old, &new.replace("{LONG}", &"x".repeat(64)).replace("{UNTIL}", UNTIL), 1);
        let mistakes = Files::new(&[("sync.toml", &changed)]).mistakes();
        assert_eq!(mistakes.len(), 1, "{new}: {mistakes:#?}");
        assert!(mistakes[0].contains(says), "{new}: {mistakes:?}");
        assert!(mistakes[0].starts_with(|c: char| c.is_ascii_digit()), "{mistakes:?}");
    }
}

#[test]
fn a_zone_in_another_and_one_host_twice_are_refused() {
    let second = |zone: &str, host: &str| {
        format!(
            "{LEAST}[[zone]]\nname = \"{zone}\"\n[[zone.service]]\nname = \"www.{zone}\"\nhost = \"{host}\"\n\
             probe = [{{ kind = \"tcp\" }}]\nsite = [{{ name = \"sea\", dns-name = \"sea.sites.foobar.com\" }}]\n"
        )
    };
    Files::new(&[("sync.toml", &second("eu.foobar.com", "eu.www.foobar.com"))]).good();
    let inner = Files::new(&[("sync.toml", &second("eu.glb.foobar.com", "x.foobar.com"))]).mistakes();
    assert!(inner.len() == 1 && inner[0].contains("lies in glb.foobar.com."), "{inner:?}");
    let twice = Files::new(&[("sync.toml", &second("eu.foobar.com", "www.foobar.com"))]).mistakes();
    assert!(twice.len() == 1 && twice[0].contains("host"), "{twice:?}");
}
