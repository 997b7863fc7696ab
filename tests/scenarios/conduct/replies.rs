//! Whatever the zone and however little room there is: replies can be read by a reader that forgives
//! nothing, and hold whole RRsets or none. Without sockets, so that many zones can be tried.

use std::net::{IpAddr, SocketAddr};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, StaticRecord, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbState, Settings},
    dns::{Asked, Conduct, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    report::{Figures, Health, RankedSite, Ranking},
    table::Member,
};
use dglb_scenarios::{
    packet::{Packet, rtype},
    strict::{Record, Strict, dotted},
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A zone, and who serves it.
#[derive(Clone, Debug)]
struct World {
    zone: String,
    host: bool,
    /// Relative names, sites of each, mode, most addresses in an answer.
    services: Vec<(String, u8, bool, u8)>,
    /// Relative name, TXT or MX, octets.
    records: Vec<(String, bool, u8)>,
    servers: Vec<(String, u8)>,
    lb: (String, u8),
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z][a-z0-9]{0,5}", 1 => "[a-z]{20,30}", 1 => "[a-zA-Z_][a-z0-9-]{8}x"]
}

fn relative() -> impl Strategy<Value = String> {
    vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

fn world() -> impl Strategy<Value = World> {
    let zone = vec(label(), 1..5).prop_map(|labels| labels.join(".").to_lowercase());
    let services = vec((relative(), 1..17_u8, any::<bool>(), 1..17_u8), 1..4);
    let records = vec((relative(), any::<bool>(), 1..=255_u8), 0..24);
    let servers = vec(("b[a-z]{1,12}", 1..17_u8), 1..14);
    let lb = ("lb[a-z0-9]{0,20}x", 1..17_u8);
    (zone, prop::bool::weighted(0.2), services, records, servers, lb)
        .prop_map(|(zone, host, services, records, servers, lb)| World { zone, host, services, records, servers, lb })
}

/// So many addresses of both families, nobody else's.
fn addresses(owner: u8, count: u8) -> Vec<IpAddr> {
    let v6 = |n| format!("2001:db8:{owner}::{n}").parse().expect("an address");
    (0..count).map(|n| if n % 2 == 0 { [198, 18, owner, n].into() } else { v6(n) }).collect()
}

fn name(relative: &str, zone: &str) -> Option<Name> {
    format!("{relative}.{zone}").trim_start_matches('.').parse().ok()
}

impl World {
    fn fleet(&self) -> Option<Fleet> {
        let mut servers: Vec<FleetServer> = vec![];
        for (n, (identity, count)) in (0..).zip(&self.servers) {
            let (referral, fallback) = (addresses(100 + n, 1 + count / 4), addresses(150 + n, *count));
            servers.push(FleetServer { identity: identity.parse().ok()?, referral, fallback });
        }
        let (operator_zone, hostmaster) = ("ops.test".parse().ok()?, "hostmaster.ops.test".parse().ok()?);
        let ttl = FleetTtls::default();
        Fleet::new(Fleet { serial: 1, operator_zone, hostmaster, servers, labels: vec![], ttl }).ok()
    }

    fn catalogue(&self) -> Option<ZoneCatalogue> {
        let mut services = vec![];
        for (relative, count, direct, answers) in &self.services {
            let relative = if self.host { "" } else { relative };
            let site =
                |n| Site { name: format!("s{n}"), addresses: addresses(n, *count), cost: 0.0, ..Site::default() };
            let probe =
                Probe { kind: ProbeKind::Tcp { port: 80 }, interval_ms: 10_000, timeout_ms: 1_000, fall: 2, rise: 2 };
            services.push(Service {
                name: name(relative, &self.zone)?,
                host: "www.test".parse().ok()?,
                mode: if *direct { Mode::Direct } else { Mode::Referral },
                ttl: 300,
                answers: *answers,
                policy: Policy { margin_ms: 1_000, ..Policy::default() },
                probes: vec![probe],
                sites: (1..4).map(site).collect(),
                https: None,
                probe_ceiling: None,
                least_ttl: None,
            });
        }
        services.dedup_by(|a, b| a.name == b.name);
        let mut records = vec![];
        for (n, (relative, text, octets)) in (0_u8..).zip(&self.records) {
            let rdata = if *text {
                [vec![*octets], vec![b'a' + n; usize::from(*octets)]].concat()
            } else {
                [&[0, n], name(relative, &self.zone)?.wire()].concat()
            };
            let rtype = if *text { rtype::TXT } else { rtype::MX };
            records.push(StaticRecord { name: name(relative, &self.zone)?, rtype, ttl: 600, rdata });
        }
        let zone = self.zone.parse().ok()?;
        let style = if self.host { ZoneStyle::Host } else { ZoneStyle::SubZone };
        Some(ZoneCatalogue { zone, generation: 1, soa_serial: 1, style, cname_ttl: 3_600, services, records })
    }

    /// `None` where the parts do not make a world.
    fn directory(&self) -> Option<Directory> {
        let mut directory = Directory::new(Settings::default());
        directory.set_fleet(self.fleet()?);
        let catalogue = self.catalogue()?;
        directory.set_zone(catalogue.clone()).ok()?;
        let lb = directory.upsert_lb(&self.lb.0.parse().ok()?, &addresses(99, self.lb.1));
        directory.update_lb(lb, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
        for service in &catalogue.services {
            let sites = service.sites.iter().map(|site| {
                let figures = |a: &IpAddr| Figures { address: *a, health: Health::Up, latency_us: Some(1) };
                let addresses = site.addresses.iter().map(figures).collect();
                RankedSite { site: site.name.clone(), score: Some(1.0), addresses, share: 0 }
            });
            let ranking =
                Ranking { service: service.name.clone(), catalogue: 1, sites: sites.collect(), unsettled: false };
            directory.set_ranking(lb, &ranking).ok()?;
        }
        directory.set_default_group([Member { lb, preference: 0, weight: 1 }]);
        directory.set_own(lb);
        Some(directory)
    }

    /// Names at, above, below and beside all that is there.
    fn names(&self) -> Vec<String> {
        let (zone, lb) = (&self.zone, &self.lb.0);
        let apexes = [zone.clone(), format!("{lb}.{zone}"), format!("nobody.{zone}"), format!("no_body.{zone}")];
        let services = self.services.iter().map(|service| service.0.clone());
        let owners = services.chain(self.records.iter().map(|record| record.0.clone()));
        let fixed = ["ns", "f1", "f2", "_dglb", "00ff._dglb", "x"].map(str::to_owned);
        let all: Vec<String> = owners.chain(fixed).chain(self.servers.iter().map(|s| s.0.clone())).collect();
        let below = |apex: &String| all.iter().map(move |name| format!("{name}.{apex}")).collect::<Vec<_>>();
        let mut names: Vec<String> = apexes.iter().flat_map(below).chain(apexes.iter().cloned()).collect();
        // What is too long for a name nobody can ask for.
        names.retain(|name| name.len() < 250 && name.split('.').all(|label| label.len() < 64));
        names
    }
}

fn respond(directory: &Directory, conduct: &Conduct, transport: Transport, role: Role, packet: &Packet) -> Strict {
    let octets = packet.octets();
    let peer: SocketAddr = "192.0.2.53:4242".parse().expect("an address");
    let responder = Responder { directory, conduct, unix_seconds: 0 };
    let mut reply = vec![0; 65_535];
    let asked = Asked { packet: &octets, peer, transport, role };
    let handled = responder.respond(&asked, &mut reply);
    let reply = &reply[..handled.length];
    Strict::read(reply).unwrap_or_else(|wrong| panic!("{wrong}: {packet:?} was answered {reply:02x?}"))
}

/// RRsets by their owners and types, with how many records each has.
fn sets(records: &[Record]) -> Vec<(String, u16, usize)> {
    let key = |record: &Record| (dotted(&record.owner), record.rtype);
    records.chunk_by(|a, b| key(a) == key(b)).map(|run| (key(&run[0]).0, run[0].rtype, run.len())).collect()
}

/// What fits is there; what is cut says so, and is cut between RRsets.
fn whole_or_not_at_all(world: &World, role: Role, kind: u16, own: u16, payload: Option<u16>) {
    let directory = world.directory().expect("it was tried");
    let conduct = Conduct { udp_payload: own, ..Conduct::DEFAULT };
    for name in world.names() {
        let mut packet = Packet::new(&name, kind);
        if let Some(payload) = payload {
            packet = packet.edns(payload);
        }
        let whole = respond(&directory, &conduct, Transport::Tcp, role, &packet);
        let cut = respond(&directory, &conduct, Transport::Udp, role, &packet);
        let limit = payload.map_or(512, |payload| payload.clamp(512, own));
        let what = format!("{role:?}: {name} {kind}, at most {limit}");
        assert!(cut.octets.len() <= usize::from(limit), "{what}: {} octets", cut.octets.len());
        assert!(!whole.is_truncated(), "{what}");
        assert_eq!(cut.opt.is_some(), payload.is_some(), "{what}");
        if whole.octets.len() <= usize::from(limit) {
            assert_eq!(cut.octets, whole.octets, "{what}: all of it fits");
            continue;
        }
        let sections = |reply: &Strict| [sets(&reply.answer), sets(&reply.authority), sets(&reply.additional)];
        for (cut, whole) in sections(&cut).into_iter().zip(sections(&whole)) {
            assert!(cut.iter().all(|set| whole.contains(set)), "{what}: half an RRset: {cut:?} of {whole:?}");
        }
        // Glue of a referral is required (RFC 9471), what else is additional is not.
        let required = |reply: &Strict| {
            let glue = if whole.answer.is_empty() { sets(&reply.additional) } else { vec![] };
            [sets(&reply.answer), sets(&reply.authority), glue]
        };
        assert_eq!(cut.is_truncated(), required(&cut) != required(&whole), "{what}: {cut:?}");
        assert_eq!((cut.rcode(), cut.is_authoritative()), (whole.rcode(), whole.is_authoritative()), "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_are_compressed_legally_and_rrsets_are_whole(
        world in world(),
        role in select(vec![Role::Referral, Role::Fallback, Role::DnsLb]),
        kind in select(vec![rtype::A, rtype::AAAA, rtype::NS, rtype::SOA, rtype::TXT, rtype::MX, rtype::ANY, rtype::DS]),
        own in prop_oneof![Just(1_232_u16), 512..=4_096_u16],
        payload in prop::option::of(prop_oneof![0..=4_096_u16, Just(u16::MAX)]),
    ) {
        prop_assume!(world.directory().is_some());
        whole_or_not_at_all(&world, role, kind, own, payload);
    }
}
