//! A person's word on a site, which holds instead of what probes say until it expires.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// A word that is no [`ForcedState`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is none of {words}", words = ForcedState::ALL.map(ForcedState::as_str).join(", "))]
pub struct ForcedStateError(String);

impl ForcedState {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Up, Self::Draining, Self::Down];

    /// Its word in configurations, requests and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

impl FromStr for ForcedState {
    type Err = ForcedStateError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| ForcedStateError(word.to_owned()))
    }
}

impl fmt::Display for ForcedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_word_everywhere() {
        for state in ForcedState::ALL {
            let word = state.to_string();
            assert_eq!(word.parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), word.as_str());
        }
        let error = "Up".parse::<ForcedState>().unwrap_err();
        assert_eq!(error.to_string(), "\"Up\" is none of up, draining, down");
    }
}
