//! The crowd: clients that come again whenever they are let go.

use std::{
    io::{self, BufRead},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::{child, questions::packet, world};

/// Between two octets of a slow one, and between two questions of an ordinary one.
const PAUSE: Duration = Duration::from_secs(1);
/// Before a client that was let go, or could not connect, comes again.
const AGAIN: Duration = Duration::from_millis(100);
/// Questions that one who reads slowly asks at once; the replies are more than buffers hold.
const PIPELINED: usize = 2_000;
/// Receive buffer of one who reads slowly, in octets.
const NARROW: u32 = 4_096;
/// Longest wait until everybody is there.
const ARRIVAL: Duration = Duration::from_secs(60);

/// Who comes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Crowd {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    connections: usize,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    answers: AtomicU64,
    ended: AtomicU64,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// A question now and then.
    Ordinary,
    /// Nothing.
    Silent,
    /// One octet of a question after the other.
    WritesSlowly,
    /// One octet of many replies after the other.
    ReadsSlowly,
}

/// Opens all connections, says so, and tells how it stands whenever it is asked, until its input ends.
///
/// # Errors
/// When they cannot be opened.
pub(crate) fn run(crowd: Crowd) -> io::Result<()> {
    make_room(crowd.connections)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let counts = Arc::new(Counts::default());
    let manners = [Manner::Ordinary, Manner::Silent, Manner::WritesSlowly, Manner::ReadsSlowly];
    for manner in manners.iter().cycle().take(crowd.connections) {
        runtime.spawn(stay(crowd.to, *manner, Arc::clone(&counts)));
    }
    let everybody = async {
        while counts.open.load(Relaxed) < crowd.connections as u64 {
            sleep(AGAIN).await;
        }
    };
    let arrived = runtime.block_on(async { timeout(ARRIVAL, everybody).await });
    arrived.map_err(|_| io::Error::other(format!("only {counts:?}")))?;
    child::announce(crowd.to)?;
    for order in io::stdin().lock().lines() {
        order?;
        let [open, answers, ended] = [&counts.open, &counts.answers, &counts.ended].map(|count| count.load(Relaxed));
        child::say(&format!("{open} connections open, {answers} whole replies read, {ended} connections let go"))?;
    }
    Ok(())
}

/// Allows as many open files.
///
/// # Errors
/// When the system does not.
pub(crate) fn make_room(connections: usize) -> io::Result<()> {
    let wanted = connections as u64 + 100;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let maximum = maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: maximum.or(Some(wanted)), maximum })?;
    }
    Ok(())
}

async fn stay(to: SocketAddr, manner: Manner, counts: Arc<Counts>) {
    loop {
        if let Ok(stream) = connect(to, manner).await {
            counts.open.fetch_add(1, Relaxed);
            // However it ends, it begins anew.
            let _ = behave(stream, manner, &counts).await;
            counts.open.fetch_sub(1, Relaxed);
            counts.ended.fetch_add(1, Relaxed);
        }
        sleep(AGAIN).await;
    }
}

async fn connect(to: SocketAddr, manner: Manner) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if matches!(manner, Manner::ReadsSlowly) {
        socket.set_recv_buffer_size(NARROW)?;
    }
    socket.connect(to).await
}

/// A question with its length in front (RFC 1035 section 4.2.2).
fn question() -> Vec<u8> {
    let packet = packet(&world::name(0), &[]);
    [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
}

async fn behave(mut stream: TcpStream, manner: Manner, counts: &Counts) -> io::Result<()> {
    let question = question();
    match manner {
        Manner::Ordinary => loop {
            stream.write_all(&question).await?;
            read_reply(&mut stream, counts).await?;
            sleep(PAUSE).await;
        },
        Manner::Silent => stream.read_u8().await.map(|_| ()),
        Manner::WritesSlowly => loop {
            for octet in &question {
                stream.write_all(&[*octet]).await?;
                sleep(PAUSE).await;
            }
            read_reply(&mut stream, counts).await?;
        },
        Manner::ReadsSlowly => {
            let (mut reads, mut writes) = stream.split();
            let ask = async {
                for _ in 0..PIPELINED {
                    writes.write_all(&question).await?;
                }
                std::future::pending::<io::Result<()>>().await
            };
            let read = async {
                loop {
                    reads.read_u8().await?;
                    sleep(PAUSE).await;
                }
            };
            tokio::select! { ended = ask => ended, ended = read => ended }
        }
    }
}

async fn read_reply(stream: &mut TcpStream, counts: &Counts) -> io::Result<()> {
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    counts.answers.fetch_add(1, Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_framed() {
        let question = question();
        assert_eq!(usize::from(u16::from_be_bytes([question[0], question[1]])), question.len() - 2);
    }
}
