//! The documentation is whole: `docs/configuration.md` names every key of the sample files in
//! `config/` and no other, `docs/operations.md` every metric.

use std::{collections::BTreeSet, fs, path::PathBuf};

use dglb_scenarios::{Chain, Size, scenario};
use toml::{Table, Value};

const FILES: [&str; 4] = ["fleet.toml", "dns-b.toml", "dns-lb.toml", "dns-a-sync.toml"];

#[test]
fn every_key_of_the_samples_is_documented_and_no_other() {
    let page = read("docs/configuration.md");
    for file in FILES {
        let sample = keys_of_sample(&read(&format!("config/{file}")));
        let documented = keys_of_page(&page, file);
        assert!(sample.len() > 10, "{file}: only {sample:?} found");
        let difference: Vec<_> = sample.symmetric_difference(&documented).collect();
        assert!(difference.is_empty(), "{file}: in the sample or on the page alone: {difference:?}");
    }
}

/// What a daemon shows that is scraped while it works.
#[test]
fn every_metric_is_documented() {
    scenario("documentation::every_metric_is_documented", async |ground| {
        let page = read("docs/operations.md");
        let chain =
            Chain::settled(ground, Size { servers: 1, lbs: 1, sites: 1 }, |_, _| "state-dir = '.'".into()).await;
        for (daemon, least, scrape) in [
            ("dns-b", 50, chain.b(1).page("/metrics").await),
            ("dns-lb", 30, chain.lb(1).page("/metrics").await),
            ("dns-a-sync", 25, chain.sync.page("/metrics").await),
        ] {
            let names: BTreeSet<&str> = scrape
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
                .collect();
            assert!(names.len() >= least, "{daemon}: only {names:?} found");
            let is_named = |name: &str| ["`", "{"].iter().any(|end| page.contains(&format!("`{name}{end}")));
            let missing: Vec<_> = names.into_iter().filter(|name| !is_named(name)).collect();
            assert!(missing.is_empty(), "{daemon}: not in docs/operations.md: {missing:?}");
        }
    });
}

/// A pointer is a file, or a file and a function in it.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let page = read("docs/threat-model.md");
    let pointers: BTreeSet<&str> = page.split('`').filter(|text| text.contains(".rs")).collect();
    assert!(pointers.len() > 30, "only {pointers:?} found");
    let missing = pointers.iter().filter(|pointer| {
        let (file, name) = pointer.split_once("::").unwrap_or((pointer, ""));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = fs::read_to_string(path).unwrap_or_default();
        !text.contains("#[test]") && !text.contains("#[tokio::test") || !text.contains(&format!("fn {name}"))
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "named in docs/threat-model.md, but not there");
}

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every key of a sample, such as `dns-b.identity`, those behind "#" too.
fn keys_of_sample(text: &str) -> BTreeSet<String> {
    let is_header = |line: &str| line.starts_with('[') && line.ends_with(']');
    let is_assignment = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        key.len() < line.len() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_element = |line: &str| line.trim_start().starts_with("{ ");
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_header(rest) || is_assignment(rest) || is_element(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(uncommented).collect();
    let table: Table = text.join("\n").parse().unwrap_or_else(|error| panic!("{error}"));
    let mut keys = BTreeSet::new();
    collect(&table, "", &mut keys);
    keys
}

/// A plain table is no key of its own, a list of tables and an inline table inside one are.
fn collect(table: &Table, prefix: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let below: Vec<&Table> = match value {
            Value::Table(table) => vec![table],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => Vec::new(),
        };
        below.iter().for_each(|table| collect(table, &format!("{key}."), keys));
        if prefix.is_empty() && value.is_table() {
            continue;
        }
        keys.insert(key);
    }
}

/// The first column of the tables below the heading of this file.
fn keys_of_page(page: &str, file: &str) -> BTreeSet<String> {
    let heading = format!("## {file}");
    let section = page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let key = |line: &str| line.strip_prefix("| `")?.split_once('`').map(|(key, _)| key.to_owned());
    section.filter_map(key).collect()
}
