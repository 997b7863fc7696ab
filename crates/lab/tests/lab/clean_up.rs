//! Nothing outlives a lab, whatever ended it.

use std::{
    collections::HashSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use dglb_lab::{Lab, MARKER_VARIABLE, Options, Topology};

use crate::support::{alone, three, until};

/// A topology whose host `a` runs a process that leaves its group and one that does not.
pub(crate) fn with_strays() -> Topology {
    let mut topology = three(0.0);
    let script = "setsid sleep 600 & sleep 600 & : >ready; wait";
    let program = toml::toml! { kind = "command" argv = ["/bin/sh", "-c", script] ready_file = "ready" };
    topology.hosts[0].program = Some(program.into());
    topology
}

/// Processes that carry this lab's marker.
pub(crate) fn marked(marker: &str) -> Vec<u32> {
    let wanted = format!("{MARKER_VARIABLE}={marker}");
    let carries = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|&octet| octet == 0).any(|variable| variable == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(carries).collect()
}

/// What a lab consists of that could be left behind.
struct Parts {
    namespaces: HashSet<PathBuf>,
    marker: String,
    dir: PathBuf,
}

impl Parts {
    fn of(lab: &Lab) -> Self {
        let namespace = |host: &str| lab.in_host(host, || fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
        let parts =
            Self { namespaces: ["a", "b", "c"].map(namespace).into(), marker: lab.marker(), dir: lab.dir().to_owned() };
        assert_eq!(parts.namespaces.len(), 3);
        until("the program and its children run", || marked(&parts.marker).len() == 3);
        assert!(parts.dir.join("a/stdout.log").exists());
        assert!(!parts.holders().is_empty());
        parts
    }

    /// Descriptors of this process and processes that keep a namespace alive.
    fn holders(&self) -> Vec<PathBuf> {
        let list = |dir: &str| fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        let processes = list("/proc").into_iter().map(|process| process.join("ns/net"));
        let links = list("/proc/self/fd").into_iter().chain(processes);
        links.filter(|link| fs::read_link(link).is_ok_and(|to| self.namespaces.contains(&to))).collect()
    }

    fn assert_gone(&self) {
        assert_eq!(marked(&self.marker), [0; 0], "processes");
        // A process that ends gives its memory back first, by which we know it, and then its namespaces.
        until("nobody is in its namespaces", || self.holders().is_empty());
        assert!(!self.dir.exists(), "directory");
    }
}

#[test]
fn nothing_is_left_after_a_shutdown() {
    alone("clean_up::nothing_is_left_after_a_shutdown", || {
        let lab = Lab::up(&with_strays(), &Options::default()).unwrap();
        let parts = Parts::of(&lab);
        lab.shutdown();
        assert_eq!(marked(&parts.marker), [0; 0]);
        drop(lab);
        parts.assert_gone();
    });
}

#[test]
fn nothing_is_left_after_a_panic() {
    alone("clean_up::nothing_is_left_after_a_panic", || {
        let mut parts = None;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let lab = Lab::up(&with_strays(), &Options::default()).unwrap();
            parts = Some(Parts::of(&lab));
            panic!("on purpose");
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
        parts.unwrap().assert_gone();
    });
}

#[test]
fn nothing_is_left_of_a_lab_that_did_not_come_up() {
    alone("clean_up::nothing_is_left_of_a_lab_that_did_not_come_up", || {
        let parent = tempfile::tempdir().unwrap();
        let mut topology = with_strays();
        topology.hosts[2].program = Some(toml::toml! { kind = "command" argv = ["/no/such/program"] }.into());
        let options = Options { parent_dir: parent.path().to_owned(), ..Options::default() };
        Lab::up(&topology, &options).unwrap_err();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    });
}

#[test]
fn labs_follow_each_other_and_stand_side_by_side() {
    alone("clean_up::labs_follow_each_other_and_stand_side_by_side", || {
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        drop(Lab::up(&three(0.0), &Options::default()).unwrap());
        let before = descriptors();
        for _ in 0..5 {
            let (one, two) = (
                Lab::up(&three(0.0), &Options::default()).unwrap(),
                Lab::up(&three(0.0), &Options::default()).unwrap(),
            );
            assert_ne!(one.marker(), two.marker());
            one.cut("a", "b").unwrap();
            assert!(!two.link("a", "b").unwrap().cut);
        }
        assert_eq!(descriptors(), before, "a lab leaves no descriptor open");
    });
}

#[test]
fn files_stay_if_they_should() {
    alone("clean_up::files_stay_if_they_should", || {
        let parent = tempfile::tempdir().unwrap();
        let options = Options { parent_dir: parent.path().to_owned(), keep_dir: true, ..Options::default() };
        let lab = Lab::up(&with_strays(), &options).unwrap();
        let dir = lab.dir().to_owned();
        drop(lab);
        assert!(dir.starts_with(parent.path()) && dir.join("a/stdout.log").exists());
    });
}
