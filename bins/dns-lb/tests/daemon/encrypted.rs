//! The same answers over TLS, HTTPS and QUIC, asked for with programs that people use: kdig, curl.

use std::process::Command;

use data_encoding::BASE64URL_NOPAD;
use dglb_core::dns::Transport;
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};

use crate::{
    backbone::Backbone,
    host::{Lb, Sites, eventually},
};

const TRANSPORTS: &str = ", tls = { listen = ['127.0.0.1:0'], certificate = 'cert.pem', key = 'key.pem' }\
    , https = { listen = ['127.0.0.1:0'], path = '/ask' }, quic = { listen = ['127.0.0.1:0'] }";

/// What a program says; `None`, loudly, where it is not installed.
fn run(program: &str, package: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}; apt-get install {package}");
            eprintln!("SKIPPED: {program}: {error}; apt-get install {package}");
            None
        }
    }
}

/// What kdig shows of the reply, but for id and times; `None` if there is no kdig.
fn kdig(address: std::net::SocketAddr, options: &[&str], name: &str, kind: &str) -> Option<Vec<String>> {
    let (host, port) = (format!("@{}", address.ip()), address.port().to_string());
    let mut arguments = vec![&*host, "-p", &port, "+edns", "+noall", "+header", "+answer", "+authority", "+timeout=5"];
    arguments.extend([options, &[name, kind]].concat());
    let said = run("kdig", "knot-dnsutils", &arguments)?;
    let shown =
        said.lines().filter(|line| !line.contains("session") && !line.contains("TLS") && !line.contains("HTTP"));
    let without_id = |line: &str| line.split("; id: ").next().unwrap_or_default().to_owned();
    Some(shown.map(without_id).filter(|line| !line.is_empty()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_gives_the_same_answers() {
    let sites = Sites::start(2).await;
    let b1 = Backbone::start("b1", vec![sites.catalogue(1)]).await;
    let lb = Lb::configured(&["b1"], &[&b1], TRANSPORTS).await;
    eventually("its ranking", || lb.site() == [1]).await;
    let at = |transport| lb.daemon.encrypted_addresses().iter().find(|(over, _)| *over == transport).unwrap().1;
    let (tls, https, quic) = (at(Transport::Tls), at(Transport::Https), at(Transport::Quic));

    for (name, kind, least) in [
        ("www.sea1.glb.test", "A", "www.sea1.glb.test."),
        ("sea1.glb.test", "NS", "ns.sea1.glb.test."),
        ("nobody.sea1.glb.test", "A", "NXDOMAIN"),
        ("www.example.test", "A", "REFUSED"),
    ] {
        let udp = lb.daemon.dns_addresses()[0];
        let Some(wanted) = kdig(udp, &[], name, kind) else { return };
        assert!(wanted.iter().any(|line| line.contains(least)), "{wanted:?}");
        assert_eq!(kdig(udp, &["+tcp"], name, kind).unwrap(), wanted, "{name} over TCP");
        assert_eq!(kdig(tls, &["+tls"], name, kind).unwrap(), wanted, "{name} over TLS");
        assert_eq!(kdig(https, &["+https=/ask"], name, kind).unwrap(), wanted, "{name} over HTTPS, POST");
        assert_eq!(kdig(https, &["+https=/ask", "+https-get"], name, kind).unwrap(), wanted, "{name} over HTTPS, GET");
        assert_eq!(kdig(quic, &["+quic"], name, kind).unwrap(), wanted, "{name} over QUIC");
    }
    let totals = lb.daemon.dns_counters().totals();
    let asked = [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic].map(|over| totals.questions(over));
    assert_eq!(asked, [4, 4, 8, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_caches_keep_a_reply_as_long_as_dns_does() {
    let sites = Sites::start(2).await;
    let b1 = Backbone::start("b1", vec![sites.catalogue(1)]).await;
    let lb = Lb::configured(&["b1"], &[&b1], TRANSPORTS).await;
    eventually("an answer", || !lb.site().is_empty()).await;
    let https = lb.daemon.encrypted_addresses().iter().find(|(over, _)| *over == Transport::Https).unwrap().1;
    let negative = lb.ask("nobody.sea1.glb.test.", RecordType::A).message;
    let negative = negative.authorities[0].ttl;
    for (name, wanted) in [
        ("www.sea1.glb.test.", "max-age=17".to_owned()),
        ("nobody.sea1.glb.test.", format!("max-age={negative}")),
        ("www.example.test.", "max-age=0".to_owned()),
    ] {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let question = BASE64URL_NOPAD.encode(&question.to_vec().unwrap());
        for version in ["--http1.1", "--http2"] {
            let url = format!("https://{https}/ask?dns={question}");
            let Some(head) = run("curl", "curl", &["-sk", version, "-o", "/dev/null", "-D", "-", &url]) else { return };
            let head = head.to_lowercase();
            assert!(head.starts_with(if version == "--http2" { "http/2 200" } else { "http/1.1 200" }), "{head}");
            let cache = head.lines().find(|line| line.starts_with("cache-control: ")).unwrap_or_default();
            assert!(cache.ends_with(&wanted), "{name}: {cache}, not {wanted}");
            assert!(cache.contains("private"), "{cache}");
        }
    }
    let (_, metrics) = lb.admin("/metrics");
    assert!(metrics.contains("\ndglb_dns_certificate_expiry_seconds{file="), "{metrics}");
}

/// RFC 8467 and RFC 7828, as kdig shows them: 100 times 100 ms.
#[tokio::test(flavor = "multi_thread")]
async fn encrypted_replies_are_padded_and_time_outs_are_told() {
    let b1 = Backbone::start("b1", vec![]).await;
    let lb = Lb::configured(&["b1"], &[&b1], TRANSPORTS).await;
    let udp = lb.daemon.dns_addresses()[0];
    let shown = |address: std::net::SocketAddr, options: &[&str]| {
        let (host, port) = (format!("@{}", address.ip()), address.port().to_string());
        let arguments = [&[&*host, "-p", &port, "+timeout=5"], options, &["www.sea1.glb.test", "A"]].concat();
        run("kdig", "knot-dnsutils", &arguments)
    };
    let overs = [(Transport::Tls, "+tls"), (Transport::Https, "+https=/ask"), (Transport::Quic, "+quic")];
    for (transport, over) in overs {
        let address = lb.daemon.encrypted_addresses().iter().find(|(it, _)| *it == transport).unwrap().1;
        let Some(said) = shown(address, &[over, "+padding"]) else { return };
        // ";; Received 468 B"
        let length = said.lines().find_map(|line| line.strip_prefix(";; Received ")?.split(' ').next()?.parse().ok());
        let length: usize = length.unwrap_or_else(|| panic!("{said}"));
        assert!(said.contains("PADDING") && length.is_multiple_of(468), "{said}");
        assert!(!shown(address, &[over, "+nopadding", "+edns"]).unwrap().contains("PADDING"), "{over}");
    }
    let said = shown(udp, &["+tcp", "+ednsopt=11"]).unwrap();
    assert!(said.contains("Option (11): 0064"), "{said}");
    let said = shown(udp, &["+notcp", "+ednsopt=11"]).unwrap();
    assert!(!said.contains("Option (11)"), "{said}");
}
