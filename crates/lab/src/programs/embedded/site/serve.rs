//! A site's connections, and the faults that a connection has before there is a request.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{Fault, TlsText};

/// Between two octets of an answer that is never whole.
const DRIP: Duration = Duration::from_millis(100);

/// Both faces of a site over TLS.
#[derive(Clone)]
pub(super) struct Tls {
    good: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
}

/// An address that is listened on.
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    /// For HTTPS.
    pub(super) tls: Option<Tls>,
    /// Where the faults are.
    pub(super) dir: PathBuf,
    pub(super) app: Router,
}

impl Tls {
    /// From what stands in the configuration.
    pub(super) fn new(text: &TlsText) -> Result<Self, String> {
        let with = |certificate: &str| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let chain = chain.map_err(|error| error.to_string())?;
            let key = PrivateKeyDer::from_pem_slice(text.key.as_bytes()).map_err(|error| error.to_string())?;
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
            config.map(Arc::new).map_err(|error| error.to_string())
        };
        Ok(Self { good: with(&text.certificate)?, expired: with(&text.expired)? })
    }
}

impl Listening {
    /// Serves until the listener is no more.
    pub(super) async fn serve(self) -> std::io::Error {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => return error,
            };
            if Fault::Reset.is_on(&self.dir) {
                // Dropped with a reset instead of a FIN.
                let _ = stream.set_zero_linger();
                continue;
            }
            tokio::spawn(converse(stream, self.tls.clone(), self.dir.clone(), self.app.clone()));
        }
    }
}

/// A connection. Whatever goes wrong with it is its client's affair.
async fn converse(stream: TcpStream, tls: Option<Tls>, dir: PathBuf, app: Router) {
    match tls {
        None => answer(stream, dir, app).await,
        Some(tls) => {
            let config = if Fault::Expired.is_on(&dir) { tls.expired } else { tls.good };
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                answer(stream, dir, app).await;
            }
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(mut stream: S, dir: PathBuf, app: Router) {
    if Fault::SlowLoris.is_on(&dir) {
        // A head without an end.
        for octet in b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(std::slice::from_ref(octet)).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(DRIP).await;
        }
    }
    let service = TowerToHyperService::new(app);
    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}
