//! The same as an ordinary user: in a user namespace, without `/dev/net/tun` where its mode forbids
//! it. Whoever runs the tests as an ordinary user has them all this way already.

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use dglb_lab::{RUNTIME_VARIABLE, sandbox};

use crate::support::{alone, is_running};

/// `nobody`, by custom.
const NOBODY: u32 = 65_534;
/// Tests that between them use every part of a lab.
const TESTS: [&str; 6] = [
    "wire::round_trips_take_as_long_as_they_should",
    "link_control::a_cut_holds_at_once_and_for_packets_on_their_way",
    "tcp::large_transfers_arrive_whole",
    "supervision::a_program_is_started_stopped_and_started_again",
    "supervision::a_command_sees_its_host",
    "clean_up::nothing_is_left_after_a_shutdown",
];

/// A directory where `nobody` may run this program and has a place for its own files.
struct Room {
    _dir: tempfile::TempDir,
    program: PathBuf,
    own: PathBuf,
}

impl Room {
    /// `None` where we are an ordinary user ourselves.
    fn with(program: &Path) -> Option<Self> {
        let root = fs::metadata("/proc/self").map(|own| own.uid()).unwrap() == 0;
        if !root || sandbox::is_rootless() {
            return None;
        }
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (copy, own) = (dir.path().join("program"), dir.path().join("own"));
        // By another process: one that another test starts meanwhile would hold a copy of ours open for writing, and
        // nobody could run it.
        assert!(Command::new("cp").args([program, &copy]).status().unwrap().success());
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&own).unwrap();
        chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        Some(Self { _dir: dir, program: copy, own })
    }

    /// Runs the program as `nobody`: whether it succeeded, and all that it said.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(&self.program);
        command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir(&self.own);
        // TUN may be missing there, and the tests of this process have had it.
        command.env("TMPDIR", &self.own).env("HOME", &self.own).env_remove("CI");
        command.env("XDG_RUNTIME_DIR", &self.own).env_remove(RUNTIME_VARIABLE);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), told)
    }

    fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.own).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Skips if that is what a user's program had to complain of.
fn lacks_the_right(told: &str) -> bool {
    let missing = told.split("needs the right").nth(1);
    if let Some(missing) = missing {
        sandbox::skip(&format!("for an ordinary user the right{missing}"));
    }
    missing.is_some()
}

#[test]
fn an_ordinary_user_has_a_lab_too() {
    let Some(room) = Room::with(&env::current_exe().unwrap()) else { return };
    alone("rootless::an_ordinary_user_has_a_lab_too", || {
        let (done, told) = room.run(&[&TESTS[..], &["--exact", "--test-threads=1"]].concat());
        if lacks_the_right(&told) {
            return;
        }
        assert!(done, "{told}");
        assert!(told.contains(&format!("{} passed; 0 failed", TESTS.len())), "{told}");
        assert_eq!(room.left(), [] as [PathBuf; 0]);
    });
}

#[test]
fn an_ordinary_user_has_the_command_line_too() {
    let Some(room) = Room::with(Path::new(env!("CARGO_BIN_EXE_dglb-lab"))) else { return };
    alone("rootless::an_ordinary_user_has_the_command_line_too", || {
        let (done, told) = room.run(&["up"]);
        if lacks_the_right(&told) {
            return;
        }
        assert!(done, "{told}");
        let (done, told) = room.run(&["exec", "b", "sh", "-c", "id -u; cat /proc/net/fib_trie"]);
        assert!(done && told.starts_with("0\n") && told.contains("10.66.0.2"), "{told}");
        let (_, status) = room.run(&["status"]);
        let holder = status.split(' ').nth(3).unwrap().trim_end_matches(',').parse().unwrap();
        assert!(is_running(holder), "{status}");
        assert_eq!(room.run(&["down"]), (true, String::new()));
        assert!(!is_running(holder));
    });
}
