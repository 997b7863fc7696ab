//! The HTTPS record that a service may have (RFC 9460): how its sites are spoken to.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Most octets of SvcParamValue that the ALPN ids of one record take, so that an answer with it and
/// with the hints of [`MAX_ANSWERS`](crate::answer::MAX_ANSWERS) addresses stays small.
pub const MAX_ALPN: usize = 64;

/// An HTTPS record of priority 1 whose target is the owner itself: "the service is here".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpsRecord {
    /// ALPN ids of the protocols that every site speaks besides HTTP/1.1, such as `h2`; without any
    /// the key is left out (RFC 9460 section 7.1.1).
    pub alpn: Vec<String>,
    /// Whether the sites do not speak HTTP/1.1 (RFC 9460 section 7.1.1, `no-default-alpn`).
    pub no_default_alpn: bool,
    /// TCP and UDP port of the service; without it 443 (RFC 9460 section 7.2).
    pub port: Option<u16>,
    /// Whether the addresses that are answered stand in the record, too (RFC 9460 section 7.3).
    pub hints: bool,
}

impl HttpsRecord {
    /// Octets of the `alpn` key's value: each id with its length in front.
    pub fn alpn_octets(&self) -> usize {
        self.alpn.iter().map(|id| 1 + id.len()).sum()
    }

    /// What cannot be served, each as a setting, what is allowed for it, and what was found.
    pub(super) fn check(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut mistakes = Vec::new();
        // Escaped: a peer may have written anything.
        let listed = || format!("{:?}", self.alpn);
        if !self.alpn.iter().all(|id| is_alpn_id(id)) {
            mistakes.push((
                "https.alpn",
                "a list of ids of visible ASCII without quotes, commas, backslashes",
                listed(),
            ));
        }
        if self.alpn.iter().collect::<HashSet<_>>().len() != self.alpn.len() {
            mistakes.push(("https.alpn", "a list of distinct ids", listed()));
        }
        if self.alpn_octets() > MAX_ALPN {
            let found = format!("{} octets", self.alpn_octets());
            mistakes.push(("https.alpn", "at most 64 octets, one more for each id included", found));
        }
        // RFC 9460 section 7.1.1: without "alpn" the record would contradict itself.
        if self.no_default_alpn && self.alpn.is_empty() {
            mistakes.push(("https.no-default-alpn", "false where alpn is empty", "true".to_owned()));
        }
        if self.port == Some(0) {
            mistakes.push(("https.port", "1 to 65535", "0".to_owned()));
        }
        mistakes
    }
}

/// Whether an ALPN id can be written in zone files without escaping, which RFC 9460 section 7.1.1
/// allows to insist on; no registered id but those of RFC 8701, which nobody serves, is otherwise.
fn is_alpn_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(alpn: &[&str]) -> HttpsRecord {
        HttpsRecord { alpn: alpn.iter().map(|id| (*id).to_owned()).collect(), ..HttpsRecord::default() }
    }

    #[test]
    fn what_clients_can_read_passes() {
        let long = "x".repeat(MAX_ALPN - 1);
        for good in [&[][..], &["h2"], &["h3", "h2", "http/1.1"], &[&long]] {
            assert_eq!(with(good).check(), [], "{good:?}");
        }
        let whole = HttpsRecord { no_default_alpn: true, port: Some(8443), hints: true, ..with(&["h2"]) };
        assert_eq!(whole.check(), []);
    }

    #[test]
    fn what_they_could_not_is_named() {
        let long = "x".repeat(MAX_ALPN);
        let lists = [&["h2", "h2"][..], &[""], &["h 2"], &["h,2"], &["h\\2"], &["h\"2"], &["hé"], &[&long]];
        let mut bad: Vec<_> = lists.iter().map(|list| (with(list), "https.alpn")).collect();
        bad.push((HttpsRecord { port: Some(0), ..with(&[]) }, "https.port"));
        bad.push((HttpsRecord { no_default_alpn: true, ..with(&[]) }, "https.no-default-alpn"));
        for (record, setting) in bad {
            let mistakes = record.check();
            assert_eq!(mistakes.iter().map(|m| m.0).collect::<Vec<_>>(), [setting], "{record:?}");
        }
    }
}
