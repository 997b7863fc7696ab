//! The operator's word on a site, through the admin endpoint: `POST /api/v1/force`.

use std::collections::BTreeMap;

use dglb_core::{
    catalogue::{Forced, ForcedState, MAX_REASON},
    name::Name,
};

/// The request.
pub(crate) const PATH: &str = "/api/v1/force";
/// Longest time that it may hold, in seconds: what is meant to stay belongs into a configuration.
const LONGEST: u64 = 31 * 86_400;

/// What is wanted of which site.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) service: Name,
    pub(crate) site: String,
    /// `None`: probes say what it is, unless its customer says something.
    pub(crate) forced: Option<Forced>,
}

impl Wanted {
    /// Reads `service`, `site` and `state`, which is `up`, `draining`, `down` or `none`, and but for the last
    /// `seconds` and `reason`, at `unix` seconds since 1970.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn read(parameters: &BTreeMap<String, String>, unix: u64) -> Result<Self, String> {
        let text = |key: &str| parameters.get(key).ok_or_else(|| format!("{key} is missing"));
        let service = text("service")?;
        let service = service.parse().map_err(|error| format!("service \"{service}\": {error}"))?;
        let state = match text("state")?.as_str() {
            "none" => None,
            word => Some(word.parse().map_err(|_| {
                let words = ForcedState::ALL.map(ForcedState::as_str).join(", ");
                format!("state is {words} or none, not \"{word}\"")
            })?),
        };
        let forced = match state {
            None => None,
            Some(state) => {
                let seconds = text("seconds")?.parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds));
                let seconds = seconds.ok_or_else(|| format!("seconds is a number from 1 to {LONGEST}"))?;
                let reason = text("reason")?.clone();
                if !(1..=MAX_REASON).contains(&reason.len()) {
                    return Err(format!("reason has 1 to {MAX_REASON} octets"));
                }
                Some(Forced { state, until: unix.saturating_add(seconds), reason })
            }
        };
        Ok(Self { service, site: text("site")?.clone(), forced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wanted, String> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Wanted::read(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), 1_000)
    }

    #[test]
    fn what_is_wanted_or_what_is_wrong_with_it() {
        let down = read("service=www.glb.test&site=sea&state=down&seconds=60&reason=roof").unwrap();
        let forced = Forced { state: ForcedState::Down, until: 1_060, reason: "roof".to_owned() };
        assert_eq!((down.site.as_str(), down.forced), ("sea", Some(forced)));
        assert_eq!(read("service=www.glb.test&site=sea&state=none").unwrap().forced, None);
        for (wrong, says) in [
            ("", "service is missing"),
            ("service=www..test&site=a&state=none", "service \"www..test\""),
            ("service=www.test&state=none", "site is missing"),
            ("service=www.test&site=a&state=dead", "state is up, draining, down or none, not \"dead\""),
            ("service=www.test&site=a&state=up&reason=x", "seconds is missing"),
            ("service=www.test&site=a&state=up&reason=x&seconds=0", "seconds is a number from 1 to"),
            ("service=www.test&site=a&state=up&reason=x&seconds=99999999", "seconds is a number from 1 to"),
            ("service=www.test&site=a&state=up&reason=&seconds=9", "reason has 1 to 200 octets"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
