//! `dglbctl force`: what a site counts as, for a while.

use std::time::Duration;

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use dglb_core::catalogue::ForcedState;

use crate::map::encoded;

/// Which site is to count as what.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The service, by its name in the zone
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The site, by its name in the catalogue
    #[arg(value_name = "SITE")]
    site: String,
    /// What it counts as
    #[arg(value_parser = states(), value_name = "STATE", required_unless_present = "undo")]
    state: Option<ForcedState>,
    /// For how long, at most 31 days
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT", required_unless_present = "undo")]
    reason: Option<String>,
    /// Let probes, and the customer, say again what it is
    #[arg(long, conflicts_with_all = ["state", "reason", "time"])]
    undo: bool,
}

impl Arguments {
    /// What is asked of the daemon.
    pub(crate) fn path(&self) -> String {
        let site = format!("/api/v1/force?service={}&site={}", encoded(&self.service), encoded(&self.site));
        match self.state {
            None => format!("{site}&state=none"),
            Some(state) => {
                let reason = encoded(self.reason.as_deref().unwrap_or_default());
                format!("{site}&state={state}&seconds={}&reason={reason}", self.time.as_secs())
            }
        }
    }

    /// What is so now, for people.
    pub(crate) fn done(&self) -> String {
        let Self { service, site, .. } = self;
        match self.state {
            None => format!("{site} of {service} is what probes, or its customer, say"),
            Some(state) => {
                let time = humantime::format_duration(self.time);
                format!("{site} of {service} counts as {state} for {time}")
            }
        }
    }
}

/// Any state, by its word.
fn states() -> impl TypedValueParser<Value = ForcedState> {
    let value = |state: ForcedState| {
        PossibleValue::new(state.as_str()).help(match state {
            ForcedState::Up | ForcedState::Down => "Whatever the probes say",
            ForcedState::Draining => "New clients only where no other site is up",
        })
    };
    PossibleValuesParser::new(ForcedState::ALL.map(value)).try_map(|word| word.parse::<ForcedState>())
}
