//! Master files (RFC 1035 section 5) in topologies. The text may name other hosts, so that one
//! topology serves every address plan: a line with `{v4:HOST}` or `{v6:HOST}` is repeated for each
//! address of that family of the host and left out where there is none; `{v4:HOST[1]}` means the
//! second address alone. Root hints are made here too.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::settings::{Family, addresses_of};
use super::{HostContext, PrepareError};

/// One zone of an authoritative server, as a topology gives it: `text` or `file`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ZoneSource {
    /// The zone's name; `.` for the root.
    pub(super) origin: String,
    /// The master file itself.
    pub(super) text: Option<String>,
    /// Where the master file is.
    pub(super) file: Option<PathBuf>,
}

impl ZoneSource {
    /// The master file with the hosts' addresses in place.
    pub(super) fn master(&self, host: &HostContext<'_>) -> Result<String, PrepareError> {
        let text = match (&self.text, &self.file) {
            (Some(text), None) => text.clone(),
            (None, Some(path)) => {
                fs::read_to_string(path).map_err(|source| PrepareError::File { path: path.clone(), source })?
            }
            _ => return Err(self.error("give it either `text` or `file`")),
        };
        expand(&text, host, |reason| self.error(reason))
    }

    /// A file name for this zone in the host's directory.
    pub(super) fn file_name(&self) -> String {
        let stem: String = self
            .origin
            .trim_end_matches('.')
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' })
            .collect();
        format!("zone-{}.zone", if stem.is_empty() { "root" } else { &stem })
    }

    /// The origin as real servers want it in their configuration.
    pub(super) fn quoted_origin(&self) -> Result<&str, PrepareError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.origin.is_empty() || !self.origin.chars().all(plain) {
            return Err(self.error("not a plain domain name"));
        }
        Ok(&self.origin)
    }

    fn error(&self, reason: &str) -> PrepareError {
        PrepareError::Zone { origin: self.origin.clone(), reason: reason.to_owned() }
    }
}

/// Root hints in master file form: one name per root server host, its addresses of the families in
/// use.
pub(super) fn root_hints(roots: &[String], host: &HostContext<'_>, family: Family) -> Result<String, PrepareError> {
    let mut hints = String::new();
    for (name, addresses) in root_servers(roots, host, family)? {
        let _ = writeln!(hints, ".\t3600000\tNS\t{name}");
        for address in addresses {
            let _ = writeln!(hints, "{name}\t3600000\t{}\t{address}", if address.is_ipv4() { "A" } else { "AAAA" });
        }
    }
    Ok(hints)
}

/// The root servers' names and addresses; at least one address in all.
pub(super) fn root_servers(
    roots: &[String],
    host: &HostContext<'_>,
    family: Family,
) -> Result<Vec<(String, Vec<IpAddr>)>, PrepareError> {
    let mut servers = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let addresses: Vec<_> = addresses_of(host, root)?.into_iter().filter(|address| family.has(*address)).collect();
        if !addresses.is_empty() {
            servers.push((format!("root{index}.root-servers.lab."), addresses));
        }
    }
    if servers.is_empty() {
        let purpose = format!("the root servers {roots:?}");
        return Err(PrepareError::NoAddress { host: host.name.to_owned(), purpose });
    }
    Ok(servers)
}

/// Puts addresses in the place of `{v4:HOST}` and `{v6:HOST}`.
fn expand(text: &str, host: &HostContext<'_>, error: impl Fn(&str) -> PrepareError) -> Result<String, PrepareError> {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let Some(mark) = Mark::find(line) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mark = mark.map_err(|reason| error(&format!("{reason}: {line}")))?;
        let addresses = addresses_of(host, mark.host)?;
        let family = addresses.iter().filter(|address| address.is_ipv4() == mark.v4);
        for (_, address) in family.enumerate().filter(|(at, _)| mark.index.is_none_or(|index| index == *at)) {
            let _ = writeln!(out, "{}{address}{}", mark.before, mark.after);
        }
    }
    Ok(out)
}

/// One `{v4:HOST[n]}` of a line.
struct Mark<'a> {
    before: &'a str,
    v4: bool,
    host: &'a str,
    index: Option<usize>,
    after: &'a str,
}

impl<'a> Mark<'a> {
    /// The line's mark, if it has one.
    fn find(line: &'a str) -> Option<Result<Self, &'static str>> {
        let start = line.find("{v4:").or_else(|| line.find("{v6:"))?;
        Some(Self::parse(line, start))
    }

    fn parse(line: &'a str, start: usize) -> Result<Self, &'static str> {
        let (before, rest) = line.split_at(start);
        let v4 = rest.starts_with("{v4:");
        let (inner, after) = rest["{v4:".len()..].split_once('}').ok_or("unclosed {")?;
        if after.contains("{v4:") || after.contains("{v6:") {
            return Err("two addresses in one line");
        }
        let (host, index) = match inner.split_once('[') {
            None => (inner, None),
            Some((host, index)) => {
                let index = index.strip_suffix(']').and_then(|digits| digits.parse().ok());
                (host, Some(index.ok_or("bad index")?))
            }
        };
        Ok(Self { before, v4, host, index, after })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lookup(name: &str) -> Option<Vec<IpAddr>> {
        let list: &[&str] = match name {
            "dnsa" => &["10.0.0.1", "fd00::1"],
            "dnsb" => &["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"],
            "old" => &["10.0.0.4"],
            _ => return None,
        };
        Some(list.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn with_host<T>(test: impl FnOnce(&HostContext<'_>) -> T) -> T {
        test(&HostContext { name: "h", addresses: &[], dir: Path::new("/"), rootless: false, lookup: &lookup })
    }

    fn zone(text: &str) -> Result<String, PrepareError> {
        let source = ZoneSource { origin: "test".into(), text: Some(text.into()), file: None };
        with_host(|host| source.master(host))
    }

    #[test]
    fn lines_follow_the_addresses() {
        assert_eq!(zone("a A {v4:dnsa} ; x\n").unwrap(), "a A 10.0.0.1 ; x\n");
        assert_eq!(
            zone("a A {v4:dnsb}\na AAAA {v6:dnsb[1]}\nb AAAA {v6:old}\nc TXT x\n").unwrap(),
            "a A 10.0.0.2\na A 10.0.0.3\na AAAA fd00::3\nc TXT x\n"
        );
        assert_eq!(zone("a A {v4:192.0.2.9}\n").unwrap(), "a A 192.0.2.9\n");
        assert!(matches!(zone("a A {v4:nobody}"), Err(PrepareError::UnknownHost { .. })));
        for bad in ["a A {v4:dnsa", "a A {v4:dnsa[x]}", "a A {v4:dnsa[1}", "a A {v4:dnsa}{v6:dnsa}"] {
            assert!(matches!(zone(bad), Err(PrepareError::Zone { .. })), "{bad}");
        }
    }

    #[test]
    fn hints_hold_the_families_in_use() {
        let roots = ["dnsa".to_owned(), "old".to_owned()];
        let v6 = with_host(|host| root_hints(&roots, host, Family::Ipv6)).unwrap();
        assert_eq!(v6, ".\t3600000\tNS\troot0.root-servers.lab.\nroot0.root-servers.lab.\t3600000\tAAAA\tfd00::1\n");
        let dual = with_host(|host| root_hints(&roots, host, Family::Dual)).unwrap();
        assert_eq!(dual.lines().count(), 5);
        let only_old = ["old".to_owned()];
        assert!(matches!(
            with_host(|host| root_hints(&only_old, host, Family::Ipv6)),
            Err(PrepareError::NoAddress { .. })
        ));
    }

    #[test]
    fn file_names_are_plain() {
        let named = |origin: &str| ZoneSource { origin: origin.into(), text: None, file: None }.file_name();
        assert_eq!(named("."), "zone-root.zone");
        assert_eq!(named("foobar.test."), "zone-foobar.test.zone");
        assert_eq!(named("../x"), "zone-.._x.zone");
    }
}
