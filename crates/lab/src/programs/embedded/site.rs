//! `site`: an HTTP site that says who it is. Faults are switched on by files in its directory
//! ([`set_fault`]), so a test needs no connection to break it.
//!
//! ```toml
//! [host.program]      # of the [[host]] site1
//! kind = "site"
//! name = "site1"                      # default: the host's name
//! hosts = ["www.glb.foobar.test"]     # the Host headers it expects; others are served and counted
//! port = 80                           # default
//! tls = { certificate = "…", expired = "…", key = "…" }   # PEM; HTTPS too, on port 443
//! ```
//!
//! `GET /` answers 200 with the site's name, `GET /health` with `ok`; every answer carries `X-Site`
//! and `X-Host-Known`.

mod serve;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{HOST, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::RunError;
use super::counters::{ADMIN_SOCKET, Counter, Registry};
use crate::programs::settings::{self, Family};
use crate::programs::{HostContext, Launch, PrepareError, Ready};

const KIND: &str = "site";
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
/// How long a hanging site holds a request before it gives up.
const HANG: Duration = Duration::from_secs(120);
/// How often a hanging site looks whether it still hangs.
const HANG_STEP: Duration = Duration::from_millis(100);

/// A fault of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers everything with status 500.
    Error,
    /// It accepts connections and requests and does not answer.
    Hang,
    /// It answers everything with status 200 and a page that is not the wanted one.
    WrongBody,
    /// It accepts connections and resets them.
    Reset,
    /// It answers one octet after the other, so slowly that no answer is ever whole.
    SlowLoris,
    /// Its certificate has expired.
    Expired,
}

impl Fault {
    /// All that there are.
    pub const ALL: [Self; 6] = [Self::Error, Self::Hang, Self::WrongBody, Self::Reset, Self::SlowLoris, Self::Expired];

    fn file(self, dir: &Path) -> PathBuf {
        dir.join(match self {
            Self::Error => "fault-error",
            Self::Hang => "fault-hang",
            Self::WrongBody => "fault-wrong-body",
            Self::Reset => "fault-reset",
            Self::SlowLoris => "fault-slow-loris",
            Self::Expired => "fault-expired",
        })
    }

    fn is_on(self, dir: &Path) -> bool {
        self.file(dir).exists()
    }
}

/// Gives the site whose directory this is a fault, or none; it holds from the next request on.
///
/// # Errors
///
/// When the directory cannot be written.
pub fn set_fault(dir: &Path, fault: Option<Fault>) -> io::Result<()> {
    for kind in Fault::ALL {
        let file = kind.file(dir);
        if fault == Some(kind) {
            fs::write(file, "")?;
        } else if file.exists() {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
    port: Option<u16>,
    addresses: Option<Vec<IpAddr>>,
    tls: Option<TlsText>,
}

/// Certificates of a site that speaks HTTPS, too, in PEM.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TlsText {
    certificate: String,
    /// Shown instead with [`Fault::Expired`].
    expired: String,
    /// The key of both.
    key: String,
}

/// What the process reads from its file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    name: String,
    hosts: Vec<String>,
    listen: Vec<SocketAddr>,
    tls: Option<TlsText>,
    dir: PathBuf,
}

/// Checks and writes the configuration.
pub(in crate::programs) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings: Settings = settings::read(KIND, table)?;
    let name = settings.name.unwrap_or_else(|| host.name.to_owned());
    if HeaderValue::from_str(&name).is_err() {
        return Err(PrepareError::Settings { kind: KIND, reason: format!("name {name:?} does not fit in a header") });
    }
    let port = settings.port.unwrap_or(HTTP_PORT);
    let listen = settings::listen(host, settings.addresses.as_deref(), Family::Dual, port)?;
    set_fault(host.dir, None).map_err(|source| PrepareError::File { path: host.dir.to_owned(), source })?;
    let ready = Ready::Tcp(listen[0]);
    let config = Config { name, hosts: settings.hosts, listen, tls: settings.tls, dir: host.dir.to_owned() };
    let argv = settings::embedded_command(host, KIND, &config)?;
    Ok(Launch { argv, env: Vec::new(), ready })
}

/// The process.
pub(super) async fn serve(config: Config) -> Result<(), RunError> {
    let mut registry = Registry::default();
    let name = HeaderValue::from_str(&config.name).map_err(|error| RunError::Config(error.to_string()))?;
    let site = Arc::new(Site {
        name,
        hosts: config.hosts,
        dir: config.dir.clone(),
        requests: registry.counter("lab_requests_total"),
        health: registry.counter("lab_health_requests_total"),
        unknown_hosts: registry.counter("lab_unknown_hosts_total"),
        faults: registry.counter("lab_faults_total"),
    });
    let app = Router::new()
        .route("/", get(root))
        .route("/health", get(health))
        .layer(middleware::from_fn_with_state(site.clone(), about))
        .with_state(site);
    let tls = config.tls.as_ref().map(serve::Tls::new).transpose().map_err(RunError::Config)?;
    let mut listeners = Vec::with_capacity(2 * config.listen.len());
    for address in config.listen {
        listeners.push((bind(address).await?, None));
        if let Some(tls) = &tls {
            listeners.push((bind(SocketAddr::new(address.ip(), HTTPS_PORT)).await?, Some(tls.clone())));
        }
    }
    registry.publish(&config.dir.join(ADMIN_SOCKET))?;
    let mut servers = JoinSet::new();
    for (listener, tls) in listeners {
        let at = serve::Listening { listener, tls, dir: config.dir.clone(), app: app.clone() };
        servers.spawn(at.serve());
    }
    let ended = servers.join_next().await;
    Err(RunError::Ended(format!("the HTTP server ended: {ended:?}")))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| RunError::Socket { what: format!("tcp {address}"), source })
}

struct Site {
    name: HeaderValue,
    hosts: Vec<String>,
    dir: PathBuf,
    requests: Counter,
    health: Counter,
    unknown_hosts: Counter,
    faults: Counter,
}

impl Site {
    /// Whether a Host header names us; its port does not matter.
    fn knows(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.hosts.iter().any(|known| known.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.')))
    }
}

async fn root(State(site): State<Arc<Site>>) -> String {
    format!("{}\n", site.name.to_str().unwrap_or_default())
}

async fn health(State(site): State<Arc<Site>>) -> &'static str {
    site.health.add();
    "ok\n"
}

/// Counts, applies the fault and adds the headers that every answer carries.
async fn about(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    site.requests.add();
    let known = request.headers().get(HOST).and_then(|host| host.to_str().ok()).is_some_and(|host| site.knows(host));
    if !known {
        site.unknown_hosts.add();
    }
    let mut response = if Fault::Hang.is_on(&site.dir) {
        site.faults.add();
        hang(&site).await
    } else if Fault::Error.is_on(&site.dir) {
        site.faults.add();
        failure()
    } else if Fault::WrongBody.is_on(&site.dir) {
        site.faults.add();
        Response::new("This domain is for sale.\n".into())
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-site"), site.name.clone());
    headers.insert(HeaderName::from_static("x-host-known"), HeaderValue::from_static(if known { "yes" } else { "no" }));
    response
}

/// Holds a request until the fault is taken away or the client has surely gone.
async fn hang(site: &Site) -> Response {
    let mut waited = Duration::ZERO;
    while waited < HANG && Fault::Hang.is_on(&site.dir) {
        tokio::time::sleep(HANG_STEP).await;
        waited += HANG_STEP;
    }
    failure()
}

fn failure() -> Response {
    let mut response = Response::new("fault\n".into());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
