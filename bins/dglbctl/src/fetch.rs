//! One HTTP request to an admin endpoint, bounded in time, and what its failure means.

use std::{error::Error as _, io, time::Duration};

use thiserror::Error;

use dglb_node::admin::CHANGE_HEADER;

use crate::address::Address;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// Nobody listens.
    #[error("{0}: no daemon listens there. Is it running, and is this what its [admin] listen says?")]
    NotRunning(Address),
    /// Somebody listens and says nothing.
    #[error("{0}: the daemon does not answer in time")]
    Silent(Address),
    /// The socket is not for us.
    #[error(
        "{0}: permission denied. The socket is for the daemon's user and group: run dglbctl as one of them, or as root"
    )]
    Denied(Address),
    /// It is no admin endpoint of ours.
    #[error("{address}: what listens there is no admin endpoint of DGLB ({what})")]
    Stranger {
        /// Where.
        address: Address,
        /// What it did.
        what: String,
    },
    /// Anything else.
    #[error("{address}: {what}")]
    Other {
        /// Where.
        address: Address,
        /// What went wrong.
        what: String,
    },
}

/// Status code and body of `path`; both must have come within `patience`.
///
/// # Errors
/// [`FetchError`].
pub(crate) async fn fetch(address: &Address, path: &str, patience: Duration) -> Result<(u16, String), FetchError> {
    request(address, Method::Get, path, patience).await
}

/// Whether something is to change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    /// No.
    Get,
    /// Yes; with the header that such requests need.
    Change,
}

/// The same with either method.
///
/// # Errors
/// [`FetchError`].
pub(crate) async fn request(
    address: &Address,
    method: Method,
    path: &str,
    patience: Duration,
) -> Result<(u16, String), FetchError> {
    // A proxy that the environment names is for the world, not for this host.
    let client = reqwest::Client::builder().timeout(patience).no_proxy();
    let (client, host) = match address {
        Address::Unix(socket) => (client.unix_socket(socket.as_path()), "localhost".to_owned()),
        Address::Tcp(tcp) => (client, tcp.to_string()),
    };
    let exchange = async {
        let (client, url) = (client.build()?, format!("http://{host}{path}"));
        let request = match method {
            Method::Get => client.get(url),
            Method::Change => client.post(url).header(CHANGE_HEADER, "yes"),
        };
        let response = request.send().await?;
        let code = response.status().as_u16();
        Ok((code, response.text().await?))
    };
    exchange.await.map_err(|error| explain(address, &error))
}

fn explain(address: &Address, error: &reqwest::Error) -> FetchError {
    let address = address.clone();
    if error.is_timeout() {
        return FetchError::Silent(address);
    }
    let mut deepest = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => return FetchError::Denied(address),
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return FetchError::NotRunning(address),
            _ => deepest = error.to_string(),
        }
        cause = error.source();
    }
    if error.is_connect() {
        FetchError::Other { address, what: deepest }
    } else {
        FetchError::Stranger { address, what: deepest }
    }
}
