//! Mistakes and where they stand.

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// One mistake or doubt, shown as `file:line:column: message`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line and column, both from 1, the column in characters; `None` where it is the whole file.
    pub position: Option<(usize, usize)>,
    /// What is wrong, for people.
    pub message: String,
}

/// Everything that is wrong with a configuration, sorted by file and position, one to a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `problems` must be sorted. A reader that gave up without saying why is itself a problem.
    pub(super) fn new(path: &Path, mut problems: Vec<Problem>) -> Self {
        if problems.is_empty() {
            let message = "the configuration is incomplete".to_owned();
            problems.push(Problem { file: path.to_owned(), position: None, message });
        }
        Self { problems }
    }

    /// Every problem, at least one, sorted by file and position.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Where problems are gathered while files are read.
#[derive(Debug, Default)]
pub(super) struct Sink {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Sink {
    pub(super) fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Whether there is no problem so far; warnings do not count.
    pub(super) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Problems and warnings, each sorted and without repetitions.
    pub(super) fn into_sorted(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort();
            list.dedup();
            list
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}

/// Line and column, both from 1, of a byte offset; an offset beyond the end is the end.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    // Characters, not octets: every octet but the continuations of UTF-8.
    let column = 1 + before[line_start..].iter().filter(|b| **b & 0xc0 != 0x80).count();
    (line, column)
}
