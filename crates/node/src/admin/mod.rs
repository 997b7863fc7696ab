//! The admin endpoint: HTTP on a unix socket or on loopback, never on any other address.
//!
//! `/metrics` (OpenMetrics text), `/livez`, `/readyz` (503 with the reasons until ready) and
//! `/api/v1/status` (JSON). It has a thread and a runtime of its own, so it answers however
//! overloaded the rest of the daemon is.

mod address;
mod listener;
mod readiness;
mod requests;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Tasks;

pub use address::{Address, AddressError};
pub use readiness::Readiness;
pub use requests::{CHANGE_HEADER, Request, Requests};

use listener::{Bound, Capped};

/// Connections served at a time; a scraper needs one.
const MAX_CONNECTIONS: usize = 32;
/// A connection lives no longer than this, busy or not, so none can be held for ever.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long answers under way may take once the daemon stops.
const DRAIN: Duration = Duration::from_millis(500);

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A bound admin endpoint that nobody serves yet.
#[derive(Debug)]
pub struct Admin {
    bound: Bound,
    requests: Option<Requests>,
}

/// Why an admin endpoint could not be bound.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another process listens on the unix socket.
    #[error("admin {0}: another process listens there")]
    InUse(Address),
    /// Something that is no socket has the path.
    #[error("admin {0}: the path exists and is no socket; it is left alone")]
    NotASocket(Address),
    /// The system refused.
    #[error("admin {address}: {source}")]
    Socket {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
}

/// What the endpoint shows.
struct Shown {
    registry: Registry,
    readiness: Readiness,
}

impl Admin {
    /// Binds. The socket file of a dead process is replaced; a living one's is an error.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        Ok(Self { bound: Bound::new(address)?, requests: None })
    }

    /// Lets these requests go to the daemon's own task.
    pub fn set_requests(&mut self, requests: Requests) {
        self.requests = Some(requests);
    }

    /// Where it listens; with port 0 configured, the port that the system chose.
    pub fn local_address(&self) -> Address {
        self.bound.address().clone()
    }

    /// Starts the thread that answers until the daemon stops. `status` is what `/api/v1/status` says; it is
    /// asked for on that thread, which must not be held up, but what it has to wait for may be awaited.
    ///
    /// # Errors
    /// When the system has no room for a thread or its runtime.
    pub fn run<S>(
        self,
        tasks: &mut Tasks,
        registry: Registry,
        readiness: Readiness,
        status: impl Fn() -> S + Send + Sync + 'static,
    ) -> io::Result<()>
    where
        S: Future<Output = serde_json::Value> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let status = Arc::new(status);
        let show = move || {
            let status = Arc::clone(&status);
            async move { Json(status().await) }
        };
        let mut router = router(Arc::new(Shown { registry, readiness })).route("/api/v1/status", get(show));
        if let Some(requests) = self.requests {
            router = router.merge(requests.router());
        }
        let stop = tasks.stop_token();
        let bound = self.bound;
        tasks.spawn_thread("admin", move || {
            if let Err(error) = runtime.block_on(serve(bound, router, stop)) {
                tracing::error!("the admin endpoint failed: {error}");
            }
        })
    }
}

async fn serve(bound: Bound, router: Router, stop: CancellationToken) -> io::Result<()> {
    let drained = stop.clone();
    match bound.listen()? {
        listener::Listening::Unix(listener, _file) => {
            let listener = Capped::new(listener, MAX_CONNECTIONS, MAX_AGE);
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            within(DRAIN, drained, serving.into_future()).await
        }
        listener::Listening::Tcp(listener) => {
            let listener = Capped::new(listener, MAX_CONNECTIONS, MAX_AGE);
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            within(DRAIN, drained, serving.into_future()).await
        }
    }
}

/// Waits for `serving`, but no longer than `drain` after `stop`.
async fn within(
    drain: Duration,
    stop: CancellationToken,
    serving: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = overdue => Ok(()),
    }
}

fn router(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "live\n"))
        .route("/readyz", get(ready))
        .with_state(shown)
}

async fn metrics(State(shown): State<Arc<Shown>>) -> axum::response::Response {
    let mut body = String::new();
    match text::encode(&mut body, &shown.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(shown): State<Arc<Shown>>) -> (StatusCode, String) {
    match shown.readiness.reasons() {
        reasons if reasons.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

#[cfg(test)]
mod tests;
