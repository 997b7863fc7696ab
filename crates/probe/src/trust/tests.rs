//! Probes over TLS, of sites with certificates of every kind.

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use dglb_core::catalogue::{HttpProbe, Probe, ProbeKind, ProbeTls};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::probe::{Means, Outcome, Phase, probe};

/// An authority, and the trust in it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    trust: Trust,
}

impl Authority {
    fn new() -> Self {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), trust: Trust::read(file.path()).unwrap() }
    }

    /// A server's settings with a certificate of `name` that is valid from so many days from now on, for
    /// ten days.
    fn server(&self, name: &str, from_days: i64, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let today = SystemTime::now();
        let day = |n: i64| {
            let days = Duration::from_secs(86_400 * n.unsigned_abs());
            if n < 0 { today - days } else { today + days }
        };
        (params.not_before, params.not_after) = (day(from_days).into(), day(from_days + 10).into());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A site that answers over HTTP/1.1 or HTTP/2, as the handshake says.
async fn site(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = TlsAcceptor::from(Arc::clone(&config)).accept(stream).await else { continue };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(async |request: Request<Incoming>| {
                let text = format!("{:?} {}", request.version(), request.uri());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            });
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                if http2 {
                    drop(conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
                } else {
                    drop(conn::http1::Builder::new().serve_connection(io, service).await);
                }
            });
        }
    });
    address
}

fn https(to: SocketAddr, wish: impl FnOnce(&mut HttpProbe)) -> Probe {
    let mut http = HttpProbe::get(to.port(), "/page");
    http.tls = Some(ProbeTls { server_name: None, verify: true });
    wish(&mut http);
    let kind = ProbeKind::Http(Box::new(http));
    Probe { kind, interval_ms: 1_000, timeout_ms: 5_000, fall: 2, rise: 2 }
}

async fn ask(trust: &Trust, to: SocketAddr, wish: impl FnOnce(&mut HttpProbe)) -> Outcome {
    let means = Means { body_limit: 10_000, trust: trust.clone() };
    probe(&https(to, wish), to.ip(), &"www.foobar.com".parse().unwrap(), &means).await.outcome
}

fn unverified(http: &mut HttpProbe) {
    http.tls = Some(ProbeTls { server_name: None, verify: false });
}

#[tokio::test]
async fn both_versions_over_tls_phase_by_phase() {
    let authority = Authority::new();
    let to = site(authority.server("www.foobar.com", -1, &["h2", "http/1.1"])).await;
    for http2 in [false, true] {
        let body = if http2 { "HTTP/2.0 https://www.foobar.com" } else { "HTTP/1.1 /page" };
        let outcome = ask(&authority.trust, to, |http| (http.http2, http.body) = (http2, Some(body.into()))).await;
        let Outcome::Good(times) = outcome else { panic!("{outcome:?}") };
        let (tls, first_byte) = (times.tls.unwrap(), times.first_byte.unwrap());
        assert!(times.connect < tls && tls < first_byte && first_byte <= times.whole, "{times:?}");
    }
    // HTTP/2 is wanted and not to be had.
    let to = site(authority.server("www.foobar.com", -1, &["http/1.1"])).await;
    let outcome = ask(&authority.trust, to, |http| http.http2 = true).await;
    assert_eq!(outcome, Outcome::Failed(Failure::Tls(TlsFailure::Refused)));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (name, from, trust, expected) in [
        ("www.foobar.com", -20, &authority, "tls-expired"),
        ("www.foobar.com", 5, &authority, "tls-not-yet-valid"),
        ("www.example.com", -1, &authority, "tls-wrong-name"),
        ("www.foobar.com", -1, &other, "tls-untrusted"),
        ("www.foobar.com", -1, &authority, "ok"),
    ] {
        let to = site(authority.server(name, from, &[])).await;
        let outcome = ask(&trust.trust, to, |_| {}).await;
        assert_eq!(outcome.as_str(), expected);
        assert!(crate::probe::OUTCOMES.contains(&expected));
        assert_eq!(ask(&trust.trust, to, unverified).await.as_str(), "ok", "{expected}: nobody looks");
    }
    let to = site(authority.server("www.example.com", -1, &[])).await;
    let named = |http: &mut HttpProbe| {
        http.tls = Some(ProbeTls { server_name: Some("www.example.com".parse().unwrap()), verify: true });
    };
    assert_eq!(ask(&authority.trust, to, named).await.as_str(), "ok");
    assert_eq!(ask(&Trust::nobody(), to, named).await.as_str(), "tls-untrusted");
}

#[tokio::test]
async fn what_is_no_tls_at_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            match n {
                0 => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap(),
                1 => stream.set_zero_linger().unwrap(),
                2 => {}
                _ => kept.push(stream),
            }
        }
    });
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(ask(&Trust::nobody(), to, |_| {}).await.as_str());
    }
    // What was not read makes the kernel end the connection by a reset, which may come first.
    assert!(["tls-malformed", "reset"].contains(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], "reset");
    assert!(["truncated", "reset"].contains(&outcomes[2]), "{outcomes:?}");
    let means = Means { body_limit: 10, trust: Trust::nobody() };
    let hanging = Probe { timeout_ms: 200, ..https(to, |_| {}) };
    let seen = probe(&hanging, to.ip(), &"www.foobar.com".parse().unwrap(), &means).await;
    assert_eq!(seen.outcome, Outcome::Failed(Failure::TimedOut(Phase::Tls)));
}

#[test]
fn files_of_authorities() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(Trust::read(file.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(Trust::read(Path::new("/nowhere/at.all")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
