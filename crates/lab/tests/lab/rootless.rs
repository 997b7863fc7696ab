//! The same as an ordinary user: in a user namespace, without `/dev/net/tun` where its mode forbids
//! it. Whoever runs the tests as an ordinary user has them all this way already.

use std::{
    env, fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::Command,
};

use dglb_lab::sandbox;

use crate::support::alone;

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

#[test]
fn an_ordinary_user_has_a_lab_too() {
    let root = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() == 0;
    if !root || sandbox::is_rootless() {
        return;
    }
    alone("rootless::an_ordinary_user_has_a_lab_too", || {
        let room = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (program, own) = (room.path().join("tests"), room.path().join("tmp"));
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&own).unwrap();
        chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        let mut command = Command::new(&program);
        command.args(TESTS).args(["--exact", "--test-threads=1"]).uid(NOBODY).gid(NOBODY).current_dir(&own);
        // TUN may be missing there, and the tests of this process have had it.
        command.env("TMPDIR", &own).env("HOME", &own).env_remove("CI").env_remove("XDG_RUNTIME_DIR");
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if let Some(missing) = told.split("SKIPPED: needs the right").nth(1) {
            sandbox::skip(&format!("for an ordinary user the right{missing}"));
            return;
        }
        assert!(output.status.success(), "{told}");
        assert!(told.contains(&format!("{} passed; 0 failed", TESTS.len())), "{told}");
        assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "nothing is left");
    });
}
