//! Tables for a person. A reader that has seen enough and closed the pipe is no mistake.

use std::io::{Write, stdout};

use crate::control::{LinkStatus, Status};

/// One line on standard output.
pub(super) fn line(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

/// All hosts of a lab.
pub(super) fn status(status: &Status) {
    line(&format!(
        "lab of process {}, packets by {}, files in {}",
        status.process,
        status.backend,
        status.dir.display()
    ));
    let mut rows = vec![["HOST", "PROGRAM", "STATE", "ADDRESSES"].map(String::from)];
    for host in &status.hosts {
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        let state = if host.cut_off { format!("{}, cut off", host.state) } else { host.state.clone() };
        let program = host.program.clone().unwrap_or_else(|| "-".into());
        rows.push([host.name.clone(), program, state, addresses.join(" ")]);
    }
    table(&rows);
    if status.unroutable > 0 {
        line(&format!("{} packets went to addresses that no host has", status.unroutable));
    }
}

/// Links and their counters.
pub(super) fn links(links: &[LinkStatus]) {
    let names = ["FROM", "TO", "DELAY ms", "JITTER ms", "LOSS %", "STATE", "SENT", "LOST", "CUT", "OVERFLOWED"];
    let mut rows = vec![names.map(String::from)];
    for link in links {
        rows.push([
            link.from.clone(),
            link.to.clone(),
            format!("{:.1}", link.delay_ms),
            format!("{:.1}", link.jitter_ms),
            format!("{:.1}", link.loss_percent),
            if link.is_cut { "cut" } else { "up" }.into(),
            link.sent.to_string(),
            link.lost.to_string(),
            link.cut.to_string(),
            link.overflowed.to_string(),
        ]);
    }
    table(&rows);
}

fn table<const N: usize>(rows: &[[String; N]]) {
    let widths: [usize; N] = std::array::from_fn(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0));
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(cells.join("  ").trim_end());
    }
}
