//! What a daemon can be asked, or told, beyond its status: a request goes to the daemon's own task and
//! waits for its word.
//!
//! Invariant: a request that changes something carries a header that no web page can send unasked, so
//! nobody's browser on this host can be made to change anything.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::RawQuery,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// The header of requests that change something; its value does not matter.
pub const CHANGE_HEADER: &str = "x-dglb-change";
/// How long the daemon has.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest query, in octets.
const MAX_QUERY: usize = 2_048;

/// A request that the daemon is to answer.
#[derive(Debug)]
pub struct Request {
    /// The path that was asked for.
    pub path: &'static str,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Where the answer goes: a document, or what is wrong with the request.
    pub reply: oneshot::Sender<Result<Value, String>>,
}

/// Paths whose requests go to a daemon's task.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Paths that only ask (GET).
    pub look: &'static [&'static str],
    /// Paths that change something (POST).
    pub change: &'static [&'static str],
    /// To whom; while it is full, requests are turned away.
    pub to: mpsc::Sender<Request>,
}

impl Requests {
    pub(super) fn router(self) -> Router {
        let to = Arc::new(self.to);
        let mut router = Router::new();
        for path in self.look {
            let to = Arc::clone(&to);
            let handler = move |RawQuery(query): RawQuery| async move { ask(&to, path, query).await };
            router = router.route(path, get(handler));
        }
        for path in self.change {
            let to = Arc::clone(&to);
            let handler = move |headers: HeaderMap, RawQuery(query): RawQuery| async move {
                if headers.contains_key(CHANGE_HEADER) {
                    ask(&to, path, query).await
                } else {
                    refuse(StatusCode::FORBIDDEN, format!("a change needs the header {CHANGE_HEADER}"))
                }
            };
            router = router.route(path, post(handler));
        }
        router
    }
}

async fn ask(to: &mpsc::Sender<Request>, path: &'static str, query: Option<String>) -> axum::response::Response {
    let Some(parameters) = parameters(query.as_deref().unwrap_or_default()) else {
        return refuse(StatusCode::BAD_REQUEST, "the query cannot be read".to_owned());
    };
    let (reply, answer) = oneshot::channel();
    if to.try_send(Request { path, parameters, reply }).is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too much is being asked at once, or it stops".to_owned());
    }
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(document))) => axum::Json(document).into_response(),
        Ok(Ok(Err(wrong))) => refuse(StatusCode::UNPROCESSABLE_ENTITY, wrong),
        Ok(Err(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "it stops".to_owned()),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "it does not answer in time".to_owned()),
    }
}

fn refuse(code: StatusCode, text: String) -> axum::response::Response {
    (code, text + "\n").into_response()
}

/// `a=b&c=d`, with `%` and two hexadecimal digits for what cannot stand there.
fn parameters(query: &str) -> Option<BTreeMap<String, String>> {
    if query.len() > MAX_QUERY {
        return None;
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').and_then(|(key, value)| Some((decoded(key)?, decoded(value)?)))).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        octets.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused() {
        let read = parameters("prefix=2001:db8::/32&limit=5&x=%2Fa%20").unwrap();
        let pairs: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("limit", "5"), ("prefix", "2001:db8::/32"), ("x", "/a ")]);
        assert_eq!(parameters(""), Some(BTreeMap::new()));
        for bad in ["a", "a=%", "a=%2", "a=%zz", "a=%ff", &format!("a={}", "x".repeat(MAX_QUERY))] {
            assert_eq!(parameters(bad), None, "{bad}");
        }
    }
}
