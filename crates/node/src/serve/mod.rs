//! DNS in and out over UDP and TCP: bound first, served later, every message through one function.
//!
//! UDP is served by threads of its own (*lanes*), each with its own `SO_REUSEPORT` socket on every
//! address, its own buffers and its own counters, so lanes share nothing but the directory that
//! they read. TCP has one more thread. Neither ever waits for the rest of the daemon.

mod certificate;
mod conduct;
mod encrypted;
mod mmsg;
mod processors;
mod relay;
mod slow;
mod socket;
mod source;
mod stop;
mod stream;
mod udp;

use std::{fmt, io, net::SocketAddr, num::NonZeroUsize, sync::Arc};

use dglb_core::dns::{Names, Role, Transport, rate::Limiter};
use prometheus_client::registry::Registry;
use thiserror::Error;

use crate::{config::RATE_TABLE, descriptors::make_room, lifecycle::Tasks, metrics::DnsCounters};

pub use conduct::ConductKeeper;
pub use encrypted::{EncryptedService, EncryptedSettings, Over};
pub use relay::{Relay, RelayMetrics};
use slow::SlowLane;
pub use slow::Unhurried;
use socket::Bound;
pub use source::{Content, ContentHeld, Held, Source};
use stream::{Carrier, Listening, Socket};
pub use stream::{FREE, StreamSettings};

/// An address to be asked at, over UDP and TCP, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port; port 0 lets the system choose one, the same for UDP and TCP.
    pub address: SocketAddr,
    /// What questions to this address are answered as.
    pub role: Role,
}

/// How DNS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP threads. Default: one for each processor.
    pub lanes: NonZeroUsize,
    /// Whether each lane keeps to a processor of its own when there are as many lanes as processors.
    /// Default: yes.
    pub pin: bool,
    /// Receive buffer of each UDP socket in octets, as far as the system grants it; what comes in
    /// while a lane is busy waits there. Default: 1 MiB.
    pub receive_buffer: usize,
    /// Buckets of each lane's table of rates, 16 octets each. Default: 65 536.
    pub rate_table: usize,
    /// TCP.
    pub tcp: StreamSettings,
    /// TLS, HTTPS and QUIC. Default: none of them.
    pub encrypted: EncryptedSettings,
}

impl Default for Settings {
    fn default() -> Self {
        let lanes = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            lanes,
            pin: true,
            receive_buffer: 1 << 20,
            rate_table: RATE_TABLE,
            tcp: StreamSettings::default(),
            encrypted: EncryptedSettings::default(),
        }
    }
}

/// Why a DNS socket could not be had.
#[derive(Debug, Error)]
#[error("dns {address} {transport}: {source}{hint}", hint = hint(source))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// `udp`, `tcp`, `tls`, `https` or `quic`.
    pub transport: &'static str,
    /// Why not.
    pub source: io::Error,
}

/// Bound sockets that nobody serves yet.
pub struct Server {
    bound: Vec<Bound>,
    encrypted: encrypted::Bound,
    settings: Settings,
    unhurried: Option<Box<dyn Unhurried>>,
    relay: Option<Relay>,
}

impl Server {
    /// Binds UDP and TCP on every endpoint, and the encrypted transports where they are configured.
    ///
    /// # Errors
    /// [`BindError`], for the first socket that cannot be had.
    pub fn bind(endpoints: &[Endpoint], settings: Settings) -> Result<Self, BindError> {
        let bound = endpoints.iter().map(|endpoint| Bound::new(*endpoint, &settings)).collect::<Result<_, _>>()?;
        let encrypted = encrypted::Bound::new(&settings.encrypted)?;
        Ok(Self { bound, encrypted, settings, unhurried: None, relay: None })
    }

    /// Lets `unhurried` answer in the slow lane what the directory alone cannot. Without anybody there
    /// the reply at hand is sent.
    pub fn set_unhurried(&mut self, unhurried: Box<dyn Unhurried>) {
        self.unhurried = Some(unhurried);
    }

    /// Lets `relay` ask other servers for what this one cannot answer. Without it the reply at hand,
    /// SERVFAIL, is sent.
    pub fn set_relay(&mut self, relay: Relay) {
        self.relay = Some(relay);
    }

    /// The endpoints with the ports that they really have, in the order of [`Server::bind`].
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.endpoint.address).collect()
    }

    /// Where each encrypted transport really is, in the order of the settings.
    pub fn encrypted_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        self.encrypted.addresses().collect()
    }

    /// Adds `dglb_dns_certificate_…` to a registry, where there are certificates.
    pub fn register(&self, registry: &mut Registry) {
        certificate::register(&self.encrypted.certificates, registry);
    }

    /// Starts the threads that answer from `source` until the daemon stops.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn run(self, source: impl Source, counters: &DnsCounters, tasks: &mut Tasks) -> io::Result<()> {
        let Self { bound, encrypted, settings, unhurried, relay } = self;
        let (mut slow, serve_slow) = SlowLane::new(counters.lane(), unhurried);
        tasks.spawn_thread("dns-slow", serve_slow)?;
        if let Some(relay) = relay {
            slow = relay.start(slow, tasks);
        }
        let has_encrypted = !settings.encrypted.services.is_empty();
        let limits = settings.encrypted.limits;
        let over_tls = if has_encrypted { limits.connections } else { 0 };
        make_room("connections of DNS clients", settings.tcp.connections + over_tls);
        let service = move |limits| {
            let (source, counters, slow) = (source.clone(), counters.lane(), slow.clone());
            stream::Service { source, counters, slow, limits }
        };
        let listening = run_lanes(bound, &settings, || service(settings.tcp), tasks)?;
        stream::spawn("dns-tcp", listening, service(settings.tcp), tasks)?;
        if !has_encrypted {
            return Ok(());
        }
        for certificate in &encrypted.certificates {
            tasks.spawn("certificate", Arc::clone(certificate).watch(tasks.stop_token()));
        }
        stream::spawn("dns-encrypted", encrypted.listening(), service(limits), tasks)
    }
}

/// Starts the UDP lanes; what is left is for TCP.
fn run_lanes<S: Source>(
    bound: Vec<Bound>,
    settings: &Settings,
    service: impl Fn() -> stream::Service<S>,
    tasks: &mut Tasks,
) -> io::Result<Vec<Listening>> {
    let stop = Arc::new(stop::Stop::new(tasks)?);
    let mut lanes: Vec<Vec<(Role, Arc<std::net::UdpSocket>)>> = Vec::new();
    lanes.resize_with(settings.lanes.get(), Vec::new);
    let mut listening = Vec::with_capacity(bound.len());
    for bound in bound {
        let socket = Socket::Tcp(bound.listener, Carrier::Tcp);
        listening.push(Listening { role: bound.endpoint.role, socket });
        for (lane, socket) in lanes.iter_mut().zip(bound.sockets) {
            lane.push((bound.endpoint.role, Arc::new(socket)));
        }
    }
    let spread = lanes.len();
    let processors = if settings.pin { processors::one_each(spread) } else { Vec::new() };
    for (number, sockets) in lanes.into_iter().enumerate() {
        let limiter = Limiter::new(settings.rate_table, rand::random(), spread);
        let stream::Service { source, counters, slow, .. } = service();
        let lane =
            udp::Lane { sockets, source, counters, limiter, names: Names::default(), slow, stop: Arc::clone(&stop) };
        let processor = processors.get(number).copied();
        let run = move || {
            processor.into_iter().for_each(processors::keep_to);
            lane.run();
        };
        tasks.spawn_thread(format!("dns-udp-{number}"), run)?;
    }
    Ok(listening)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("bound", &self.bound).field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this host has no such address",
        io::ErrorKind::AddrInUse => "; is another DNS server, or this one, already running?",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
