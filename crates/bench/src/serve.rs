//! Our engine with everything that answers, as a process of its own: sockets, lanes, conduct and
//! counters as shipped, and a directory that is filled here instead of by links.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use dglb_core::{dns::Role, published::Publisher};
use dglb_node::{
    config,
    lifecycle::Tasks,
    metrics::DnsCounters,
    serve::{Content, Endpoint, Server},
};

use crate::{child, world};

/// Serves on a port of the system's choosing until killed.
///
/// # Errors
/// When there is no socket, thread or runtime.
pub(crate) fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let shipped = config::Dns::default();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = Endpoint { address, role: Role::Referral };
    let server = Server::bind(&[endpoint], shipped.settings).map_err(io::Error::other)?;
    let addresses = server.local_addresses();
    let (directory, _registry) = world::build();
    let (directory, conduct) = (Publisher::new(directory), Publisher::new(shipped.conduct));
    let content = Content { directory: directory.reader(), conduct: conduct.reader() };
    let mut tasks = Tasks::new();
    server.run(content, &DnsCounters::new(), &mut tasks)?;
    child::announce(addresses[0])?;
    let ended = tasks.ended().await;
    Err(io::Error::other(format!("{} has ended", ended.name)))
}
