//! What a link does with what was read and written. Under TLS what was written is not gone yet: it
//! waits below until it is flushed.

use std::{future::poll_fn, io, pin::pin, task::Poll, time::Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Link, READ};
use crate::link::TlsError;

/// Most octets that are read and thrown away while the peer closes.
const LAST_OCTETS: usize = 256 << 10;

impl Link {
    pub(super) fn has_read(&mut self, read: &io::Result<usize>) {
        match read {
            Ok(n) if *n > 0 => {
                self.driver.metrics.octets_in.inc_by(*n as u64);
                self.charge(0, *n as u64);
            }
            read => {
                if let Some(error) = read.as_ref().err().and_then(TlsError::of) {
                    self.driver.metrics.tls_failed(&error);
                    self.why = Some(error.into());
                }
                self.abandon();
                self.session.lost();
            }
        }
    }

    pub(super) fn has_written(&mut self, wrote: &io::Result<usize>) {
        match wrote {
            Ok(0) => self.flushed = true,
            Ok(n) => {
                self.driver.metrics.octets_out.inc_by(*n as u64);
                self.outbound.advance(*n);
                self.flushed = false;
            }
            // The end of the stream comes by reading, after the peer's last words.
            Err(_) => {
                self.abandon();
                self.broken = Some(Instant::now());
            }
        }
    }

    /// Nothing waits to be written any more.
    pub(super) fn abandon(&mut self) {
        self.outbound.clear();
        self.flushed = true;
    }

    pub(super) fn is_written(&self) -> bool {
        self.outbound.is_empty() && self.flushed
    }
}

/// Writes what there is; when there is nothing left, what TLS has made of it. Says how much was
/// taken, 0 when nothing is left below either.
pub(super) async fn write(writer: &mut (impl AsyncWrite + Unpin), octets: &[u8]) -> io::Result<usize> {
    if octets.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(octets).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        n => Ok(n),
    }
}

/// Reads what is there already; `None` where there is nothing.
pub(super) async fn read_now(reader: &mut (impl AsyncRead + Unpin), into: &mut BytesMut) -> Option<io::Result<usize>> {
    let mut read = pin!(reader.read_buf(into));
    let looked = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
    match looked {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    }
}

/// Closes our half and reads until the peer closes its own: closing with octets unread would reset
/// the connection, and the peer might never see our BYE.
pub(super) async fn say_goodbye(reader: &mut (impl AsyncRead + Unpin), writer: &mut (impl AsyncWrite + Unpin)) {
    if writer.shutdown().await.is_err() {
        return;
    }
    // On the heap: an array would make every link's future that much larger.
    let mut scrap = vec![0; READ];
    let mut left = LAST_OCTETS;
    while let Ok(n) = reader.read(&mut scrap).await
        && n > 0
        && n < left
    {
        left -= n;
    }
}
