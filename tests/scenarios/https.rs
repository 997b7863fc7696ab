//! HTTPS records (RFC 9460), from the enterprise's configuration to what resolvers are answered.

use std::net::{IpAddr, Ipv6Addr};

use dglb_scenarios::{
    Ground, Running,
    configs::{self, ADDRESS_TTL, WWW, in_label},
    dns_a::DnsA,
    eventually,
    ground::dns,
    question::{Question, Reply},
    scenario, so,
};
use dns_a_sync::DnsASync;
use dns_b::DnsB;
use dns_lb::DnsLb;
use hickory_proto::{
    op::ResponseCode,
    rr::{
        RData, RecordType,
        rdata::svcb::{SvcParamKey, SvcParamValue},
    },
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A site of both families, each of which can be taken away; it is measured by connecting to it.
struct TwoFamilies {
    port: u16,
    ipv4: JoinHandle<()>,
    ipv6: JoinHandle<()>,
}

impl TwoFamilies {
    /// On `address` and the host's own IPv6 address, with a port that both have free.
    async fn start(address: IpAddr) -> Self {
        let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("IPv6 on loopback");
        let port = ipv6.local_addr().expect("it is bound").port();
        let ipv4 = TcpListener::bind((address, port)).await.expect("nobody else has this block of addresses");
        Self { port, ipv4: tokio::spawn(accept(ipv4)), ipv6: tokio::spawn(accept(ipv6)) }
    }
}

impl Drop for TwoFamilies {
    fn drop(&mut self) {
        self.ipv4.abort();
        self.ipv6.abort();
    }
}

async fn accept(listener: TcpListener) {
    while listener.accept().await.is_ok() {}
}

/// The agent's configuration with a service that has an HTTPS record and is measured at `port`.
fn agent(ground: &Ground, port: u16) -> configs::Files {
    let files = configs::dns_a_sync(ground, dns(ground.ip(241)), 1, 1);
    let https = "https = { alpn = ['h3', 'h2'], port = 8443, hints = true }";
    files.replace("policy =", &format!("{https}\npolicy ="));
    files.replace("kind = 'http'", "kind = 'tcp'");
    files.replace(&format!(", path = '{}'", dglb_scenarios::sites::PAGE), "");
    files.replace(&format!("port = {},", dglb_scenarios::sites::PORT), &format!("port = {port},"));
    files
}

async fn ask(ground: &Ground, server: IpAddr, name: &str, rtype: RecordType) -> Reply {
    Question::new(ground.isp(1), name, rtype).ask(dns(server)).await
}

/// The addresses that A and AAAA are answered with, one after the other.
async fn addresses(ground: &Ground, server: IpAddr, name: &str) -> Vec<IpAddr> {
    let ipv4 = ask(ground, server, name, RecordType::A).await.addresses();
    let ipv6 = ask(ground, server, name, RecordType::AAAA).await.addresses();
    [ipv4, ipv6].concat()
}

/// The hints of the one HTTPS record of an answer; all else in it is as configured.
fn hints(reply: &Reply) -> Vec<IpAddr> {
    let [record] = &reply.0.answers[..] else { panic!("{reply:?}") };
    let RData::HTTPS(https) = &record.data else { panic!("{reply:?}") };
    assert_eq!((record.ttl, https.svc_priority, https.target_name.is_root()), (ADDRESS_TTL, 1, true), "{reply:?}");
    let mut hints = Vec::new();
    let mut keys = Vec::new();
    for (key, value) in &https.svc_params {
        keys.push(*key);
        match value {
            SvcParamValue::Alpn(alpn) => assert_eq!(alpn.0, ["h3", "h2"]),
            SvcParamValue::Port(port) => assert_eq!(*port, 8443),
            SvcParamValue::Ipv4Hint(list) => hints.extend(list.0.iter().map(|a| IpAddr::V4(a.0))),
            SvcParamValue::Ipv6Hint(list) => hints.extend(list.0.iter().map(|a| IpAddr::V6(a.0))),
            other => panic!("{other:?} in {reply:?}"),
        }
    }
    let expected = [SvcParamKey::Alpn, SvcParamKey::Port, SvcParamKey::Ipv4Hint, SvcParamKey::Ipv6Hint];
    assert_eq!(keys, expected[..2 + hints.len()], "{reply:?}");
    hints
}

#[test]
fn an_https_record_comes_with_the_addresses_that_are_answered() {
    scenario("https::an_https_record_comes_with_the_addresses_that_are_answered", async |ground| {
        let site = TwoFamilies::start(ground.site(1)).await;
        let both = [ground.site(1), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let dns_a = DnsA::start(dns(ground.ip(241))).await;
        dns_a.set("s1", &both);
        let b: Running<DnsB> = Running::start(&configs::dns_b(&ground, 1, 1, 1, "")).await;
        let lb: Running<DnsLb> = Running::start(&configs::dns_lb(&ground, 1, 1)).await;
        let sync: Running<DnsASync> = Running::start(&agent(&ground, site.port)).await;
        let referral = ground.referral(1);
        let refers = async || {
            let reply = ask(&ground, referral, WWW, RecordType::HTTPS).await;
            so(reply.alias() == Some((format!("{}.", in_label("lb1")), 3_600)), reply)
        };
        eventually("b1 refers HTTPS questions to lb1", refers).await;

        let name = in_label("lb1");
        for (server, before) in [(ground.lb(1), lb.decisions("label").await), (ground.fallback(1), 0)] {
            same_as_the_addresses(&ground, server, &both).await;
            assert!(server != ground.lb(1) || lb.decisions("label").await >= before + 3);
            let svcb = ask(&ground, server, &name, RecordType::SVCB).await;
            assert_eq!((svcb.code(), svcb.answers().len()), (ResponseCode::NoError, 0));
            assert!(svcb.is_authoritative() && svcb.authorities()[0].contains(" SOA "), "{svcb:?}");
        }
        assert!(b.decisions("label").await >= 3);

        // A family that is down is no hint, here as there, as soon as AAAA is NODATA.
        site.ipv6.abort();
        for server in [ground.lb(1), ground.fallback(1)] {
            same_as_the_addresses(&ground, server, &both[..1]).await;
        }
        assert_eq!(sync.status().await["zones"][0]["generation"], 1);
    });
}

/// Waits until the addresses are these, and finds them in the HTTPS record.
async fn same_as_the_addresses(ground: &Ground, server: IpAddr, expected: &[IpAddr]) {
    let name = in_label("lb1");
    let answered = async || {
        let addresses = addresses(ground, server, &name).await;
        so(addresses == expected, addresses)
    };
    eventually("the addresses are answered", answered).await;
    let reply = ask(ground, server, &name, RecordType::HTTPS).await;
    assert_eq!(hints(&reply), expected);
    assert!(reply.is_authoritative() && reply.authorities().is_empty());
}
