//! Where the rows of conduct are tested: two dns-bs and a DNS-LB that hold a zone with everything
//! in it, and every way to ask them.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use dglb_core::catalogue::{HttpsRecord, Mode, Service, Site as CatalogueSite, StaticRecord, ZoneCatalogue};
use dglb_scenarios::{
    Admin, Counters, Ground, Running,
    configs::{self, Files},
    eventually,
    ground::{dns, scenario_at},
    packet::{CD, Packet, RD, rtype, wire},
    peer::Peer,
    raw,
    sites::Site,
    so,
    strict::{Record, Strict, dotted},
};
use dns_b::DnsB;
use dns_lb::DnsLb;

/// A label as long as they get, so that little more fits 512 octets.
pub(super) const LONG: &str = "a-service-whose-name-is-about-as-long-as-a-label-may-be-in-dns";
/// The SOA of the zone and of the label zone, without owner and TTL.
pub(super) const ZONE_SOA: &str = "SOA b1.glb.foobar.test. hostmaster.ops.test. 2026 3600 600 604800 30";
pub(super) const LABEL_SOA: &str = "SOA ns.lb1.glb.foobar.test. hostmaster.ops.test. 1 3600 600 604800 30";

/// What differs from world to world.
#[derive(Default)]
pub(super) struct Setup {
    /// More of `[dns]`, of all daemons.
    pub(super) dns: &'static str,
    /// More top-level keys and tables of dns-bs.
    pub(super) extra: String,
    /// More `[[dns-b]]` of the fleet document, which never run.
    pub(super) fleet: String,
    /// Files that lie beside every daemon's own, and what is in them.
    pub(super) beside: Vec<(&'static str, String)>,
    /// Whether TLS, HTTPS and QUIC are served, with `dns-cert.pem` and `dns-key.pem`.
    pub(super) encrypted: bool,
    /// Networks of the DNS-LB's clients, instead of 10.1.0.0/16.
    pub(super) networks: &'static [&'static str],
    /// The lease, instead of 5 s.
    pub(super) lease: Option<&'static str>,
    /// Further addresses of the first dns-b, for referrals and as a fall-back, and of the DNS-LB.
    pub(super) more: Option<[IpAddr; 3]>,
}

/// Plays a scenario on a host that has the addresses of [`nowhere`]: nobody listens there, and nothing is sent
/// to whoever has them elsewhere.
pub(super) fn scenario<F: AsyncFnOnce(Ground) + Send>(name: &str, body: F) {
    scenario_at(name, &nowhere(), body);
}

/// Where no site is (RFC 3849).
fn nowhere() -> Vec<IpAddr> {
    (1..=16).map(|n| format!("2001:db8::{n}").parse().expect("an address")).collect()
}

/// The running daemons.
pub(super) struct World {
    pub(super) ground: Ground,
    pub(super) servers: [Running<DnsB>; 2],
    lb: Option<Running<DnsLb>>,
    pub(super) files: Vec<Files>,
    _publishers: Vec<Peer>,
    _sites: Vec<Site>,
}

/// One address that is asked.
pub(super) struct Place<'w> {
    pub(super) role: Role,
    pub(super) server: SocketAddr,
    admin: &'w Admin,
    pub(super) from: IpAddr,
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Referral,
    Fallback,
    Lb,
}

/// One address over one transport.
pub(super) struct Way<'w> {
    pub(super) place: Place<'w>,
    pub(super) tcp: bool,
}

impl World {
    /// Everything that is not said otherwise.
    pub(super) async fn plain(ground: Ground) -> Self {
        Self::start(ground, Setup::default()).await
    }

    /// Starts it and waits until both dns-bs hand the DNS-LB out.
    pub(super) async fn start(ground: Ground, setup: Setup) -> Self {
        let sites = vec![Site::start(ground.site(1)).await, Site::start(ground.site(2)).await];
        let lanes = format!("lanes = 1\n{}", setup.dns);
        let networks = if setup.networks.is_empty() { &["10.1.0.0/16"] } else { setup.networks };
        let networks = format!("'{}'", networks.join("', '"));
        let mut fleet = format!("{}{}", configs::fleet(&ground, 2), setup.fleet);
        for (first, more) in [ground.referral(1), ground.fallback(1)].into_iter().zip(setup.more.into_iter().flatten())
        {
            fleet = fleet.replace(&format!("['{first}']"), &format!("['{first}', '{more}']"));
        }
        let lease = |files: &Files| {
            setup.lease.iter().for_each(|lease| files.replace("lease = '5s'", &format!("lease = '{lease}'")));
        };
        let (mut files, mut publishers) = (vec![], vec![]);
        let catalogue = catalogue(&ground);
        let encrypted = |keys: &[(&str, IpAddr)]| if setup.encrypted { encrypted(keys) } else { String::new() };
        let write = |files: &Files| setup.beside.iter().for_each(|(name, text)| files.write(name, text));
        let mut server = async |n| {
            let own = configs::dns_b(&ground, n, 2, 1, &setup.extra);
            let roles = [("referral", ground.referral(n)), ("fallback", ground.fallback(n))];
            own.replace("lanes = 1\n", &format!("{lanes}{}", encrypted(&roles)));
            own.replace("'10.1.0.0/16'", &networks);
            lease(&own);
            own.write("fleet.toml", &fleet);
            write(&own);
            let running: Running<DnsB> = Running::start(&own).await;
            publishers.push(Peer::publisher(ground.map(n), &catalogue).await);
            files.push(own);
            running
        };
        let servers = [server(1).await, server(2).await];
        let own = configs::dns_lb(&ground, 1, 2);
        own.replace("lanes = 1\n", &format!("{lanes}{}", encrypted(&[("listen", ground.lb(1))])));
        own.replace("'10.1.0.0/16'", &networks);
        lease(&own);
        if let Some([.., more]) = setup.more {
            let first = ground.lb(1);
            own.replace(&format!("['{first}:53']"), &format!("['{first}:53', '[{more}]:53']"));
        }
        write(&own);
        let lb = Running::start(&own).await;
        files.push(own);
        let world = Self { ground, servers, lb: Some(lb), files, _publishers: publishers, _sites: sites };
        world.settle(catalogue.services.len()).await;
        world
    }

    /// The DNS-LB's admin endpoint.
    pub(super) fn lb(&self) -> &Admin {
        self.lb.as_ref().expect("the DNS-LB runs")
    }

    /// Stops the DNS-LB in good order.
    pub(super) async fn stop_lb(&mut self) {
        self.lb.take().expect("the DNS-LB runs").stop().await;
    }

    async fn settle(&self, services: usize) {
        for server in &self.servers {
            eventually("the DNS-LB is handed out with all services", async || {
                let status = server.status().await;
                let lb = &status["dns_lbs"][0];
                let fit = lb["handed_out"] == true && lb["services_ranked"] == services;
                so(fit && status["filling"] == false, status)
            })
            .await;
        }
    }

    /// The referral and the fall-back address of the first dns-b, and the DNS-LB.
    pub(super) fn places(&self) -> [Place<'_>; 3] {
        [Role::Referral, Role::Fallback, Role::Lb].map(|role| self.place(role))
    }

    pub(super) fn place(&self, role: Role) -> Place<'_> {
        let (address, admin) = match role {
            Role::Referral => (self.ground.referral(1), &*self.servers[0]),
            Role::Fallback => (self.ground.fallback(1), &*self.servers[0]),
            Role::Lb => (self.ground.lb(1), self.lb()),
        };
        Place { role, server: dns(address), admin, from: self.ground.isp(1) }
    }

    /// Every address over every transport.
    pub(super) fn everywhere(&self) -> impl Iterator<Item = Way<'_>> {
        let ways = |place: Place<'_>| [false, true].map(|tcp| self.way(place.role, tcp));
        self.places().into_iter().flat_map(ways)
    }

    pub(super) fn way(&self, role: Role, tcp: bool) -> Way<'_> {
        Way { place: self.place(role), tcp }
    }

    /// Both transports of one address.
    pub(super) fn ways(&self, role: Role) -> [Way<'_>; 2] {
        [false, true].map(|tcp| self.way(role, tcp))
    }
}

/// The tables of the encrypted transports, each at its own port of these addresses.
fn encrypted(keys: &[(&str, IpAddr)]) -> String {
    let table = |(name, port): (&str, u16)| {
        let listen = keys.iter().map(|(key, address)| format!("{key} = ['{address}:{port}']\n"));
        format!("[dns.{name}]\ncertificate = 'dns-cert.pem'\nkey = 'dns-key.pem'\n{}", listen.collect::<String>())
    };
    [("tls", 853), ("https", 443), ("quic", 853)].map(table).concat()
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} over {}", self.place.role, self.transport())
    }
}

impl Way<'_> {
    pub(super) fn transport(&self) -> &'static str {
        if self.tcp { "tcp" } else { "udp" }
    }

    /// Asks from another address of this host.
    pub(super) fn from(mut self, address: IpAddr) -> Self {
        self.place.from = address;
        self
    }

    /// Sends octets and returns the reply's.
    pub(super) async fn send(&self, octets: &[u8]) -> Vec<u8> {
        let Place { server, from, .. } = self.place;
        if !self.tcp {
            return raw::over_udp(from, server, octets).await.unwrap_or_else(|| panic!("{self}: no reply"));
        }
        let mut replies = raw::over_tcp(from, server, &raw::framed(octets)).await;
        assert_eq!(replies.len(), 1, "{self}: {replies:02x?}");
        replies.remove(0)
    }

    /// Asks, checks what holds for every reply, and that it was counted as this decision and as
    /// what it is, and nothing else was.
    pub(super) async fn ask(&self, packet: &Packet, decision: &str) -> Strict {
        self.ask_octets(&packet.octets(), packet.has_edns(), decision).await
    }

    /// The same for a message that no [`Packet`] can be.
    pub(super) async fn ask_octets(&self, octets: &[u8], edns: bool, decision: &str) -> Strict {
        self.ask_counting(octets, edns, decision, None).await
    }

    /// The same for a question with a cookie, which is counted as what it is worth.
    pub(super) async fn ask_with_cookie(&self, packet: &Packet, decision: &str, worth: &str) -> Strict {
        let series = format!("dglb_dns_cookies_total{{cookie=\"{worth}\"}}");
        self.ask_counting(&packet.octets(), true, decision, Some(series)).await
    }

    async fn ask_counting(&self, octets: &[u8], edns: bool, decision: &str, more: Option<String>) -> Strict {
        let before = self.place.admin.counters().await;
        let reply = self.send(octets).await;
        let what = format!("{self}: {octets:02x?} was answered {reply:02x?}");
        let reply = Strict::read(&reply).unwrap_or_else(|wrong| panic!("{wrong}: {what}"));
        common(octets, &reply, edns, &what);
        if !self.tcp {
            let limit = if edns { 4_096 } else { 512 };
            assert!(reply.octets.len() <= limit, "{what}");
        }
        let mut wanted = vec![
            format!("dglb_dns_questions_total{{transport=\"{}\"}}", self.transport()),
            format!("dglb_dns_decisions_total{{decision=\"{decision}\"}}"),
            format!("dglb_dns_replies_total{{rcode=\"{}\"}}", rcode_name(reply.rcode())),
        ];
        if reply.is_truncated() {
            wanted.push("dglb_dns_truncated_total".to_owned());
        }
        if self.tcp {
            wanted.push(connections("accepted"));
        }
        wanted.extend(more);
        let wanted: BTreeMap<String, u64> = wanted.into_iter().map(|series| (series, 1)).collect();
        self.counted(&before, &wanted, &what).await;
        reply
    }

    /// What was counted since is what must have been.
    pub(super) async fn counted(&self, before: &Counters, wanted: &BTreeMap<String, u64>, what: &str) {
        let grown = self.grown(before).await;
        // The dns-bs check the DNS-LB all the time.
        let checks = ["questions_total", "authority", "NOERROR", "accepted"];
        let noise = |series: &str| self.place.role == Role::Lb && checks.iter().any(|c| series.contains(c));
        // A connection's end is counted behind it, at this one or during the next.
        let end = connections("finished");
        for (series, n) in wanted {
            let got = grown.get(series).copied().unwrap_or_default();
            assert!(got == *n || got > *n && noise(series), "{series} grew by {got}, not {n}: {what}\n{grown:#?}");
        }
        let more: Vec<_> =
            grown.keys().filter(|series| !wanted.contains_key(*series) && !noise(series) && **series != end).collect();
        assert!(more.is_empty(), "{more:?} grew, too: {what}");
    }

    pub(super) async fn counters(&self) -> Counters {
        self.place.admin.counters().await
    }

    /// Counters of the DNS side that have grown.
    pub(super) async fn grown(&self, before: &Counters) -> BTreeMap<String, u64> {
        let mut grown = self.counters().await.since(before);
        // What is only so high at the moment is no counter.
        grown.retain(|series, _| series.starts_with("dglb_dns_") && series.contains("_total"));
        grown
    }
}

/// The counter of what became of TCP connections.
pub(super) fn connections(event: &str) -> String {
    format!("dglb_dns_connections_total{{transport=\"tcp\",event=\"{event}\"}}")
}

/// What holds for every reply to every question.
fn common(asked: &[u8], reply: &Strict, edns: bool, what: &str) {
    let flags = u16::from_be_bytes([asked[2], asked[3]]);
    assert_eq!(reply.id.to_be_bytes(), asked[..2], "{what}");
    assert_eq!(reply.flags & 0x7800, flags & 0x7800, "another opcode: {what}");
    assert_eq!(reply.flags & (RD | CD), flags & (RD | CD), "RD and CD are copied: {what}");
    assert_eq!(reply.flags & 0x00a0, 0, "neither RA nor AD is ever set: {what}");
    let question = &reply.question;
    assert!(question.is_empty() || asked[12..].starts_with(question), "the question was changed: {what}");
    assert_eq!(reply.opt.is_some(), edns, "OPT: {what}");
    if let Some(opt) = &reply.opt {
        assert_eq!((opt.version, opt.flags & 0x7fff), (0, 0), "{what}");
        assert!(opt.payload >= 512, "{what}");
    }
    let records = [&reply.answer, &reply.authority, &reply.additional];
    assert!(records.into_iter().flatten().all(|r| r.class == 1 || r.class == 3), "{what}");
    // An answer says something; a referral is no upward one.
    let aliases = reply.answer.iter().filter(|r| r.rtype == rtype::CNAME).map(|r| dotted(&r.rdata));
    let names: Vec<String> = aliases.chain([dotted(&reply.question)]).collect();
    for ns in reply.authority.iter().filter(|r| r.rtype == rtype::NS) {
        let below = names.iter().any(|name| name.ends_with(&dotted(&ns.owner)));
        assert!(below && ns.owner != [0], "an upward referral: {what}");
    }
    negative(reply, what);
}

/// RFC 2308 section 3: NXDOMAIN and NODATA carry the SOA, whose TTL is the lesser of its own and
/// MINIMUM.
fn negative(reply: &Strict, what: &str) {
    let empty = reply.answer.is_empty() && !reply.is_truncated();
    let referral = reply.authority.iter().any(|r| r.rtype == rtype::NS);
    if !empty || referral || !matches!(reply.rcode(), 0 | 3) {
        return;
    }
    let [soa] = &reply.authority[..] else { panic!("no SOA: {what}") };
    assert!(soa.rtype == rtype::SOA && reply.is_authoritative(), "{what}");
    let minimum = soa.rdata.last_chunk().map_or(0, |octets| u32::from_be_bytes(*octets));
    assert!(soa.ttl <= minimum, "the SOA lives for {} s, longer than {minimum} s: {what}", soa.ttl);
    let asked = dotted(&reply.question);
    assert!(asked.ends_with(&dotted(&soa.owner)), "an SOA of somewhere else: {what}");
}

fn rcode_name(rcode: u16) -> &'static str {
    match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        _ => "other",
    }
}

/// A zone with everything that a row asks for.
fn catalogue(ground: &Ground) -> ZoneCatalogue {
    let plain = configs::catalogue(ground, 2, 1);
    let www = &plain.services[0];
    let service = |name: &str, change: &dyn Fn(&mut Service)| {
        let mut service = Service { name: owner(name), ..www.clone() };
        change(&mut service);
        service
    };
    // Such a site is down from the start.
    let nowhere = nowhere();
    let site = |name: &str, addresses: &[IpAddr]| {
        vec![CatalogueSite {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            cost: 0.0,
            ..CatalogueSite::default()
        }]
    };
    let services = vec![
        www.clone(),
        service("direct", &|s| s.mode = Mode::Direct),
        service("svc.ent", &|_| {}),
        service(LONG, &|s| (s.answers, s.sites) = (16, site("v6", &nowhere))),
        service("dead", &|s| s.sites = site("gone", &[ground.site(9)])),
        service("web", &|s| s.https = Some(https())),
        service("both", &|s| s.sites = site("half", &[ground.site(1), nowhere[0]])),
    ];
    let record = |name: &str, rtype, rdata: Vec<u8>| StaticRecord { name: owner(name), rtype, ttl: 600, rdata };
    let text = |length: u8, n: u8| [vec![length], vec![b'a' + n; usize::from(length)]].concat();
    let mut records = vec![
        record("a.b", rtype::TXT, text(10, 0)),
        record("mail", rtype::MX, [vec![0, 10], wire("mx.foobar.test")].concat()),
        record("mail", rtype::TXT, text(20, 0)),
        record("odd", 65_280, vec![1, 2, 3]),
        // An alias with a name as its target (RFC 9460 section 2.4.2).
        record("alias", rtype::HTTPS, [vec![0, 0], wire("pool.foobar.test")].concat()),
    ];
    records.extend((0..3).map(|n| record("big", rtype::TXT, text(200, n))));
    records.extend((0..9).map(|n| record("huge", rtype::TXT, text(250, n))));
    ZoneCatalogue { services, records, ..plain }
}

/// What the service `web` says of itself (RFC 9460).
fn https() -> HttpsRecord {
    HttpsRecord { alpn: vec!["h3".into(), "h2".into()], no_default_alpn: true, port: Some(8_443), hints: true }
}

fn owner(name: &str) -> dglb_core::name::Name {
    format!("{name}.{}", configs::ZONE).parse().expect("a name")
}

/// Records as text.
pub(super) fn text(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::text).collect()
}
