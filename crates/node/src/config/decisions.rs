//! `[decisions]`: where a daemon puts down what it has decided.

use std::path::PathBuf;

use super::{Section, boolean, integer, size};
use crate::journal::Settings;

/// The file's name in the state directory.
const NAME: &str = "decisions.jsonl";
/// Octets of one file, unless it is said otherwise.
const SIZE: u64 = 16 << 20;
/// Files, unless it is said otherwise.
const FILES: u32 = 4;

/// Reads the table of a daemon that keeps its state here. Decisions are put down where there is a state
/// directory, or where a file is named: what was not put down when somebody was sent astray nobody can ask
/// for afterwards, and there it can take no more room than is set.
pub fn decisions(section: &Section<'_>, state_dir: Option<&PathBuf>) -> Option<Settings> {
    let table = section.table("decisions");
    let named = table.as_ref().and_then(|table| table.path("file"));
    let wanted = table.as_ref().and_then(|table| table.optional("enabled", boolean));
    let limits = |table: &Section<'_>| {
        (table.or("size", size(64 << 10..=1 << 30), SIZE), table.or("files", integer(1..=1_000), FILES))
    };
    let (size, files) = table.as_ref().map_or((SIZE, FILES), limits);
    let file = named.or_else(|| state_dir.map(|directory| directory.join(NAME)));
    if let (Some(table), Some(true), None) = (&table, wanted, &file) {
        table.problem("enabled", "needs \"file\", or a state-dir to put the file into");
    }
    file.filter(|_| wanted != Some(false)).map(|file| Settings { file, size, files })
}
