//! Reads the configuration file; `config/dns-a-sync.toml` is a sample with every key.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use dglb_core::{catalogue::ZoneStyle, identity::Identity, name::Name, proto::message::PeerRole};
use dglb_node::{
    config::{Section, choice, duration, link_security, seconds, text},
    link::LinkSecurity,
};

use super::{Config, DelegationConfig, DelegationMode, DnsAConfig, ServerConfig, ZoneConfig, key, zone};

/// The largest time to live (RFC 2181 section 8).
pub(super) const MAX_TTL: u32 = i32::MAX as u32;

/// Reads the top level; for [`dglb_node::config::load`].
pub fn config(section: &Section<'_>) -> Option<Config> {
    let identity: Option<Identity> = section.required("identity", text);
    let dns_a = section.required_table("dns-a").and_then(|s| dns_a(&s));
    let parent = dns_a.as_ref().map(|d| &d.zone);
    let withdraw: Vec<Name> = section.list("withdraw", text);
    let zones = zones(section, parent, &withdraw);
    let security = link_security(section.table("map").as_ref(), PeerRole::DnsASync, identity.as_ref());
    let servers = servers(section, security.as_ref());
    let delegation = section.table("delegation").map_or_else(DelegationConfig::default, |s| delegation(&s));
    let keyed = section.table("dns-a").is_none_or(|dns_a| dns_a.has("key"));
    if delegation.mode == DelegationMode::Update && !keyed {
        section.problem("delegation", "mode = \"update\" needs the key that DNS-A lets update its zone: [dns-a] key");
    }
    let admin = section.required_table("admin").and_then(|admin| admin.required("listen", text));
    let state_dir = section.path("state-dir");
    Some(Config {
        identity: identity?,
        dns_a: dns_a?,
        zones: zones?,
        withdraw,
        servers: servers?,
        security: security?,
        delegation,
        admin: admin?,
        state_dir,
        force: false,
    })
}

fn dns_a(section: &Section<'_>) -> Option<DnsAConfig> {
    let server = section.required("server", text);
    let zone = section.required("zone", text);
    let interval = section.or("interval", duration("100ms", "1day"), Duration::from_secs(10));
    let timeout = section.or("timeout", duration("10ms", "1min"), Duration::from_secs(3));
    let key = section.table("key").and_then(|s| key::read(&s));
    Some(DnsAConfig { server: server?, zone: zone?, interval, timeout, key })
}

fn delegation(section: &Section<'_>) -> DelegationConfig {
    let default = DelegationConfig::default();
    let modes = [("print", DelegationMode::Print), ("update", DelegationMode::Update), ("off", DelegationMode::Off)];
    DelegationConfig {
        mode: section.or("mode", choice(&modes), default.mode),
        cname_ttl: section.or("cname-ttl", seconds(1..=MAX_TTL), default.cname_ttl),
        interval: section.or("interval", duration("100ms", "1day"), default.interval),
        settle: section.or("settle", duration("0s", "1h"), default.settle),
    }
}

fn servers(section: &Section<'_>, security: Option<&LinkSecurity>) -> Option<Vec<ServerConfig>> {
    if !section.has("dns-b") {
        section.problem("dns-b", "there is nobody to publish to: write a [[dns-b]] for every dns-b");
    }
    let mut servers = Vec::new();
    let tables = section.tables("dns-b");
    let count = tables.len();
    let (mut identities, mut addresses) = (Vec::new(), Vec::new());
    for table in tables {
        let identity: Option<Identity> = table.required("identity", text);
        let address: Option<SocketAddr> = table.required("address", text);
        identities.extend(identity.clone().map(|identity| (table.clone(), identity)));
        addresses.extend(address.map(|address| (table.clone(), address)));
        // What is wrong with `[map]` is noted already, and not again at every dns-b.
        if let (Some(address), Some(security)) = (address, security)
            && let Err(unsecured) = security.check(address)
        {
            table.problem("address", unsecured);
        }
        servers.extend(identity.zip(address).map(|(identity, address)| ServerConfig { identity, address }));
    }
    Section::distinct("identity", identities);
    Section::distinct("address", addresses);
    (servers.len() == count && count > 0).then_some(servers)
}

fn zones(section: &Section<'_>, parent: Option<&Name>, withdraw: &[Name]) -> Option<Vec<ZoneConfig>> {
    if !section.has("zone") && withdraw.is_empty() {
        section.problem("zone", "there is nothing to publish: write a [[zone]]");
    }
    let tables = section.tables("zone");
    let zones: Vec<_> = tables.iter().map(zone::read).collect();
    let known = || tables.iter().zip(&zones).filter_map(|(table, zone)| Some((table, zone.as_ref()?)));
    Section::distinct("name", known().map(|(table, zone)| (table.clone(), zone.config.name.clone())));
    let hosts = known().flat_map(|(_, zone)| zone.services.iter().zip(&zone.config.services));
    Section::distinct("host", hosts.map(|(table, service)| (table.clone(), service.service.host.clone())));
    let names: BTreeSet<&Name> = known().map(|(_, zone)| &zone.config.name).collect();
    for (table, zone) in known() {
        let name = &zone.config.name;
        if let Some(parent) = parent.filter(|parent| !name.is_within(parent) || name == *parent) {
            table.problem("name", format!("{name} does not lie below {parent}, the zone of [dns-a]"));
        }
        if withdraw.contains(name) {
            table.problem("name", format!("{name} is to be withdrawn, too; it can be one of both only"));
        }
        if let Some(outer) = names.iter().find(|outer| name.is_within(outer) && name != **outer) {
            table.problem("name", format!("{name} lies in {outer}, which DNS-A delegates away"));
        }
        check_services(zone, parent, &names);
    }
    let (whole, count) = (zones.iter().all(Option::is_some), zones.len());
    (whole && (count > 0 || !withdraw.is_empty()))
        .then(|| zones.into_iter().flatten().map(|zone| zone.config).collect())
}

/// What a service says of other zones.
fn check_services(zone: &zone::Read<'_>, parent: Option<&Name>, zones: &BTreeSet<&Name>) {
    for (table, service) in zone.services.iter().zip(&zone.config.services) {
        let host = &service.service.host;
        if parent == Some(host) && zone.config.style == ZoneStyle::SubZone {
            let message = format!("{host} is a zone's apex, where no CNAME may stand (RFC 1034 section 3.6.2)");
            table.problem("host", message);
        }
        for (site, config) in table.tables("site").iter().zip(&service.sites) {
            if let Some(zone) = zones.iter().find(|zone| config.dns_name.is_within(zone)) {
                let name = &config.dns_name;
                site.problem(
                    "dns-name",
                    format!("{name} lies in {zone}, which DNS-A delegates away: it has no address there"),
                );
            }
        }
    }
}
