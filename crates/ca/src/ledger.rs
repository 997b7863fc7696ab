//! What was issued, and what was revoked: one line for each certificate, never taken away.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use dglb_core::{
    identity::Identity,
    peer_name::{PeerName, parse_role, role_text},
};
use thiserror::Error;

use crate::Serial;

/// The first line of the file, which says what its columns are.
const HEADER: &str = "# serial\trole\tidentity\texpires\trevoked";
/// Stands where nothing is.
const NONE: &str = "-";

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: wanted serial, role, identity, expiry and revocation, parted by tabs")]
pub struct LedgerError {
    /// Which, counted from 1.
    pub line: usize,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub serial: Serial,
    /// Whose it is.
    pub name: PeerName,
    /// Until when it is valid, in whole seconds.
    pub expires: SystemTime,
    /// Since when it is revoked.
    pub revoked: Option<SystemTime>,
}

/// What a certificate is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is valid for so long.
    Valid(Duration),
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Entry {
    /// What it is worth now.
    pub fn state(&self, now: SystemTime) -> State {
        if self.revoked.is_some() {
            return State::Revoked;
        }
        match self.expires.duration_since(now) {
            Ok(left) if !left.is_zero() => State::Valid(left),
            _ => State::Expired,
        }
    }
}

/// Reads the file's text.
///
/// # Errors
/// The first line that is none.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, LedgerError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    lines.map(|(at, line)| entry(line).ok_or(LedgerError { line: at + 1 })).collect()
}

/// The file's text.
pub(crate) fn render(entries: &[Entry]) -> String {
    let mut text = format!("{HEADER}\n");
    for Entry { serial, name, expires, revoked } in entries {
        let revoked = revoked.map_or_else(|| NONE.to_owned(), |at| seconds(at).to_string());
        let (role, identity, expires) = (role_text(name.role), &name.identity, seconds(*expires));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{serial}\t{role}\t{identity}\t{expires}\t{revoked}");
    }
    text
}

fn entry(line: &str) -> Option<Entry> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [serial, role, identity, expires, revoked] = columns[..] else { return None };
    let identity: Identity = identity.parse().ok()?;
    let revoked = if revoked == NONE { None } else { Some(time(revoked)?) };
    let name = PeerName::new(parse_role(role).ok()?, identity);
    Some(Entry { serial: serial.parse().ok()?, name, expires: time(expires)?, revoked })
}

fn time(text: &str) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(text.parse().ok()?))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let entry = |name: &str, revoked| Entry {
            serial: "4a00ff".parse().unwrap(),
            name: name.parse().unwrap(),
            expires: at(2_000),
            revoked,
        };
        let entries = [entry("dglb:dns-lb:sea1", None), entry("dglb:dns-b:b1", Some(at(1_000)))];
        let text = render(&entries);
        assert_eq!(text.lines().nth(1), Some("4a00ff\tdns-lb\tsea1\t2000\t-"));
        assert_eq!(parse(&text).unwrap(), entries);
        assert_eq!(entries[0].state(at(1_999)), State::Valid(Duration::from_secs(1)));
        assert_eq!((entries[0].state(at(2_000)), entries[1].state(at(0))), (State::Expired, State::Revoked));
    }

    #[test]
    fn lines_that_are_none_are_told_by_number() {
        for line in ["x", "4a\tdns-x\tsea1\t1\t-", "4a\tdns-lb\tSEA\t1\t-", "4a\tdns-lb\tsea1\tsoon\t-"] {
            assert_eq!(parse(&format!("{HEADER}\n\n{line}\n")), Err(LedgerError { line: 3 }), "{line}");
        }
    }
}
