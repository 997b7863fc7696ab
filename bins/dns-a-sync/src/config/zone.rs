//! Reads one `[[zone]]`.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dglb_core::{
    catalogue::{
        AllDown, CatalogueError, Forced, ForcedState, Form, HttpsRecord, Mode, Policy, Service, Site, StaticRecord,
        ZoneCatalogue, ZoneStyle,
    },
    name::Name,
};
use dglb_node::config::{Section, boolean, choice, duration, group, integer, location, moment, number, seconds, text};

use super::{ServiceConfig, SiteConfig, ZoneConfig, probe, read::MAX_TTL};
use crate::{compose::with_sites, wire::parse_records};

/// How long an address may be cached by default while it may soon be another, in seconds.
const LEAST_TTL: u32 = 60;

/// A zone and the tables of its services, for messages.
pub(super) struct Read<'a> {
    pub(super) config: ZoneConfig,
    pub(super) services: Vec<Section<'a>>,
}

/// Reads a zone; everything that a dns-b would refuse is a mistake here already. Services with a
/// mistake of their own are left out, so that the others are checked all the same.
pub(super) fn read<'a>(section: &Section<'a>) -> Option<Read<'a>> {
    let name: Option<Name> = section.required("name", text);
    let styles = [("sub-zone", ZoneStyle::SubZone), ("host", ZoneStyle::Host)];
    let style = section.or("style", choice(&styles), ZoneStyle::SubZone);
    let cname_ttl = section.or("cname-ttl", seconds(1..=MAX_TTL), 3600);
    let records = records(section, name.as_ref());
    if !section.has("service") {
        section.problem("service", "the zone has no service: write a [[zone.service]]");
    }
    let apex = name.as_ref().filter(|_| style == ZoneStyle::Host);
    let (tables, services): (Vec<_>, Vec<_>) =
        section.tables("service").into_iter().filter_map(|table| service(&table, apex).map(|s| (table, s))).unzip();
    let config = ZoneConfig { name: name?, style, cname_ttl, records, services };
    check(section, &tables, &config);
    warn_of_style(section, &config);
    Some(Read { config, services: tables })
}

fn records(section: &Section<'_>, zone: Option<&Name>) -> Vec<StaticRecord> {
    let texts: Vec<String> = section.list("records", text);
    let mut records = Vec::new();
    for (index, line) in texts.iter().enumerate() {
        match parse_records(line, zone.unwrap_or(&Name::root())) {
            Ok(parsed) => records.extend(parsed),
            Err(error) => section.problem_in("records", index, error),
        }
    }
    records
}

/// `apex` is the zone's name in host style, where the service is the apex and needs no name.
fn service(section: &Section<'_>, apex: Option<&Name>) -> Option<ServiceConfig> {
    let named = |key| match apex {
        Some(apex) => Some(section.or(key, text, apex.clone())),
        None => section.required(key, text),
    };
    let (name, host) = (named("name"), named("host"));
    let mode = section.or("mode", choice(&[("referral", Mode::Referral), ("direct", Mode::Direct)]), Mode::default());
    let ttl = section.or("ttl", seconds(0..=MAX_TTL), 300);
    let least_ttl = section.or("least-ttl", seconds(0..=MAX_TTL), ttl.min(LEAST_TTL));
    let answers = section.or("answers", integer(1..=16u8), 1);
    let policy = section.table("policy").map_or_else(Policy::default, |s| policy(&s));
    let probes = probe::probes(section);
    let https = section.table("https").map(|s| https(&s));
    // Thousandths of a probe: less than one would be no probe at all.
    let ceiling: Option<f64> = section.optional("max-probes-per-second", number(0.001..=4e6));
    let probe_ceiling = ceiling.and_then(|ceiling| NonZeroU32::new((ceiling * 1_000.0).round() as u32));
    if !section.has("site") {
        section.problem("site", "the service has no site: write a [[zone.service.site]]");
    }
    let tables = section.tables("site");
    let sites: Vec<_> = tables.iter().map(site).collect();
    // Asked for again, so that a site with another mistake counts, too.
    let names = tables.iter().filter_map(|table| Some((table.clone(), table.optional::<String>("name", text)?)));
    Section::distinct("name", names);
    let sites: Option<Vec<_>> = sites.into_iter().collect();
    let sites = sites.filter(|s| !s.is_empty());
    let (name, host, probes) = (name?, host?, probes?);
    let service = Service {
        name,
        host,
        mode,
        ttl,
        answers,
        policy,
        probes,
        sites: Vec::new(),
        https,
        probe_ceiling,
        least_ttl: Some(least_ttl).filter(|least| *least < ttl),
    };
    Some(ServiceConfig { service, sites: sites? })
}

/// Reads `https = { alpn, … }`; what cannot be served is found with everything else.
fn https(section: &Section<'_>) -> HttpsRecord {
    HttpsRecord {
        alpn: section.list("alpn", text),
        no_default_alpn: section.or("no-default-alpn", boolean, false),
        port: section.optional("port", integer(1..=u16::MAX)),
        hints: section.or("hints", boolean, false),
    }
}

fn policy(section: &Section<'_>) -> Policy {
    let presets = [("fastest", Policy::FASTEST), ("cheapest", Policy::CHEAPEST), ("balanced", Policy::BALANCED)];
    let default = section.or("preset", choice(&presets), Policy::default());
    let forms = [
        ("best", Form::Best),
        ("failover", Form::Failover),
        ("weighted", Form::Weighted),
        ("round-robin", Form::RoundRobin),
        ("sticky", Form::Sticky),
    ];
    let all_down =
        [("last-good", AllDown::LastGood), ("customer-order", AllDown::CustomerOrder), ("fail", AllDown::Fail)];
    let scale = duration("1us", "1day");
    let scale = section.optional("latency-scale", scale).map(|s: Duration| s.as_secs_f64() * 1e3);
    let margin = section.or("margin", duration("0s", "10s"), Duration::from_millis(u64::from(default.margin_ms)));
    let weight = |key, default| section.or(key, number(0.0..=1e9), default);
    let per = |key, default| section.or(key, number(0.001..=1e9), default);
    // Thousandths, which a site's own word is in, too.
    let target = section.optional("target-load", number(0.001..=10.0)).map(|part: f64| (part * 1e3).round() as u32);
    Policy {
        form: section.or("form", choice(&forms), default.form),
        margin_ms: milliseconds(margin),
        margin_percent: section.or("margin-percent", integer(0..=1000), default.margin_percent),
        latency: weight("latency", default.latency),
        latency_scale_ms: scale.unwrap_or(default.latency_scale_ms),
        cost: weight("cost", default.cost),
        cost_scale: per("cost-scale", default.cost_scale),
        load: weight("load", default.load),
        load_scale: per("load-scale", default.load_scale),
        distance: weight("distance", default.distance),
        distance_scale_km: per("distance-scale", default.distance_scale_km),
        target_load: target.unwrap_or(default.target_load),
        least_sites: section.or("least-sites", integer(1..=1000), default.least_sites),
        all_down: section.or("all-down", choice(&all_down), default.all_down),
    }
}

fn site(section: &Section<'_>) -> Option<SiteConfig> {
    let name: Option<String> = section.required("name", text);
    let dns_name = section.required("dns-name", text);
    if name.as_ref().is_some_and(String::is_empty) {
        section.problem("name", "the name must not be empty");
    }
    let site = Site {
        name: name.clone().unwrap_or_default(),
        addresses: Vec::new(),
        cost: section.or("cost", number(0.0..=1e9), 0.0),
        forced: section.table("forced").and_then(|table| forced(&table)),
        capacity: section.optional("capacity", number(0.001..=1e9)),
        weight: section.or("weight", integer(1..=u16::MAX), 1),
        location: location(section, "location"),
        groups: section.list("groups", group),
        not_groups: section.list("not-groups", group),
    };
    Some(SiteConfig { site: Site { name: name?, ..site }, dns_name: dns_name? })
}

fn forced(section: &Section<'_>) -> Option<Forced> {
    let states = ForcedState::ALL.map(|state| (state.as_str(), state));
    let (state, until) = (section.required("state", choice(&states)), section.required("until", moment));
    let reason: Option<String> = section.required("reason", text);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if until.is_some_and(|until| until <= now) {
        section.warning("until", "this is over: the site is what probes say");
    }
    Some(Forced { state: state?, until: until?, reason: reason? })
}

pub(super) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The checks that every dns-b makes, with one address for each site.
fn check(section: &Section<'_>, services: &[Section<'_>], config: &ZoneConfig) {
    let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let sites = |service: &ServiceConfig| {
        let mut names = HashSet::new();
        // A second one of the same name was said already, with its place.
        let distinct = service.sites.iter().map(|s| &s.site).filter(|s| names.insert(&s.name));
        distinct.map(|s| Site { addresses: addresses.clone(), ..s.clone() }).collect()
    };
    let draft = ZoneCatalogue {
        zone: config.name.clone(),
        generation: 0,
        soa_serial: 0,
        style: config.style,
        cname_ttl: config.cname_ttl,
        services: config.services.iter().map(|s| with_sites(s, sites(s))).collect(),
        records: config.records.clone(),
    };
    for error in draft.check() {
        let (service, record) = match &error {
            CatalogueError::Misplaced { name, .. } => (Some(name), Some(name)),
            CatalogueError::Collision { name, .. } | CatalogueError::TooLarge { name, .. } => (None, Some(name)),
            CatalogueError::Range { service: name, .. }
            | CatalogueError::Reserved(name)
            | CatalogueError::TooLong(name)
            | CatalogueError::NoSite(name)
            | CatalogueError::NoProbe(name) => (Some(name), None),
            // Said already, with its place.
            CatalogueError::NoService(_) => continue,
            CatalogueError::Twice(_) => (None, None),
        };
        let service = service.and_then(|name| config.services.iter().position(|s| s.service.name == *name));
        match service.map(|index| &services[index]) {
            Some(table) => problem_of_service(table, error),
            None if record.is_some() => section.problem("records", error),
            None => section.problem("service", error),
        }
    }
}

/// At the setting of the service that the mistake names, if it names one that can be found.
fn problem_of_service(table: &Section<'_>, error: CatalogueError) {
    let setting = match &error {
        CatalogueError::Range { what, .. } => what.strip_prefix("https."),
        _ => None,
    };
    match setting.and_then(|key| Some((table.table("https")?, key))) {
        Some((https, key)) => https.problem(key, error),
        None => table.problem("name", error),
    }
}

/// Host style works, but outside the RFCs unless dns-b answers itself (design section 2).
fn warn_of_style(section: &Section<'_>, config: &ZoneConfig) {
    if config.style == ZoneStyle::Host && config.services.iter().any(|s| s.service.mode == Mode::Referral) {
        let zone = &config.name;
        let message = format!(
            "the service is the apex of {zone}, and referral puts a CNAME beside its SOA and NS records, which RFC 1034 \
             forbids though resolvers live with it. Style \"sub-zone\" (delegate a name such as glb.example.com and give \
             the host a CNAME into it) or mode = \"direct\" stay within the rules"
        );
        section.warning("style", message);
    }
}
