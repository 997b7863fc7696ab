//! The core stays pure: what it may depend on is written down here, and a new dependency, or a
//! new feature of an old one, has to be put down beside it.

use std::{collections::BTreeSet, path::Path, process::Command};

/// All that the core may name in its own manifest.
const DIRECT: [&str; 9] =
    ["arc-swap", "arrayvec", "bytes", "dglb-prefetch", "prost", "serde", "siphasher", "thiserror", "tokio-util"];

/// What of tokio comes along: its locks and channels are plain data structures. Every other feature
/// is a runtime, a clock, or a way to the outside world.
const TOKIO: [&str; 2] = ["default", "sync"];
/// The codec traits.
const TOKIO_UTIL: [&str; 2] = ["codec", "libc"];

/// Ways to the outside world, and whole implementations of what the core does itself.
const NEVER: [&str; 8] = ["hickory-proto", "hickory-server", "mio", "rustix", "nix", "socket2", "reqwest", "hyper"];

/// A line of the tree: how deep, and which package with which feature, if it says so.
struct Line {
    depth: usize,
    package: String,
    feature: Option<String>,
}

/// What `cargo tree` says of the core's normal dependencies for this machine.
fn tree() -> Vec<Line> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--package", "dglb-core", "--edges", "features,normal", "--prefix", "depth"]);
    command.args(["--offline", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Line> = text.lines().map(line).collect();
    assert_eq!((lines[0].depth, lines[0].package.as_str()), (0, "dglb-core"), "{text}");
    lines
}

/// `3tokio feature "sync"`, or `4tokio v1.54.1 (*)`.
fn line(text: &str) -> Line {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap();
    let mut words = text[digits..].split(' ');
    let package = words.next().unwrap().to_owned();
    let feature = (words.next() == Some("feature")).then(|| words.next().unwrap().trim_matches('"').to_owned());
    Line { depth: text[..digits].parse().unwrap(), package, feature }
}

/// Every feature of a package that is on.
fn features<'t>(tree: &'t [Line], package: &str) -> BTreeSet<&'t str> {
    tree.iter().filter(|l| l.package == package).filter_map(|l| l.feature.as_deref()).collect()
}

#[test]
fn dependencies_bring_no_runtime_no_socket_and_no_clock() {
    let tree = tree();
    let direct: BTreeSet<&str> = tree.iter().filter(|l| l.depth == 1).map(|l| l.package.as_str()).collect();
    assert_eq!(direct, BTreeSet::from(DIRECT), "the direct dependencies have changed");
    for (package, allowed) in [("tokio", &TOKIO[..]), ("tokio-util", &TOKIO_UTIL)] {
        let on = features(&tree, package);
        assert!(!on.is_empty(), "{package} is not there: has cargo changed how it prints a tree?");
        let more: Vec<_> = on.iter().filter(|feature| !allowed.contains(feature)).collect();
        assert!(more.is_empty(), "{package} comes with {more:?}");
    }
    let never: Vec<_> = tree.iter().filter(|l| NEVER.contains(&l.package.as_str())).map(|l| &l.package).collect();
    assert!(never.is_empty(), "{never:?}");
}

#[test]
fn unsafe_code_is_forbidden() {
    let root = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    assert!(root.lines().any(|line| line == "#![forbid(unsafe_code)]"), "src/lib.rs allows unsafe code");
}

#[test]
fn a_tree_is_read_as_cargo_prints_it() {
    let with = line("3tokio feature \"sync\"");
    assert_eq!((with.depth, with.package.as_str(), with.feature.as_deref()), (3, "tokio", Some("sync")));
    let without = line("12tokio v1.54.1 (*)");
    assert_eq!((without.depth, without.package.as_str(), without.feature), (12, "tokio", None));
}
