//! Configuration files of the scenarios' daemons, with short intervals.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use dglb_core::catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle};

use crate::{
    ground::Ground,
    sites::{HOST, PAGE, PORT},
    tls,
};

/// The enterprise's zone.
pub const ENTERPRISE: &str = "foobar.test";
/// The zone that is delegated to the dns-bs.
pub const ZONE: &str = "glb.foobar.test";
/// The service.
pub const WWW: &str = "www.glb.foobar.test";
/// Seconds that a site's address may be cached.
pub const ADDRESS_TTL: u32 = 120;
/// The key of `[map]` that names the daemon's certificates, which lie apart from all else.
const TLS: &str =
    "tls = { certificate = 'tls/certificate.pem', key = 'tls/key.pem', ca = 'tls/ca.pem', crl = 'tls/crl.pem' }";
/// Where every daemon has its admin endpoint, on its own address.
const ADMIN: u16 = 8_053;

/// The files of one daemon; they go with the value.
#[derive(Debug)]
pub struct Files {
    directory: tempfile::TempDir,
    main: String,
    /// Where its admin endpoint will be.
    pub admin: SocketAddr,
}

impl Files {
    /// `main`, the files beside it, and the certificates of the host of this `name`.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn new(admin: SocketAddr, (name, main): (&str, (&str, &str)), beside: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("room for files");
        let files = Self { directory, main: main.0.to_owned(), admin };
        for (name, text) in [main].iter().chain(beside) {
            files.write(name, text);
        }
        std::fs::create_dir(files.path("tls")).expect("the directory is ours");
        tls::equip(name, &files.path("tls"));
        files
    }

    /// The daemon's own file.
    pub fn main(&self) -> PathBuf {
        self.path(&self.main)
    }

    /// Where a file is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the directory is ours");
    }

    /// Writes the daemon's own file again, with something else in the place of `old`.
    ///
    /// # Panics
    /// When `old` is not in it.
    pub fn replace(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.main()).expect("it was written");
        assert!(text.contains(old), "{old} is not in {text}");
        self.write(&self.main, &text.replace(old, new));
    }
}

/// The fleet document of `servers` dns-bs, `b1`, `b2`, ….
pub fn fleet(ground: &Ground, servers: u8) -> String {
    let mut text = "serial = 1\noperator-zone = 'ops.test'\nhostmaster = 'hostmaster.ops.test'\n".to_owned();
    for n in 1..=servers {
        let (referral, fallback) = (ground.referral(n), ground.fallback(n));
        writeln!(text, "[[dns-b]]\nidentity = 'b{n}'\nreferral = ['{referral}']\nfallback = ['{fallback}']")
            .expect("a string takes everything");
    }
    text
}

/// Of the n-th of `servers` dns-bs. `lbs` DNS-LBs may each map its own ISP's resolver, and the n-th
/// of them clients in 10.n.0.0/16; `sync` may publish the zone. `extra` comes first, as top-level
/// keys or whole tables that are not there otherwise: `default`, `locate`.
pub fn dns_b(ground: &Ground, n: u8, servers: u8, lbs: u8, extra: &str) -> Files {
    let admin = SocketAddr::new(ground.referral(n), ADMIN);
    let mut text = format!(
        "identity = 'b{n}'\nfleet = 'fleet.toml'\n{extra}\n[dns]\nlanes = 1\n\
         [map]\nlisten = ['{map}']\n{TLS}\nlease = '5s'\n\
         [check]\ninterval = '500ms'\ntimeout = '2s'\nfall = 3\n[admin]\nlisten = '{admin}'\n\
         [[peer]]\nidentity = 'sync'\nrole = 'dns-a-sync'\nmay-publish = ['{ZONE}']\n",
        map = ground.map(n),
    );
    for lb in 1..=lbs {
        let isp = ground.isp(lb);
        writeln!(text, "[[peer]]\nidentity = 'lb{lb}'\nrole = 'dns-lb'\nmay-map = ['{isp}', '10.{lb}.0.0/16']")
            .expect("a string takes everything");
    }
    let name = format!("dglb:dns-b:b{n}");
    Files::new(admin, (&name, ("dns-b.toml", &text)), &[("fleet.toml", &fleet(ground, servers))])
}

/// Of the n-th of `servers` dns-bs that is only played with: it refers at 192.0.2.n0, answers labels at
/// 192.0.2.n1, and the n-th of `lbs` DNS-LBs may map 10.n.0.0/16.
///
/// # Panics
/// When it is wrong.
pub fn on_paper(n: usize, servers: usize, lbs: usize, lease: &str) -> dns_b::config::Config {
    let mut text = format!(
        "identity = 'b{n}'\nfleet = 'fleet.toml'\n[dns]\nlanes = 1\n[map]\nlisten = ['127.0.0.1:0']\n\
         plain-tcp = 'loopback'\nlease = '{lease}'\n[admin]\nlisten = '127.0.0.1:0'\n\
         [[peer]]\nidentity = 'sync'\nrole = 'dns-a-sync'\nmay-publish = ['{ZONE}']\n"
    );
    for lb in 1..=lbs {
        text += &format!("[[peer]]\nidentity = 'lb{lb}'\nrole = 'dns-lb'\nmay-map = ['10.{lb}.0.0/16']\n");
    }
    let mut fleet = "serial = 1\noperator-zone = 'ops.test'\nhostmaster = 'hostmaster.ops.test'\n".to_owned();
    for n in 1..=servers {
        fleet += &format!("[[dns-b]]\nidentity = 'b{n}'\nreferral = ['192.0.2.{n}0']\nfallback = ['192.0.2.{n}1']\n");
    }
    let admin = SocketAddr::from(([127, 0, 0, 1], 0));
    let name = format!("dglb:dns-b:b{n}");
    let files = Files::new(admin, (&name, ("dns-b.toml", &text)), &[("fleet.toml", &fleet)]);
    dns_b::config::load(&files.main()).unwrap_or_else(|error| panic!("{error}")).value
}

/// Every dns-b, as the dialling daemons have them.
fn dial(ground: &Ground, servers: u8) -> String {
    let server = |n| format!("[[dns-b]]\nidentity = 'b{n}'\naddress = '{}'\n", ground.map(n));
    (1..=servers).map(server).collect()
}

/// Of the n-th DNS-LB, beside the n-th ISP's resolver and clients in 10.n.0.0/16. It waits long for slow addresses, since
/// on a busy machine every one may be.
pub fn dns_lb(ground: &Ground, n: u8, servers: u8) -> Files {
    let admin = SocketAddr::new(ground.lb(n), ADMIN);
    let text = format!(
        "identity = 'lb{n}'\n[dns]\nlisten = ['{address}:53']\nlanes = 1\n\
         [isp]\nresolv-conf = 'resolv.conf'\nnetworks = ['10.{n}.0.0/16']\n\
         [map]\n{TLS}\nlease = '5s'\n[probe]\nsettle = '10s'\n[report]\ninterval = '1s'\n\
         [admin]\nlisten = '{admin}'\n{servers}",
        address = ground.lb(n),
        servers = dial(ground, servers),
    );
    let name = format!("dglb:dns-lb:lb{n}");
    Files::new(admin, (&name, ("dns-lb.toml", &text)), &[("resolv.conf", &format!("nameserver {}\n", ground.isp(n)))])
}

/// Of the agent beside a DNS-A, with `sites` sites of which the last is preferred and the first the
/// cheapest. It prints the delegation.
pub fn dns_a_sync(ground: &Ground, dns_a: SocketAddr, servers: u8, sites: u8) -> Files {
    let admin = SocketAddr::new(ground.ip(242), ADMIN);
    let mut text = format!(
        "identity = 'sync'\nmap.{TLS}\nadmin.listen = '{admin}'\n\
         dns-a = {{ server = '{dns_a}', zone = '{ENTERPRISE}', interval = '200ms' }}\n\
         delegation = {{ mode = 'off' }}\n{servers}\
         [[zone]]\nname = '{ZONE}'\n[[zone.service]]\nname = '{WWW}'\nhost = '{HOST}'\nttl = {ADDRESS_TTL}\n\
         policy = {{ cost = 1000.0 }}\nprobe = [\n\
           {{ kind = 'http', port = {PORT}, path = '{PAGE}', interval = '200ms', timeout = '2s' }},\n\
           {{ kind = 'tcp', port = {PORT}, interval = '200ms', timeout = '2s' }},\n]\n",
        servers = dial(ground, servers),
    );
    for n in (1..=sites).rev() {
        let site = format!("name = 's{n}'\ndns-name = 's{n}.sites.{ENTERPRISE}'\ncost = {n}.0");
        writeln!(text, "[[zone.service.site]]\n{site}").expect("a string takes everything");
    }
    Files::new(admin, ("dglb:dns-a-sync:sync", ("dns-a-sync.toml", &text)), &[])
}

/// The catalogue that the agent of [`dns_a_sync()`] would publish.
pub fn catalogue(ground: &Ground, sites: u8, generation: u64) -> ZoneCatalogue {
    let sites: Vec<IpAddr> = (1..=sites).map(|n| ground.site(n)).collect();
    catalogue_of(&sites, generation)
}

/// The same with these sites, the cheapest first.
///
/// # Panics
/// Never.
pub fn catalogue_of(sites: &[IpAddr], generation: u64) -> ZoneCatalogue {
    let site = |(n, address): (usize, &IpAddr)| Site {
        name: format!("s{}", n + 1),
        addresses: vec![*address],
        cost: (n + 1) as f64,
        ..Site::default()
    };
    let probe = |kind| Probe { kind, interval_ms: 200, timeout_ms: 2_000, fall: 2, rise: 2 };
    ZoneCatalogue {
        zone: ZONE.parse().expect("a name"),
        generation,
        soa_serial: 2_026,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: vec![Service {
            name: WWW.parse().expect("a name"),
            host: HOST.parse().expect("a name"),
            mode: Mode::Referral,
            ttl: ADDRESS_TTL,
            answers: 1,
            policy: Policy { cost: 1_000.0, ..Policy::default() },
            probes: vec![probe(ProbeKind::http(PORT, PAGE)), probe(ProbeKind::Tcp { port: PORT })],
            https: None,
            probe_ceiling: None,
            least_ttl: None,
            sites: sites.iter().enumerate().rev().map(site).collect(),
        }],
        records: vec![],
    }
}

/// A service's name in a DNS-LB's label zone.
pub fn in_label(lb: &str) -> String {
    format!("www.{lb}.{ZONE}")
}

/// `address` as the only one.
pub fn only(address: IpAddr) -> Vec<IpAddr> {
    vec![address]
}
