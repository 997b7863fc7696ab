//! What a site says of itself in a response: ORCA load reports (the header `endpoint-load-metrics` as
//! text, JSON or binary) and status documents.
//!
//! Invariant: total, whatever stands there, and bounded; what cannot be read says nothing.

use data_encoding::{BASE64, BASE64_NOPAD};
use dglb_core::load::{Stated, Told};
use hyper::header::HeaderMap;
use prost::Message;
use serde_json::{Map, Value};

/// The header with a report as text, JSON or binary, which its first word tells.
const REPORT: &str = "endpoint-load-metrics";
/// The header with a binary report alone.
const BINARY: &str = "endpoint-load-metrics-bin";
/// Longest header value and longest status document in octets; of longer ones nothing is believed.
const MAX_HEADER: usize = 4_096;
const MAX_DOCUMENT: usize = 16 << 10;

/// What the headers of a response say. Nothing, where they say nothing or nothing that can be read.
pub(crate) fn of_headers(headers: &HeaderMap) -> Told {
    let value = |name| headers.get(name).map(|v: &hyper::header::HeaderValue| v.as_bytes());
    let report = value(REPORT).and_then(of_header).or_else(|| value(BINARY).and_then(of_binary));
    report.unwrap_or_default()
}

/// A value of the header `endpoint-load-metrics`.
pub(crate) fn of_header(value: &[u8]) -> Option<Told> {
    if value.len() > MAX_HEADER {
        return None;
    }
    let text = str::from_utf8(value).ok()?.trim();
    let (form, rest) = text.split_once(char::is_whitespace)?;
    match form.to_ascii_uppercase().as_str() {
        "TEXT" => Some(of_pairs(rest.split(','))),
        "JSON" => of_json(rest),
        "BIN" => of_binary(rest.as_bytes()),
        _ => None,
    }
}

/// A status document: a JSON object, or lines of `name = value`. Beside the figures of a report it may
/// have `state`: `up`, `draining` or `down`.
pub(crate) fn of_document(body: &[u8]) -> Option<Told> {
    if body.len() > MAX_DOCUMENT {
        return None;
    }
    let text = str::from_utf8(body).ok()?.trim();
    if text.starts_with('{') { of_json(text) } else { Some(of_pairs(text.lines())) }
}

/// The message `OrcaLoadReport` (xds.data.orca.v3), as far as it is of use here.
#[derive(Clone, PartialEq, Message)]
struct Report {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "2")]
    mem_utilization: f64,
    /// Whole requests in a second, as older sites say it.
    #[prost(uint64, tag = "3")]
    rps: u64,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(map = "string, double", tag = "8")]
    named_metrics: std::collections::HashMap<String, f64>,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

fn of_binary(base64: &[u8]) -> Option<Told> {
    if base64.len() > MAX_HEADER {
        return None;
    }
    let octets = BASE64.decode(base64).or_else(|_| BASE64_NOPAD.decode(base64)).ok()?;
    let report = Report::decode(&octets[..]).ok()?;
    let mut gathered = Gathered::default();
    // Protobuf cannot tell nothing from zero.
    for (name, value) in [
        ("cpu_utilization", report.cpu_utilization),
        ("mem_utilization", report.mem_utilization),
        ("rps", report.rps as f64),
        ("rps_fractional", report.rps_fractional),
        ("eps", report.eps),
        ("application_utilization", report.application_utilization),
    ] {
        if value != 0.0 {
            gathered.figure(name, value);
        }
    }
    report.named_metrics.iter().for_each(|(name, value)| gathered.named(name, *value));
    Some(gathered.told())
}

fn of_json(text: &str) -> Option<Told> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let mut gathered = Gathered::default();
    for (name, value) in &object {
        match (snake_case(name).as_str(), value) {
            ("state", Value::String(state)) => gathered.state(state),
            ("named_metrics", Value::Object(metrics)) => {
                metrics.iter().filter_map(|(n, v)| Some((n, v.as_f64()?))).for_each(|(n, v)| gathered.named(n, v));
            }
            // Protobuf's JSON has whole numbers of 64 bits in quotes.
            (name, Value::String(number)) => number.parse().into_iter().for_each(|n| gathered.figure(name, n)),
            (name, value) => value.as_f64().into_iter().for_each(|n| gathered.figure(name, n)),
        }
    }
    Some(gathered.told())
}

fn of_pairs<'t>(pairs: impl Iterator<Item = &'t str>) -> Told {
    let mut gathered = Gathered::default();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=').or_else(|| pair.split_once(':')) else { continue };
        let (name, value) = (name.trim(), value.trim());
        if name == "state" {
            gathered.state(value);
        } else if let Ok(figure) = value.parse() {
            match name.strip_prefix("named_metrics.") {
                Some(name) => gathered.named(name, figure),
                None => gathered.figure(name, figure),
            }
        }
    }
    gathered.told()
}

/// `cpuUtilization`, as protobuf's JSON has it, is `cpu_utilization`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// What was read so far.
#[derive(Debug, Default)]
struct Gathered {
    told: Told,
    cpu: Option<u32>,
    whole_requests: Option<u64>,
}

impl Gathered {
    fn figure(&mut self, name: &str, value: f64) {
        match name {
            "application_utilization" => self.told.utilization = Told::thousandths(value),
            "cpu_utilization" | "cpu" => self.cpu = Told::thousandths(value),
            "mem_utilization" | "mem" => self.told.memory = Told::thousandths(value),
            "rps_fractional" => self.told.requests = Told::whole_thousandths(value),
            "rps" => self.whole_requests = Told::whole_thousandths(value),
            "eps" => self.told.errors = Told::whole_thousandths(value),
            _ => {}
        }
    }

    /// A metric of the site's own; two of them are a word on its state.
    fn named(&mut self, name: &str, value: f64) {
        if value > 0.0 {
            self.state(name);
        }
    }

    /// The worse of several words counts.
    fn state(&mut self, word: &str) {
        let stated = match word {
            "draining" => Stated::Draining,
            "down" => Stated::Down,
            _ => return,
        };
        self.told.state = self.told.state.max(Some(stated));
    }

    fn told(self) -> Told {
        let Self { told, cpu, whole_requests } = self;
        Told { utilization: told.utilization.or(cpu), requests: told.requests.or(whole_requests), ..told }
    }
}

#[cfg(test)]
mod tests;
