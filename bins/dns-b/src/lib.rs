//! dns-b, the referral server: knows which DNS-LB sits beside which ISP resolver and refers each
//! resolver to its own (design sections 2 to 4 and 6).
//!
//! ```text
//! links ──events──▶ run ──▶ keeper ──Directory──▶ serving threads ──▶ resolvers
//! checker ◀─targets─┘  ▲└──────────messages──────▶ links
//!    └────outcomes─────┘
//! ```

pub mod checker;
pub mod config;
pub mod keeper;
pub mod look;
pub mod metrics;
pub mod networks;
pub mod nonces;
mod peers;
pub mod record;
pub mod run;
pub mod stored;
mod upgrade;

use std::{
    ffi::OsString,
    path::Path,
    sync::{Arc, Mutex},
};

use dglb_core::{
    dns::{Role, Transport},
    peer_name::PeerName,
    proto::message::PeerRole,
    published::Publisher,
};
use dglb_node::{
    admin::{Admin, Readiness, Requests},
    ask::Asker,
    boot::Boot,
    cli::{self, Exit},
    config::{ConfigError, Loaded},
    lifecycle::{Daemon, StartError, Tasks},
    link::{AcceptSettings, Acceptor, Credentials, LinkEvent, LinkId, LinkMetrics, LinkSettings, with_certificate},
    metrics::DnsCounters,
    serve::{ConductKeeper, Content, Endpoint, Server},
    store::StoreFigures,
};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use config::Config;
use keeper::{Keeper, operator};
use look::Looks;
use nonces::Witness;
use run::Run;

/// Events of links that may wait for the keeper; then links wait.
const EVENTS: usize = 1024;
/// Requests of the operator that may wait; more are turned away.
const REQUESTS: usize = 16;

/// Runs dns-b in this process with the given arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    cli::run::<DnsB>(arguments)
}

/// A running dns-b.
#[derive(Debug)]
pub struct DnsB {
    /// Where the map listeners really are.
    pub map: Vec<std::net::SocketAddr>,
    /// Where DNS is really served.
    pub dns: Vec<std::net::SocketAddr>,
    /// Where DNS is really served over TLS, HTTPS and QUIC.
    pub encrypted: Vec<(Transport, std::net::SocketAddr)>,
    /// Where the admin endpoint really is.
    pub admin: dglb_node::admin::Address,
    /// What was answered.
    pub counters: DnsCounters,
    config: Config,
    reloads: mpsc::Sender<Config>,
    conduct: ConductKeeper,
}

impl Daemon for DnsB {
    const NAME: &'static str = "dns-b";
    const ABOUT: &'static str = "Refers every ISP resolver to the DNS-LB beside it";
    type Config = Config;

    fn load(path: &Path) -> Result<Loaded<Config>, ConfigError> {
        config::load(path)
    }

    async fn start(config: Config, tasks: &mut Tasks) -> Result<Self, StartError> {
        let mut server = bind_dns(&config)?;
        let mut admin = Admin::bind(&config.admin)?;
        let (to, requests) = mpsc::channel(REQUESTS);
        admin.set_requests(Requests { look: operator::LOOK, change: operator::CHANGE, to });
        let mut registry = dglb_node::metrics::registry(Self::NAME, tasks);
        let link_metrics = LinkMetrics::default();
        link_metrics.register(&mut registry);
        let name = PeerName::new(PeerRole::DnsB, config.identity.clone());
        let links = config.map.security.start(name, &mut registry, tasks)?;
        let credentials = links.tls.clone();
        let acceptors = bind_map(&config, links, &link_metrics).await?;
        let map = acceptors.iter().filter_map(|a| a.local_addr().ok()).collect();

        let (keeper, keeping) = keeper(&config, &mut registry, tasks).await?;
        let publisher = Publisher::new(keeper.directory().clone());
        let counters = DnsCounters::new();
        counters.register(&mut registry);
        server.register(&mut registry);
        // Both have a content from the first moment on.
        let figures = Arc::new(Mutex::new(keeper.figures()));
        metrics::register(&mut registry, Arc::clone(&figures));
        let (seen, looks) = Looks::new(keeper.status(std::time::Instant::now()));
        let readiness = Readiness::new();
        readiness.wait("catalogue", "no dns-a-sync has published a zone yet");
        let (dns, encrypted) = (server.local_addresses(), server.encrypted_addresses());
        let admin_address = admin.local_address();

        let internal = |error: std::io::Error| StartError::Internal(error.to_string());
        let conduct = ConductKeeper::start(&config.serving, &mut registry, tasks);
        let content = Content { directory: publisher.reader(), conduct: conduct.reader() };
        server.set_unhurried(Box::new(Witness { nonces: keeper.nonces(), content: content.clone() }));
        server.run(content.clone(), &counters, tasks).map_err(internal)?;
        let seen = Arc::new(seen);
        let show = move || show(Arc::clone(&seen), credentials.clone());
        admin.run(tasks, registry, readiness.clone(), show).map_err(internal)?;
        let restored = CancellationToken::new();
        let events = take_links(acceptors, &restored, tasks);
        let (asking, reloads) = mpsc::channel(1);
        let (networks, sources) = networks::follow(config.prove.sources.clone(), networks::FOLLOW, tasks);
        let (asker, check) = (Arc::new(Asker::open().await.map_err(internal)?), config.check);
        let run = Run {
            keeper,
            publisher,
            content,
            events,
            reloads,
            requests,
            networks,
            sources,
            check,
            asker,
            figures,
            looks,
            readiness,
            keeping,
            restored,
            runtime: tasks.runtime().clone(),
        };
        run.start(tasks).map_err(internal)?;
        Ok(Self { map, dns, encrypted, admin: admin_address, counters, conduct, config, reloads: asking })
    }

    fn reload(&mut self, config: Config) -> Result<(), String> {
        keeper::refusal(&self.config, &config)?;
        self.reloads.try_send(config.clone()).map_err(|_| "the last reload is still under way".to_owned())?;
        self.conduct.reconfigure(&config.serving);
        self.config = config;
        Ok(())
    }
}

/// What `/api/v1/status` says.
async fn show(seen: Arc<Looks>, credentials: Option<Credentials>) -> Value {
    with_certificate(seen.status().await.document(), credentials.as_ref())
}

fn bind_dns(config: &Config) -> Result<Server, StartError> {
    let endpoint = |role| move |address: &std::net::SocketAddr| Endpoint { address: *address, role };
    let referral = config.referral.iter().map(endpoint(Role::Referral));
    let endpoints: Vec<Endpoint> = referral.chain(config.fallback.iter().map(endpoint(Role::Fallback))).collect();
    Ok(Server::bind(&endpoints, config.serving.settings.clone())?)
}

/// The keeper, with all that was kept before a restart.
async fn keeper(
    config: &Config,
    registry: &mut Registry,
    tasks: &mut Tasks,
) -> Result<(Keeper, Option<stored::Keeping>), StartError> {
    let mut keeper = Keeper::new(config, Boot::now().id, std::time::Instant::now());
    let Some(directory) = &config.state_dir else { return Ok((keeper, None)) };
    let figures = StoreFigures::default();
    figures.register(registry);
    let mut opened = stored::start(directory, &mut keeper, &figures, tasks)?;
    stored::first_reports(&mut opened, &mut keeper).await;
    Ok((keeper, Some(opened)))
}

/// Takes links in once everything is back: before that nobody could be told what is held, and handshakes
/// would take the time that it needs. Until then the kernel holds who comes.
fn take_links(
    acceptors: Vec<Acceptor>,
    restored: &CancellationToken,
    tasks: &mut Tasks,
) -> mpsc::Receiver<(LinkId, LinkEvent)> {
    let (sender, events) = mpsc::channel(EVENTS);
    for acceptor in acceptors {
        let (restored, sender, stop) = (restored.clone(), sender.clone(), tasks.stop_token());
        tasks.spawn("map listener", async move {
            if stop.run_until_cancelled(restored.cancelled()).await.is_some() {
                acceptor.run(sender, stop).await;
            }
        });
    }
    events
}

async fn bind_map(config: &Config, mut link: LinkSettings, metrics: &LinkMetrics) -> Result<Vec<Acceptor>, StartError> {
    link.quota = config.map.quotas.link;
    link.session.max_measured = config.map.quotas.message;
    let mut acceptors = Vec::new();
    for address in &config.map.listen {
        let settings = AcceptSettings { link: link.clone(), ..AcceptSettings::default() };
        let socket = |source| StartError::Socket { what: "map listener", address: address.to_string(), source };
        acceptors.push(Acceptor::bind(*address, settings, metrics.clone()).await.map_err(socket)?);
    }
    Ok(acceptors)
}
