//! Any message that can be sent.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use dglb_core::{
    catalogue::{
        AllDown, CatalogueDelta, CatalogueUpdate, Forced, ForcedState, Form, HttpProbe, HttpsRecord, Location, Method,
        Mode, PhaseLimits, Policy, Probe, ProbeKind, ProbeTls, Service, Site, StaticRecord, StatusRange, Withdrawal,
        ZoneCatalogue, ZoneStyle,
    },
    fleet::{Fleet, FleetLabel, FleetServer, FleetTtls},
    identity::Identity,
    name::Name,
    net::{Prefix, canonical},
    proto::message::{
        BootId, Budget, BudgetAck, BudgetShare, Bye, ByeReason, CatalogueAck, Challenge, Delegation, EntryKind,
        FleetStamp, Hello, LabelRanking, Map, MapAck, MapEntry, Message, Nonce, PeerRole, Proof, ProofSecret, Ready,
        Refuse, RefuseReason, Refused, RefusedReason, Report, ReportAck, Resync, Seen, SeenOutcome, Unmap, Verdict,
        Want, Welcome, ZoneGeneration,
    },
    report::{Figures, Health, RankedSite, Ranking},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::Hello),
        welcome().prop_map(|w| Message::Welcome(Box::new(w))),
        refuse().prop_map(Message::Refuse),
        session_message(),
    ]
}

/// Any message of an established link.
pub(crate) fn session_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        fleet().prop_map(|f| Message::Fleet(Box::new(f))),
        (any::<u64>(), vec(identity(), 0..4))
            .prop_map(|(map_generation, servers)| Message::Ready(Ready { map_generation, servers })),
        map().prop_map(Message::Map),
        map_ack().prop_map(Message::MapAck),
        (any::<u64>(), vec(prefix(), 0..5))
            .prop_map(|(generation, prefixes)| Message::Unmap(Unmap { generation, prefixes })),
        residence(),
        report().prop_map(Message::Report),
        any::<(u64, u32)>().prop_map(|(generation, refused)| Message::ReportAck(ReportAck { generation, refused })),
        update().prop_map(|u| Message::Catalogue(Box::new(u))),
        (name(), any::<(u64, u64)>(), option::of(text())).prop_map(|(zone, (generation, held), refused)| {
            Message::CatalogueAck(CatalogueAck { zone, generation, held, refused })
        }),
        prop_oneof![
            Just(Resync::Map),
            Just(Resync::Report),
            (name(), any::<u64>()).prop_map(|(zone, held)| Resync::Catalogue { zone, held })
        ]
        .prop_map(Message::Resync),
        Just(Message::GetReport),
        steering(),
        any::<bool>().prop_map(Message::Drain),
        (name(), any::<u32>(), vec((name(), addresses()), 0..4))
            .prop_map(|(zone, ttl, servers)| Message::Delegation(Delegation { zone, ttl, servers })),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
        bye().prop_map(Message::Bye),
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    vec(select(&b"abcxyz0189-"[..]), 1..=32)
        .prop_filter_map("no identity", |octets| String::from_utf8(octets).ok()?.parse().ok())
}

fn name() -> impl Strategy<Value = Name> {
    vec(vec(any::<u8>(), 1..12), 0..6).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        Name::from_wire(&wire).unwrap()
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)].prop_map(canonical)
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    vec(address(), 0..4)
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), any::<u8>()).prop_map(|(address, bits)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Prefix::containing(address, bits % (most + 1)).unwrap()
    })
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), any::<f64>().prop_filter("finite", |f| f.is_finite())]
}

fn hello() -> impl Strategy<Value = Hello> {
    let role = select(vec![PeerRole::DnsB, PeerRole::DnsLb, PeerRole::DnsASync, PeerRole::Mservice]);
    (any::<(u16, u16, [u8; 16], u64, u64, u32, u64)>(), role, identity()).prop_map(|(plain, role, identity)| {
        let (version_min, version_max, boot, uptime_ms, features, serial, digest) = plain;
        let fleet = FleetStamp { serial, digest };
        Hello { version_min, version_max, role, identity, boot: BootId(boot), uptime_ms, features, fleet }
    })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let plain = any::<(u16, [u8; 16], u16, u64, u64, u64)>();
    let zone = (name(), any::<(u64, bool)>()).prop_map(|(zone, (generation, on_referral))| ZoneGeneration {
        zone,
        generation,
        on_referral,
    });
    (plain, identity(), address(), option::of(fleet()), vec(zone, 0..4)).prop_map(
        |((version, boot, port, features, map_generation, report_generation), identity, address, fleet, catalogues)| {
            Welcome {
                version,
                identity,
                boot: BootId(boot),
                observed: SocketAddr::new(address, port),
                features,
                fleet,
                map_generation,
                report_generation,
                catalogues,
            }
        },
    )
}

fn refuse() -> impl Strategy<Value = Refuse> {
    let reason = prop_oneof![
        select(vec![
            RefuseReason::Version,
            RefuseReason::Identity,
            RefuseReason::Duplicate,
            RefuseReason::Busy,
            RefuseReason::Protocol
        ]),
        (6_u32..).prop_map(RefuseReason::Other),
    ];
    (reason, text()).prop_map(|(reason, text)| Refuse { reason, text })
}

fn bye() -> impl Strategy<Value = Bye> {
    let reason = prop_oneof![
        select(vec![
            ByeReason::Shutdown,
            ByeReason::Protocol,
            ByeReason::Duplicate,
            ByeReason::TimedOut,
            ByeReason::Slow,
            ByeReason::Identity,
            ByeReason::Quota
        ]),
        (8_u32..).prop_map(ByeReason::Other),
    ];
    (reason, text()).prop_map(|(reason, text)| Bye { reason, text })
}

fn fleet() -> impl Strategy<Value = Fleet> {
    let server = (identity(), vec(address(), 1..3), addresses())
        .prop_map(|(identity, referral, fallback)| FleetServer { identity, referral, fallback });
    let label = (identity(), vec(address(), 1..3)).prop_map(|(identity, addresses)| FleetLabel { identity, addresses });
    let ttl = any::<[u32; 6]>().prop_map(|[apex_ns, label_ns, refresh, retry, expire, negative]| FleetTtls {
        apex_ns,
        label_ns,
        refresh,
        retry,
        expire,
        negative,
    });
    (any::<u32>(), name(), name(), vec(server, 1..4), vec(label, 0..4), ttl).prop_filter_map(
        "contradicts itself",
        |(serial, operator_zone, hostmaster, servers, labels, ttl)| {
            Fleet::new(Fleet { serial, operator_zone, hostmaster, servers, labels, ttl }).ok()
        },
    )
}

fn map() -> impl Strategy<Value = Map> {
    let kind = select(vec![EntryKind::Resolver, EntryKind::Client]);
    let entry = (prefix(), kind, any::<u16>(), 1_u16..).prop_map(|(prefix, kind, preference, weight)| MapEntry {
        prefix,
        kind,
        preference,
        weight,
    });
    (any::<(u64, u32)>(), addresses(), vec(entry, 0..6)).prop_map(|((generation, lease_ms), addresses, entries)| Map {
        generation,
        lease_ms,
        addresses,
        entries,
    })
}

fn refused_reason() -> impl Strategy<Value = RefusedReason> {
    prop_oneof![
        select(vec![
            RefusedReason::NotAllowed,
            RefusedReason::Limit,
            RefusedReason::Stale,
            RefusedReason::NotProven,
            RefusedReason::Expired,
            RefusedReason::UnknownNonce,
            RefusedReason::WrongSecret,
            RefusedReason::OpenResolver,
            RefusedReason::OutsideBounds,
        ]),
        (10_u32..).prop_map(RefusedReason::Other),
    ]
}

fn residence() -> impl Strategy<Value = Message> {
    let nonce = || any::<[u8; 16]>().prop_map(Nonce);
    let outcome = prop_oneof![
        (address(), prefix()).prop_map(|(address, prefix)| SeenOutcome::Mapped { address, prefix }),
        (refused_reason(), text()).prop_map(|(reason, text)| SeenOutcome::Refused { reason, text }),
    ];
    prop_oneof![
        (nonce(), vec(name(), 1..=4), any::<u32>())
            .prop_map(|(nonce, names, expires_ms)| Message::Challenge(Challenge { nonce, names, expires_ms })),
        (nonce(), vec(any::<u8>(), 1..=64))
            .prop_map(|(nonce, secret)| Message::Proof(Proof { nonce, secret: ProofSecret(secret) })),
        (nonce(), outcome).prop_map(|(nonce, outcome)| Message::Seen(Seen { nonce, outcome })),
    ]
}

fn steering() -> impl Strategy<Value = Message> {
    let label = (identity(), addresses(), any::<(u64, bool)>(), report()).prop_map(
        |(identity, addresses, (generation, withdrawn), report)| {
            let rankings = if withdrawn { vec![] } else { report.rankings };
            LabelRanking { identity, addresses, generation, rankings, withdrawn }
        },
    );
    let verdict = (name(), text(), any::<(bool, u32, u32)>()).prop_map(|(service, site, (down, pops, of))| Verdict {
        service,
        site,
        down,
        pops,
        of,
    });
    let share = (address(), any::<u32>())
        .prop_map(|(address, milliprobes_per_second)| BudgetShare { address, milliprobes_per_second });
    let budget = (any::<(u64, u32)>(), vec(share, 0..4)).prop_map(|((generation, of), shares)| Budget {
        generation,
        of,
        shares,
    });
    prop_oneof![
        name().prop_map(|service| Message::Want(Want { service })),
        label.prop_map(|l| Message::LabelRanking(Box::new(l))),
        verdict.prop_map(Message::Verdict),
        budget.prop_map(|b| Message::Budget(Box::new(b))),
        any::<u64>().prop_map(|generation| Message::BudgetAck(BudgetAck { generation })),
    ]
}

fn map_ack() -> impl Strategy<Value = MapAck> {
    let refused =
        (prefix(), refused_reason(), text()).prop_map(|(prefix, reason, text)| Refused { prefix, reason, text });
    (any::<(u64, u32)>(), vec(refused, 0..4)).prop_map(|((generation, accepted), refused)| MapAck {
        generation,
        accepted,
        refused,
    })
}

fn report() -> impl Strategy<Value = Report> {
    let health = select(vec![Health::Up, Health::Unknown, Health::Draining, Health::Down]);
    let figures = (address(), health, any::<Option<u32>>()).prop_map(|(address, health, latency_us)| Figures {
        address,
        health,
        latency_us,
    });
    let site = (text(), option::of(double()), vec(figures, 0..3), 0_u16..=1_000)
        .prop_map(|(site, score, addresses, share)| RankedSite { site, score, addresses, share });
    let ranking = (name(), any::<u64>(), vec(site, 0..4), any::<bool>())
        .prop_map(|(service, catalogue, sites, unsettled)| Ranking { service, catalogue, sites, unsettled });
    (any::<(u64, u64)>(), vec(ranking, 0..4), vec(name(), 0..3))
        .prop_map(|((generation, base), rankings, removed)| Report { generation, base, rankings, removed })
}

fn update() -> impl Strategy<Value = CatalogueUpdate> {
    let withdrawn = (name(), any::<u64>()).prop_map(|(zone, generation)| Withdrawal { zone, generation });
    prop_oneof![
        3 => catalogue().prop_map(CatalogueUpdate::Snapshot),
        3 => delta().prop_map(CatalogueUpdate::Delta),
        1 => withdrawn.prop_map(CatalogueUpdate::Withdrawn),
    ]
}

/// What can be sent; whether it can be applied is another question.
fn delta() -> impl Strategy<Value = CatalogueDelta> {
    (catalogue(), vec(name(), 0..3), any::<(u64, u64, u64, bool)>()).prop_map(|(zone, removed, plain)| {
        let (one, other, digest, records) = plain;
        let base = one.min(other).clamp(1, u64::MAX - 1);
        CatalogueDelta {
            zone: zone.zone,
            generation: one.max(other).max(base + 1),
            base,
            soa_serial: zone.soa_serial,
            style: zone.style,
            cname_ttl: zone.cname_ttl,
            services: zone.services,
            removed,
            records: records.then_some(zone.records),
            digest,
        }
    })
}

fn record() -> impl Strategy<Value = StaticRecord> {
    (name(), any::<(u16, u32)>(), vec(any::<u8>(), 0..40)).prop_map(|(name, (rtype, ttl), rdata)| StaticRecord {
        name,
        rtype,
        ttl,
        rdata,
    })
}

pub(crate) fn catalogue() -> impl Strategy<Value = ZoneCatalogue> {
    let style = select(vec![ZoneStyle::SubZone, ZoneStyle::Host]);
    (name(), any::<(u64, u32, u32)>(), style, vec(service(), 0..3), vec(record(), 0..3)).prop_map(
        |(zone, (generation, soa_serial, cname_ttl), style, services, records)| ZoneCatalogue {
            zone,
            generation,
            soa_serial,
            style,
            cname_ttl,
            services,
            records,
        },
    )
}

fn http_probe() -> impl Strategy<Value = HttpProbe> {
    let method = select(vec![Method::Get, Method::Head, Method::Options]);
    let range = any::<(u16, u16)>().prop_map(|(first, last)| StatusRange { first, last });
    let tls = (option::of(name()), any::<bool>()).prop_map(|(server_name, verify)| ProbeTls { server_name, verify });
    // Nothing to look for is no text.
    let body = option::of(text().prop_filter("empty", |text| !text.is_empty()));
    let asked = (any::<u16>(), text(), method, option::of(name()), vec((text(), text()), 0..3));
    let good = (vec(range, 0..3), body, any::<u32>(), any::<(bool, bool)>(), option::of(tls));
    let phases = any::<[u32; 4]>().prop_map(|ms| ms.map(NonZeroU32::new)).prop_map(|ms| PhaseLimits {
        connect_ms: ms[0],
        tls_ms: ms[1],
        first_byte_ms: ms[2],
        body_ms: ms[3],
    });
    let all = (asked, good, phases);
    all.prop_map(|((port, path, method, host, headers), (statuses, body, most, flags, tls), phases)| HttpProbe {
        port,
        path,
        method,
        host,
        headers,
        statuses,
        body,
        max_body: NonZeroU32::new(most),
        http2: flags.0,
        tls,
        status_document: flags.1,
        phases,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    // None is the default, so nothing else may be 0.
    let scale = |default| double().prop_map(move |scale| if scale == 0.0 { default } else { scale });
    let forms = vec![Form::Best, Form::Failover, Form::Weighted, Form::RoundRobin, Form::Sticky];
    let all_down = vec![AllDown::LastGood, AllDown::CustomerOrder, AllDown::Fail];
    let weights = (double(), double(), double(), double());
    let scales = (scale(1.0), scale(1.0), scale(1.0), scale(100.0));
    (any::<(u32, u32, u32)>(), 1_u32.., weights, scales, (select(forms), select(all_down))).prop_map(
        |((margin_ms, margin_percent, target_load), least_sites, weights, scales, (form, all_down))| Policy {
            form,
            margin_ms,
            margin_percent,
            latency: weights.0,
            latency_scale_ms: scales.0,
            cost: weights.1,
            cost_scale: scales.1,
            load: weights.2,
            load_scale: scales.2,
            distance: weights.3,
            distance_scale_km: scales.3,
            target_load,
            least_sites,
            all_down,
        },
    )
}

fn site() -> impl Strategy<Value = Site> {
    let location = (double(), double()).prop_map(|(latitude, longitude)| Location { latitude, longitude });
    let groups = || vec(text().prop_map(|text| text.chars().take(15).collect()), 0..3);
    let states = select(vec![ForcedState::Up, ForcedState::Draining, ForcedState::Down]);
    let forced = (states, any::<u64>(), text()).prop_map(|(state, until, reason)| Forced { state, until, reason });
    let constraints = (option::of(double()), 1_u16.., option::of(location), groups(), groups());
    (text(), addresses(), double(), option::of(forced), constraints).prop_map(
        |(name, addresses, cost, forced, (capacity, weight, location, groups, not_groups))| Site {
            name,
            addresses,
            cost,
            forced,
            capacity,
            weight,
            location,
            groups,
            not_groups,
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let policy = policy();
    let kind = prop_oneof![
        any::<u16>().prop_map(|port| ProbeKind::Tcp { port }),
        http_probe().prop_map(|http| ProbeKind::Http(Box::new(http))),
        Just(ProbeKind::Icmp),
        (any::<(u16, u16)>(), option::of(name())).prop_map(|((port, rtype), name)| ProbeKind::Dns {
            port,
            name,
            rtype
        }),
    ];
    let probe = (kind, any::<(u32, u32, u8, u8)>()).prop_map(|(kind, (interval_ms, timeout_ms, fall, rise))| Probe {
        kind,
        interval_ms,
        timeout_ms,
        fall,
        rise,
    });
    let mode = select(vec![Mode::Referral, Mode::Direct]);
    let https = (vec(text(), 0..4), any::<(bool, Option<u16>, bool)>())
        .prop_map(|(alpn, (no_default_alpn, port, hints))| HttpsRecord { alpn, no_default_alpn, port, hints });
    let ceiling = any::<u32>().prop_map(NonZeroU32::new);
    let plain = (any::<(u32, u8, Option<u32>)>(), option::of(https), ceiling);
    (name(), name(), mode, plain, policy, vec(probe, 0..3), vec(site(), 0..4)).prop_map(
        |(name, host, mode, ((ttl, answers, least_ttl), https, probe_ceiling), policy, probes, sites)| Service {
            name,
            host,
            mode,
            ttl,
            answers,
            policy,
            probes,
            sites,
            https,
            probe_ceiling,
            least_ttl,
        },
    )
}
