//! Sites of a service: HTTP servers that count, and can be killed and revived.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::wait::{eventually, so};

/// The name that sites expect to be asked for.
pub const HOST: &str = "www.foobar.test";
/// The page that is there.
pub const PAGE: &str = "/health";
/// Where they listen.
pub const PORT: u16 = 8_080;

/// One site.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    running: Option<JoinHandle<()>>,
}

impl Site {
    /// A site that answers.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start(address: std::net::IpAddr) -> Self {
        let address = SocketAddr::new(address, PORT);
        let mut site = Self { address, served: Arc::default(), running: None };
        site.revive().await;
        site
    }

    /// From now on nobody listens there.
    ///
    /// # Panics
    /// When it is dead already.
    pub async fn kill(&mut self) {
        let running = self.running.take().expect("a site dies once");
        running.abort();
        eventually("the site is dead", async || so(TcpStream::connect(self.address).await.is_err(), "alive")).await;
    }

    /// It listens again.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap_or_else(|e| panic!("{}: {e}", self.address));
        self.running = Some(tokio::spawn(serve(listener, Arc::clone(&self.served))));
    }

    /// How many requests were answered well.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn serve(listener: TcpListener, served: Arc<AtomicU64>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(answer(stream, Arc::clone(&served)));
    }
}

/// Good answers to the right question, 404 to any other.
async fn answer(mut stream: TcpStream, served: Arc<AtomicU64>) {
    let mut head = vec![0; 2_048];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") && length < head.len() {
        match stream.read(&mut head[length..]).await {
            Ok(n) if n > 0 => length += n,
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    let right =
        head.starts_with(&format!("get {PAGE} http/1.1\r\n")) && head.contains(&format!("host: {HOST}:{PORT}\r\n"));
    served.fetch_add(u64::from(right), Ordering::Relaxed);
    let status = if right { "200 OK" } else { "404 Not Found" };
    // Whoever has gone away does not want it.
    let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").as_bytes()).await;
}
