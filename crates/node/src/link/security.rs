//! How a daemon's links are secured: by certificates, or, on one host, not at all.

use std::net::SocketAddr;

use dglb_core::peer_name::PeerName;
use prometheus_client::registry::Registry;
use thiserror::Error;

use super::{Credentials, LinkSettings, PlainTcp, TlsFiles};
use crate::lifecycle::{StartError, Tasks};

/// What `[map]` says of it. With certificates every link has TLS, on this host, too: one port speaks
/// one thing, so nobody can be talked out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSecurity {
    /// The files of `[map.tls]`.
    pub tls: Option<TlsFiles>,
    /// `plain-tcp`; without certificates.
    pub plain_tcp: PlainTcp,
}

/// There is no way to link with somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "map links need certificates: name them in [map.tls] (\"dglbctl ca\" makes some), or, for peers on this host alone, \
     set plain-tcp = \"loopback\" in [map]"
)]
pub struct Unsecured;

impl LinkSecurity {
    /// Whether a link could come up at all.
    pub fn any(&self) -> bool {
        self.tls.is_some() || self.plain_tcp != PlainTcp::Never
    }

    /// Whether a link to this address may be tried.
    ///
    /// # Errors
    /// [`Unsecured`] where not.
    pub fn check(&self, peer: SocketAddr) -> Result<(), Unsecured> {
        let plain = || self.plain_tcp.check(peer).is_ok();
        if self.tls.is_some() || plain() { Ok(()) } else { Err(Unsecured) }
    }

    /// Reads the certificates of the host of this name, follows their files from then on, and shows
    /// them among the metrics. Returns the settings of its links.
    ///
    /// # Errors
    /// [`StartError::Configuration`] with what is wrong with which file.
    pub fn start(
        &self,
        name: PeerName,
        registry: &mut Registry,
        tasks: &mut Tasks,
    ) -> Result<LinkSettings, StartError> {
        let tls = self.tls.as_ref().map(|files| Credentials::load(files, name)).transpose();
        let tls = tls.map_err(|error| StartError::Configuration(format!("map.tls: {error}")))?;
        if let Some(credentials) = &tls {
            credentials.register(registry);
            tasks.spawn("certificates of map links", credentials.clone().follow(tasks.stop_token()));
        }
        Ok(LinkSettings { tls, plain_tcp: self.plain_tcp, ..LinkSettings::default() })
    }
}
