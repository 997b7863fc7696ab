//! A person's word on a site, which holds instead of what probes say until it expires.

use serde::{Deserialize, Serialize};

/// Most octets of a reason.
pub const MAX_REASON: usize = 200;

/// What somebody says of a site, until when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forced {
    /// What the site counts as.
    pub state: ForcedState,
    /// Seconds since 1970-01-01 UTC at which it no longer holds. There is always an end: what is forgotten
    /// would hide a dead site, or a good one, for ever.
    pub until: u64,
    /// Why, for people; 1 to [`MAX_REASON`] octets.
    pub reason: String,
}

/// What a site may be made to count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedState {
    /// Up, whatever the probes say.
    Up,
    /// Not for new clients as long as another site is up. Down where the probes say so.
    Draining,
    /// Down, whatever the probes say.
    Down,
}

impl Forced {
    /// Whether it still holds at `unix` seconds since 1970.
    pub fn holds(&self, unix: u64) -> bool {
        unix < self.until
    }

    /// Says of every setting what it is, what is allowed, what was found, and whether it is good.
    pub(super) fn check(&self, range: &mut impl FnMut(&'static str, &'static str, String, bool)) {
        let length = self.reason.len();
        range("forced reason", "1 to 200 octets", length.to_string(), (1..=MAX_REASON).contains(&length));
    }
}
