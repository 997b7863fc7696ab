//! dns-a-sync, the agent beside an enterprise's authoritative server DNS-A: reads the sites from it,
//! gives them to every dns-b, keeps the delegation to the dns-bs in it (design section 7).
//!
//! ```text
//! DNS-A ──source::poll──Reading──▶ keeper ──CATALOGUE──▶ links ══▶ every dns-b
//!   ▲        compose + generation ─┘  ▲ └──Wanted──▶ delegation ──RFC 2136──▶ DNS-A
//!   └─────────────────────────────    └── CATALOGUE-ACK, RESYNC, FLEET, DELEGATION
//! ```
//!
//! A failing DNS-A changes nothing downstream, and no accident in it travels: see [`compose`].

pub mod compose;
pub mod config;
pub mod delegation;
pub mod dns_a;
pub mod generation;
pub mod keeper;
pub mod metrics;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod status;
pub mod uplink;
mod wire;

use std::{collections::BTreeMap, ffi::OsString, future::ready, path::Path, sync::Arc};

use dglb_core::{
    name::Name,
    peer_name::PeerName,
    proto::message::{FleetStamp, PeerRole},
};
use dglb_node::{
    admin::{Address, Admin, Readiness},
    boot::Boot,
    cli::{self, Exit},
    config::{ConfigError, Loaded},
    lifecycle::{Daemon, StartError, Tasks},
    link::{Dialler, Greeting, LinkEvent, LinkId, LinkMetrics, LinkSettings, Named, with_certificate},
};
use tokio::sync::{mpsc, watch};

use config::Config;
use delegation::{Delegations, Delegator};
use generation::Origin;
use keeper::{Inbox, Keeper, Outbox};
use metrics::Metrics;
use snapshot::Snapshot;
use state::State;
use status::Sources;

/// Events of links that may wait for the keeper; then links wait.
const EVENTS: usize = 256;
/// Lets the first reading past the guard rails; see [`Config::force`].
const FORCE: &str = "--force";

/// Runs dns-a-sync in this process with the given arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut force = false;
    let arguments: Vec<_> = arguments
        .into_iter()
        .filter(|argument| {
            force |= argument == FORCE;
            argument != FORCE
        })
        .collect();
    if force { cli::run::<DnsASync<true>>(arguments) } else { cli::run::<DnsASync<false>>(arguments) }
}

/// A running dns-a-sync; `FORCE` is the option `--force`.
#[derive(Debug)]
pub struct DnsASync<const FORCE: bool = false> {
    /// Where the admin endpoint really is.
    pub admin: Address,
    /// What is counted.
    pub metrics: Metrics,
    config: watch::Sender<Arc<Config>>,
}

impl<const FORCE: bool> Daemon for DnsASync<FORCE> {
    const NAME: &'static str = "dns-a-sync";
    const ABOUT: &'static str = "Gives the sites that DNS-A knows to every dns-b and keeps the delegation in DNS-A.\n\n\
        With --force the first reading is published even if DNS-A has lost more than half of a service's addresses; \
        without it, and whenever all are gone, the service keeps those it had.";
    type Config = Config;

    fn load(path: &Path) -> Result<Loaded<Config>, ConfigError> {
        let mut loaded = dglb_node::config::load(path, config::config)?;
        loaded.value.force = FORCE;
        Ok(loaded)
    }

    async fn start(config: Config, tasks: &mut Tasks) -> Result<Self, StartError> {
        let admin = Admin::bind(&config.admin)?;
        let admin_address = admin.local_address();
        let (state, origins) = restore(&config)?;
        let mut registry = dglb_node::metrics::registry(Self::NAME, tasks);
        let (metrics, link_metrics) = (Metrics::default(), LinkMetrics::default());
        metrics.register(&mut registry);
        link_metrics.register(&mut registry);
        let (boot, readiness) = (Boot::now(), Readiness::new());
        let name = PeerName::new(PeerRole::DnsASync, config.identity.clone());
        let settings = config.security.start(name, &mut registry, tasks)?;
        let credentials = settings.tls.clone();
        let (fleet, held) = watch::channel(FleetStamp::default());
        let (links, named) = dial(&config, (boot, held), (&settings, &link_metrics), tasks);

        let (config, config_out) = watch::channel(Arc::new(config));
        let (readings_in, readings) = mpsc::channel(1);
        let (wanted, wanted_out) = watch::channel(BTreeMap::new());
        let (snapshot, snapshot_out) = watch::channel(Arc::new(Snapshot::default()));
        let (outcome, delegations) = watch::channel(Delegations::new());
        tasks.spawn("reader", source::poll(config_out.clone(), readings_in, tasks.stop_token()));
        let out = Outbox { wanted, snapshot, fleet, readiness: readiness.clone(), metrics: metrics.clone() };
        let keeper = Keeper::new(Arc::clone(&config_out.borrow()), origins, state, out);
        let inbox = Inbox { config: config_out.clone(), readings, links, named };
        tasks.spawn("keeper", keeper.run(inbox, tasks.stop_token()));
        let delegator = Delegator { config: config_out.clone(), wanted: wanted_out, outcome, metrics: metrics.clone() };
        tasks.spawn("delegation", delegator.run(tasks.stop_token()));
        let sources = Sources { config: config_out, snapshot: snapshot_out, delegations, boot };
        let show = move || ready(with_certificate(sources.status(), credentials.as_ref()));
        admin.run(tasks, registry, readiness, show).map_err(|error| StartError::Internal(error.to_string()))?;
        Ok(Self { admin: admin_address, metrics, config })
    }

    fn reload(&mut self, new: Config) -> Result<(), String> {
        let old = Arc::clone(&self.config.borrow());
        let fixed = [
            ("identity", old.identity == new.identity),
            ("dns-b", old.servers == new.servers),
            ("[map]", old.security == new.security),
            ("admin.listen", old.admin == new.admin),
            ("state-dir", old.state_dir == new.state_dir),
        ];
        let changed: Vec<_> = fixed.iter().filter(|(_, same)| !same).map(|(key, _)| *key).collect();
        if !changed.is_empty() {
            return Err(format!("only a restart can change {}", changed.join(", ")));
        }
        // What was forced at the start is not forced again.
        self.config.send_replace(Arc::new(Config { force: false, ..new }));
        Ok(())
    }
}

/// What an earlier run published.
fn restore(config: &Config) -> Result<(Option<State>, BTreeMap<Name, Origin>), StartError> {
    let Some(directory) = &config.state_dir else { return Ok((None, BTreeMap::new())) };
    let state = State::new(directory);
    let origins = state.load().map_err(|error| StartError::Configuration(format!("state-dir: {error}")))?;
    Ok((Some(state), origins))
}

/// Starts a link to every dns-b; its id is the dns-b's place in the configuration. HELLO names the fleet
/// document that is `held`; what each of them named last comes back.
fn dial(
    config: &Config,
    (boot, held): (Boot, watch::Receiver<FleetStamp>),
    (settings, metrics): (&LinkSettings, &LinkMetrics),
    tasks: &mut Tasks,
) -> (mpsc::Receiver<(LinkId, LinkEvent)>, Vec<Named>) {
    let (events, links) = mpsc::channel(EVENTS);
    let mut named = Vec::with_capacity(config.servers.len());
    for (server, id) in config.servers.iter().zip(0..) {
        let dialler = Dialler {
            id: LinkId(id),
            server: server.address,
            expected: server.identity.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
        };
        let name = PeerName::new(PeerRole::DnsASync, config.identity.clone());
        let (greeting, last) = Greeting::new(name, boot, held.clone());
        let name = format!("link to {}", server.identity);
        tasks.spawn(name, dialler.run(move || greeting.hello(), events.clone(), tasks.stop_token()));
        named.push(last);
    }
    (links, named)
}
