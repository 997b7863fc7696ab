//! The configuration file of dns-b. `config/dns-b.toml` shows every key.

mod prove;
mod quota;

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use dglb_core::{
    catalogue::ZoneStyle,
    directory::Settings,
    dns::Role,
    fleet::{Fleet, FleetServer},
    identity::Identity,
    name::Name,
    net::Prefix,
    proto::message::PeerRole,
};
use dglb_node::{
    admin,
    config::{self, ConfigError, Loaded, Section, boolean, choice, duration, integer, link_security, seconds, text},
    link::{LinkSecurity, Unsecured},
};

use crate::keeper::Quorum;
pub use prove::{ProveBounds, ProveConfig};
pub use quota::{Held, HeldOf, Quotas};

/// Everything that dns-b needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is; one of the fleet document's dns-bs.
    pub identity: Identity,
    /// The fleet document.
    pub fleet: Fleet,
    /// Where it refers.
    pub referral: Vec<SocketAddr>,
    /// Where it answers label zones itself.
    pub fallback: Vec<SocketAddr>,
    /// How DNS is served, whatever is asked.
    pub serving: config::Dns,
    /// How answers are found.
    pub settings: Settings,
    /// DNS-LBs for resolvers that nobody sits beside, by preference and weight.
    pub default_group: Vec<DefaultMember>,
    /// Where map links are accepted.
    pub map: MapConfig,
    /// How DNS-LBs are checked.
    pub check: CheckConfig,
    /// After this long without a report a DNS-LB's neighbours speak for it.
    pub stale_after: Duration,
    /// How many POPs make a verdict on a site.
    pub quorum: Quorum,
    /// How DNS-LBs prove where they are.
    pub prove: ProveConfig,
    /// Who may say what.
    pub peers: HashMap<Identity, Peer>,
    /// The admin endpoint.
    pub admin: admin::Address,
    /// The directory in which the store is; without one nothing outlives a restart.
    pub state_dir: Option<PathBuf>,
}

/// One DNS-LB of the default group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultMember {
    /// Which.
    pub identity: Identity,
    /// Lower is taken first.
    pub preference: u16,
    /// Share among equals.
    pub weight: u16,
}

/// The map listener.
#[derive(Clone, Debug)]
pub struct MapConfig {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// By what links are secured.
    pub security: LinkSecurity,
    /// Which DNS-LBs are let in.
    pub dns_lbs: DnsLbs,
    /// The longest lease that a DNS-LB gets, whatever it asks for.
    pub lease: Duration,
    /// What one peer may say and have held.
    pub quotas: Quotas,
}

/// Which DNS-LBs are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsLbs {
    /// Those that are a `[[peer]]`.
    #[default]
    Listed,
    /// All that have a good certificate. One that is no `[[peer]]` has no authority of its own: it maps
    /// what it proves, and nothing else.
    Certified,
}

/// Checks of the DNS-LBs' DNS sides.
#[derive(Clone, Copy, Debug)]
pub struct CheckConfig {
    /// Between two checks of one DNS-LB.
    pub interval: Duration,
    /// Until a question counts as unanswered.
    pub timeout: Duration,
    /// Failures in a row until it is suspect.
    pub fall: u8,
}

/// A peer and the bounds of what it may say.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it must be.
    pub role: PeerRole,
    /// Prefixes that it may map.
    pub may_map: Vec<Prefix>,
    /// What it may map by proof of residence.
    pub prove: ProveBounds,
    /// Zones that it may publish.
    pub may_publish: Vec<Name>,
    /// How much is held of it where that differs from what holds for all.
    pub held: HeldOf,
}

/// Reads and checks the file.
///
/// # Errors
/// Every mistake in it and in the fleet document that it names.
pub fn load(path: &Path) -> Result<Loaded<Config>, ConfigError> {
    config::load(path, read)
}

fn read(section: &Section<'_>) -> Option<Config> {
    let identity: Option<Identity> = section.required("identity", text);
    let fleet = section.required_file("fleet", config::fleet);
    let own = identity.as_ref().zip(fleet.as_ref()).and_then(|(identity, fleet)| {
        let own = fleet.server(identity).cloned();
        if own.is_none() {
            section.problem("identity", format!("the fleet document has no [[dns-b]] of identity \"{identity}\""));
        }
        own
    });
    let prove = prove::read(section);
    let peers = read_peers(section, fleet.as_ref(), prove.sources.as_database.is_some());
    let admin = section.required_table("admin").and_then(|admin| admin.required("listen", text));
    let dns = Dns::read(section, identity.as_ref(), own.as_ref());
    let settings = read_settings(section, &peers);
    let map = read_map(section, identity.as_ref(), &prove.unlisted);
    let anybody = map.as_ref().is_some_and(|map| map.dns_lbs == DnsLbs::Certified);
    let default_group = read_default_group(section, &peers, anybody);
    let check = read_check(section);
    let quorum = read_quorum(section);
    let stale_after = section.or("report-stale-after", duration("1s", "1d"), Duration::from_secs(180));
    Some(Config {
        identity: identity?,
        fleet: fleet?,
        referral: dns.referral,
        fallback: dns.fallback,
        serving: dns.serving,
        settings,
        default_group,
        map: map?,
        check,
        stale_after,
        quorum,
        prove,
        peers,
        admin: admin?,
        state_dir: section.path("state-dir"),
    })
}

struct Dns {
    referral: Vec<SocketAddr>,
    fallback: Vec<SocketAddr>,
    serving: config::Dns,
}

impl Dns {
    /// Where nothing is said, the fleet document's addresses with port 53: what the world asks.
    fn read(section: &Section<'_>, identity: Option<&Identity>, own: Option<&FleetServer>) -> Self {
        let dns = section.table("dns");
        let listen = |key: &str| dns.as_ref().map_or_else(Vec::new, |dns| dns.list(key, text));
        let (mut referral, mut fallback): (Vec<SocketAddr>, Vec<SocketAddr>) = (listen("referral"), listen("fallback"));
        let mut serving = config::Dns::read(dns.as_ref(), identity);
        if let Some(dns) = &dns {
            let roles = [("referral", Role::Referral), ("fallback", Role::Fallback)];
            serving.read_encrypted(dns, &roles);
        }
        if let Some(own) = own {
            let port_53 = |a: &std::net::IpAddr| SocketAddr::new(*a, 53);
            if referral.is_empty() {
                referral = own.referral.iter().map(port_53).collect();
            }
            if fallback.is_empty() {
                fallback = own.fallback.iter().map(port_53).collect();
            }
        }
        if let Some(shared) = fallback.iter().find(|a| referral.contains(a) && a.port() != 0)
            && let Some(dns) = &dns
        {
            dns.problem("fallback", format!("{shared} is a referral address, too; the address asked decides the role"));
        }
        Self { referral, fallback, serving }
    }
}

fn read_settings(section: &Section<'_>, peers: &HashMap<Identity, Peer>) -> Settings {
    let mut settings = Settings::default();
    if let Some(locate) = section.table("locate") {
        // Design section 3: a guess lives at most 60 s, a stand-in for a referral at most 30 s.
        settings.guess_ttl = locate.or("guess-ttl", seconds(0..=60), settings.guess_ttl);
        settings.direct_ttl = locate.or("direct-ttl", seconds(0..=30), settings.direct_ttl);
        settings.ecs_from = locate.list("ecs-from", text);
        settings.ecs_off_zones = locate.list("ecs-off-zones", text).into_iter().collect();
        for zone in &settings.ecs_off_zones {
            if !peers.values().any(|peer| peer.may_publish.contains(zone)) {
                locate.warning("ecs-off-zones", format!("no [[peer]] may publish {zone}"));
            }
        }
        settings.referral_with_cname = locate.or("referral-with-cname", boolean, settings.referral_with_cname);
        settings.neighbour_bits_v4 = locate.optional("neighbour-bits-v4", integer(1..=32));
        settings.neighbour_bits_v6 = locate.optional("neighbour-bits-v6", integer(1..=128));
    }
    if let Some(catalogues) = section.table("catalogues") {
        let published = |zone: &Name| peers.values().any(|peer| peer.may_publish.contains(zone));
        settings.on_referral.all = catalogues.or("push", choice(&PUSH), false);
        settings.on_referral.exceptions = catalogues.list("push-exceptions", text).into_iter().collect();
        for zone in settings.on_referral.exceptions.iter().filter(|zone| !published(zone)) {
            catalogues.warning("push-exceptions", format!("no [[peer]] may publish {zone}"));
        }
    }
    settings
}

/// Whether zones go to a DNS-LB only once somebody asks it for a service of theirs.
const PUSH: [(&str, bool); 2] = [("all", false), ("on-referral", true)];

fn read_default_group(section: &Section<'_>, peers: &HashMap<Identity, Peer>, anybody: bool) -> Vec<DefaultMember> {
    let mut members = Vec::new();
    for default in section.tables("default") {
        let identity: Option<Identity> = default.required("dns-lb", text);
        let preference = default.or("preference", integer(0..=u16::MAX), 10);
        let weight = default.or("weight", integer(1..=u16::MAX), 1);
        let Some(identity) = identity else { continue };
        match peers.get(&identity) {
            Some(peer) if peer.role == PeerRole::DnsLb => {}
            None if anybody => {}
            _ => default.problem("dns-lb", format!("\"{identity}\" is no [[peer]] with role \"dns-lb\"")),
        }
        members.push(DefaultMember { identity, preference, weight });
    }
    members
}

const DNS_LBS: [(&str, DnsLbs); 2] = [("listed", DnsLbs::Listed), ("certified", DnsLbs::Certified)];

fn read_map(section: &Section<'_>, identity: Option<&Identity>, unlisted: &ProveBounds) -> Option<MapConfig> {
    let map = section.required_table("map")?;
    let listen = map.required_list("listen", text);
    let security = link_security(Some(&map), PeerRole::DnsB, identity);
    if security.as_ref().is_some_and(|security| !security.any()) {
        section.problem("map", Unsecured);
    }
    let dns_lbs = map.or("dns-lbs", choice(&DNS_LBS), DnsLbs::default());
    if dns_lbs == DnsLbs::Certified && security.as_ref().is_some_and(|security| security.tls.is_none()) {
        map.problem("dns-lbs", "\"certified\" lets in whoever has a certificate, and without [map.tls] nobody has one");
    }
    if dns_lbs == DnsLbs::Certified && unlisted.allowed && unlisted.is_anywhere() {
        map.warning(
            "dns-lbs",
            "nothing bounds where a DNS-LB without a [[peer]] may prove to be: see prove.unlisted-as",
        );
    }
    let lease = map.or("lease", duration("5s", "1h"), Duration::from_secs(60));
    let quotas = quota::read(&map);
    Some(MapConfig { listen: listen?, security: security?, dns_lbs, lease, quotas })
}

fn read_check(section: &Section<'_>) -> CheckConfig {
    let default = CheckConfig { interval: Duration::from_secs(10), timeout: Duration::from_secs(2), fall: 2 };
    section.table("check").map_or(default, |check| CheckConfig {
        interval: check.or("interval", duration("100ms", "1h"), default.interval),
        timeout: check.or("timeout", duration("10ms", "1m"), default.timeout),
        fall: check.or("fall", integer(1..=100), default.fall),
    })
}

fn read_quorum(section: &Section<'_>) -> Quorum {
    let default = Quorum::default();
    section.table("verdict").map_or(default, |verdict| Quorum {
        least: verdict.or("least", integer(1..=100_000), default.least),
        percent: verdict.or("percent", integer(1..=100), default.percent),
    })
}

const ROLES: [(&str, PeerRole); 2] = [("dns-lb", PeerRole::DnsLb), ("dns-a-sync", PeerRole::DnsASync)];

fn read_peers(section: &Section<'_>, fleet: Option<&Fleet>, has_numbers: bool) -> HashMap<Identity, Peer> {
    let mut peers = HashMap::new();
    let mut seen = Vec::new();
    for peer in section.tables("peer") {
        let identity: Option<Identity> = peer.required("identity", text);
        let role = peer.required("role", choice(&ROLES));
        let may_map: Vec<Prefix> = peer.list("may-map", text);
        let may_publish: Vec<Name> = peer.list("may-publish", text);
        let prove = prove::read_bounds(&peer, role != Some(PeerRole::DnsASync), has_numbers);
        match role {
            Some(PeerRole::DnsLb) if !may_publish.is_empty() => {
                peer.problem("may-publish", "a dns-lb publishes no zone; that is a dns-a-sync's right");
            }
            Some(PeerRole::DnsASync) if !may_map.is_empty() => {
                peer.problem("may-map", "a dns-a-sync maps no prefix; that is a dns-lb's right");
            }
            Some(PeerRole::DnsASync) if may_publish.is_empty() => {
                peer.warning("role", "without may-publish this dns-a-sync has nothing to say");
            }
            _ => {}
        }
        let held = quota::read_peer(&peer);
        let Some(identity) = identity else { continue };
        if fleet.is_some_and(|f| f.server(&identity).is_some()) {
            peer.problem("identity", format!("\"{identity}\" is a dns-b of the fleet; its label is taken"));
        }
        if let Some(role) = role {
            peers.insert(identity.clone(), Peer { role, may_map, prove, may_publish, held });
        }
        seen.push((peer, identity));
    }
    Section::distinct("identity", seen);
    peers
}

/// What a person should know about a zone that is legal but will disappoint.
pub fn style_warning(style: ZoneStyle) -> Option<&'static str> {
    (style == ZoneStyle::Host).then_some(
        "host style puts a CNAME beside SOA and NS, which the RFCs do not allow; sub-zone style and direct mode are clean",
    )
}
