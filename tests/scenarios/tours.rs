//! The tour, as a person runs it: with the shipped programs, with whatever real programs are
//! installed, as an ordinary user; and that it can fail.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    process::{Command, Output},
    time::Duration,
};

use dglb_lab::sandbox;
use dglb_scenarios::binaries;

/// Far longer than a tour takes.
const LONG: Duration = Duration::from_secs(150);
/// `nobody`, by custom.
const NOBODY: u32 = 65_534;

/// Runs a tour to its end, with a place for temporary files of its own in which nothing may be
/// left; `None` where no lab can be had, which is said loudly.
fn tour(mut command: Command) -> Option<Output> {
    let room = tempfile::tempdir().unwrap();
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o777)).unwrap();
    command.env("TMPDIR", room.path()).env("HOME", room.path()).env_remove("XDG_RUNTIME_DIR");
    let output = binaries::run(command, LONG);
    assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0, "the tour left something behind");
    let error = String::from_utf8_lossy(&output.stderr);
    if let Some((_, missing)) = error.split_once("a lab needs ") {
        sandbox::skip(missing.trim_end());
        return None;
    }
    Some(output)
}

/// All went well, and it was told.
fn succeeded(output: &Output) {
    let told = String::from_utf8_lossy(&output.stdout);
    let all = || format!("{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}", all());
    assert!(told.ends_with("\nVERDICT: all as it should be.\n"), "{}", all());
    // Hop by hop, for both clients, through every part of the chain.
    for word in ["client1 → isp1", "client2 → isp2", "isp1 → root", "isp2 → tld", "→ dnsa", "→ b1", "→ b2"]
    {
        assert!(told.contains(word), "{word} is not in {}", all());
    }
    for word in ["client1 got site", "client2 got site", "Best possible", "round robin", "is killed", "0 failed"] {
        assert!(told.contains(word), "{word} is not in {}", all());
    }
}

#[test]
fn with_the_shipped_programs() {
    let folder = binaries::folder().to_str().unwrap();
    if let Some(output) = tour(binaries::command("dglb-lab", ["tour", "--embedded", "--binaries", folder])) {
        succeeded(&output);
    }
}

/// Unbound, BIND, Knot Resolver, PowerDNS Recursor: the first two of those that are there, and BIND
/// as DNS-A.
#[test]
fn with_whatever_is_installed() {
    if let Some(output) = tour(binaries::command("dglb-lab", ["tour"])) {
        succeeded(&output);
    }
}

/// Whoever runs the tests as an ordinary user has every tour this way already.
#[test]
fn as_an_ordinary_user() {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root || sandbox::is_rootless() {
        return;
    }
    // The build directory may be closed to others.
    let room = tempfile::tempdir().unwrap();
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = room.path().join("dglb-lab");
    // By another process: one that this one starts meanwhile would hold the copy open for writing, and nobody
    // could run it.
    let copied = binaries::piped("cp").arg(binaries::folder().join("dglb-lab")).arg(&program).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let own = room.path().join("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    let nobody = NOBODY.to_string();
    let mut command = binaries::piped("setpriv");
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(&program);
    command.args(["tour", "--embedded"]).current_dir(&own);
    if let Some(output) = tour(command) {
        succeeded(&output);
    }
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "the tour left something behind");
}

/// In a world whose dns-bs let nobody map anything, the default group answers, with a site that is
/// wrong for both ISPs: everybody is answered, and the verdict must see it all the same.
#[test]
fn a_world_without_a_map_fails_the_tour() {
    let Some(output) = tour(binaries::command("dglb-lab", ["tour", "--embedded", "--sabotage", "no-map"])) else {
        return;
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("VERDICT: 3 of it went wrong"), "{told}");
    let verdict = told.split("VERDICT").nth(1).unwrap();
    for client in ["client1", "client2"] {
        let wrong = |line: &&str| line.contains(&format!("{client} got site")) && line.contains(" instead of site");
        assert!(verdict.lines().any(|line| wrong(&line)), "{told}");
    }
    assert!(verdict.contains("the map matched 0 times for 2 ISPs"), "{told}");
}
