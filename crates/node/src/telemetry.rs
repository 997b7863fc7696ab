//! Logs: lines on standard error, filtered by `DGLB_LOG`, and never one per packet.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable with the filter, such as `debug` or `info,dglb_node::serve=trace`.
pub const FILTER_VARIABLE: &str = "DGLB_LOG";

/// Libraries that log once per message at `info` or below, and what is left of them.
const QUIET: [&str; 2] = ["hickory_proto=warn", "hickory_net=warn"];

/// Sends this process's logs to standard error. Without effect when logs already go somewhere,
/// so tests may call it as often as they like.
pub fn init() {
    let wanted = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // The journal stamps the time itself.
    let outcome =
        if std::env::var_os("JOURNAL_STREAM").is_some() { lines.without_time().try_init() } else { lines.try_init() };
    // Somebody else's subscriber is as good.
    let _ = outcome;
}

fn filter(wanted: &str) -> EnvFilter {
    let default = if wanted.trim().is_empty() { "info" } else { wanted };
    // Later directives for the same target win, so an explicit wish for hickory's logs is kept.
    EnvFilter::builder().parse_lossy(format!("{},{default}", QUIET.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_asked_for() {
        for wanted in ["", "debug", "info,dglb_node=trace"] {
            assert!(filter(wanted).to_string().contains("hickory_proto=warn"), "{wanted}");
        }
        assert!(filter("").to_string().contains("info"));
        let asked = filter("hickory_proto=debug").to_string();
        assert!(asked.contains("hickory_proto=debug") && !asked.contains("hickory_proto=warn"), "{asked}");
    }
}
