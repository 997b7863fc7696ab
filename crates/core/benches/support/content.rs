//! A directory of any size and questions for it, the same in every run: what benches, the workload
//! for instruction counts and the proof of no allocation share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbIndex, LbState, Settings},
    dns::{Asked, Decision, Handled, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    net::Prefix,
    report::{Figures, Health, RankedSite, Ranking},
};

use super::Random;

const SITES: usize = 4;
/// Resolvers in this network may send client subnets; it is in nobody's map.
const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 53));

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) prefixes_v4: usize,
    pub(crate) prefixes_v6: usize,
    pub(crate) dns_lbs: u32,
    pub(crate) zones: usize,
    pub(crate) services: usize,
    /// Services that each DNS-LB ranks; at most all of them.
    pub(crate) ranked: usize,
}

/// Sorts of questions that there are most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A service, by the IPv4 source address: CNAME.
    Mapped,
    /// The same by an IPv6 source address.
    MappedV6,
    /// The same by client subnet.
    Subnet,
    /// A service in a label zone, at the parent.
    Referral,
    /// The same at the fall-back: an address.
    Label,
    /// A name that does not exist.
    Denied,
}

impl Sort {
    pub(crate) const ALL: [Self; 6] =
        [Self::Mapped, Self::MappedV6, Self::Subnet, Self::Referral, Self::Label, Self::Denied];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped CNAME, IPv4 source",
            Self::MappedV6 => "mapped CNAME, IPv6 source",
            Self::Subnet => "mapped CNAME, client subnet",
            Self::Referral => "referral with glue",
            Self::Label => "address in a label zone",
            Self::Denied => "NXDOMAIN",
        }
    }

    /// How a question of this sort is answered.
    pub(crate) fn decision(self) -> Decision {
        match self {
            Self::Mapped | Self::MappedV6 | Self::Subnet => Decision::Mapped,
            Self::Referral => Decision::Referral,
            Self::Label => Decision::Label,
            Self::Denied => Decision::Authority,
        }
    }
}

/// One packet and who sent it to what.
pub(crate) struct Sent {
    pub(crate) packet: Vec<u8>,
    pub(crate) peer: SocketAddr,
    pub(crate) role: Role,
}

impl Sent {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { packet: &self.packet, peer: self.peer, transport: Transport::Udp, role: self.role }
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn lb_label(lb: u32) -> String {
    format!("lb{lb}")
}

fn site_address(service: usize, site: usize) -> IpAddr {
    [10, (service / 250) as u8, (service % 250) as u8, site as u8].into()
}

fn service(owner: Name, number: usize) -> Service {
    Service {
        name: owner,
        host: name("www.foobar.test"),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 10_000,
            timeout_ms: 1_000,
            fall: 2,
            rise: 2,
        }],
        https: None,
        probe_ceiling: None,
        least_ttl: None,
        sites: (0..SITES)
            .map(|site| Site {
                name: format!("s{site}"),
                addresses: vec![site_address(number, site)],
                cost: 0.0,
                ..Site::default()
            })
            .collect(),
    }
}

pub(crate) fn fleet() -> Fleet {
    let server = |n: u8| FleetServer {
        identity: format!("b{n}").parse().expect("an identity"),
        referral: vec![[192, 0, 2, n].into()],
        fallback: vec![[192, 0, 2, 100 + n].into()],
    };
    let fleet = Fleet {
        serial: 1,
        operator_zone: name("ops.test"),
        hostmaster: name("hostmaster.ops.test"),
        servers: (1..=8).map(server).collect(),
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    Fleet::new(fleet).expect("a fleet")
}

impl Size {
    fn zone_of(&self, service: usize) -> String {
        format!("glb{}.foobar.test", service % self.zones)
    }

    fn service_name(&self, service: usize) -> String {
        format!("www{service}.{}", self.zone_of(service))
    }

    /// The service that is the `nth` which a DNS-LB has ranked.
    fn ranks(&self, lb: u32, nth: usize) -> usize {
        (lb as usize * 13 + nth * (self.services / self.ranked)) % self.services
    }

    pub(crate) fn catalogue(&self, zone: usize) -> ZoneCatalogue {
        let services = (0..self.services).filter(|s| s % self.zones == zone);
        ZoneCatalogue {
            zone: name(&self.zone_of(zone)),
            generation: 1,
            soa_serial: 1,
            style: ZoneStyle::SubZone,
            cname_ttl: 3_600,
            services: services.map(|number| service(name(&self.service_name(number)), number)).collect(),
            records: vec![],
        }
    }

    /// A ranking whose best site depends on who ranks.
    pub(crate) fn ranking(&self, service: usize, lb: u32) -> Ranking {
        let site = |place: usize| {
            let site = (place + lb as usize) % SITES;
            let address = site_address(service, site);
            let figures = Figures { address, health: Health::Up, latency_us: Some(1_000 + site as u32) };
            RankedSite {
                site: format!("s{site}"),
                score: Some(10.0 * place as f64),
                addresses: vec![figures],
                share: 0,
            }
        };
        Ranking {
            service: name(&self.service_name(service)),
            catalogue: 1,
            sites: (0..SITES).map(site).collect(),
            unsettled: false,
        }
    }

    /// Everything that a dns-b knows.
    pub(crate) fn directory(&self) -> Directory {
        let ecs_from = vec![Prefix::host(TRUSTED)];
        let mut directory = Directory::new(Settings { ecs_from, ..Settings::default() });
        directory.set_fleet(fleet());
        for zone in 0..self.zones {
            directory.set_zone(self.catalogue(zone)).expect("a catalogue");
        }
        for lb in 0..self.dns_lbs {
            let address = [198, 18, (lb / 250) as u8, (lb % 250) as u8].into();
            let index = directory.upsert_lb(&lb_label(lb).parse().expect("an identity"), &[address]);
            assert_eq!(index, LbIndex(lb), "the table's numbers are the directory's");
            directory.update_lb(index, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
            for nth in 0..self.ranked {
                directory.set_ranking(index, &self.ranking(self.ranks(lb, nth), lb)).expect("a ranking");
            }
        }
        let registry = super::registry_of(self.dns_lbs, self.prefixes_v4, self.prefixes_v6);
        directory.set_tables(registry.table().clone(), registry.table().clone());
        directory
    }

    /// So many questions of one sort; what chance answers otherwise is left out.
    pub(crate) fn questions(&self, directory: &Directory, sort: Sort, count: usize) -> Vec<Sent> {
        let clients = super::mapped(directory.resolvers(), sort == Sort::MappedV6, 3 * count);
        let mut random = Random(5);
        let mut reply = [0; 1_232];
        let mut found = Vec::with_capacity(count);
        for (n, client) in clients.into_iter().enumerate() {
            let sent = self.question(directory, sort, n, (client, random.v4()));
            if ask(directory, &sent, &mut reply).decision == sort.decision() {
                found.push(sent);
            }
            if found.len() == count {
                break;
            }
        }
        assert_eq!(found.len(), count, "too few are answered so: {}", sort.name());
        found
    }

    fn question(&self, directory: &Directory, sort: Sort, n: usize, (client, stranger): (IpAddr, IpAddr)) -> Sent {
        let sent = |owner: &str, options: &[u8], from: IpAddr, role| Sent {
            packet: packet(owner, n, options),
            peer: SocketAddr::new(from, 4_242),
            role,
        };
        match sort {
            Sort::Mapped | Sort::MappedV6 => sent(&self.of_its_lb(directory, n, client), &[], client, Role::Referral),
            Sort::Subnet => sent(&self.of_its_lb(directory, n, client), &subnet(client), TRUSTED, Role::Referral),
            Sort::Referral => sent(&self.in_label(n), &[], stranger, Role::Referral),
            Sort::Label => sent(&self.in_label(n), &[], stranger, Role::Fallback),
            Sort::Denied => sent(&format!("no_{n}.{}", self.zone_of(n)), &[], stranger, Role::Referral),
        }
    }

    /// The service to ask for, so that whoever is found has ranked it.
    fn of_its_lb(&self, directory: &Directory, n: usize, client: IpAddr) -> String {
        let located = directory.resolvers().lookup(client, dglb_core::net::family_bits(client));
        let best = located.group.and_then(|group| group.members().iter().min_by_key(|m| m.preference));
        self.service_name(self.ranks(best.map_or(0, |member| member.lb.0), n % self.ranked))
    }

    fn in_label(&self, n: usize) -> String {
        let lb = (n * 7_919) as u32 % self.dns_lbs;
        let service = self.ranks(lb, n % self.ranked);
        format!("www{service}.{}.{}", lb_label(lb), self.zone_of(service))
    }
}

/// A question for an address over UDP, with EDNS as every resolver has it, and these options in it.
fn packet(owner: &str, id: usize, options: &[u8]) -> Vec<u8> {
    let id = (id as u16).to_be_bytes();
    let mut packet = vec![id[0], id[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name(owner).wire());
    packet.extend_from_slice(&[0, 1, 0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(options);
    packet
}

/// A client subnet option with 24 bits of the address.
fn subnet(client: IpAddr) -> Vec<u8> {
    let IpAddr::V4(v4) = client else { unreachable!("these clients have IPv4") };
    let [a, b, c, _] = v4.octets();
    vec![0, 8, 0, 7, 0, 1, 24, 0, a, b, c]
}

/// Asks one question alone.
pub(crate) fn ask(directory: &Directory, sent: &Sent, reply: &mut [u8]) -> Handled {
    Responder::with_defaults(directory).respond(&sent.asked(), reply)
}
