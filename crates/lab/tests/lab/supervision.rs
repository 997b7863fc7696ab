//! Hosts' programs: started, watched, signalled, ended.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use dglb_lab::{Activity, Lab, Options, Signal, StartError, Topology, UpError};

use crate::support::{address, alone, is_running, three, until};

/// Host `a` runs this script in a shell; it is ready when the file `ready` is there.
fn scripted(script: &str) -> Topology {
    let mut topology = three(0.0);
    let program = toml::toml! { kind = "command" argv = ["/bin/sh", "-c", script] ready_file = "ready" };
    topology.hosts[0].program = Some(program.into());
    topology
}

fn running(lab: &Lab) -> u32 {
    match lab.activity("a").unwrap() {
        Activity::Running(process) => process,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_is_started_stopped_and_started_again() {
    alone("supervision::a_program_is_started_stopped_and_started_again", || {
        let script = "trap 'echo ended; exit 9' TERM; echo begun; : >ready; while :; do sleep 0.01; done";
        let lab = Lab::up(&scripted(script), &Options::default()).unwrap();
        assert!(matches!(lab.start("a"), Err(StartError::Running(_))));
        assert!(matches!(lab.start("b"), Err(StartError::NoProgram(_))));
        assert!(matches!(lab.start("x"), Err(StartError::UnknownHost(_))));
        let first = running(&lab);
        lab.stop("a").unwrap();
        let Activity::Ended(status) = lab.activity("a").unwrap() else { panic!("still there") };
        assert_eq!(status.code(), Some(9), "it could end in good order");
        assert!(!is_running(first));
        lab.start("a").unwrap();
        lab.restart("a").unwrap();
        assert_ne!(running(&lab), first);
        let log = fs::read_to_string(lab.host_dir("a").unwrap().join("stdout.log")).unwrap();
        assert_eq!(log, "begun\nended\nbegun\nended\nbegun\n", "logs grow over restarts");
        lab.kill("a", Signal::Kill).unwrap();
        let Activity::Ended(status) = lab.activity("a").unwrap() else { panic!("still there") };
        assert_eq!(status.signal(), Some(9));
        lab.kill("a", Signal::Hup).expect("nobody there to be signalled is no mistake");
        assert_eq!(lab.activity("b").unwrap(), Activity::Idle);
    });
}

#[test]
fn a_stopped_program_hangs_and_goes_on() {
    alone("supervision::a_stopped_program_hangs_and_goes_on", || {
        // Nothing but the shell: one that is stopped while it forks waits for its child instead.
        let script = "n=0; : >ready; while :; do n=$((n+1)); echo $n >count; done";
        let lab = Lab::up(&scripted(script), &Options::default()).unwrap();
        let state = || fs::read_to_string(format!("/proc/{}/stat", running(&lab))).unwrap();
        lab.kill("a", Signal::Stop).unwrap();
        until("it is stopped", || state().contains(") T "));
        let count = || fs::read_to_string(lab.host_dir("a").unwrap().join("count")).unwrap();
        let stopped_at = count();
        assert_eq!(count(), stopped_at);
        lab.kill("a", Signal::Cont).unwrap();
        until("it goes on", || count() != stopped_at);
    });
}

#[test]
fn a_program_that_fails_shows_its_log() {
    alone("supervision::a_program_that_fails_shows_its_log", || {
        let script = "echo cannot find my keys >&2; exit 3";
        let told = match Lab::up(&scripted(script), &Options::default()) {
            Err(UpError::Start(error @ StartError::Died { .. })) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(told.contains("host a") && told.contains("exit status: 3"), "{told}");
        assert!(told.contains("| cannot find my keys"), "{told}");
        let start = Instant::now();
        let hasty = Options { ready_within: Duration::from_secs(2), ..Options::default() };
        let told = match Lab::up(&scripted("echo thinking; exec sleep 60"), &hasty) {
            Err(UpError::Start(error @ StartError::NotReady { .. })) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(told.contains("not ready after 2.0 s") && told.contains("| thinking"), "{told}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        let mut topology = three(0.0);
        topology.hosts[0].program = Some(toml::toml! { kind = "command" argv = ["/no/such/program"] }.into());
        assert!(matches!(Lab::up(&topology, &Options::default()), Err(UpError::Start(StartError::Spawn { .. }))));
        topology.hosts[0].program = Some(toml::toml! { kind = "command" argv = [] redy_file = "x" }.into());
        let told = Lab::up(&topology, &Options::default()).unwrap_err().to_string();
        assert!(told.contains("unknown field `redy_file`"), "{told}");
    });
}

#[test]
fn a_command_sees_its_host() {
    alone("supervision::a_command_sees_its_host", || {
        let mut topology = three(0.0);
        topology.hosts[1].resolver = vec!["c".into(), "192.0.2.1".into()];
        let lab = Lab::up(&topology, &Options::default()).unwrap();
        let soon = Duration::from_secs(10);
        let shown = lab.exec("b", &["/bin/sh", "-c", "echo $DGLB_HOST; cat /proc/net/fib_trie"], soon).unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.starts_with("b\n") && text.contains("10.0.0.2") && !text.contains("10.0.0.1"), "{text}");
        if fs::metadata("/etc/resolv.conf").is_ok() {
            let outside = fs::read_to_string("/etc/resolv.conf").unwrap();
            let shown = lab.exec("b", &["cat", "/etc/resolv.conf"], soon).unwrap();
            let wanted = "nameserver 10.0.0.3\nnameserver fd66::3\nnameserver 192.0.2.1\n";
            assert_eq!(String::from_utf8(shown.stdout).unwrap(), wanted);
            assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), outside, "nobody else sees it");
        }
        assert!(lab.exec("b", &["sleep", "60"], Duration::from_millis(50)).is_err());
    });
}

#[test]
fn sockets_opened_on_a_host_stay_there() {
    alone("supervision::sockets_opened_on_a_host_stay_there", || {
        let lab = Lab::up(&three(0.0), &Options::default()).unwrap();
        let at = SocketAddr::new(address(&lab, "b", false), 80);
        let listener = lab.in_host("b", || TcpListener::bind(at)).unwrap().unwrap();
        assert!(lab.in_host("c", || TcpListener::bind(at)).unwrap().is_err(), "not c's address");
        let stream = lab.in_host("c", || TcpStream::connect(at)).unwrap().unwrap();
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.in_host("b", || panic!("inside"))));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"inside"));
    });
}
