//! `dglbctl force`: what a site counts as, for a while.

use std::time::Duration;

use clap::{Args, ValueEnum};

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
    #[arg(value_enum, value_name = "STATE", required_unless_present = "undo")]
    state: Option<State>,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// Whatever the probes say
    Up,
    /// New clients only where no other site is up
    Draining,
    /// Whatever the probes say
    Down,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

impl Arguments {
    /// What is asked of the daemon.
    pub(crate) fn path(&self) -> String {
        let site = format!("/api/v1/force?service={}&site={}", encoded(&self.service), encoded(&self.site));
        match self.state {
            None => format!("{site}&state=none"),
            Some(state) => {
                let reason = encoded(self.reason.as_deref().unwrap_or_default());
                format!("{site}&state={}&seconds={}&reason={reason}", state.as_str(), self.time.as_secs())
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
                format!("{site} of {service} counts as {} for {time}", state.as_str())
            }
        }
    }
}
