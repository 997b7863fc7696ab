//! Decides again what a daemon has put down, by the daemon's own functions, and compares.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use dglb_core::{
    decided::{Answered, Decided},
    identity::Identity,
    name::Name,
};
use dglb_node::decisions::{ReadError, Record, read};
use serde_json::json;

use crate::{
    cli::{Failure, code, print},
    decision::{addresses, rule, sites},
};

/// What is to be decided again.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The log of a daemon, such as /var/lib/dglb/decisions.jsonl; those that were set aside belong to it
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Only decisions on this service
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Only what was in force at this time: 2026-05-04T03:02:01Z, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<u64>,
    /// Show what this resolver, or the client in its subnet, was answered: where clients are shared out over
    /// several sites, not everybody gets the same
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Print JSON: a line for each decision, with what was put down and what is decided now
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default)]
struct Seen {
    decisions: usize,
    different: usize,
    first: Option<u64>,
}

impl Arguments {
    /// Does it; the exit code is that of decisions that come out otherwise.
    pub(crate) fn run(&self) -> Result<u8, Failure> {
        let mut seen = Seen::default();
        let mut in_force: BTreeMap<(Identity, Name), Record> = BTreeMap::new();
        let mut done = Ok(());
        let took = read(&self.log, |record| {
            seen.first = seen.first.or(Some(record.unix_ms));
            let service = &record.decided.inputs.service;
            if self.service.as_ref().is_some_and(|wanted| wanted != service) || done.is_err() {
                return;
            }
            match self.at {
                Some(at) if record.unix_ms <= at => {
                    drop(in_force.insert((record.by.clone(), service.clone()), record));
                }
                Some(_) => {}
                None => done = self.replay(&record, &mut seen),
            }
        });
        for record in in_force.values() {
            done = done.and_then(|()| self.replay(record, &mut seen));
        }
        done?;
        took?;
        self.conclude(&seen)
    }

    fn replay(&self, record: &Record, seen: &mut Seen) -> Result<(), Failure> {
        let again = record.decided.again();
        let same = again == record.decided;
        seen.decisions += 1;
        seen.different += usize::from(!same);
        if self.json {
            let answer = self.from.map_or_else(|| again.answer.clone(), |client| again.answer_to(client));
            let now = json!({ "outcome": again.outcome, "answer": answer });
            return print(&format!("{}\n", json!({ "same": same, "put_down": record, "again": now })));
        }
        let mut text = self.line(record, &again);
        if !same {
            let Record { version, decided, .. } = record;
            let (was, is) = (self.brief(decided), self.brief(&again));
            text += &format!("  DIFFERENT: dglb {version} put down: {was}\n");
            text += &format!("             dglb {} decides:  {is}\n", env!("CARGO_PKG_VERSION"));
        }
        if self.at.is_some() || !same {
            text += &sites(&again).lines().map(|line| format!("  {line}\n")).collect::<String>();
        }
        print(&text)
    }

    /// When, by whom, on what, and what is decided now.
    fn line(&self, record: &Record, again: &Decided) -> String {
        let (at, service) = (moment(record.unix_ms), &record.decided.inputs.service);
        format!("{at} {} {service}  {}\n", record.by, self.brief(again))
    }

    fn brief(&self, decided: &Decided) -> String {
        match self.from {
            Some(client) => brief(decided, &decided.answer_to(client)),
            None => brief(decided, &decided.answer),
        }
    }

    fn conclude(&self, seen: &Seen) -> Result<u8, Failure> {
        let Seen { decisions, different, first } = *seen;
        if decisions == 0 {
            let begins = first.map_or_else(String::new, |first| format!("; the log begins at {}", moment(first)));
            let message = format!("{}: no such decision is there{begins}", self.log.display());
            return Err(Failure { code: code::DATA, message });
        }
        if !self.json {
            let verdict = match different {
                0 => "decided again as they were".to_owned(),
                different => format!("{different} of them DIFFERENT"),
            };
            print(&format!("{decisions} decision{}, {verdict}\n", if decisions == 1 { "" } else { "s" }))?;
        }
        Ok(if different == 0 { 0 } else { code::DIFFERENT })
    }
}

fn brief(decided: &Decided, answer: &Answered) -> String {
    let order: Vec<&str> = decided.outcome.ranking.sites.iter().map(|site| site.site.as_str()).collect();
    let order = crate::table::printable(&order.join(" "));
    format!("{} ({order}; {})", addresses(answer), rule(decided))
}

/// A time for people.
pub(crate) fn moment(unix_ms: u64) -> String {
    // What is later than the year 9999 cannot be written so.
    let latest = Duration::from_secs(253_402_300_799);
    let since = Duration::from_millis(unix_ms).min(latest);
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// In milliseconds since 1970.
fn read_time(text: &str) -> Result<u64, String> {
    let seconds = text.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000));
    let written = || humantime::parse_rfc3339_weak(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let read = seconds.or_else(|| u64::try_from(written()?.as_millis()).ok());
    read.ok_or_else(|| "wanted a time such as 2026-05-04T03:02:01Z, or seconds since 1970".to_owned())
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::File { .. } => code::INPUT,
            ReadError::Line { .. } => code::DATA,
        };
        Self { code, message: error.to_string() }
    }
}
