//! From a reading and the configuration to the content of a zone's catalogue. Nothing that looks
//! like an accident in DNS-A gets through: a service whose addresses are all gone, or more than
//! half of them, keeps those it had, and so does a site whose name could not be read.

use std::net::IpAddr;

use dglb_core::{
    catalogue::{CatalogueError, Service, Site, ZoneCatalogue},
    name::Name,
};
use thiserror::Error;

use crate::{
    config::{ServiceConfig, SiteConfig, ZoneConfig},
    source::Reading,
};

/// What can be published for a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// Without generation and serial: both are 0.
    pub content: ZoneCatalogue,
    /// Services that keep their old sites, since the new ones look like an accident.
    pub held: Vec<Held>,
    /// Sites that keep their old addresses, if they had any, since DNS-A's answer is of no use; for
    /// people.
    pub unreadable: Vec<String>,
}

/// A service that keeps its old sites.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("service {service} keeps its {had} addresses: DNS-A now has {}{}", how_many(*.left), advice(*.left))]
pub struct Held {
    /// The service.
    pub service: Name,
    /// Addresses before.
    pub had: usize,
    /// Addresses that DNS-A has now.
    pub left: usize,
}

fn how_many(left: usize) -> String {
    if left == 0 { "none".to_owned() } else { format!("only {left}") }
}

fn advice(left: usize) -> &'static str {
    if left == 0 {
        " (to retire a service, remove it from the configuration)"
    } else {
        " (if that is meant, start dns-a-sync with --force)"
    }
}

/// Why nothing can be published for a zone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ComposeError {
    /// Nothing was published before that could be kept.
    #[error("service {service}: DNS-A has {with} of {configured} sites' addresses{}", advice(*with))]
    TooFew {
        /// The service.
        service: Name,
        /// Sites with at least one address.
        with: usize,
        /// Sites in the configuration.
        configured: usize,
    },
    /// No dns-b would take it.
    #[error("{}", list(.0))]
    Invalid(Vec<CatalogueError>),
}

fn list(errors: &[CatalogueError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The content of `zone` as `reading` has it. `last` is what was published last; `force` lets a
/// much smaller set through, but never an empty one.
///
/// # Errors
/// [`ComposeError`]: what was published stays.
pub fn compose(
    zone: &ZoneConfig,
    reading: &Reading,
    last: Option<&ZoneCatalogue>,
    force: bool,
) -> Result<Composed, ComposeError> {
    let (mut held, mut unreadable) = (Vec::new(), Vec::new());
    let mut services = Vec::with_capacity(zone.services.len());
    for config in &zone.services {
        let old = last.and_then(|l| l.service(&config.service.name));
        let before = old.map(|old| kept(config, old)).unwrap_or_default();
        let found = sites(config, reading, &before, &mut unreadable);
        let sites = guard(config, before, found, force, &mut held)?;
        services.push(with_sites(config, sites));
    }
    let content = ZoneCatalogue {
        zone: zone.name.clone(),
        generation: 0,
        soa_serial: 0,
        style: zone.style,
        cname_ttl: zone.cname_ttl,
        services,
        records: zone.records.clone(),
    };
    match content.check() {
        errors if errors.is_empty() => Ok(Composed { content, held, unreadable }),
        errors => Err(ComposeError::Invalid(errors)),
    }
}

/// The sites to publish: what was found, or what was there before when that looks like an accident.
fn guard(
    config: &ServiceConfig,
    before: Vec<Site>,
    found: Vec<Site>,
    force: bool,
    held: &mut Vec<Held>,
) -> Result<Vec<Site>, ComposeError> {
    // Without anything to compare with, every configured site is expected to have an address.
    let (had, left) = match before.is_empty() {
        true => (config.sites.len(), found.len()),
        false => (count(&before), count(&found)),
    };
    // An address that was replaced is not gone: renumbering must not need a person.
    let gone = had.saturating_sub(left);
    if left > 0 && (force || gone * 2 <= had) {
        return Ok(found);
    }
    if before.is_empty() {
        return Err(ComposeError::TooFew { service: config.service.name.clone(), with: left, configured: had });
    }
    held.push(Held { service: config.service.name.clone(), had, left });
    Ok(before)
}

fn count(sites: &[Site]) -> usize {
    sites.iter().map(|s| s.addresses.len()).sum()
}

/// The configured sites that have an address in DNS-A.
fn sites(config: &ServiceConfig, reading: &Reading, before: &[Site], unreadable: &mut Vec<String>) -> Vec<Site> {
    let mut sites = Vec::with_capacity(config.sites.len());
    for SiteConfig { site, dns_name } in &config.sites {
        let name = &site.name;
        if let Some(why) = reading.unreadable.get(dns_name) {
            unreadable.push(format!("site {name} of {}: {why}", config.service.name));
            let held = before.iter().find(|b| b.name == *name).cloned();
            sites.extend(held.map(|held| Site { forced: site.forced.clone(), ..held }));
            continue;
        }
        let found = reading.addresses.get(dns_name).into_iter().flatten();
        let addresses: Vec<IpAddr> = found.copied().filter(|a| is_usable(*a)).collect();
        if !addresses.is_empty() {
            sites.push(Site { addresses, ..site.clone() });
        }
    }
    sites
}

/// Whether a server can have the address: a name that is parked at 0.0.0.0 has none.
fn is_usable(address: IpAddr) -> bool {
    let strange = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
    };
    !(strange || address.is_unspecified() || address.is_multicast())
}

/// The sites of `old` that are still configured, as they are configured now: a site that
/// was taken out of the configuration was taken out on purpose.
fn kept(config: &ServiceConfig, old: &Service) -> Vec<Site> {
    let site = |s: &SiteConfig| {
        let old = old.sites.iter().find(|o| o.name == s.site.name)?;
        Some(Site { addresses: old.addresses.clone(), ..s.site.clone() })
    };
    config.sites.iter().filter_map(site).collect()
}

/// The service as configured, with these sites.
pub(crate) fn with_sites(config: &ServiceConfig, sites: Vec<Site>) -> Service {
    Service { sites, ..config.service.clone() }
}

#[cfg(test)]
mod tests {
    use dglb_core::catalogue::{HttpsRecord, Mode, Policy, Probe, ProbeKind, ZoneStyle};
    use proptest::prelude::*;

    use super::*;

    fn zone(sites: usize) -> ZoneConfig {
        let name: Name = "glb.foobar.com".parse().unwrap();
        ZoneConfig {
            style: ZoneStyle::SubZone,
            cname_ttl: 3600,
            records: vec![],
            services: vec![ServiceConfig { service: service(&name), sites: (0..sites).map(site).collect() }],
            name,
        }
    }

    fn service(zone: &Name) -> Service {
        let kind = ProbeKind::Tcp { port: 80 };
        Service {
            name: zone.child("www").unwrap(),
            host: "www.foobar.com".parse().unwrap(),
            mode: Mode::Referral,
            ttl: 300,
            answers: 1,
            policy: Policy::default(),
            probes: vec![Probe { kind, interval_ms: 10_000, timeout_ms: 1_000, fall: 2, rise: 2 }],
            sites: vec![],
            https: Some(HttpsRecord { alpn: vec!["h2".to_owned()], hints: true, ..HttpsRecord::default() }),
            probe_ceiling: None,
            least_ttl: None,
        }
    }

    fn site(n: usize) -> SiteConfig {
        let site = Site { name: format!("s{n}"), ..Site::default() };
        SiteConfig { site, dns_name: format!("s{n}.sites.foobar.com").parse().unwrap() }
    }

    /// A reading in which site n has `counts[n]` addresses, from `first` on.
    fn reading(counts: &[usize], first: u8) -> Reading {
        let mut next = first;
        let mut address = || {
            next += 1;
            IpAddr::from([192, 0, 2, next])
        };
        let addresses = |(n, count): (usize, &usize)| (site(n).dns_name, (0..*count).map(|_| address()).collect());
        let addresses = counts.iter().enumerate().map(addresses).collect();
        Reading { serial: 1, addresses, unreadable: Default::default() }
    }

    fn total(composed: &Composed) -> usize {
        count(&composed.content.services[0].sites)
    }

    #[test]
    fn a_site_without_addresses_is_left_out() {
        let composed = compose(&zone(3), &reading(&[1, 2, 0], 0), None, false).unwrap();
        // All else is as configured.
        let Composed { content, .. } = &composed;
        assert_eq!(Service { sites: vec![], ..content.services[0].clone() }, service(&content.zone));
        let names: Vec<_> = composed.content.services[0].sites.iter().map(|s| s.name.as_str()).collect();
        assert_eq!((names, total(&composed)), (vec!["s0", "s1"], 3));
    }

    #[test]
    fn a_site_that_cannot_be_read_keeps_what_it_had() {
        let zone = zone(3);
        let mut bad = reading(&[1, 1, 1], 50);
        bad.addresses.remove(&site(2).dns_name);
        bad.unreadable.insert(site(2).dns_name, "no authority".to_owned());
        let fresh = compose(&zone, &bad, None, false).unwrap();
        assert_eq!((total(&fresh), fresh.unreadable.len()), (2, 1));
        let last = compose(&zone, &reading(&[1, 1, 2], 0), None, false).unwrap().content;
        let kept = compose(&zone, &bad, Some(&last), false).unwrap();
        assert_eq!(kept.content.services[0].sites[2], last.services[0].sites[2]);
        assert_ne!(kept.content.services[0].sites[0], last.services[0].sites[0]);
        assert_eq!(kept.unreadable, ["site s2 of www.glb.foobar.com.: no authority"]);
    }

    #[test]
    fn an_address_that_no_server_can_have_is_none() {
        let mut parked = reading(&[1, 1], 0);
        let strange = ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:192.0.2.1"];
        parked.addresses.insert(site(1).dns_name, strange.iter().map(|a| a.parse().unwrap()).collect());
        assert_eq!(total(&compose(&zone(2), &parked, None, false).unwrap()), 1);
    }

    #[test]
    fn an_empty_set_never_gets_through() {
        let zone = zone(2);
        let last = compose(&zone, &reading(&[1, 1], 0), None, false).unwrap().content;
        for force in [false, true] {
            let held = compose(&zone, &reading(&[0, 0], 0), Some(&last), force).unwrap();
            assert_eq!(held.content, last);
            assert_eq!(held.held, [Held { service: last.services[0].name.clone(), had: 2, left: 0 }]);
            let nothing = compose(&zone, &reading(&[0, 0], 0), None, force);
            assert!(matches!(nothing, Err(ComposeError::TooFew { with: 0, configured: 2, .. })));
        }
    }

    #[test]
    fn a_first_reading_with_most_sites_missing_needs_force() {
        let few = reading(&[1, 0, 0], 0);
        assert!(matches!(compose(&zone(3), &few, None, false), Err(ComposeError::TooFew { with: 1, .. })));
        assert_eq!(total(&compose(&zone(3), &few, None, true).unwrap()), 1);
    }

    #[test]
    fn renumbering_and_removing_from_the_configuration_need_no_force() {
        let last = compose(&zone(4), &reading(&[1, 1, 1, 1], 0), None, false).unwrap().content;
        let renumbered = compose(&zone(4), &reading(&[1, 1, 1, 1], 100), Some(&last), false).unwrap();
        assert!(renumbered.held.is_empty() && renumbered.content != last);
        let fewer = compose(&zone(1), &reading(&[1], 0), Some(&last), false).unwrap();
        assert_eq!((total(&fewer), fewer.held.len()), (1, 0));
    }

    #[test]
    fn what_no_dns_b_would_take_stays_here() {
        let mut zone = zone(1);
        zone.services[0].sites[0].site.cost = f64::NAN;
        assert!(matches!(compose(&zone, &reading(&[1], 0), None, false), Err(ComposeError::Invalid(_))));
    }

    proptest! {
        #[test]
        fn at_most_half_goes_at_once(
            before in prop::collection::vec(1usize..4, 1..6),
            after in prop::collection::vec(0usize..4, 6),
        ) {
            let zone = zone(before.len());
            let last = compose(&zone, &reading(&before, 0), None, false).unwrap();
            let found = reading(&after[..before.len()], 100);
            let (had, has) = (total(&last), after[..before.len()].iter().sum::<usize>());
            let next = compose(&zone, &found, Some(&last.content), false).unwrap();
            prop_assert_eq!(next.held.is_empty(), has > 0 && has * 2 >= had);
            prop_assert_eq!(total(&next), if next.held.is_empty() { has } else { had });
            let forced = compose(&zone, &found, Some(&last.content), true).unwrap();
            prop_assert_eq!(total(&forced), if has > 0 { has } else { had });
        }
    }
}
