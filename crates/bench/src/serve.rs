//! Our engine with everything that answers, as a process of its own: sockets, lanes, conduct and
//! counters as shipped, and a directory that is filled here instead of by links.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use dglb_core::{
    dns::{Asked, Decision, Handled, Kind, Role},
    published::Publisher,
};
use dglb_node::{
    config,
    lifecycle::Tasks,
    metrics::DnsCounters,
    serve::{Content, Endpoint, Held, Server, Source},
};

use crate::{child, servers::Shape, world};

/// Serves everything on a port of the system's choosing until killed.
///
/// # Errors
/// When there is no socket, thread or runtime.
pub(crate) fn run() -> io::Result<()> {
    runtime()?.block_on(async {
        let shipped = config::Dns::default();
        let (directory, _registry) = world::build();
        let (directory, conduct) = (Publisher::new(directory), Publisher::new(shipped.conduct));
        serve(Content { directory: directory.reader(), conduct: conduct.reader() }).await
    })
}

/// Serves replies of this shape and without content until killed: what our sockets, threads and
/// counters cost.
///
/// # Errors
/// When there is no socket, thread or runtime.
pub(crate) fn lanes(shape: Shape) -> io::Result<()> {
    runtime()?.block_on(serve(Blank(shape)))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// A referral and a fall-back address, as every dns-b has them; asked is the first.
async fn serve(source: impl Source) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoints = [Role::Referral, Role::Fallback].map(|role| Endpoint { address, role });
    let server = Server::bind(&endpoints, config::Dns::default().settings).map_err(io::Error::other)?;
    let addresses = server.local_addresses();
    let mut tasks = Tasks::new();
    server.run(source, &DnsCounters::new(), &mut tasks)?;
    child::announce(addresses[0])?;
    let ended = tasks.ended().await;
    Err(io::Error::other(format!("{} has ended", ended.name)))
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
