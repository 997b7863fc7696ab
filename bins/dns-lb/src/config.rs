//! The configuration file of dns-lb. `config/dns-lb.toml` shows every key.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use dglb_core::{
    directory::FirstQuestion,
    dns::Role,
    identity::Identity,
    net::{Prefix, canonical},
    proto::message::PeerRole,
    rank::Here,
};
use dglb_node::{
    admin,
    config::{
        self, ConfigError, Loaded, Section, choice, decisions, duration, group, integer, link_security, location, size,
        text,
    },
    journal,
    link::LinkSecurity,
};
use dglb_probe::{prober, trust::Trust};

use crate::{addresses, resolver};

/// Everything that dns-lb needs to know before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who it is; also its label in every zone.
    pub identity: Identity,
    /// The DNS side.
    pub dns: Dns,
    /// The resolvers and clients that it sits beside.
    pub isp: Isp,
    /// Every dns-b, at least one.
    pub servers: Vec<Server>,
    /// The map links.
    pub map: Map,
    /// The measuring.
    pub probe: Probe,
    /// Between two reports of everything.
    pub report_interval: Duration,
    /// The admin endpoint.
    pub admin: admin::Address,
    /// The directory in which the store is; without one nothing outlives a restart.
    pub state_dir: Option<PathBuf>,
    /// Where decisions are put down, if anywhere.
    pub decisions: Option<journal::Settings>,
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where questions are taken.
    pub listen: Vec<SocketAddr>,
    /// The addresses under which the world asks it.
    pub advertise: addresses::Source,
    /// How DNS is served, whatever is asked.
    pub serving: config::Dns,
}

/// `[isp]`: what is mapped to this DNS-LB.
#[derive(Clone, Debug, PartialEq)]
pub struct Isp {
    /// Where the DNS-ISP's addresses come from.
    pub resolvers: resolver::Source,
    /// Between two checks whether its users reach this DNS-LB; zero for none.
    pub self_check: Duration,
    /// Networks of its clients, for resolvers that send client subnets.
    pub networks: Vec<Prefix>,
    /// Lower is taken first, among the DNS-LBs of one prefix.
    pub preference: u16,
    /// Share among equals, at least 1.
    pub weight: u16,
    /// Where it is, and in which groups: what customers name in their policies.
    pub here: Here,
}

/// `[[dns-b]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What it must say it is.
    pub identity: Identity,
    /// Where it accepts map links.
    pub address: SocketAddr,
}

/// `[map]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// By what links are secured.
    pub security: LinkSecurity,
    /// How long map entries outlive the link.
    pub lease: Duration,
    /// Silence after which a dns-b is asked whether it is there.
    pub keep_alive: Duration,
    /// Silence after which it is taken for dead.
    pub dead_after: Duration,
}

/// `[probe]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Bounds.
    pub settings: prober::Settings,
    /// A PEM file of the authorities that HTTPS probes believe; without it the system's own.
    pub ca: Option<PathBuf>,
    /// How long a service's first ranking waits for its slowest address.
    pub settle: Duration,
    /// What is answered before that.
    pub first_question: FirstQuestion,
    /// How old figures are probed anew when somebody asks.
    pub on_demand_after: Duration,
}

/// Reads and checks the file.
///
/// # Errors
/// Every mistake in it.
pub fn load(path: &Path) -> Result<Loaded<Config>, ConfigError> {
    config::load(path, read)
}

fn read(section: &Section<'_>) -> Option<Config> {
    let identity: Option<Identity> = section.required("identity", text);
    let dns = section.required_table("dns").and_then(|dns| read_dns(&dns, identity.as_ref()));
    let isp = read_isp(section);
    let table = section.table("map");
    let security = link_security(table.as_ref(), PeerRole::DnsLb, identity.as_ref());
    let servers = read_servers(section, identity.as_ref(), security.as_ref());
    let map = read_map(table.as_ref(), security);
    let probe = read_probe(section);
    let report_interval = Duration::from_secs(60);
    let report_interval =
        section.table("report").map_or(report_interval, |r| r.or("interval", duration("1s", "1h"), report_interval));
    let admin = section.required_table("admin").and_then(|admin| admin.required("listen", text));
    let state_dir = section.path("state-dir");
    let decisions = decisions(section, state_dir.as_ref());
    let (identity, dns, servers, admin) = (identity?, dns?, servers?, admin?);
    Some(Config { identity, dns, isp, servers, map, probe, report_interval, admin, state_dir, decisions })
}

fn read_dns(section: &Section<'_>, identity: Option<&Identity>) -> Option<Dns> {
    let listen: Option<Vec<SocketAddr>> = section.required_list("listen", text);
    let mut serving = config::Dns::read(Some(section), identity);
    serving.read_encrypted(section, &[("listen", Role::DnsLb)]);
    let listen = listen?;
    let advertise = read_advertise(section, &listen);
    if listen.iter().any(|a| !matches!(a.port(), 0 | 53)) {
        section.warning("listen", "resolvers ask on port 53 alone; other ports are for tests");
    }
    Some(Dns { listen, advertise, serving })
}

/// The addresses listened on; where one of them is a wildcard, those of the interfaces.
fn read_advertise(section: &Section<'_>, listen: &[SocketAddr]) -> addresses::Source {
    let wildcard = |v4: bool| listen.iter().any(|a| a.ip().is_unspecified() && a.is_ipv4() == v4);
    // On Linux [::] takes IPv4, too, unless that has a socket of its own.
    let (v4, v6) = (wildcard(true) || wildcard(false), wildcard(false));
    let automatic = section.optional("advertise", |value| Ok(value.as_str() == Some("auto"))) == Some(true);
    if automatic && !(v4 || v6) {
        section.problem("advertise", "\"auto\" takes the interfaces' addresses, so \"listen\" must be a wildcard");
    }
    if automatic || (!section.has("advertise") && (v4 || v6)) {
        return addresses::Source::Interfaces { v4, v6 };
    }
    let mut fixed: Vec<IpAddr> = section.list("advertise", text);
    for (at, address) in fixed.iter().enumerate() {
        if address.is_unspecified() || address.is_multicast() {
            section.problem_in("advertise", at, format!("{address} is no address that anybody could ask"));
        }
    }
    if fixed.is_empty() {
        fixed = listen.iter().map(|a| canonical(a.ip())).filter(|a| !a.is_unspecified()).collect();
    }
    let mut distinct = std::collections::HashSet::new();
    fixed.retain(|a| distinct.insert(*a));
    addresses::Source::Fixed(fixed)
}

fn read_isp(section: &Section<'_>) -> Isp {
    let file = |path: Option<PathBuf>| resolver::Source::File {
        path: path.unwrap_or_else(|| resolver::RESOLV_CONF.into()),
        behind_stub: resolver::BEHIND_STUB.into(),
    };
    let Some(isp) = section.table("isp") else {
        let (resolvers, networks) = (file(None), Vec::new());
        let here = Here::default();
        return Isp { resolvers, self_check: SELF_CHECK, networks, preference: PREFERENCE, weight: 1, here };
    };
    let path = isp.path("resolv-conf");
    let fixed: Vec<IpAddr> = isp.list("resolvers", text);
    if isp.has("resolvers") && isp.has("resolv-conf") {
        isp.problem("resolvers", "either \"resolvers\" or \"resolv-conf\" says who the DNS-ISP is, not both");
    }
    for (at, address) in fixed.iter().enumerate() {
        if address.is_unspecified() || address.is_multicast() {
            isp.problem_in("resolvers", at, format!("{address} is no address of a resolver"));
        }
    }
    let fixed: Vec<IpAddr> = fixed.into_iter().map(canonical).collect();
    Isp {
        resolvers: if isp.has("resolvers") { resolver::Source::Fixed(fixed) } else { file(path) },
        self_check: isp.or("self-check", or_never(duration("1s", "1d")), SELF_CHECK),
        networks: isp.list("networks", text),
        preference: isp.or("preference", integer(0..=u16::MAX), PREFERENCE),
        weight: isp.or("weight", integer(1..=u16::MAX), 1),
        here: Here { groups: isp.list("groups", group), location: location(&isp, "location") },
    }
}

/// In the middle, so that others can be put before and behind.
const PREFERENCE: u16 = 10;

const SELF_CHECK: Duration = Duration::from_secs(60);

/// A duration, or `false`, which is none at all.
fn or_never(
    kind: impl Fn(&config::Value<'_>) -> Result<Duration, String>,
) -> impl Fn(&config::Value<'_>) -> Result<Duration, String> {
    move |value| {
        if value.as_bool() == Some(false) {
            return Ok(Duration::ZERO);
        }
        kind(value).map_err(|wanted| format!("{wanted}; false is never"))
    }
}

fn read_map(map: Option<&Section<'_>>, security: Option<LinkSecurity>) -> Map {
    let seconds = Duration::from_secs;
    // Where it is wrong that is noted, and nothing becomes of the rest.
    let security = security.unwrap_or_default();
    let default = Map { security, lease: seconds(60), keep_alive: seconds(5), dead_after: seconds(15) };
    let Some(map) = map else { return default };
    let read = Map {
        security: default.security,
        lease: map.or("lease", duration("1s", "1h"), default.lease),
        keep_alive: map.or("keep-alive", duration("100ms", "1m"), default.keep_alive),
        dead_after: map.or("dead-after", duration("300ms", "10m"), default.dead_after),
    };
    if read.dead_after < read.keep_alive * 2 {
        map.problem("dead-after", "must be at least twice \"keep-alive\", or links end for want of words");
    }
    read
}

fn read_servers(section: &Section<'_>, own: Option<&Identity>, security: Option<&LinkSecurity>) -> Option<Vec<Server>> {
    let tables = section.tables("dns-b");
    if tables.is_empty() {
        section.problem("dns-b", "at least one [[dns-b]] with identity and address is needed");
        return None;
    }
    let mut servers = Vec::new();
    for table in &tables {
        let identity: Option<Identity> = table.required("identity", text);
        let address: Option<SocketAddr> = table.required("address", text);
        if identity.is_some() && identity.as_ref() == own {
            table.problem("identity", "this is the DNS-LB's own identity");
        }
        // What is wrong with `[map]` is noted already, and not again at every dns-b.
        if let (Some(address), Some(security)) = (address, security)
            && let Err(unsecured) = security.check(address)
        {
            table.problem("address", unsecured);
        }
        servers.push(identity.zip(address).map(|(identity, address)| Server { identity, address }));
    }
    let named = |s: &Option<Server>| s.clone();
    let pairs = || tables.iter().cloned().zip(servers.iter().map(named));
    Section::distinct("identity", pairs().filter_map(|(t, s)| Some((t, s?.identity))));
    Section::distinct("address", pairs().filter_map(|(t, s)| Some((t, s?.address))));
    servers.into_iter().collect()
}

const FIRST_QUESTION: [(&str, FirstQuestion); 3] =
    [("hint", FirstQuestion::Hint), ("customer-order", FirstQuestion::CustomerOrder), ("fail", FirstQuestion::Fail)];

fn read_probe(section: &Section<'_>) -> Probe {
    let settings = prober::Settings { concurrency: 256, per_site: 8, body_limit: 256 << 10 };
    let (settle, first_question) = (Duration::from_secs(5), FirstQuestion::default());
    let on_demand_after = Duration::from_secs(60);
    let default = Probe { settings, ca: None, settle, first_question, on_demand_after };
    let Some(probe) = section.table("probe") else { return default };
    let ca = probe.path("ca");
    if let Some(Err(error)) = ca.as_deref().map(Trust::read) {
        probe.problem("ca", format!("no certificates can be read from it: {error}"));
    }
    Probe {
        settings: prober::Settings {
            concurrency: probe.or("concurrency", integer(1..=100_000), settings.concurrency),
            per_site: probe.or("per-site", integer(1..=1_000), settings.per_site),
            body_limit: probe.or("body-limit", size(1..=1 << 30), settings.body_limit),
        },
        ca,
        settle: probe.or("settle", duration("100ms", "10m"), default.settle),
        first_question: probe.or("first-question", choice(&FIRST_QUESTION), default.first_question),
        on_demand_after: probe.or("on-demand-after", duration("1s", "1day"), default.on_demand_after),
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::catalogue::Location;
    use dglb_node::link::PlainTcp;

    use super::*;

    fn load_text(text: &str) -> Result<Loaded<Config>, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dns-lb.toml");
        std::fs::write(&path, text).unwrap();
        let prefix = format!("{}:", path.display());
        load(&path).map_err(|e| e.to_string().lines().map(|l| l.replacen(&prefix, "", 1)).collect())
    }

    /// As an operator writes it, but for the certificates, which would have to be there.
    fn sample() -> String {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/dns-lb.toml"));
        let text = std::fs::read_to_string(path).unwrap();
        text.replace("/etc/dglb/tls/", "")
    }

    /// Loads `text` with the certificates of sea1 beside it.
    fn load_certified(text: &str) -> Result<Loaded<Config>, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let name = "dglb:dns-lb:sea1".parse().unwrap();
        dglb_ca::Ephemeral::new().unwrap().write(&name, directory.path()).unwrap();
        let path = directory.path().join("dns-lb.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    const LEAST: &str = "identity = 'sea1'\ndns.listen = ['192.0.2.53:53']\nadmin.listen = '127.0.0.1:0'\n\
                         map.plain-tcp = 'loopback'\n[[dns-b]]\nidentity = 'b1'\naddress = '127.0.0.1:5300'\n";

    #[test]
    fn the_sample_is_sound_and_says_what_the_defaults_are() {
        let sample = load_certified(&sample()).unwrap();
        assert!(sample.warnings.is_empty(), "{:?}", sample.warnings);
        let least = load_text(LEAST).unwrap().value;
        let sample = sample.value;
        assert_eq!(sample.isp.resolvers, least.isp.resolvers);
        assert_eq!((sample.isp.preference, sample.isp.weight), (least.isp.preference, least.isp.weight));
        assert_eq!(sample.isp.here, least.isp.here);
        assert_eq!((&sample.probe, sample.report_interval), (&least.probe, least.report_interval));
        assert!(sample.map.security.tls.is_some());
        let map = Map { security: least.map.security.clone(), ..sample.map };
        assert_eq!((map, sample.dns.serving), (least.map, least.dns.serving));
        assert_eq!(sample.servers.len(), 2);
    }

    #[test]
    fn decisions_are_put_down_where_there_is_a_place_for_them() {
        let read = |more: &str| load_text(&format!("{more}\n{LEAST}"));
        let settings = |text: &str| read(text).unwrap().value.decisions;
        assert_eq!(settings(""), None);
        let default = settings("state-dir = '.'").unwrap();
        assert!(default.file.ends_with("decisions.jsonl"), "{default:?}");
        assert_eq!((default.size, default.files), (16 << 20, 4));
        assert_eq!(settings("state-dir = '.'\ndecisions.enabled = false"), None);
        let named = settings("decisions = { file = '/x/y', size = '1MiB', files = 1 }").unwrap();
        let expected = journal::Settings { file: "/x/y".into(), size: 1 << 20, files: 1 };
        assert_eq!(named, expected);
        let wrong = read("decisions = { enabled = true, files = 0 }").unwrap_err().join("\n");
        assert!(wrong.contains("needs \"file\", or a state-dir") && wrong.contains("from 1 to 1000"), "{wrong}");
    }

    #[test]
    fn it_may_say_where_it_is() {
        let text = |isp: &str| LEAST.replace("[[dns-b]]", &format!("[isp]\n{isp}\n[[dns-b]]"));
        let place = "groups = ['eu', 'isp-7']\nlocation = { latitude = 52.5, longitude = 13.4 }";
        let here = load_text(&text(place)).unwrap().value.isp.here;
        assert_eq!(here.groups, ["eu", "isp-7"]);
        assert_eq!(here.location, Some(Location { latitude: 52.5, longitude: 13.4 }));
        let mistakes = load_text(&text("groups = ['E U']\nlocation = { latitude = 91.0 }")).unwrap_err();
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    }

    #[test]
    fn the_advertised_addresses_are_the_ones_listened_on() {
        let config = load_text(LEAST).unwrap().value;
        let fixed = |list: &[&str]| addresses::Source::Fixed(list.iter().map(|a| a.parse().unwrap()).collect());
        assert_eq!(config.dns.advertise, fixed(&["192.0.2.53"]));
        let interfaces = |v4, v6| addresses::Source::Interfaces { v4, v6 };
        let wildcard = LEAST.replace("192.0.2.53:53", "0.0.0.0:53");
        assert_eq!(load_text(&wildcard).unwrap().value.dns.advertise, interfaces(true, false));
        let both = LEAST.replace("192.0.2.53:53", "[::]:53").replace("map.", "dns.advertise = 'auto'\nmap.");
        assert_eq!(load_text(&both).unwrap().value.dns.advertise, interfaces(true, true));
        let nothing = LEAST.replace("map.", "dns.advertise = 'auto'\nmap.");
        assert!(load_text(&nothing).unwrap_err()[0].contains("must be a wildcard"));
        let named = wildcard.replace("map.", "dns.advertise = ['192.0.2.9', '2001:db8::9', '192.0.2.9']\nmap.");
        let config = load_text(&named).unwrap().value;
        assert_eq!(config.dns.advertise, fixed(&["192.0.2.9", "2001:db8::9"]));
        assert_eq!(load_text(&LEAST.replace(":53'", ":5353'")).unwrap().warnings.len(), 1);
    }

    #[test]
    fn links_without_certificates_stay_on_this_host_and_must_be_wanted() {
        let far = LEAST.replace("127.0.0.1:5300", "203.0.113.1:5300");
        let refused = load_text(&far).unwrap_err();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("7:11: dns-b.address: map links need certificates"), "{refused:?}");
        assert!(load_text(&LEAST.replace("map.plain-tcp = 'loopback'\n", "")).is_err());
        assert_eq!(load_text(LEAST).unwrap().value.map.security.plain_tcp, PlainTcp::Loopback);
        let tls = far.replace("map.plain-tcp = 'loopback'", &format!("map.{}", dglb_ca::Ephemeral::CONFIG));
        assert!(load_certified(&tls).unwrap().value.map.security.tls.is_some());
        let other = load_certified(&tls.replace("'sea1'", "'sea2'")).unwrap_err().to_string();
        assert!(other.contains("the certificate is dglb:dns-lb:sea1's, not dglb:dns-lb:sea2's"), "{other}");
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = "identity = 'ns'\ndns = { listen = ['192.0.2.53'], lane = 2 }\nisp.resolvers = ['0.0.0.0']\n\
                    isp.resolv-conf = '/etc/resolv.conf'\nisp.weight = 0\nprobe.concurrency = 0\n\
                    report.interval = '10'\nmap.plain-tcp = 'yes'\nmap.keep-alive = '9s'\n\
                    [[dns-b]]\nidentity = 'b1'\n\
                    address = '127.0.0.1:1'\n[[dns-b]]\nidentity = 'b1'\naddress = '127.0.0.1:1'\n";
        let mistakes = load_text(text).unwrap_err();
        let starts: Vec<&str> = mistakes.iter().map(|m| m.split(": ").next().unwrap()).collect();
        let expected =
            ["1:1", "1:12", "2:19", "2:34", "3:17", "3:18", "5:14", "6:21", "7:19", "8:1", "8:17", "14:12", "15:11"];
        assert_eq!(starts, expected, "{mistakes:#?}");
        assert_eq!(load_text("").unwrap_err().len(), 4);
    }
}
