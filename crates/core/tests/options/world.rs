//! A dns-b and a DNS-LB of one zone, `glb.foobar.test`, with three services:
//!
//! - `www` in referral mode with everything that an HTTPS record may hold,
//! - `api` in direct mode with an HTTPS record of hints alone,
//! - `old` in direct mode without one.
//!
//! `sea1` sits beside the resolvers 198.51.100.0/24, `tok1` beside the clients 203.0.112.0/24.

use std::net::{IpAddr, SocketAddr};

use dglb_core::{
    catalogue::{HttpsRecord, Mode, Policy, Probe, ProbeKind, Service, Site, StaticRecord, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbState, Settings},
    dns::{Asked, Handled, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    report::{Figures, Health, RankedSite, Ranking},
    table::{Claim, Registry, Source},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name as HickoryName, Record, RecordType, rdata::opt::EdnsOption},
};

/// A resolver beside `sea1`.
pub(crate) const RESOLVER: &str = "198.51.100.53:4242";

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn fleet() -> Fleet {
    let server = |identity: &str, n: u8| FleetServer {
        identity: identity.parse().unwrap(),
        referral: vec![ip(&format!("192.0.2.{n}")), ip(&format!("2001:db8::{n}"))],
        fallback: vec![ip(&format!("192.0.2.{}", n + 1)), ip(&format!("2001:db8::{}", n + 1))],
    };
    Fleet::new(Fleet {
        serial: 17,
        operator_zone: name("ops.test"),
        hostmaster: name("hostmaster.ops.test"),
        servers: vec![server("b1", 10), server("b2", 20)],
        labels: vec![],
        ttl: FleetTtls::default(),
    })
    .unwrap()
}

/// Site 1 has both families, 2 and 3 two addresses of each, 4 IPv4 alone.
fn site(n: u8) -> Site {
    let addresses: &[String] = match n {
        1 => &["203.0.113.1".into(), "2001:db8:5::1".into()],
        4 => &["203.0.113.4".into()],
        _ => &[0, 100].map(|k| [format!("203.0.113.{}", n + k), format!("2001:db8:5::{}", n + k)]).concat(),
    };
    Site {
        name: format!("site{n}"),
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        cost: 0.0,
        ..Site::default()
    }
}

pub(crate) fn catalogue() -> ZoneCatalogue {
    let service = |label: &str, mode: Mode, https: Option<HttpsRecord>| Service {
        name: name(&format!("{label}.glb.foobar.test")),
        host: name(&format!("{label}.foobar.test")),
        mode,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 10_000,
            timeout_ms: 1000,
            fall: 2,
            rise: 2,
        }],
        sites: (1..=4).map(site).collect(),
        https,
        probe_ceiling: None,
        least_ttl: None,
    };
    let alpn = vec!["h3".to_owned(), "h2".to_owned()];
    let whole = HttpsRecord { alpn, no_default_alpn: true, port: Some(8443), hints: true };
    let hints = HttpsRecord { hints: true, ..HttpsRecord::default() };
    ZoneCatalogue {
        zone: name("glb.foobar.test"),
        generation: 1,
        soa_serial: 2026,
        style: ZoneStyle::SubZone,
        cname_ttl: 3600,
        services: vec![
            service("www", Mode::Referral, Some(whole)),
            service("api", Mode::Direct, Some(hints)),
            service("old", Mode::Direct, None),
        ],
        records: vec![StaticRecord { name: name("a.b.glb.foobar.test"), rtype: 16, ttl: 120, rdata: vec![1, b'x'] }],
    }
}

/// Sites best first, 10 apart; a leading `-` says that all its addresses are down, `4` and `6` that
/// only that family is up.
pub(crate) fn ranking(label: &str, order: &[&str]) -> Ranking {
    let sites = order.iter().enumerate().map(|(at, site_name)| {
        let (mark, n) = site_name.split_once("site").unwrap();
        let health = |address: &IpAddr| match mark {
            "-" => Health::Down,
            "4" if address.is_ipv6() => Health::Down,
            "6" if address.is_ipv4() => Health::Down,
            _ => Health::Up,
        };
        let figures = |address| Figures { address, health: health(&address), latency_us: Some(1) };
        let site = site(n.parse().unwrap());
        let addresses = site.addresses.into_iter().map(figures).collect();
        RankedSite { site: site.name, score: Some(10.0 * at as f64), addresses, share: 0 }
    });
    Ranking {
        service: name(&format!("{label}.glb.foobar.test")),
        catalogue: 1,
        sites: sites.collect(),
        unsettled: false,
    }
}

pub(crate) fn dns_b() -> Directory {
    dns_b_with(catalogue())
}

pub(crate) fn dns_b_with(catalogue: ZoneCatalogue) -> Directory {
    let ecs_from = vec!["198.51.100.0/24".parse().unwrap()];
    let mut directory = Directory::new(Settings { ecs_from, ..Settings::default() });
    directory.set_fleet(fleet());
    directory.set_zone(catalogue).unwrap();
    let (mut all, mut clients) = (Registry::new(), Registry::new());
    let beside = [("sea1", "198.51.100.0/24", false), ("tok1", "203.0.112.0/24", true)];
    for (n, (label, prefix, is_client)) in (1..).zip(beside) {
        let addresses = [ip(&format!("198.18.0.{n}")), ip(&format!("2001:db8:18::{n}"))];
        let lb = directory.upsert_lb(&label.parse().unwrap(), &addresses);
        directory.update_lb(lb, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
        let order = if is_client { ["site3", "site2", "site1"] } else { ["site2", "site1", "site3"] };
        for service in ["www", "api", "old"] {
            directory.set_ranking(lb, &ranking(service, &order)).unwrap();
        }
        let claim = Claim { prefix: prefix.parse().unwrap(), preference: 10, weight: 1, source: Source::Static };
        all.set(lb, 1, None, [claim]).unwrap();
        if is_client {
            clients.set(lb, 1, None, [claim]).unwrap();
        }
    }
    directory.set_tables(all.table().clone(), clients.table().clone());
    directory
}

/// The DNS-LB `sea1` itself.
pub(crate) fn dns_lb() -> Directory {
    let mut directory = dns_b();
    directory.set_own(directory.lb_of(&"sea1".parse().unwrap()).unwrap());
    directory
}

/// A question of a resolver beside `sea1`, with EDNS of this size and these options.
pub(crate) fn packet(owner: &str, rtype: RecordType, payload: u16, options: &[EdnsOption]) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(HickoryName::from_ascii(owner).unwrap(), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    options.iter().for_each(|option| edns.options_mut().insert(option.clone()));
    message.edns = Some(edns);
    message.to_vec().unwrap()
}

pub(crate) fn send(directory: &Directory, role: Role, packet: &[u8]) -> (Handled, Message) {
    let peer: SocketAddr = RESOLVER.parse().unwrap();
    let mut reply = vec![0; 65_535];
    let asked = Asked { packet, peer, transport: Transport::Udp, role };
    let handled = Responder::with_defaults(directory).respond(&asked, &mut reply);
    let message = Message::from_vec(&reply[..handled.length]).unwrap();
    assert_eq!(u16::from(message.metadata.response_code), handled.rcode);
    assert_eq!(message.metadata.truncation, handled.truncated);
    (handled, message)
}

pub(crate) fn ask(directory: &Directory, role: Role, owner: &str, rtype: RecordType) -> (Handled, Message) {
    send(directory, role, &packet(owner, rtype, 1232, &[]))
}

/// `owner ttl type rdata` of every record, for comparing.
pub(crate) fn text(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)).collect()
}
