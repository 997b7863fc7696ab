//! Where a daemon's admin endpoint is.

use std::{fmt, io, net::SocketAddr, path::Path, path::PathBuf, str::FromStr};

/// A unix socket, or TCP on this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    /// The socket's path.
    Unix(PathBuf),
    /// Address and port.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err("the path is missing".into()) } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with('/') || text.starts_with("./") {
            return Ok(Self::Unix(text.into()));
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let address = address.replacen("localhost:", "127.0.0.1:", 1);
        let wanted = "wanted unix:/run/dglb/dns-b.sock or http://127.0.0.1:8053, as [admin] listen has it";
        address.parse().map(Self::Tcp).map_err(|_| wanted.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// Every `*.sock` in `directory`, sorted; nothing where there is no such directory.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn sockets(directory: &Path) -> io::Result<Vec<Address>> {
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|e| e.path()));
    let mut found: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "sock")).map(Address::Unix).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        let tcp = |text: &str| Ok(Address::Tcp(text.parse().unwrap()));
        assert_eq!("http://127.0.0.1:8053".parse(), tcp("127.0.0.1:8053"));
        assert_eq!("http://[::1]:8053/".parse(), tcp("[::1]:8053"));
        assert_eq!("localhost:80".parse(), tcp("127.0.0.1:80"));
        for unix in ["unix:/run/x.sock", "unix:///run/x.sock", "/run/x.sock"] {
            assert_eq!(unix.parse(), Ok(Address::Unix("/run/x.sock".into())));
        }
        for bad in ["", "unix:", "https://127.0.0.1:1", "127.0.0.1", "example.net:80"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets_are_found_where_daemons_put_them() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["dns-lb.sock", "dns-b.sock", "dns-b.pid"] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let found: Vec<_> = sockets(directory.path()).unwrap().iter().map(ToString::to_string).collect();
        let unix = |name: &str| format!("unix:{}", directory.path().join(name).display());
        assert_eq!(found, [unix("dns-b.sock"), unix("dns-lb.sock")]);
        assert_eq!(sockets(&directory.path().join("missing")).unwrap(), []);
    }
}
