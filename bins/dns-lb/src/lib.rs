//! dns-lb: sits at a point of presence beside an ISP's resolvers, measures the sites of every
//! service from there, answers with the best one, and tells every dns-b (design section 5).
//!
//! ```text
//! sites ◀─ prober ──samples──▶ ┌────────┐ ──directory──▶ dglb_node::serve ◀──▶ resolvers
//! resolv.conf ─▶ resolver ───▶ │ keeper │
//! dns-b ◀──────▶ uplink ─────▶ └────────┘ ──messages, targets──▶ uplink, prober
//! ```
//!
//! The keeper is pure and decides; one task brings it what happened and carries
//! out what it says. DNS threads only ever read the directory that is published last.

pub mod addresses;
pub mod config;
mod explain;
mod force;
pub mod isp;
pub mod keeper;
pub mod measurements;
pub mod metrics;
pub mod proof;
pub mod registration;
pub mod reports;
pub mod resolver;
pub mod self_check;
mod status;
pub mod uplink;
mod work;

use std::{
    ffi::OsString,
    future::ready,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Termination},
    sync::Arc,
    time::Duration,
};

use dglb_core::{
    dns::{Role, Transport},
    peer_name::PeerName,
    proto::message::PeerRole,
    published::Publisher,
};
use dglb_node::{
    admin::{self, Admin, Readiness, Request, Requests},
    boot::Boot,
    cli,
    config::{ConfigError, Loaded},
    explain::PATH as EXPLAIN,
    journal,
    lifecycle::{Daemon, StartError, Tasks},
    link::{LinkMetrics, with_certificate},
    metrics::DnsCounters,
    serve::{ConductKeeper, Content, Endpoint, Relay, RelayMetrics, Server},
    store::{Committer, Store, StoreFigures},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::{
    config::Config,
    keeper::{Keeper, Restored},
    metrics::Metrics,
    uplink::Uplink,
    work::{Place, Work},
};

/// Names of questions that were relayed and wait for the keeper; beyond that it misses some.
const ASKED: usize = 64;
/// Requests of the operator that may wait; more are turned away.
const REQUESTS: usize = 16;

/// A running dns-lb.
#[derive(Debug)]
pub struct DnsLb {
    config: Config,
    dns: Vec<SocketAddr>,
    encrypted: Vec<(Transport, SocketAddr)>,
    admin: admin::Address,
    reloads: mpsc::Sender<Place>,
    conduct: ConductKeeper,
    counters: DnsCounters,
    metrics: Metrics,
    readiness: Readiness,
}

/// The whole of `main`: `arguments` with the program's name first.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run::<DnsLb>(arguments).report()
}

impl DnsLb {
    /// Where DNS is answered, with the real ports, in the configuration's order.
    pub fn dns_addresses(&self) -> &[SocketAddr] {
        &self.dns
    }

    /// Where DNS is answered over TLS, HTTPS and QUIC, with the real ports.
    pub fn encrypted_addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.encrypted
    }

    /// Where the admin endpoint listens.
    pub fn admin_address(&self) -> &admin::Address {
        &self.admin
    }

    /// The counters of the DNS side.
    pub fn dns_counters(&self) -> &DnsCounters {
        &self.counters
    }

    /// The counters of measuring and reporting.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether a link was up and every service has a ranking.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Daemon for DnsLb {
    const NAME: &'static str = "dns-lb";
    const ABOUT: &'static str =
        "Measures the sites of every service from beside an ISP's resolvers and answers with the best one";
    const DRAIN: Duration = Duration::from_secs(5);
    type Config = Config;

    fn load(path: &Path) -> Result<Loaded<Config>, ConfigError> {
        config::load(path)
    }

    async fn start(config: Config, tasks: &mut Tasks) -> Result<Self, StartError> {
        let endpoints: Vec<_> =
            config.dns.listen.iter().map(|address| Endpoint { address: *address, role: Role::DnsLb }).collect();
        let mut server = Server::bind(&endpoints, config.dns.serving.settings.clone())?;
        let (admin, requests) = bind_admin(&config)?;

        let (boot, metrics, counters, links) =
            (Boot::now(), Metrics::default(), DnsCounters::new(), LinkMetrics::default());
        let readiness = Readiness::new();
        let mut keeper = Keeper::new(keeper_settings(&config), metrics.clone(), std::time::Instant::now());
        let mut registry = dglb_node::metrics::registry(Self::NAME, tasks);
        let open = |directory: &PathBuf| open_store(directory, &mut keeper, &mut registry, tasks);
        let committer = config.state_dir.as_ref().map(open).transpose()?;
        let journal = journal::start(config.decisions.clone(), &mut registry, tasks)?;
        let publisher = Publisher::new(keeper.directory().clone());
        let conduct = ConductKeeper::start(&config.dns.serving, &mut registry, tasks);
        let content = Content { directory: publisher.reader(), conduct: conduct.reader() };
        let (reloads, reloaded) = mpsc::channel(1);
        let (shown, status) = watch::channel(Arc::new(Value::Null));
        let (relay, servers) = watch::channel(Arc::default());
        let (tell, asked) = mpsc::channel(ASKED);
        let relayed = RelayMetrics::default();
        relayed.register(&mut registry);
        server.set_relay(Relay { servers, asked: tell, metrics: relayed });
        let daemon = Self {
            dns: server.local_addresses(),
            encrypted: server.encrypted_addresses(),
            admin: admin.local_address(),
            reloads,
            counters: counters.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            conduct,
            config,
        };

        counters.register(&mut registry);
        server.register(&mut registry);
        links.register(&mut registry);
        metrics.register(&mut registry);
        let name = PeerName::new(PeerRole::DnsLb, daemon.config.identity.clone());
        let settings = daemon.config.map.security.start(name, &mut registry, tasks)?;
        let credentials = settings.tls.clone();
        let held = keeper.fleet_stamp();
        let uplink = Uplink::start(&daemon.config, (boot, held), (settings, &links), tasks);
        let work = Work::new(
            keeper,
            work::Inputs { uplink, asked, requests, content: content.clone() },
            &daemon.config,
            work::Outputs { publisher, relay, shown, readiness: readiness.clone(), metrics },
            (committer, journal),
        );
        let stop = tasks.stop_token();
        tasks.spawn("keeper", work.run(reloaded, stop));
        let internal = |error: std::io::Error| StartError::Internal(error.to_string());
        server.run(content, &counters, tasks).map_err(internal)?;
        let dns = daemon.dns.clone();
        let show = move || with_certificate(full_status(&status.borrow().clone(), boot, &dns), credentials.as_ref());
        admin.run(tasks, registry, readiness, move || ready(show())).map_err(internal)?;
        Ok(daemon)
    }

    fn reload(&mut self, config: Config) -> Result<(), String> {
        if let Some(key) = status::immutable_change(&self.config, &config) {
            return Err(format!("{key} has changed, which takes a restart"));
        }
        self.reloads.try_send(Place::of(&config)).map_err(|_| "the reload before is still under way".to_owned())?;
        self.conduct.reconfigure(&config.dns.serving);
        self.config = config;
        Ok(())
    }
}

/// The admin endpoint, and what is going to be asked there.
fn bind_admin(config: &Config) -> Result<(Admin, mpsc::Receiver<Request>), StartError> {
    let mut admin = Admin::bind(&config.admin)?;
    let (to, requests) = mpsc::channel(REQUESTS);
    admin.set_requests(Requests { look: &[EXPLAIN], change: &[force::PATH], to });
    Ok((admin, requests))
}

fn keeper_settings(config: &Config) -> keeper::Settings {
    let resolvers = config.isp.resolvers.read().unwrap_or_else(|error| {
        tracing::warn!(%error, "no resolver is known yet");
        Vec::new()
    });
    let claim = registration::Claim {
        addresses: config.dns.advertise.read(),
        resolvers,
        networks: config.isp.networks.clone(),
        preference: config.isp.preference,
        weight: config.isp.weight,
        lease: config.map.lease,
    };
    keeper::Settings {
        identity: config.identity.clone(),
        claim,
        servers: config.servers.iter().map(|s| s.identity.clone()).collect(),
        settle: config.probe.settle,
        digest: config.report_interval,
        self_check: config.isp.self_check,
        first_question: config.probe.first_question,
        on_demand_after: config.probe.on_demand_after,
        here: config.isp.here.clone(),
    }
}

/// Opens the store, and gives the keeper what is in it.
fn open_store(
    directory: &Path,
    keeper: &mut Keeper,
    registry: &mut Registry,
    tasks: &mut Tasks,
) -> Result<Committer, StartError> {
    let figures = StoreFigures::default();
    figures.register(registry);
    let opened = Store::open(&directory.join(keeper::FILE), &keeper::SCHEMA)?;
    if let Some(aside) = &opened.set_aside {
        figures.set_aside.inc();
        let (from, to, reason) = (aside.from.display(), aside.to.display(), &aside.reason);
        tracing::error!(%from, %to, %reason, "the store cannot be read and was set aside; this dns-lb starts with nothing");
    }
    let internal = |error: &dyn std::error::Error| StartError::Internal(error.to_string());
    let restored = Restored::read(&opened.store, &figures).map_err(|error| internal(&error))?;
    let (zones, rankings) = (restored.zones.len(), restored.rankings.len());
    tracing::info!(zones, rankings, file = %opened.store.path().display(), "the store is open");
    // Everything follows from the keeper's state; nobody is connected to whom anything could be said.
    let _ = keeper.restore(restored, std::time::Instant::now());
    keeper.keep();
    Committer::start(opened.store, figures, |_| {}, tasks).map_err(|error| internal(&error))
}

fn full_status(shown: &Value, boot: Boot, dns: &[SocketAddr]) -> Value {
    let mut whole = shown.clone();
    if let Some(fields) = whole.as_object_mut() {
        fields.insert("boot".to_owned(), boot.id.to_string().into());
        fields.insert("uptime_seconds".to_owned(), boot.uptime().as_secs().into());
        fields.insert("listen".to_owned(), json!(dns));
    }
    whole
}
