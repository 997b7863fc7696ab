//! Where an admin endpoint may listen.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use thiserror::Error;

/// `unix:/path/of/socket`, or an address and port of loopback. Nothing else can be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket at an absolute path.
    Unix(PathBuf),
    /// TCP on loopback.
    Tcp(SocketAddr),
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither form.
    #[error("\"{0}\" is neither unix:/path/of/socket nor an address with a port, such as 127.0.0.1:9053")]
    Syntax(String),
    /// Reachable from other hosts.
    #[error(
        "{0} is not on loopback; the admin endpoint has no passwords, so it listens on 127.0.0.1, [::1] or unix:/path alone"
    )]
    NotLoopback(SocketAddr),
    /// Relative to whatever directory the daemon was started in.
    #[error("\"{0}\": the path of a unix socket is absolute and at most 107 octets long")]
    Path(String),
}

/// Longest path of a unix socket in octets (`sun_path` less its final zero).
const MAX_PATH: usize = 107;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let good = path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0');
            return good.then(|| Self::Unix(path.into())).ok_or_else(|| AddressError::Path(text.to_owned()));
        }
        let address: SocketAddr = text.parse().map_err(|_| AddressError::Syntax(text.to_owned()))?;
        if !address.ip().is_loopback() {
            return Err(AddressError::NotLoopback(address));
        }
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_host_alone_can_reach() {
        for good in ["unix:/run/dglb/dns-b.sock", "127.0.0.1:9053", "127.3.2.1:0", "[::1]:9053"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        let long = format!("unix:/{}", "x".repeat(107));
        for bad in [
            "0.0.0.0:80",
            "[::]:80",
            "192.0.2.1:80",
            "127.0.0.1",
            "localhost:80",
            "unix:dns-b.sock",
            "unix:",
            "",
            &long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
