//! `unsafe` stands in a few small modules that are listed here, and nowhere else.
//!
//! The compiler sees to it that nothing outside of them is: the workspace denies it, every member
//! takes the workspace's lints, and nobody allows it again but these.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Every file that may hold it, and what for.
const ALLOWED: [(&str, &str); 11] = [
    ("crates/bench/src/sys.rs", "many datagrams with one system call, in the load client and the echo"),
    ("crates/core/tests/answer_allocation.rs", "a test's allocator that counts"),
    ("crates/core/tests/map_allocation.rs", "a test's allocator that counts"),
    ("crates/lab/src/sys/device.rs", "TUN devices, packet sockets"),
    ("crates/lab/src/sys/namespace.rs", "network and user namespaces"),
    ("crates/lab/src/sys/poll.rs", "epoll, timers and wake-ups of the wire"),
    ("crates/lab/src/sys/process.rs", "signals, sessions, what a child does before it becomes a program"),
    ("crates/node/src/serve/mmsg.rs", "many datagrams with one system call"),
    ("crates/node/src/serve/mmsg/option.rs", "options of sockets that no library has"),
    ("crates/prefetch/src/lib.rs", "the processor's hint that memory will be read"),
    ("crates/probe/src/tcp_info.rs", "the kernel's own round-trip time of a connection"),
];

/// Lines of such a file, at most: what a person reviews in one sitting.
const SMALL: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every file of the workspace with this ending, relative to its root.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        // What another test has made meanwhile may be gone again.
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Code without what is behind `//` on a line, and without texts in quotes.
fn code(text: &str) -> String {
    let line = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split('"').step_by(2).collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

#[test]
fn it_is_where_it_is_listed_and_nowhere_else() {
    let allowed: BTreeSet<PathBuf> = ALLOWED.iter().map(|(path, _)| path.into()).collect();
    let holds = |path: &PathBuf| {
        let code = code(&read(path));
        words(&code).any(|word| word == "unsafe" || word == "no_mangle" || word == "export_name")
    };
    let sources = files(".rs");
    assert!(sources.len() > 100, "only {sources:?} found");
    let found: BTreeSet<PathBuf> = sources.into_iter().filter(holds).collect();
    assert_eq!(found, allowed);
    for path in &allowed {
        let text = read(path);
        assert!(text.lines().count() <= SMALL, "{} has grown beyond {SMALL} lines", path.display());
        assert!(text.lines().any(|line| line == "#![allow(unsafe_code)]"), "{}", path.display());
        assert!(text.contains("// SAFETY: "), "{} explains nothing", path.display());
    }
}

#[test]
fn every_member_is_denied_it() {
    let workspace: toml::Table = read(Path::new("Cargo.toml")).parse().unwrap();
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    assert!(members.len() >= 8);
    for member in members {
        let manifest: toml::Table = read(&Path::new(member.as_str().unwrap()).join("Cargo.toml")).parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{member} has lints of its own");
    }
    // Whoever allows it again is on the list.
    let allows = |path: &PathBuf| {
        let code = code(&read(path)).replace(char::is_whitespace, "");
        ["allow", "expect", "warn"].iter().any(|level| code.contains(&format!("{level}(unsafe_code")))
    };
    let allowed: BTreeSet<PathBuf> = ALLOWED.iter().map(|(path, _)| path.into()).collect();
    assert_eq!(files(".rs").into_iter().filter(allows).collect::<BTreeSet<_>>(), allowed);
}

#[test]
fn words_in_comments_and_texts_do_not_count() {
    let found = |text: &str| words(&code(text)).any(|word| word == "unsafe");
    assert!(found("let x = unsafe { f() };") && found("\"a\"; unsafe fn f() {}") && found("    unsafe{"));
    assert!(!found("// unsafe") && !found("f(\"unsafe\")") && !found("not_unsafe") && !found("unsafe_code"));
}
