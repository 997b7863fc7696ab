//! One message of each number, every field with a value of its own, as in the examples of
//! `docs/map-protocol.md`.

use std::num::NonZeroU32;

use dglb_core::{
    catalogue::{
        AllDown, CatalogueUpdate, Forced, ForcedState, Form, HttpProbe, HttpsRecord, Location, Method, Mode,
        PhaseLimits, Policy, Probe, ProbeKind, ProbeTls, Service, Site, StaticRecord, StatusRange, Withdrawal,
        ZoneCatalogue, ZoneStyle,
    },
    fleet::{Fleet, FleetLabel, FleetServer, FleetTtls},
    proto::message::{
        BootId, Budget, BudgetAck, BudgetShare, Bye, ByeReason, CatalogueAck, Challenge, Delegation, EntryKind, Hello,
        LabelRanking, Map, MapAck, MapEntry, Message, Nonce, PeerRole, Proof, ProofSecret, Ready, Refuse, RefuseReason,
        Refused, RefusedReason, Report, ReportAck, Resync, Seen, SeenOutcome, Unmap, Verdict, Want, Welcome,
        ZoneGeneration,
    },
    report::{Figures, Health, RankedSite, Ranking},
};

/// All of them.
#[expect(clippy::too_many_lines, reason = "one message after the other")]
pub(crate) fn all() -> Vec<Message> {
    vec![
        Message::Hello(hello(PeerRole::DnsLb)),
        Message::Welcome(Box::new(welcome())),
        Message::Refuse(Refuse { reason: RefuseReason::Busy, text: "later".into() }),
        Message::Ping(300),
        Message::Pong(300),
        Message::Bye(Bye { reason: ByeReason::Shutdown, text: "restart".into() }),
        Message::Fleet(Box::new(fleet())),
        Message::Ready(Ready { map_generation: 5, servers: vec!["b1".parse().unwrap(), "b2".parse().unwrap()] }),
        Message::Map(map()),
        Message::MapAck(MapAck {
            generation: 5,
            accepted: 1,
            refused: vec![Refused {
                prefix: "10.0.0.0/8".parse().unwrap(),
                reason: RefusedReason::NotAllowed,
                text: "not yours".into(),
            }],
        }),
        Message::Unmap(Unmap { generation: 6, prefixes: vec!["198.51.100.53/32".parse().unwrap()] }),
        Message::Challenge(Challenge {
            nonce: NONCE,
            names: vec![format!("{}.4.b1.prove.ops.test", String::from_utf8_lossy(&NONCE.label())).parse().unwrap()],
            expires_ms: 5_000,
        }),
        Message::Proof(Proof {
            nonce: NONCE,
            secret: ProofSecret(vec![0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7]),
        }),
        Message::Seen(Seen {
            nonce: NONCE,
            outcome: SeenOutcome::Mapped {
                address: "198.51.100.53".parse().unwrap(),
                prefix: "198.51.100.53/32".parse().unwrap(),
            },
        }),
        Message::Report(report()),
        Message::ReportAck(ReportAck { generation: 9, refused: 2 }),
        Message::GetReport,
        Message::LabelRanking(Box::new(label_ranking())),
        Message::snapshot(catalogue()),
        Message::CatalogueAck(CatalogueAck {
            zone: "glb.foobar.com".parse().unwrap(),
            generation: 12,
            held: 11,
            refused: Some("no service".into()),
        }),
        Message::Resync(Resync::Catalogue { zone: "glb.foobar.com".parse().unwrap(), held: 11 }),
        Message::Want(Want { service: "www.glb.foobar.com".parse().unwrap() }),
        Message::Verdict(Verdict {
            service: "www.glb.foobar.com".parse().unwrap(),
            site: "ams".into(),
            down: true,
            pops: 3,
            of: 5,
        }),
        Message::Budget(Box::new(Budget {
            generation: 2,
            of: 40,
            shares: vec![BudgetShare { address: "203.0.113.7".parse().unwrap(), milliprobes_per_second: 250 }],
        })),
        Message::BudgetAck(BudgetAck { generation: 2 }),
        Message::Drain(true),
        Message::Delegation(Delegation {
            zone: "glb.foobar.com".parse().unwrap(),
            ttl: 86_400,
            servers: vec![(
                "b1.glb.foobar.com".parse().unwrap(),
                vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            )],
        }),
    ]
}

/// Further forms of some of them, by their titles in the document.
pub(crate) fn forms() -> Vec<(&'static str, Message)> {
    let before = catalogue();
    let after = ZoneCatalogue { generation: 13, soa_serial: 2_027, records: vec![], ..before.clone() };
    let delta = after.delta_from(&before).expect("another generation");
    let withdrawal = Withdrawal { zone: before.zone, generation: 14 };
    let refused = SeenOutcome::Refused { reason: RefusedReason::WrongSecret, text: "try again".into() };
    vec![
        ("CATALOGUE probes", Message::Catalogue(Box::new(CatalogueUpdate::Snapshot(every_kind_of_probe())))),
        ("CATALOGUE policy", Message::Catalogue(Box::new(CatalogueUpdate::Snapshot(every_part_of_a_policy())))),
        ("CATALOGUE delta", Message::Catalogue(Box::new(CatalogueUpdate::Delta(delta)))),
        ("CATALOGUE withdrawn", Message::Catalogue(Box::new(CatalogueUpdate::Withdrawn(withdrawal)))),
        ("REPORT shares", Message::Report(shared_report())),
        ("SEEN refused", Message::Seen(Seen { nonce: NONCE, outcome: refused })),
    ]
}

const NONCE: Nonce =
    Nonce([0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf]);

pub(crate) fn hello(role: PeerRole) -> Hello {
    Hello {
        version_min: 1,
        version_max: 2,
        role,
        identity: "sea1".parse().unwrap(),
        boot: BootId([0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]),
        uptime_ms: 1_500,
        features: 4,
        fleet: fleet().stamp(),
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        identity: "b1".parse().unwrap(),
        boot: BootId([0xb0; 16]),
        observed: "198.51.100.7:40000".parse().unwrap(),
        features: 4,
        fleet: Some(fleet()),
        map_generation: 5,
        report_generation: 9,
        catalogues: vec![ZoneGeneration { zone: "glb.foobar.com".parse().unwrap(), generation: 12, on_referral: true }],
    }
}

pub(crate) fn fleet() -> Fleet {
    let fleet = Fleet {
        serial: 7,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "dns.ops.test".parse().unwrap(),
        servers: vec![FleetServer {
            identity: "b1".parse().unwrap(),
            referral: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            fallback: vec!["192.0.2.2".parse().unwrap()],
        }],
        labels: vec![FleetLabel { identity: "sea1".parse().unwrap(), addresses: vec!["203.0.113.9".parse().unwrap()] }],
        ttl: FleetTtls { apex_ns: 86_400, label_ns: 3_600, refresh: 3_601, retry: 600, expire: 604_800, negative: 30 },
    };
    Fleet::new(fleet).unwrap()
}

pub(crate) fn map() -> Map {
    Map {
        generation: 5,
        lease_ms: 60_000,
        addresses: vec!["198.51.100.7".parse().unwrap()],
        entries: vec![
            MapEntry {
                prefix: "198.51.100.53/32".parse().unwrap(),
                kind: EntryKind::Resolver,
                preference: 10,
                weight: 1,
            },
            MapEntry {
                prefix: "2001:db8:100::/48".parse().unwrap(),
                kind: EntryKind::Client,
                preference: 20,
                weight: 3,
            },
        ],
    }
}

pub(crate) fn report() -> Report {
    Report {
        generation: 9,
        base: 8,
        rankings: vec![Ranking {
            service: "www.glb.foobar.com".parse().unwrap(),
            catalogue: 12,
            sites: vec![
                RankedSite {
                    site: "ams".into(),
                    score: Some(12.5),
                    addresses: vec![Figures {
                        address: "203.0.113.7".parse().unwrap(),
                        health: Health::Up,
                        latency_us: Some(12_500),
                    }],
                    share: 0,
                },
                RankedSite {
                    site: "nyc".into(),
                    score: None,
                    addresses: vec![Figures {
                        address: "203.0.113.8".parse().unwrap(),
                        health: Health::Down,
                        latency_us: None,
                    }],
                    share: 0,
                },
            ],
            unsettled: false,
        }],
        removed: vec!["old.glb.foobar.com".parse().unwrap()],
    }
}

/// Client networks are shared out, and that may soon be otherwise.
fn shared_report() -> Report {
    let mut report = Report { generation: 10, base: 0, removed: vec![], ..report() };
    report.rankings[0].unsettled = true;
    for (site, share) in report.rankings[0].sites.iter_mut().zip([750, 250]) {
        site.share = share;
        site.addresses[0].health = Health::Up;
    }
    report
}

fn label_ranking() -> LabelRanking {
    let mut rankings = report().rankings;
    rankings[0].sites.truncate(1);
    LabelRanking {
        identity: "sea1".parse().unwrap(),
        addresses: vec!["203.0.113.9".parse().unwrap()],
        generation: 9,
        rankings,
        withdrawn: false,
    }
}

pub(crate) fn catalogue() -> ZoneCatalogue {
    let site = Site { cost: 2.5, ..Site::default() };
    ZoneCatalogue {
        zone: "glb.foobar.com".parse().unwrap(),
        generation: 12,
        soa_serial: 2_026,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: vec![Service {
            name: "www.glb.foobar.com".parse().unwrap(),
            host: "www.foobar.com".parse().unwrap(),
            mode: Mode::Direct,
            ttl: 300,
            answers: 2,
            policy: Policy { margin_ms: 10, margin_percent: 11, latency: 1.0, cost: 0.5, ..Policy::default() },
            probes: vec![
                Probe { kind: ProbeKind::http(8_080, "/up"), interval_ms: 10_000, timeout_ms: 1_000, fall: 2, rise: 3 },
                Probe { kind: ProbeKind::Tcp { port: 443 }, interval_ms: 20_000, timeout_ms: 900, fall: 4, rise: 5 },
            ],
            sites: vec![Site { name: "ams".into(), addresses: vec!["203.0.113.7".parse().unwrap()], ..site }],
            https: Some(HttpsRecord {
                alpn: vec!["h3".into(), "h2".into()],
                no_default_alpn: true,
                port: Some(8_443),
                hints: true,
            }),
            probe_ceiling: NonZeroU32::new(2_500),
            least_ttl: None,
        }],
        records: vec![StaticRecord {
            name: "glb.foobar.com".parse().unwrap(),
            rtype: 257,
            ttl: 600,
            rdata: b"\x00\x05issueca.test".to_vec(),
        }],
    }
}

/// A zone whose service says all that can be said of how sites are chosen.
fn every_part_of_a_policy() -> ZoneCatalogue {
    let mut zone = ZoneCatalogue { generation: 16, records: vec![], ..catalogue() };
    let service = &mut zone.services[0];
    (service.https, service.probe_ceiling, service.least_ttl) = (None, None, Some(30));
    service.probes.truncate(1);
    service.policy = Policy {
        form: Form::Weighted,
        latency_scale_ms: 20.0,
        cost_scale: 2.0,
        load: 1.5,
        load_scale: 0.25,
        distance: 2.0,
        distance_scale_km: 1_000.0,
        target_load: 800,
        least_sites: 2,
        all_down: AllDown::Fail,
        ..service.policy
    };
    service.sites[0] = Site {
        capacity: Some(500.0),
        weight: 3,
        location: Some(Location { latitude: 52.5, longitude: 4.75 }),
        groups: vec!["eu".into()],
        not_groups: vec!["isp-7".into()],
        ..service.sites[0].clone()
    };
    zone
}

/// A zone whose service is measured in every way that the other sample does not have.
fn every_kind_of_probe() -> ZoneCatalogue {
    let mut zone = ZoneCatalogue { generation: 15, records: vec![], ..catalogue() };
    let probe = |kind| Probe { kind, interval_ms: 10_000, timeout_ms: 1_000, fall: 2, rise: 3 };
    let secured = HttpProbe {
        host: Some("check.foobar.com".parse().unwrap()),
        headers: vec![("x-from".into(), "dglb".into())],
        statuses: vec![StatusRange { first: 200, last: 204 }],
        body: Some("ready".into()),
        max_body: NonZeroU32::new(4_096),
        http2: true,
        tls: Some(ProbeTls { server_name: Some("www.foobar.com".parse().unwrap()), verify: false }),
        status_document: true,
        phases: PhaseLimits {
            connect_ms: NonZeroU32::new(200),
            tls_ms: NonZeroU32::new(300),
            first_byte_ms: NonZeroU32::new(400),
            body_ms: NonZeroU32::new(500),
        },
        ..HttpProbe::get(443, "/up")
    };
    let head = HttpProbe { method: Method::Head, ..HttpProbe::get(80, "/") };
    let kinds = [
        ProbeKind::Http(Box::new(secured)),
        ProbeKind::Http(Box::new(head)),
        ProbeKind::Icmp,
        ProbeKind::Dns { port: 53, name: Some("ns.foobar.com".parse().unwrap()), rtype: 1 },
    ];
    let service = &mut zone.services[0];
    (service.https, service.probe_ceiling) = (None, None);
    service.probes = kinds.map(probe).into();
    let forced = Forced { state: ForcedState::Draining, until: 1_800_000_000, reason: "new roof".into() };
    service.sites[0].forced = Some(forced);
    zone
}

/// A zone whose CATALOGUE has more than `octets` octets.
pub(crate) fn large_catalogue(octets: usize) -> ZoneCatalogue {
    let mut zone = catalogue();
    let rdata = vec![0xab; 60_000];
    let record = StaticRecord { rdata, ..zone.records[0].clone() };
    zone.records = vec![record; octets / 60_000 + 1];
    zone
}
