//! Sockets of the admin endpoint: bound early, capped in number and age.

use std::{
    fs, io,
    net::TcpListener as StdTcpListener,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};

use super::{Address, BindError};

/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// A socket that is bound but not part of a runtime yet.
#[derive(Debug)]
pub(super) struct Bound {
    address: Address,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix(StdUnixListener, SocketFile),
    Tcp(StdTcpListener),
}

/// A socket that the current runtime listens on.
pub(super) enum Listening {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

impl Bound {
    pub(super) fn new(address: &Address) -> Result<Self, BindError> {
        let failed = |source| BindError::Socket { address: address.clone(), source };
        match address {
            Address::Tcp(wanted) => {
                let listener = StdTcpListener::bind(wanted).map_err(failed)?;
                let address = Address::Tcp(listener.local_addr().map_err(failed)?);
                Ok(Self { address, socket: Socket::Tcp(listener) })
            }
            Address::Unix(path) => {
                make_room(address, path)?;
                let listener = StdUnixListener::bind(path).map_err(failed)?;
                let file = SocketFile::new(path).map_err(failed)?;
                fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
                Ok(Self { address: address.clone(), socket: Socket::Unix(listener, file) })
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn listen(self) -> io::Result<Listening> {
        match self.socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Listening::Tcp(TcpListener::from_std(listener)?))
            }
            Socket::Unix(listener, file) => {
                listener.set_nonblocking(true)?;
                Ok(Listening::Unix(UnixListener::from_std(listener)?, file))
            }
        }
    }
}

/// Removes the socket file of a dead process, and nothing else.
fn make_room(address: &Address, path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Socket { address: address.clone(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(address.clone())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        // Nobody listens: its owner died without removing it.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(error)),
        // Connected, or the queue is full: somebody is alive.
        Ok(_) | Err(_) => Err(BindError::InUse(address.clone())),
    }
}

/// The file of a unix socket; removed at the end, unless somebody has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), id: (found.dev(), found.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // If it stays, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listener that has a number of connections at a time, each for a limited time.
pub(super) struct Capped<L> {
    listener: L,
    places: Arc<Semaphore>,
    age: Duration,
}

impl<L> Capped<L> {
    pub(super) fn new(listener: L, places: usize, age: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(places)), age }
    }
}

impl<L: Listener> Listener for Capped<L> {
    type Io = Aging<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let place = loop {
            match Arc::clone(&self.places).acquire_owned().await {
                Ok(place) => break place,
                // Only a closed semaphore refuses, and nobody closes this one.
                Err(_) => std::future::pending().await,
            }
        };
        let (io, address) = self.listener.accept().await;
        let end = Box::pin(tokio::time::sleep(self.age));
        (Aging { io, end, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once it is too old.
pub(super) struct Aging<S> {
    io: S,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Aging<S> {
    fn poll_old(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Aging<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.poll_old(context) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Pin::new(&mut self.io).poll_read(context, buffer),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Aging<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.poll_old(context) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Pin::new(&mut self.io).poll_write(context, octets),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
