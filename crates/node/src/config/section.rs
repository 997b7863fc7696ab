//! A table of a configuration file, read key by key; reading notes mistakes and goes on.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    fmt::Display,
    hash::Hash,
    io::Read,
    path::{Path, PathBuf},
};

use toml::{Spanned, de::DeTable};

use super::{
    problem::{Problem, Sink, position},
    suggest,
    value::{Value, instead},
};

/// Longest configuration file in octets: far beyond any real one, far below what hurts.
const MAX_FILE: u64 = 16 << 20;

/// One table of a file. Each key is asked for by name, together with what kind of value it takes;
/// keys that were never asked for are reported as unknown once the whole file has been read.
///
/// Wherever a method returns `None` or leaves something out although the key is there, the
/// mistake has been noted and the file as a whole will be refused.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    document: &'a Document<'a>,
    table: &'a DeTable<'a>,
    /// Byte offset of its header.
    at: usize,
    /// `""` for the top level, else such as `peer.limits.`, for messages.
    prefix: String,
}

/// One file while it is read.
#[derive(Debug)]
struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    sink: &'a Sink,
    /// Keys asked for, by the address of the table; a table that was never opened is not in it.
    asked: RefCell<HashMap<*const (), BTreeSet<String>>>,
    /// The parser had to guess, so a missing key may well be there.
    recovered: bool,
}

/// Reads one file; `None` when it cannot be read at all or `read` gave up.
pub(super) fn read_file<T>(path: &Path, sink: &Sink, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
    let whole_file = |message| sink.problem(Problem { file: path.to_owned(), position: None, message });
    let octets = match read_bounded(path) {
        Ok(octets) => octets,
        Err(message) => {
            whole_file(message);
            return None;
        }
    };
    let text = String::from_utf8_lossy(&octets);
    let note = |offset, message| {
        let position = Some(position(&text, offset));
        sink.problem(Problem { file: path.to_owned(), position, message });
    };
    if let Err(error) = std::str::from_utf8(&octets) {
        note(error.valid_up_to(), "these octets are not UTF-8".to_owned());
        return None;
    }
    let (tree, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        note(error.span().map_or(0, |span| span.start), error.message().trim().replace('\n', ", "));
    }
    let document = Document { path, text: &text, sink, asked: RefCell::default(), recovered: !errors.is_empty() };
    let top = Section::open(&document, tree.get_ref(), 0, String::new());
    let value = read(&top);
    document.report_unknown(tree.get_ref(), "");
    value
}

impl<'a> Section<'a> {
    fn open(document: &'a Document<'a>, table: &'a DeTable<'a>, at: usize, prefix: String) -> Self {
        document.asked.borrow_mut().entry(address(table)).or_default();
        Self { document, table, at, prefix }
    }

    /// A key that must be there.
    pub fn required<T>(&self, key: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>) -> Option<T> {
        self.note_if_missing(key);
        self.optional(key, kind)
    }

    /// A key that may be left out.
    pub fn optional<T>(&self, key: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>) -> Option<T> {
        self.convert(self.value(key)?, key, &kind)
    }

    /// A key that may be left out and then means `default`.
    pub fn or<T>(&self, key: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>, default: T) -> T {
        self.optional(key, kind).unwrap_or(default)
    }

    /// A list whose elements are all of one kind; without the key it is empty.
    pub fn list<T>(&self, key: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.note(value.span().start, key, &instead("a list", value.get_ref()));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.convert(item, key, &kind)).collect()
    }

    /// A list that must be there and hold at least one element.
    pub fn required_list<T>(&self, key: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>) -> Option<Vec<T>> {
        self.note_if_missing(key);
        let list = self.list(key, kind);
        if self.value(key)?.get_ref().as_array().is_some_and(|items| items.is_empty()) {
            self.problem(key, "the list must not be empty");
        }
        (!list.is_empty()).then_some(list)
    }

    /// A table whose keys are free and whose values are all of one kind, in order of the keys;
    /// without the key it is empty.
    pub fn map<T>(&self, key: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>) -> Vec<(String, T)> {
        let Some(section) = self.table(key) else { return Vec::new() };
        let names: Vec<String> = section.table.keys().map(|name| name.get_ref().to_string()).collect();
        names.into_iter().filter_map(|name| section.optional(&name, &kind).map(|value| (name, value))).collect()
    }

    /// A file or directory; a relative one is taken from the directory of this file.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let path: PathBuf = self.optional(key, super::value::text)?;
        if path.as_os_str().is_empty() {
            self.problem(key, "the path must not be empty");
            return None;
        }
        Some(self.document.path.parent().map_or_else(|| path.clone(), |directory| directory.join(&path)))
    }

    /// A table such as `[listen]` that may be left out.
    pub fn table(&self, key: &str) -> Option<Self> {
        let value = self.value(key)?;
        let opened = self.open_table(value, format!("{}{key}.", self.prefix));
        if opened.is_none() {
            self.note(value.span().start, key, &instead(&format!("a table [{}{key}]", self.prefix), value.get_ref()));
        }
        opened
    }

    /// A table that must be there.
    pub fn required_table(&self, key: &str) -> Option<Self> {
        self.note_if_missing(key);
        self.table(key)
    }

    /// The tables `[[key]]`, in the order of the file; none is an empty list.
    pub fn tables(&self, key: &str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let wanted = |found: &Value<'_>| instead(&format!("tables [[{}{key}]]", self.prefix), found);
        let Some(items) = value.get_ref().as_array() else {
            self.note(value.span().start, key, &wanted(value.get_ref()));
            return Vec::new();
        };
        let open = |item| {
            let opened = self.open_table(item, format!("{}{key}.", self.prefix));
            if opened.is_none() {
                self.note(item.span().start, key, &wanted(item.get_ref()));
            }
            opened
        };
        items.iter().filter_map(open).collect()
    }

    /// Another TOML file, named by `key` and relative to this one; its mistakes are reported
    /// together with this one's.
    pub fn file<T>(&self, key: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        read_file(&self.path(key)?, self.document.sink, read)
    }

    /// Like [`Section::file`], but the key must be there.
    pub fn required_file<T>(&self, key: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        self.note_if_missing(key);
        self.file(key, read)
    }

    /// Whether the key is there, of whatever kind.
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Notes that something is wrong with the value of `key`; without the key, with the table.
    pub fn problem(&self, key: &str, message: impl Display) {
        self.note(self.offset(key), key, &message.to_string());
    }

    /// Notes a mistake in a file that is not TOML and that this one names.
    pub(super) fn problem_elsewhere(&self, problem: Problem) {
        self.document.sink.problem(problem);
    }

    /// Notes that something is wrong with an element, counted from 0, of the list `key`.
    pub fn problem_in(&self, key: &str, index: usize, message: impl Display) {
        let items = self.value(key).and_then(|value| value.get_ref().as_array());
        let item = items.and_then(|items| items.get(index)).map(|item| item.span().start);
        self.note(item.unwrap_or_else(|| self.offset(key)), key, &message.to_string());
    }

    /// Notes something that is legal, but probably not what was meant.
    pub fn warning(&self, key: &str, message: impl Display) {
        self.document.sink.warning(self.at(self.offset(key), key, &message.to_string()));
    }

    /// Notes a problem at `key` of every section whose value an earlier one has too.
    pub fn distinct<T: Eq + Hash + Display>(key: &str, values: impl IntoIterator<Item = (Self, T)>) {
        let mut first: HashMap<T, usize> = HashMap::new();
        for (section, value) in values {
            match first.get(&value) {
                Some(earlier) => {
                    // Lines are counted for who needs one alone: there may be ten thousand sections.
                    let (line, _) = position(section.document.text, *earlier);
                    section.problem(key, format!("\"{value}\" stands twice, first on line {line}"));
                }
                None => _ = first.insert(value, section.offset(key)),
            }
        }
    }

    /// Whether nothing was found wrong so far, in whatever file.
    pub(super) fn is_sound(&self) -> bool {
        self.document.sink.is_empty()
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<Value<'a>>> {
        if let Some(asked) = self.document.asked.borrow_mut().get_mut(&address(self.table)) {
            asked.insert(key.to_owned());
        }
        self.table.get(key)
    }

    fn convert<T>(
        &self,
        value: &Spanned<Value<'a>>,
        key: &str,
        kind: &impl Fn(&Value<'_>) -> Result<T, String>,
    ) -> Option<T> {
        kind(value.get_ref()).map_err(|message| self.note(value.span().start, key, &message)).ok()
    }

    fn open_table(&self, value: &'a Spanned<Value<'a>>, prefix: String) -> Option<Self> {
        Some(Self::open(self.document, value.get_ref().as_table()?, value.span().start, prefix))
    }

    fn note_if_missing(&self, key: &str) {
        if !self.has(key) && !self.document.recovered {
            self.note(self.at, key, "this key is missing");
        }
    }

    fn note(&self, offset: usize, key: &str, message: &str) {
        self.document.sink.problem(self.at(offset, key, message));
    }

    fn at(&self, offset: usize, key: &str, message: &str) -> Problem {
        self.document.at(offset, format!("{}{key}: {message}", self.prefix))
    }

    fn offset(&self, key: &str) -> usize {
        self.value(key).map_or(self.at, |value| value.span().start)
    }
}

impl<'a> Document<'a> {
    /// Notes every key of `table` and of the tables below that were opened, if nobody asked for it.
    fn report_unknown(&self, table: &DeTable<'a>, prefix: &str) {
        let asked = self.asked.borrow();
        let Some(known) = asked.get(&address(table)) else { return };
        for (key, value) in table {
            let name = key.get_ref();
            if !known.contains(name.as_ref()) {
                let mut message = format!("unknown key \"{prefix}{name}\"");
                if let Some(near) = suggest::nearest(name, known.iter().map(String::as_str)) {
                    message += &format!("; did you mean \"{near}\"?");
                }
                self.sink.problem(self.at(key.span().start, message));
                continue;
            }
            let below = format!("{prefix}{name}.");
            match value.get_ref() {
                Value::Table(table) => self.report_unknown(table, &below),
                Value::Array(items) => {
                    let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                    tables.for_each(|table| self.report_unknown(table, &below));
                }
                _ => {}
            }
        }
    }

    fn at(&self, offset: usize, message: String) -> Problem {
        Problem { file: self.path.to_owned(), position: Some(position(self.text, offset)), message }
    }
}

/// What tells a table from all others of a tree that stays as it is.
fn address(table: &DeTable<'_>) -> *const () {
    std::ptr::from_ref(table).cast()
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let mut octets = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut octets)?;
        Ok::<_, std::io::Error>(octets)
    };
    let octets = read().map_err(|error| format!("cannot be read: {error}"))?;
    if octets.len() as u64 > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} octets"));
    }
    Ok(octets)
}
