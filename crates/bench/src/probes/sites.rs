//! The sites: on one port they answer at once, on the next one never.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::ADDRESSES;
use crate::{child, connections::make_room};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";
/// Longest request that is read.
const REQUEST: usize = 1_024;
/// Connections that may be open.
const OPEN: usize = 10_000;

/// The command `sites`.
#[derive(Args, Debug)]
pub(crate) struct Sites {}

/// Where a site is; the one that never answers is on the next port.
pub(super) fn address(site: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (site % usize::from(ADDRESSES)) as u8, 1)
}

/// Serves until its parent ends.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run(_: &Sites) -> io::Result<()> {
    make_room(OPEN)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let first = listen(SocketAddr::new(address(0).into(), 0))?;
        let port = first.local_addr()?.port();
        let silent = port.checked_add(1).ok_or_else(|| io::Error::other("the last port of all"))?;
        tokio::spawn(silence(listen(SocketAddr::new(address(0).into(), silent))?));
        tokio::spawn(serve(first));
        for site in 1..usize::from(ADDRESSES) {
            tokio::spawn(serve(listen(SocketAddr::new(address(site).into(), port))?));
            tokio::spawn(silence(listen(SocketAddr::new(address(site).into(), silent))?));
        }
        child::announce(SocketAddr::new(address(0).into(), port))?;
        std::future::pending::<()>().await;
        Ok(())
    })
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(4_096)
}

async fn serve(listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    }
}

async fn silence(listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(hold(stream));
        }
    }
}

/// One request, one answer; what goes wrong is the client's affair, which counts it.
async fn answer(mut stream: TcpStream) {
    let (mut request, mut length) = ([0; REQUEST], 0);
    while !request[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[length..]).await {
            Ok(read) if read > 0 => length += read,
            _ => return,
        }
    }
    if stream.write_all(ANSWER).await.is_ok() {
        let _ = stream.shutdown().await;
        // Until the client's FIN, or what it still sends would be met by a reset.
        let _ = stream.read(&mut request).await;
    }
}

/// Says nothing until the client has gone.
async fn hold(mut stream: TcpStream) {
    while stream.read(&mut [0; REQUEST]).await.is_ok_and(|read| read > 0) {}
}
