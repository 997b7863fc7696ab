//! How the sites of a service are measured: kinds of probes and what each of them takes for good.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::{dns::rtype, name::Name};

/// Most headers of one probe.
pub const MAX_HEADERS: usize = 16;
/// Most octets of all names and values of them.
const MAX_HEADER_OCTETS: usize = 4_096;
/// Most ranges of statuses of one probe.
pub const MAX_STATUS_RANGES: usize = 16;
/// Most octets of the text that a body must have.
pub const MAX_BODY_MATCH: usize = 1_024;
/// Headers that a probe sets by itself, or that would change what is asked.
const OWN_HEADERS: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "expect",
];

/// One way of measuring a site's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Probe {
    /// What is sent.
    pub kind: ProbeKind,
    /// Milliseconds between two probes of one address. Default 10 000.
    pub interval_ms: u32,
    /// Milliseconds until a probe has failed. Default 1 000.
    pub timeout_ms: u32,
    /// Failures in a row until down. Default 2.
    pub fall: u8,
    /// Successes in a row until up. Default 2.
    pub rise: u8,
}

/// What a probe sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// A TCP connection, closed at once.
    Tcp {
        /// TCP port.
        port: u16,
    },
    /// A request over HTTP or HTTPS.
    Http(Box<HttpProbe>),
    /// An ICMP or ICMPv6 echo request.
    Icmp,
    /// A DNS question over UDP; an answer without error that has records, or is truncated, is good.
    Dns {
        /// UDP port.
        port: u16,
        /// What is asked for; without it the service's host name.
        name: Option<Name>,
        /// TYPE (RFC 1035 section 3.2.2).
        rtype: u16,
    },
}

/// A request, and which response to it is good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpProbe {
    /// TCP port.
    pub port: u16,
    /// Path and query, starting with a slash.
    pub path: String,
    /// The method.
    pub method: Method,
    /// The host name that is asked for; without it the service's.
    pub host: Option<Name>,
    /// Further headers, each a name and a value.
    pub headers: Vec<(String, String)>,
    /// Which statuses are good; without any 200 to 399.
    pub statuses: Vec<StatusRange>,
    /// A text that the body must have.
    pub body: Option<String>,
    /// Octets of the body that are read; without it, and at most, what the measuring host is set to. A
    /// longer body is no failure.
    pub max_body: Option<NonZeroU32>,
    /// HTTP/2 (RFC 9113) and no other; else HTTP/1.1.
    pub http2: bool,
    /// TLS, and how; without it the request goes in the clear.
    pub tls: Option<ProbeTls>,
    /// Whether the body is the site's account of itself ([`crate::load`]).
    pub status_document: bool,
    /// How long each phase may take, beside the whole probe's [`Probe::timeout_ms`].
    #[serde(default)]
    pub phases: PhaseLimits,
}

/// Milliseconds that a phase of a request may take, each from the end of the one before. Without one the
/// probe's whole time-out alone ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhaseLimits {
    /// Until the connection stands.
    pub connect_ms: Option<NonZeroU32>,
    /// Until TLS stands.
    pub tls_ms: Option<NonZeroU32>,
    /// Until the head of the response is there.
    pub first_byte_ms: Option<NonZeroU32>,
    /// Until the end of the body.
    pub body_ms: Option<NonZeroU32>,
}

impl PhaseLimits {
    /// What each is called, in the order of the phases.
    pub fn named(&self) -> [(&'static str, Option<NonZeroU32>); 4] {
        [
            ("connect-timeout", self.connect_ms),
            ("tls-timeout", self.tls_ms),
            ("first-byte-timeout", self.first_byte_ms),
            ("body-timeout", self.body_ms),
        ]
    }
}

/// How a probe secures its connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProbeTls {
    /// The name that is asked for (SNI) and that the certificate must have; without it the request's
    /// host name.
    pub server_name: Option<Name>,
    /// Whether the certificate must be valid, of that name, and of an authority that the measuring host
    /// trusts.
    pub verify: bool,
}

/// The method of a request (RFC 9110 section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// The page with its body.
    #[default]
    Get,
    /// The head of the page alone.
    Head,
    /// What the server can do.
    Options,
}

/// Statuses from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StatusRange {
    /// The first, from 100.
    pub first: u16,
    /// The last, up to 599.
    pub last: u16,
}

impl ProbeKind {
    /// `GET path` with the service's host name over HTTP/1.1 in the clear; 2xx and 3xx are good.
    pub fn http(port: u16, path: &str) -> Self {
        Self::Http(Box::new(HttpProbe::get(port, path)))
    }

    /// Its name in configurations and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Http(http) if http.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Icmp => "icmp",
            Self::Dns { .. } => "dns",
        }
    }

    /// Every value of [`ProbeKind::as_str`].
    pub const NAMES: [&'static str; 5] = ["http", "https", "tcp", "icmp", "dns"];
}

impl HttpProbe {
    /// See [`ProbeKind::http`].
    pub fn get(port: u16, path: &str) -> Self {
        Self {
            port,
            path: path.to_owned(),
            method: Method::Get,
            host: None,
            headers: Vec::new(),
            statuses: Vec::new(),
            body: None,
            max_body: None,
            http2: false,
            tls: None,
            status_document: false,
            phases: PhaseLimits::default(),
        }
    }

    /// Whether a response with this status is good.
    pub fn is_good(&self, status: u16) -> bool {
        match &self.statuses[..] {
            [] => (200..=399).contains(&status),
            ranges => ranges.iter().any(|range| (range.first..=range.last).contains(&status)),
        }
    }

    /// Says of what nobody could send or receive what it is, what is allowed, and what was found.
    fn check(&self, range: &mut impl FnMut(&'static str, &'static str, String, bool)) {
        let good = self.path.starts_with('/') && self.path.bytes().all(|b| b.is_ascii_graphic());
        range("path", "printable ASCII starting with a slash", self.path.clone(), good);
        for (name, value) in &self.headers {
            let shown = format!("{name:?}: {value:?}");
            range(
                "header",
                "a token and printable ASCII, and none that a probe sets itself",
                shown,
                is_header(name, value),
            );
        }
        let octets: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let fits = self.headers.len() <= MAX_HEADERS && octets <= MAX_HEADER_OCTETS;
        range("headers", "at most 16 of together 4096 octets", format!("{} of {octets}", self.headers.len()), fits);
        let sound = |r: &StatusRange| r.first <= r.last && (100..=599).contains(&r.first) && r.last <= 599;
        let fits = self.statuses.len() <= MAX_STATUS_RANGES && self.statuses.iter().all(sound);
        range("statuses", "at most 16 ranges within 100 to 599", format!("{:?}", self.statuses), fits);
        if let Some(text) = &self.body {
            range("body", "1 to 1024 octets", text.len().to_string(), (1..=MAX_BODY_MATCH).contains(&text.len()));
        }
        let needs_body = self.body.is_some() || self.status_document;
        range(
            "method",
            "GET where a body is looked at",
            format!("{:?}", self.method),
            !needs_body || self.method == Method::Get,
        );
    }
}

/// RFC 9110 sections 5.1 and 5.5, but for what is obsolete there.
fn is_header(name: &str, value: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let own = OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name));
    let printable = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    !name.is_empty() && name.bytes().all(is_token) && !own && printable && value.trim() == value
}

/// Says of every setting of a probe what it is, what is allowed, what was found, and whether it is good.
pub(super) fn check_probe(probe: &Probe, range: &mut impl FnMut(&'static str, &'static str, String, bool)) {
    range(
        "interval",
        "100 ms to 1 day",
        probe.interval_ms.to_string(),
        (100..=86_400_000).contains(&probe.interval_ms),
    );
    range("timeout", "10 ms to 60 s", probe.timeout_ms.to_string(), (10..=60_000).contains(&probe.timeout_ms));
    range("fall", "1 to 100", probe.fall.to_string(), (1..=100).contains(&probe.fall));
    range("rise", "1 to 100", probe.rise.to_string(), (1..=100).contains(&probe.rise));
    match &probe.kind {
        ProbeKind::Http(http) => {
            http.check(range);
            for (what, limit) in http.phases.named() {
                let good = limit.is_none_or(|limit| limit.get() <= probe.timeout_ms);
                range(what, "at most the probe's timeout", limit.map_or(0, NonZeroU32::get).to_string(), good);
            }
        }
        ProbeKind::Dns { rtype: asked, .. } => {
            let good = !matches!(*asked, 0 | rtype::OPT | rtype::FIRST_META..=rtype::ANY);
            range("type", "a type of data", asked.to_string(), good);
        }
        ProbeKind::Tcp { .. } | ProbeKind::Icmp => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(http: HttpProbe) -> Vec<&'static str> {
        let kind = ProbeKind::Http(Box::new(http));
        let probe = Probe { kind, interval_ms: 10_000, timeout_ms: 1_000, fall: 2, rise: 2 };
        let mut found = Vec::new();
        check_probe(&probe, &mut |what, _, _, good| found.extend((!good).then_some(what)));
        found
    }

    fn get() -> HttpProbe {
        HttpProbe::get(80, "/")
    }

    #[test]
    fn without_ranges_success_and_redirection_are_good() {
        let http = get();
        for (status, good) in [(199, false), (200, true), (302, true), (399, true), (400, false), (503, false)] {
            assert_eq!(http.is_good(status), good, "{status}");
        }
        let http = HttpProbe { statuses: vec![StatusRange { first: 401, last: 403 }], ..get() };
        assert_eq!((http.is_good(200), http.is_good(402)), (false, true));
    }

    #[test]
    fn what_cannot_be_sent_or_received_is_a_mistake() {
        let header = |name: &str, value: &str| HttpProbe { headers: vec![(name.into(), value.into())], ..get() };
        let status = |first, last| HttpProbe { statuses: vec![StatusRange { first, last }], ..get() };
        assert_eq!(mistakes(get()), Vec::<&str>::new());
        assert_eq!(mistakes(header("x-probe", "dglb, at \"sea1\"")), Vec::<&str>::new());
        for bad in [("", "x"), ("a b", "x"), ("x", "a\r\nb: c"), ("x", " a"), ("Host", "x"), ("x", "\u{e9}")] {
            assert_eq!(mistakes(header(bad.0, bad.1)), ["header"], "{bad:?}");
        }
        assert_eq!(mistakes(HttpProbe { headers: vec![("a".into(), "b".into()); 17], ..get() }), ["headers"]);
        assert_eq!(mistakes(header("x", &"x".repeat(4_096))), ["headers"]);
        assert_eq!(mistakes(status(200, 200)), Vec::<&str>::new());
        for (first, last) in [(99, 200), (300, 200), (500, 600)] {
            assert_eq!(mistakes(status(first, last)), ["statuses"], "{first} {last}");
        }
        assert_eq!(mistakes(HttpProbe { body: Some(String::new()), ..get() }), ["body"]);
        let head = HttpProbe { method: Method::Head, body: Some("ok".into()), ..get() };
        assert_eq!(mistakes(head), ["method"]);
    }
}
