//! The hosts of a test: sites that answer HTTP, and the DNS-LB itself, asked from outside.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use dglb_core::catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle};
use dglb_node::{
    admin::Address,
    lifecycle::{Daemon, Stopped, Tasks},
};
use dns_lb::DnsLb;
use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{Name, RData, RecordType, rdata::opt::EdnsCode},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::AbortHandle,
};

use crate::{backbone::Backbone, tls::equip};

/// Longer than anything here may ever take.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sites at addresses of their own and one common port.
pub(crate) struct Sites {
    pub(crate) port: u16,
    running: Vec<(IpAddr, Option<AbortHandle>)>,
}

impl Sites {
    /// `count` sites at 127.1.0.1, 127.1.0.2, …, and one more at ::1.
    pub(crate) async fn start(count: u8) -> Self {
        let mut addresses: Vec<IpAddr> = (1..=count).map(|n| Ipv4Addr::new(127, 1, 0, n).into()).collect();
        addresses.push("::1".parse().unwrap());
        for _ in 0..50 {
            let first = TcpListener::bind((addresses[0], 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut listeners = vec![first];
            for address in &addresses[1..] {
                // The port may be taken at one of them; then another is tried for all.
                let Ok(listener) = TcpListener::bind((*address, port)).await else { break };
                listeners.push(listener);
            }
            if listeners.len() == addresses.len() {
                let running = listeners.into_iter().map(serve).collect::<Vec<_>>();
                return Self { port, running: addresses.into_iter().zip(running.into_iter().map(Some)).collect() };
            }
        }
        panic!("no port is free at all addresses");
    }

    /// From now on nobody listens there.
    pub(crate) async fn kill(&mut self, site: usize) {
        let (address, running) = &mut self.running[site];
        running.take().expect("dead already").abort();
        let to = SocketAddr::new(*address, self.port);
        eventually("the site is dead", || TcpStream::connect(to).is_err()).await;
    }

    pub(crate) async fn revive(&mut self, site: usize) {
        let (address, running) = &mut self.running[site];
        *running = Some(serve(TcpListener::bind((*address, self.port)).await.unwrap()));
    }

    /// `www.glb.test` with these sites, the last as the IPv6 address of the first. The customer
    /// prefers `s<count>`; by cost it is the other way round.
    pub(crate) fn catalogue(&self, generation: u64) -> ZoneCatalogue {
        let v4 = self.running.iter().filter(|(address, _)| address.is_ipv4());
        let mut sites: Vec<Site> = v4
            .enumerate()
            .map(|(n, (address, _))| Site {
                name: format!("s{}", n + 1),
                addresses: vec![*address],
                cost: n as f64,
                ..Site::default()
            })
            .collect();
        sites[0].addresses.push("::1".parse().unwrap());
        sites.reverse();
        let kind = |path: &str| ProbeKind::http(self.port, path);
        let probe = |kind| Probe { kind, interval_ms: 200, timeout_ms: 500, fall: 2, rise: 2 };
        ZoneCatalogue {
            zone: "glb.test".parse().unwrap(),
            generation,
            soa_serial: 2_026,
            style: ZoneStyle::SubZone,
            cname_ttl: 3_600,
            services: vec![Service {
                name: "www.glb.test".parse().unwrap(),
                host: "www.foobar.test".parse().unwrap(),
                mode: Mode::Referral,
                ttl: 17,
                answers: 1,
                policy: Policy { cost: 1_000.0, ..Policy::default() },
                probes: vec![probe(kind("/health")), probe(ProbeKind::Tcp { port: self.port })],
                https: None,
                probe_ceiling: None,
                least_ttl: None,
                sites,
            }],
            records: vec![],
        }
    }
}

/// Good answers to the right question, 404 to any other.
fn serve(listener: TcpListener) -> AbortHandle {
    let serving = async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let mut head = vec![0; 2_048];
                let mut length = 0;
                while !head[..length].ends_with(b"\r\n\r\n") && length < head.len() {
                    match stream.read(&mut head[length..]).await {
                        Ok(n) if n > 0 => length += n,
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
                let right = head.starts_with("get /health http/1.1") && head.contains("host: www.foobar.test");
                let status = if right { "200 OK" } else { "404 Not Found" };
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").as_bytes()).await;
            });
        }
    };
    tokio::spawn(serving).abort_handle()
}

/// A dns-lb in this process.
pub(crate) struct Lb {
    pub(crate) daemon: DnsLb,
    tasks: Tasks,
    directory: tempfile::TempDir,
}

/// What DNS said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) message: Message,
    /// INFO-CODE of the extended error, if there is one.
    pub(crate) ede: Option<u16>,
}

impl Said {
    /// The addresses in the answer section.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        self.message.answers.iter().filter_map(|r| address(&r.data)).collect()
    }
}

impl Lb {
    /// A DNS-LB `sea1` beside resolver 192.0.2.1, which is asked nothing, with links to `servers`.
    pub(crate) async fn start(servers: &[&Backbone]) -> Self {
        let identities: Vec<&str> = servers.iter().map(|s| s.state().identity).collect();
        Self::expecting(&identities, servers).await
    }

    /// The same, with other identities expected of `servers` than they have, perhaps.
    pub(crate) async fn expecting(identities: &[&str], servers: &[&Backbone]) -> Self {
        Self::configured(identities, servers, "").await
    }

    /// The same, with more keys in `dns`; a certificate and its key are in cert.pem and key.pem.
    pub(crate) async fn configured(identities: &[&str], servers: &[&Backbone], dns: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
        std::fs::write(directory.path().join("cert.pem"), pair.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        std::fs::write(directory.path().join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        std::fs::create_dir(directory.path().join("tls")).unwrap();
        equip("dglb:dns-lb:sea1", &directory.path().join("tls"));
        let tls = dglb_ca::Ephemeral::CONFIG.replace(" = '", " = 'tls/");
        let mut text = format!(
            "identity = 'sea1'\ndns = {{ listen = ['127.0.0.1:0'], lanes = 1{dns} }}\nadmin.listen = '127.0.0.1:0'\n\
             isp = {{ resolv-conf = 'resolv.conf', networks = ['198.51.100.0/24'], self-check = false }}\n\
             map.{tls}\nreport.interval = '1s'\n"
        );
        for (identity, server) in identities.iter().zip(servers) {
            text += &format!("[[dns-b]]\nidentity = '{identity}'\naddress = '{}'\n", server.address);
        }
        std::fs::write(directory.path().join("dns-lb.toml"), text).unwrap();
        let mut tasks = Tasks::new();
        let config = DnsLb::load(&directory.path().join("dns-lb.toml")).unwrap().value;
        let daemon = DnsLb::start(config, &mut tasks).await.unwrap();
        Self { daemon, tasks, directory }
    }

    pub(crate) async fn stop(self) -> Stopped {
        self.tasks.stop(DnsLb::DRAIN).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file beside and renames it over, as resolvconf and NetworkManager do.
    pub(crate) fn replace_resolv_conf(&self, content: &str) {
        std::fs::write(self.path("new"), content).unwrap();
        std::fs::rename(self.path("new"), self.path("resolv.conf")).unwrap();
    }

    pub(crate) fn ask(&self, name: &str, rtype: RecordType) -> Said {
        let mut question = Message::query();
        question.metadata.id = 4_711;
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
        question.set_edns(Edns::new());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.connect(self.daemon.dns_addresses()[0]).unwrap();
        socket.send(&question.to_vec().unwrap()).unwrap();
        let mut reply = [0; 4_096];
        let length = socket.recv(&mut reply).expect("no answer");
        let message = Message::from_vec(&reply[..length]).unwrap();
        assert_eq!(message.metadata.id, 4_711);
        let option = message.edns.as_ref().and_then(|e| e.option(EdnsCode::Unknown(15)).cloned());
        let octets = option.map(|o| Vec::<u8>::try_from(&o).unwrap());
        let ede = octets.map(|o| u16::from_be_bytes([o[0], o[1]]));
        Said { message, ede }
    }

    /// The A records of the service in the DNS-LB's label zone, without the 127.1.0.
    pub(crate) fn site(&self) -> Vec<u8> {
        let addresses = self.ask("www.sea1.glb.test.", RecordType::A).addresses();
        addresses.into_iter().map(|a| if let IpAddr::V4(v4) = a { v4.octets()[3] } else { 0 }).collect()
    }

    /// Status code and body of what the admin endpoint says.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let Address::Tcp(address) = self.daemon.admin_address() else { panic!("not over TCP") };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.admin("/api/v1/status").1).unwrap()
    }

    /// The value of a line of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.admin("/metrics");
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}
