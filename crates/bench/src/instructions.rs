//! `instructions`: how many instructions an answer takes, counted by valgrind, against the bounds in
//! `bounds.toml`. Unlike times, counts are the same on a busy machine, so a change that makes answers
//! dearer cannot land unnoticed.

use std::{
    fmt::Write,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use clap::Args;

/// Batches of the shorter of two runs; the longer has twice as many, so their difference is that of
/// the questions alone.
const BATCHES: u64 = 64;
/// Questions in one batch.
const BATCH: u64 = 32;
/// Hundredths that a count may be above its bound. Hash tables with random keys and other versions of
/// the C library make up for one of them, and where the sources lie, which changes the order in which the
/// compiler looks at functions, for five.
const TOLERANCE: u64 = 8;
/// The table in the file.
const TABLE: &str = "instructions-per-question";

/// Which program to count, and what it may take.
#[derive(Args, Debug)]
pub(crate) struct Instructions {
    /// The example `answer_workload` of dglb-core. Default: beside this program
    #[arg(long)]
    workload: Option<PathBuf>,
    /// The bounds
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/bounds.toml"))]
    bounds: PathBuf,
    /// Write what was counted as the new bounds
    #[arg(long)]
    update: bool,
}

impl Instructions {
    /// Counts every sort of question.
    ///
    /// # Errors
    /// When something cannot be run, or a count is above its bound.
    pub(crate) fn run(&self) -> io::Result<()> {
        let text = std::fs::read_to_string(&self.bounds)?;
        let workload = self.workload()?;
        println!("{:32} {:>12} {:>8}", "instructions for one question", "counted", "bound");
        let (mut new, mut above) = (Vec::new(), Vec::new());
        for (sort, bound) in bounds(&text)? {
            let once = count(&workload, BATCHES, &sort)?;
            let twice = count(&workload, 2 * BATCHES, &sort)?;
            let each = (twice - once) / (BATCHES * BATCH);
            let exceeds = each * 100 > bound * (100 + TOLERANCE);
            println!("{sort:32} {each:12} {bound:8} {}", if exceeds { "too many" } else { "" });
            if exceeds {
                above.push(sort.clone());
            }
            new.push((sort, each));
        }
        if self.update {
            return std::fs::write(&self.bounds, written(&text, &new));
        }
        if above.is_empty() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "more than {TOLERANCE} % above the bound: {}. If that is worth it, run this again with --update, \
             commit {}, and say why",
            above.join(", "),
            self.bounds.display()
        )))
    }

    fn workload(&self) -> io::Result<PathBuf> {
        let path = match &self.workload {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("examples/answer_workload"),
        };
        let build = "build it: cargo build --release -p dglb-core --example answer_workload";
        path.is_file().then_some(path).ok_or_else(|| io::Error::other(format!("no workload; {build}")))
    }
}

/// Sorts of questions with the instructions that one may take.
fn bounds(text: &str) -> io::Result<Vec<(String, u64)>> {
    let file: toml::Table = text.parse().map_err(io::Error::other)?;
    let table = file.get(TABLE).and_then(toml::Value::as_table);
    let entries = table.into_iter().flatten();
    let bounds: Option<Vec<_>> =
        entries.map(|(sort, bound)| Some((sort.clone(), u64::try_from(bound.as_integer()?).ok()?))).collect();
    let missing = || io::Error::other(format!("the bounds have no table [{TABLE}] of numbers"));
    bounds.filter(|bounds| !bounds.is_empty()).ok_or_else(missing)
}

/// The file with other bounds; what stands before the table stays.
fn written(text: &str, bounds: &[(String, u64)]) -> String {
    let head = text.split_once(&format!("[{TABLE}]")).map_or("", |(head, _)| head);
    let mut text = format!("{head}[{TABLE}]\n");
    for (sort, bound) in bounds {
        let _ = writeln!(text, "\"{sort}\" = {bound}");
    }
    text
}

/// Instructions of one run, all in all.
fn count(workload: &PathBuf, batches: u64, sort: &str) -> io::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(workload);
    let run = valgrind.args([&batches.to_string(), sort]).stdin(Stdio::null()).output();
    let run = run.map_err(|error| io::Error::new(error.kind(), format!("valgrind: {error}")))?;
    let said = String::from_utf8_lossy(&run.stderr);
    match collected(&said) {
        Some(count) if run.status.success() => Ok(count),
        _ => Err(io::Error::other(format!("\"{sort}\" was not counted:\n{said}"))),
    }
}

/// The sum that callgrind prints at its end.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let said = "==783== Events    : Ir\n==783== Collected : 990326474\n==783== \n";
        assert_eq!(collected(said), Some(990_326_474));
        assert_eq!(collected("usage: answer_workload BATCHES"), None);
    }

    #[test]
    fn bounds_are_read_and_written_as_they_were() {
        let text = include_str!("../bounds.toml");
        let read = bounds(text).unwrap();
        assert!(read.len() >= 6 && read.iter().all(|(_, bound)| *bound > 100), "{read:?}");
        assert_eq!(bounds(&written(text, &read)).unwrap(), read);
        assert!(written(text, &read).starts_with(text.split_once('[').unwrap().0));
        for wrong in ["", "[instructions-per-question]\n", "[instructions-per-question]\na = \"b\"\n"] {
            assert!(bounds(wrong).is_err(), "{wrong}");
        }
    }
}
