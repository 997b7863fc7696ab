//! A real BIND of a test's own: in the foreground, on a free port of loopback, in a directory that
//! goes away with it.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dglb_core::catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneStyle};
use dglb_node::{ask::Via, link::LinkSecurity};
use dns_a_sync::{
    config::{Config, DelegationConfig, DelegationMode, DnsAConfig, ServiceConfig, SiteConfig, ZoneConfig},
    dns_a::{DnsA, Key, algorithm},
};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, RecordType},
};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The secret of the keys `dglb` and `other`.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Where BIND's `named` is; without it the test is skipped aloud, or fails where `CI=true`.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join("named"))
        .find(|program| program.is_file());
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "needs named: apt-get install bind9");
        // Past the capture of the test harness, so that it is seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: needs named: apt-get install bind9");
    }
    found
}

/// A running BIND, primary of its zones; killed when dropped.
pub(crate) struct Named {
    process: Child,
    pub(crate) address: SocketAddr,
    program: PathBuf,
    directory: tempfile::TempDir,
    origins: Vec<String>,
}

/// One zone: its name and the records beside SOA and NS.
pub(crate) struct Zone<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl Named {
    /// Starts BIND with these zones. Key `dglb` may update them, key `other` may not; anybody may
    /// transfer them.
    pub(crate) fn start(program: &Path, zones: &[Zone<'_>]) -> Self {
        let mut directory = tempfile::tempdir().unwrap();
        for Zone(origin, records) in zones {
            let text = format!(
                "$ORIGIN {origin}.\n$TTL 300\n@ IN SOA ns.{origin}. hostmaster.{origin}. 10 3600 600 86400 60\n\
                 @ IN NS ns\nns IN A 127.0.0.1\n{records}\n"
            );
            std::fs::write(directory.path().join(origin), text).unwrap();
        }
        let origins: Vec<String> = zones.iter().map(|z| z.0.to_owned()).collect();
        for _ in 0..5 {
            let address = free_port();
            configure(directory.path(), address, &origins);
            let process = spawn(program, directory.path());
            let mut named = Self { process, address, program: program.to_owned(), directory, origins: origins.clone() };
            if named.serves() {
                return named;
            }
            // Somebody else took the port in between.
            directory = std::mem::replace(&mut named.directory, tempfile::tempdir().unwrap());
        }
        panic!("named did not start on any of five ports");
    }

    /// Kills it without a word.
    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again where it was, after [`Named::stop`].
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.program, self.directory.path());
        assert!(self.serves(), "named did not come back: {}", self.log());
    }

    fn serves(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.process.try_wait().unwrap().is_some() {
                panic!("named ended: {}", self.log());
            }
            let log = self.log();
            if log.contains("address in use") {
                return false;
            }
            // Listening and loaded are two things: both must be.
            if log.contains("running") && self.origins.iter().all(|o| self.try_transfer(o).is_some()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("named does not serve: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("named.log")).unwrap_or_default()
    }

    /// Every record of a zone but its SOA, one to a line.
    pub(crate) fn transfer(&self, origin: &str) -> BTreeSet<String> {
        self.try_transfer(origin).expect("the zone can be transferred")
    }

    fn try_transfer(&self, origin: &str) -> Option<BTreeSet<String>> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut question = Message::query();
        question.metadata.recursion_desired = false;
        question.add_query(Query::query(Name::from_ascii(format!("{origin}.")).unwrap(), RecordType::AXFR));
        let octets = question.to_vec().unwrap();
        stream.write_all(&(octets.len() as u16).to_be_bytes()).ok()?;
        stream.write_all(&octets).ok()?;
        let (mut lines, mut soas) = (BTreeSet::new(), 0);
        while soas < 2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut octets).ok()?;
            let message = Message::from_vec(&octets).ok()?;
            if message.answers.is_empty() {
                return None;
            }
            for record in &message.answers {
                match record.record_type() {
                    RecordType::SOA => soas += 1,
                    rtype => _ = lines.insert(format!("{} {} {rtype} {}", record.name, record.ttl, record.data)),
                }
            }
        }
        Some(lines)
    }

    /// The zone's SOA serial.
    pub(crate) async fn serial(&self, origin: &str) -> u32 {
        let answer = self.client(None).ask(&name(origin), RecordType::SOA, Via::UdpThenTcp).await.unwrap();
        answer.answers.iter().find_map(|r| if let RData::SOA(s) = &r.data { Some(s.serial) } else { None }).unwrap()
    }

    /// A client of it.
    pub(crate) fn client(&self, key: Option<Key>) -> DnsA {
        DnsA::new(self.address, Duration::from_secs(3), key)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The key that may update, or one like it.
pub(crate) fn key(key_name: &str, secret: &[u8]) -> Key {
    Key::new(&name(key_name), algorithm("hmac-sha256").unwrap(), secret.to_vec()).unwrap()
}

pub(crate) fn name(text: &str) -> dglb_core::name::Name {
    text.parse().unwrap()
}

/// `lines` as [`Named::transfer`] gives them, from `owner ttl type data`.
pub(crate) fn lines(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&l| l.to_owned()).collect()
}

/// A configuration for zone `glb.foobar.test` in sub-zone style with one service, alias included.
pub(crate) fn config(named: &Named, key: Option<Key>) -> Config {
    let zone = name("glb.foobar.test");
    let service = Service {
        name: zone.child("www").unwrap(),
        host: name("www.foobar.test"),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![Probe { kind: ProbeKind::Tcp { port: 80 }, interval_ms: 1000, timeout_ms: 500, fall: 2, rise: 2 }],
        sites: vec![],
        https: None,
        probe_ceiling: None,
        least_ttl: None,
    };
    let sea = Site { name: "sea".to_owned(), ..Site::default() };
    let sites = vec![SiteConfig { site: sea, dns_name: name("sea.sites.foobar.test") }];
    Config {
        identity: "sync".parse().unwrap(),
        dns_a: DnsAConfig {
            server: named.address,
            zone: name("foobar.test"),
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(3),
            key,
        },
        zones: vec![ZoneConfig {
            name: zone,
            style: ZoneStyle::SubZone,
            cname_ttl: 3600,
            records: vec![],
            services: vec![ServiceConfig { service, sites }],
        }],
        withdraw: vec![],
        servers: vec![],
        security: LinkSecurity::default(),
        delegation: DelegationConfig {
            mode: DelegationMode::Update,
            cname_ttl: 1800,
            interval: Duration::from_millis(50),
            settle: Duration::ZERO,
        },
        admin: "127.0.0.1:0".parse().unwrap(),
        state_dir: None,
        force: false,
    }
}

fn configure(directory: &Path, address: SocketAddr, origins: &[String]) {
    let secret = data_encoding::BASE64.encode(SECRET);
    let (dir, port) = (directory.display(), address.port());
    let mut text = format!(
        "key dglb {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n\
         key other {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n\
         options {{ directory \"{dir}\"; pid-file none; session-keyfile none; lock-file none;\n\
           managed-keys-directory \"{dir}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
           dnssec-validation no; recursion no; empty-zones-enable no; notify no; minimal-responses no;\n\
           allow-transfer {{ any; }}; }};\n\
         controls {{ }};\n\
         logging {{ channel file {{ file \"{dir}/named.log\"; severity info; }}; category default {{ file; }}; }};\n"
    );
    for origin in origins {
        text += &format!(
            "zone \"{origin}\" {{ type primary; file \"{dir}/{origin}\"; allow-update {{ key dglb; }}; check-integrity no; }};\n"
        );
    }
    std::fs::write(directory.join("named.conf"), text).unwrap();
    let _ = std::fs::remove_file(directory.join("named.log"));
}

fn spawn(program: &Path, directory: &Path) -> Child {
    Command::new(program)
        .args(["-f", "-n", "1", "-c"])
        .arg(directory.join("named.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// A port that is free for both transports at the moment.
fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
