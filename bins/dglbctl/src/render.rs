//! A status document as text for people. Nothing here knows what any daemon says: objects become
//! lines of key and value, lists of objects become tables, whatever they hold.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Keys that come first, in this order; what is not here follows in the order of the alphabet.
const FIRST: [&str; 12] =
    ["daemon", "identity", "version", "zone", "service", "site", "host", "address", "name", "role", "state", "link"];
/// Keys that come last.
const LAST: [&str; 3] = ["notes", "problem", "problems"];
/// A nested object or list longer than this gets lines of its own.
const INLINE: usize = 60;
/// What stands for nothing.
const NOTHING: &str = "-";

/// The document as text, ending with a line end.
pub(crate) fn render(document: &Value) -> String {
    let mut out = String::new();
    block(&mut out, document, 0);
    out
}

fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(object) if is_table(object) => {
            let rows: Vec<_> = object.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
            table(out, &rows, indent);
        }
        Value::Object(object) => fields(out, object, indent),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let rows: Vec<_> = items.iter().map(|value| (None, value)).collect();
            table(out, &rows, indent);
        }
        Value::Array(items) => items.iter().for_each(|item| line(out, indent, &plain("", item))),
        scalar => line(out, indent, &plain("", scalar)),
    }
}

/// Whether the value is shown as a table, if there is a choice.
fn is_tabular(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(Value::is_object),
        Value::Object(object) => is_table(object),
        _ => false,
    }
}

/// An object whose values are all objects is a table with the keys as first column.
fn is_table(object: &Map<String, Value>) -> bool {
    object.values().all(Value::is_object) && object.values().any(|value| !is_empty(value))
}

/// Key and value, one pair a line; what is too large for a line follows as a section.
fn fields(out: &mut String, object: &Map<String, Value>, indent: usize) {
    let keys = ordered(object.keys());
    let short = |key: &str| if is_tabular(&object[key]) { None } else { inline(key, &object[key]) };
    let width = keys.iter().filter(|key| short(key).is_some()).map(|key| title(key).chars().count()).max();
    for key in &keys {
        if let (Some(text), Some(width)) = (short(key), width) {
            line(out, indent, &format!("{:width$}  {text}", title(key)));
        }
    }
    for key in keys.iter().filter(|key| short(key).is_none()) {
        line(out, indent, &heading(key, &object[*key]));
        block(out, &object[*key], indent + 2);
    }
}

fn table(out: &mut String, rows: &[(Option<&str>, &Value)], indent: usize) {
    let cell = |row: &(Option<&str>, &Value), column: &str| match (row.0, column) {
        (Some(key), "") => Some(key.to_owned()),
        (_, column) => row.1.get(column).map_or_else(|| Some(NOTHING.to_owned()), |value| inline(column, value)),
    };
    let names = rows.iter().filter_map(|row| row.1.as_object()).flat_map(Map::keys);
    let mut columns = ordered(names);
    if rows.iter().any(|row| row.0.is_some()) {
        columns.insert(0, "");
    }
    // A column with one value that fits no line is told below the rows instead.
    let (columns, sections): (Vec<_>, Vec<_>) =
        columns.into_iter().partition(|column| rows.iter().all(|row| cell(row, column).is_some()));
    let width = |column: &&str| {
        let cells = rows.iter().filter_map(|row| cell(row, column)).map(|c| c.chars().count());
        cells.chain([title(column).chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let join = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    // Names alone need no title.
    if columns != [""] {
        line(out, indent, &join(columns.iter().map(|c| title(c).to_uppercase()).collect()));
    }
    for row in rows {
        line(out, indent, &join(columns.iter().filter_map(|column| cell(row, column)).collect()));
        for section in &sections {
            let Some(value) = row.1.get(*section).filter(|v| !is_empty(v)) else { continue };
            line(out, indent + 2, &heading(section, value));
            block(out, value, indent + 4);
        }
    }
}

fn heading(key: &str, value: &Value) -> String {
    let count = match value {
        Value::Array(items) => format!(" ({})", items.len()),
        Value::Object(object) if is_table(object) => format!(" ({})", object.len()),
        _ => String::new(),
    };
    format!("{}{count}:", title(key))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

/// The value in one line, if it fits there.
fn inline(key: &str, value: &Value) -> Option<String> {
    let text = match value {
        value if is_empty(value) => NOTHING.to_owned(),
        Value::Array(items) if items.iter().any(|i| i.is_array() || i.is_object()) => {
            let items: Option<Vec<_>> = items.iter().map(|item| inline("", item)).collect();
            items?.join("; ")
        }
        Value::Array(items) => items.iter().map(|item| plain("", item)).collect::<Vec<_>>().join(", "),
        Value::Object(object) if object.values().any(|v| v.is_object() && !is_empty(v)) => return None,
        Value::Object(object) => {
            let pair = |key: &&str| {
                let text = inline(key, &object[*key])?;
                // Commas part the pairs already.
                let text = if object[*key].is_array() { text.replace(", ", " ") } else { text };
                Some(format!("{}: {text}", title(key)))
            };
            ordered(object.keys()).iter().map(pair).collect::<Option<Vec<_>>>()?.join(", ")
        }
        scalar => return Some(plain(key, scalar)),
    };
    (text.chars().count() <= INLINE).then_some(text)
}

/// A scalar, in units for people.
fn plain(key: &str, value: &Value) -> String {
    let seconds = key.ends_with("_seconds") || key.ends_with("_seconds_ago");
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(n) if seconds => n.as_f64().map_or_else(|| n.to_string(), duration),
        Value::Number(n) if key.ends_with("_us") => {
            n.as_f64().map_or_else(|| n.to_string(), |us| format!("{:.1} ms", us / 1000.0))
        }
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(|| n.to_string(), |x| format!("{x:.2}")),
        // Names and texts come from peers: nothing in them may steer a terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}

/// `3d 4h`, `5m 6s`, `7s`: the two largest units.
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A key for people: units and underscores go.
fn title(key: &str) -> String {
    if key.is_empty() {
        return "name".to_owned();
    }
    let key = match key.strip_suffix("_seconds_ago") {
        Some(event) => format!("{event}_ago"),
        None => key.strip_suffix("_seconds").or(key.strip_suffix("_us")).unwrap_or(key).to_owned(),
    };
    key.replace('_', " ")
}

/// Every key once, in the order in which people look for them.
fn ordered<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for key in keys {
        if !all.contains(&key.as_str()) {
            all.push(key);
        }
    }
    let place = |key: &str| match FIRST.iter().position(|first| *first == key) {
        Some(at) => at,
        None => FIRST.len() + LAST.iter().position(|last| *last == key).map_or(0, |at| at + 1),
    };
    all.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
    all
}

fn line(out: &mut String, indent: usize, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:indent$}{}", "", text.trim_end());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_sections_and_tables() {
        let document = json!({
            "daemon": "dns-x",
            "uptime_seconds": 3_725,
            "isp": { "resolvers": ["192.0.2.1", "192.0.2.2"], "networks": [] },
            "drained": false,
            "zones": [
                { "zone": "a.test.", "generation": 7, "problem": null },
                { "zone": "longer.test.", "generation": 12, "problem": "refused by b1", "changed_seconds_ago": 61 },
            ],
            "services": {
                "www.a.test.": { "ranking": { "catalogue": 7, "sites": [
                    { "site": "sea", "score": 12.345, "addresses": [{ "address": "203.0.113.1", "latency_us": 12_345 }] },
                ] } },
                "ftp.a.test.": { "ranking": { "catalogue": 7, "sites": [] } },
            },
        });
        let expected = "\
daemon   dns-x
drained  no
isp      networks: -, resolvers: 192.0.2.1 192.0.2.2
uptime   1h 2m
services (2):
  ftp.a.test.
    ranking:
      catalogue  7
      sites      -
  www.a.test.
    ranking:
      catalogue  7
      sites (1):
        SITE  ADDRESSES                               SCORE
        sea   address: 203.0.113.1, latency: 12.3 ms  12.35
zones (2):
  ZONE          CHANGED AGO  GENERATION  PROBLEM
  a.test.       -            7           -
  longer.test.  1m 1s        12          refused by b1
";
        assert_eq!(render(&document), expected);
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(render(&json!({ "name": "a\u{1b}[2Jb\nc" })), "name  a\u{fffd}[2Jb\u{fffd}c\n");
    }

    #[test]
    fn long_values_become_sections_and_times_two_units() {
        let long: Vec<String> = (0..9).map(|n| format!("a rather long line {n}")).collect();
        let text = render(&json!({ "lines": long }));
        assert!(text.starts_with("lines (9):\n  a rather long line 0\n"), "{text}");
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_600, "1h 0m"), (90_000, "1d 1h")] {
            assert_eq!(plain("x_seconds", &json!(seconds)), shown);
        }
    }
}
