//! Reads the `probe` tables of a service.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use dglb_core::catalogue::{HttpProbe, Method, PhaseLimits, Probe, ProbeKind, ProbeTls, StatusRange};
use dglb_node::config::{Section, boolean, choice, duration, integer, size, text};
use hickory_proto::rr::RecordType;

use super::zone::milliseconds;

/// Reads all of them; at least one is needed.
pub(super) fn probes(section: &Section<'_>) -> Option<Vec<Probe>> {
    if !section.has("probe") {
        section.problem(
            "probe",
            "how shall the sites be measured? Such as probe = [{ kind = \"http\", port = 80, path = \"/\" }]",
        );
    }
    let tables = section.tables("probe");
    let probes: Option<Vec<_>> = tables.iter().map(probe).collect();
    probes.filter(|p| !p.is_empty())
}

fn probe(section: &Section<'_>) -> Option<Probe> {
    let kinds = ["http", "https", "tcp", "icmp", "dns"].map(|kind| (kind, kind));
    let kind = match section.required("kind", choice(&kinds)) {
        Some("tcp") => Some(ProbeKind::Tcp { port: port(section, 80) }),
        Some("icmp") => Some(ProbeKind::Icmp),
        Some("dns") => Some(ProbeKind::Dns {
            port: port(section, 53),
            name: section.optional("question", text),
            rtype: section.or("type", text, RecordType::A).into(),
        }),
        Some(kind) => Some(ProbeKind::Http(Box::new(http(section, kind == "https")))),
        None => {
            // One mistake is enough.
            section.optional::<String>("path", text);
            port(section, 80);
            None
        }
    };
    let interval = section.or("interval", duration("100ms", "1day"), Duration::from_secs(10));
    let timeout = section.or("timeout", duration("10ms", "60s"), Duration::from_secs(1));
    if timeout > interval {
        section.warning("timeout", "a probe may take longer than the time from one to the next");
    }
    let fall = section.or("fall", integer(1..=100u8), 2);
    let rise = section.or("rise", integer(1..=100u8), 2);
    Some(Probe { kind: kind?, interval_ms: milliseconds(interval), timeout_ms: milliseconds(timeout), fall, rise })
}

fn port(section: &Section<'_>, default: u16) -> u16 {
    section.or("port", integer(1..=u16::MAX), default)
}

fn http(section: &Section<'_>, secured: bool) -> HttpProbe {
    let methods = [("GET", Method::Get), ("HEAD", Method::Head), ("OPTIONS", Method::Options)];
    let max_body: Option<u64> = section.optional("max-body", size(1..=u64::from(u32::MAX)));
    let tls = secured.then(|| ProbeTls {
        server_name: section.optional("server-name", text),
        verify: section.or("verify", boolean, true),
    });
    HttpProbe {
        port: port(section, if secured { 443 } else { 80 }),
        path: section.or("path", text, "/".to_owned()),
        method: section.or("method", choice(&methods), Method::Get),
        host: section.optional("host", text),
        headers: section.list("headers", text).into_iter().map(|Header(name, value)| (name, value)).collect(),
        statuses: section.list("status", text).into_iter().map(|Statuses(range)| range).collect(),
        body: section.optional("body", text),
        max_body: max_body.and_then(|most| NonZeroU32::new(u32::try_from(most).unwrap_or(u32::MAX))),
        http2: section.or("version", choice(&[("1.1", false), ("2", true)]), false),
        tls,
        status_document: section.or("status-document", boolean, false),
        phases: phases(section, secured),
    }
}

fn phases(section: &Section<'_>, secured: bool) -> PhaseLimits {
    let limit = |key| {
        let limit: Option<Duration> = section.optional(key, duration("1ms", "60s"));
        limit.and_then(|limit| NonZeroU32::new(milliseconds(limit)))
    };
    PhaseLimits {
        connect_ms: limit("connect-timeout"),
        tls_ms: if secured { limit("tls-timeout") } else { None },
        first_byte_ms: limit("first-byte-timeout"),
        body_ms: limit("body-timeout"),
    }
}

/// `name: value`
struct Header(String, String);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or_else(|| format!("\"{text}\" has no colon"))?;
        Ok(Self(name.trim().to_owned(), value.trim().to_owned()))
    }
}

/// `200` or `200-299`
struct Statuses(StatusRange);

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let wrong = |_| format!("\"{text}\" is neither a status nor, with another, a range such as \"200-299\"");
            text.trim().parse().map_err(wrong)
        };
        Ok(Self(StatusRange { first: number(first)?, last: number(last)? }))
    }
}
