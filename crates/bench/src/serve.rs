//! Our engine with everything that answers, as a process of its own: sockets, lanes, conduct and
//! counters as a daemon starts them without a word about them in its configuration, but that the
//! client is exempt from limits on its rate. The directory is filled here instead of by links.

use std::{
    io::{self, BufRead},
    net::{Ipv4Addr, SocketAddr},
};

use clap::Args;
use dglb_core::{
    dns::{Asked, Decision, Handled, Kind, Role},
    published::Publisher,
};
use dglb_node::{
    config::{self, Dns},
    lifecycle::Tasks,
    metrics::{self, DnsCounters},
    serve::{ConductKeeper, Content, Endpoint, Held, Server, Source},
};

use crate::{child, churn::Writer, servers::Shape, world};

/// How to serve.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Serve {
    /// Open TCP connections, overall and of one client. Default: as shipped
    #[arg(long)]
    connections: Option<usize>,
}

/// Serves everything on a port of the system's choosing, and takes orders, until it is killed or its
/// input ends.
///
/// # Errors
/// When there is no socket, thread or runtime.
pub(crate) fn run(serve: Serve) -> io::Result<()> {
    let dns = configuration(serve.connections)?;
    runtime()?.block_on(async {
        let (directory, registry) = world::build();
        let publisher = Publisher::new(directory.clone());
        let mut tasks = Tasks::new();
        let mut metrics = metrics::registry("dglb-bench", &tasks);
        let conduct = ConductKeeper::start(&dns, &mut metrics, &mut tasks);
        let content = Content { directory: publisher.reader(), conduct: conduct.reader() };
        start(content, dns, &mut tasks)?;
        let writer = Writer::start(directory, registry, publisher)?;
        tokio::task::spawn_blocking(move || obey(&writer)).await.map_err(io::Error::other)?
    })
}

/// Serves replies of this shape and without content until its input ends: what our sockets, threads
/// and counters cost.
///
/// # Errors
/// When there is no socket, thread or runtime.
pub(crate) fn lanes(shape: Shape) -> io::Result<()> {
    let dns = configuration(None)?;
    runtime()?.block_on(async {
        let mut tasks = Tasks::new();
        start(Blank(shape), dns, &mut tasks)?;
        let ends = || io::stdin().lock().lines().count();
        tokio::task::spawn_blocking(ends).await.map_err(io::Error::other)?;
        Ok(())
    })
}

/// What a daemon's `[dns]` would say; `connections` over TCP, in all and of one client.
pub(crate) fn configuration(connections: Option<usize>) -> io::Result<Dns> {
    let mut text = "dns.rate-limit.exempt = ['127.0.0.0/8']\n".to_owned();
    if let Some(connections) = connections {
        text += &format!("dns.tcp.connections = {connections}\ndns.tcp.connections-per-client = {connections}\n");
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let identity = "b1".parse().ok();
    let read = |top: &config::Section<'_>| Some(Dns::read(top.table("dns").as_ref(), identity.as_ref()));
    config::load(file.path(), read).map(|loaded| loaded.value).map_err(io::Error::other)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// Starts the threads and says where they serve: a referral and a fall-back address, as every dns-b
/// has them. Asked is the first.
fn start(source: impl Source, dns: Dns, tasks: &mut Tasks) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoints = [Role::Referral, Role::Fallback].map(|role| Endpoint { address, role });
    let server = Server::bind(&endpoints, dns.settings).map_err(io::Error::other)?;
    let addresses = server.local_addresses();
    server.run(source, &DnsCounters::new(), tasks)?;
    child::announce(addresses[0])
}

/// Takes orders from the parent, a line each, and answers each with a line.
fn obey(writer: &Writer) -> io::Result<()> {
    for order in io::stdin().lock().lines() {
        match order?.as_str() {
            "change" => writer.go(true),
            "rest" => writer.go(false),
            other => return Err(io::Error::other(format!("\"{other}\" is no order"))),
        }
        child::say(&writer.changes().to_string())?;
    }
    Ok(())
}

/// Answers with a header alone.
#[derive(Clone, Copy, Debug)]
struct Blank(Shape);

impl Source for Blank {
    type Held = Self;

    fn hold(&self) -> Self {
        *self
    }
}

impl Held for Blank {
    fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        let Some(id) = asked.packet.first_chunk::<2>() else { return Handled::DROPPED };
        let [a0, a1] = self.0.answers.to_be_bytes();
        reply[..12].copy_from_slice(&[id[0], id[1], 0x84, self.0.rcode, 0, 0, a0, a1, 0, 0, 0, 0]);
        let rcode = u16::from(self.0.rcode);
        let decision = Decision::Authority;
        Handled { length: self.0.length, rcode, decision, kind: Kind::Answer, ..Handled::DROPPED }
    }
}
