//! The lab of the command line: held by a process of its own, entered and changed from others.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use dglb_lab::{
    MARKER_VARIABLE, RUNTIME_VARIABLE,
    world::{ISPS, Plan, WWW, site},
};

use crate::{
    clean_up::marked,
    support::{alone, is_running, signal, until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dglb-lab");
const TOPOLOGY: &str = r#"
    latency = { default = 30 }
    [[host]]
    name = "a"
    addresses = ["10.0.0.1", "fd66::1"]
    resolver = ["b"]
    [[host]]
    name = "b"
    addresses = ["10.0.0.2", "fd66::2"]
    [host.program]
    kind = "command"
    argv = ["/bin/sh", "-c", "setsid sleep 600 & sleep 600 & echo hello; : >ready; wait"]
    ready_file = "ready"
"#;

/// A runtime directory of the test's own; whatever runs there ends with it.
struct Background(tempfile::TempDir);

impl Background {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("topology.toml"), TOPOLOGY).unwrap();
        Self(dir)
    }

    fn runtime(&self) -> std::path::PathBuf {
        self.0.path().join("runtime")
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words.split(' ')).env(RUNTIME_VARIABLE, self.runtime()).current_dir(self.0.path());
        // Strays are looked for in the place for temporary files, too: not everybody's, here.
        command.env("TMPDIR", self.0.path());
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; returns what it printed.
    fn done(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail; returns what it complained of.
    fn fails(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// The process that holds the lab.
    fn holder(&self) -> u32 {
        let status = self.done("status");
        status.split(' ').nth(3).unwrap().trim_end_matches(',').parse().unwrap()
    }

    fn marker(&self) -> String {
        self.done(&format!("exec a printenv {MARKER_VARIABLE}")).trim_end().to_owned()
    }

    fn directories(&self) -> usize {
        let entries = std::fs::read_dir(self.runtime()).unwrap().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.command("down").stderr(Stdio::null()).status();
    }
}

#[test]
fn a_lab_is_built_used_changed_and_ended() {
    alone("background::a_lab_is_built_used_changed_and_ended", || {
        let lab = Background::new();
        assert!(lab.fails("status").contains("no lab is up"));
        lab.done("up --topology topology.toml");
        assert!(lab.fails("up --topology topology.toml").contains("up already"));
        let (holder, marker) = (lab.holder(), lab.marker());
        let status = lab.done("status");
        assert!(
            status.lines().any(|l| l.starts_with("b ") && l.contains("command") && l.contains("running")),
            "{status}"
        );
        assert_eq!(lab.done("log b").trim(), "| hello");
        assert_eq!(lab.run("exec a sh -c exit${IFS}7").status.code(), Some(7), "the command's own exit code");
        if Path::new("/etc/resolv.conf").exists() {
            assert_eq!(lab.done("exec a cat /etc/resolv.conf"), "nameserver 10.0.0.2\nnameserver fd66::2\n");
        }
        assert!(lab.done("exec a cat /proc/net/fib_trie").contains("10.0.0.1"));
        assert!(lab.fails("exec x true").contains("no host \"x\""));
        lab.done("wire delay a b 50");
        lab.done("wire loss a b 2.5");
        lab.done("wire cut a b");
        lab.done("wire cut b");
        let links = lab.done("wire show a");
        let fields = |from: &str| {
            let line = links.lines().find(|line| line.starts_with(from)).unwrap_or_else(|| panic!("{links}"));
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(fields("a ")[1..6], ["b", "50.0", "0.0", "2.5", "cut"]);
        assert!(lab.done("status").contains("cut off"));
        lab.done("wire heal a b");
        lab.done("wire heal b");
        assert!(!lab.done("wire show a").contains("cut\n") && !lab.done("status").contains("cut off"));
        assert!(lab.fails("wire loss a b 101").contains("0 to 100"));
        lab.done("kill b");
        assert!(lab.done("status").contains("ended (signal: 9"));
        lab.done("restart b");
        assert!(lab.done("status").contains("running"));
        lab.done("down");
        assert!(!is_running(holder));
        assert_eq!((marked(&marker), lab.directories()), (vec![], 0));
        assert!(lab.fails("status").contains("no lab is up"));
    });
}

/// When `up` returns, the first look-up of any client has the right answer.
#[test]
fn the_tour_s_world_can_be_kept() {
    alone("background::the_tour_s_world_can_be_kept", || {
        let (lab, plan) = (Background::new(), Plan::new(3));
        assert!(lab.fails("up --world --topology topology.toml").contains("cannot be used with"));
        lab.done("up --world --seed 3");
        let marker = lab.done(&format!("exec client1 printenv {MARKER_VARIABLE}")).trim_end().to_owned();
        let status = lab.done("status");
        for (host, program) in [("b2", "dns-b"), ("sync", "dns-a-sync"), ("lb3", "dns-lb")] {
            let of_host = |line: &&str| line.starts_with(&format!("{host} "));
            let line = status.lines().find(of_host).unwrap_or_else(|| panic!("{status}"));
            assert!(line.contains(program) && line.contains("running"), "{line}");
        }
        for isp in 0..if Path::new("/etc/resolv.conf").exists() { ISPS } else { 0 } {
            let told = lab.done(&format!("exec client{} getent ahostsv4 {WWW}", isp + 1));
            let best = plan.host_addresses(&site(plan.distances().best(isp, |_| true)));
            assert!(told.starts_with(&format!("{} ", best[0])), "client{}: {told}", isp + 1);
        }
        lab.done("down");
        assert_eq!((marked(&marker), lab.directories()), (vec![], 0));
    });
}

#[test]
fn a_person_s_processes_end_with_the_lab() {
    alone("background::a_person_s_processes_end_with_the_lab", || {
        let lab = Background::new();
        lab.done("up --topology topology.toml");
        let mut guest = lab.command("exec a sleep 600").spawn().unwrap();
        let marker = lab.marker();
        until("the guest is in", || marked(&marker).contains(&guest.id()));
        lab.done("down");
        until("the guest is out", || guest.try_wait().unwrap().is_some());
    });
}

#[test]
fn what_a_crashed_lab_leaves_is_cleared_away() {
    alone("background::what_a_crashed_lab_leaves_is_cleared_away", || {
        let lab = Background::new();
        lab.done("up --topology topology.toml");
        let (holder, marker) = (lab.holder(), lab.marker());
        let before = marked(&marker);
        assert_eq!(before.len(), 3);
        signal(holder, "KILL");
        until("only what had left its group and what the shell forked is left", || {
            !is_running(holder) && marked(&marker).len() < before.len()
        });
        let left = marked(&marker);
        assert!(!left.is_empty(), "nothing to clear away: this test tests nothing");
        assert_eq!(lab.directories(), 1);
        // Its threads end one after the other, and with the last one its socket.
        until("nobody listens", || lab.fails("status").contains("no lab is up"));
        let cleared = lab.run("down");
        let told = String::from_utf8(cleared.stderr).unwrap();
        assert!(cleared.status.success() && told.contains("ended process") && told.contains("removed"), "{told}");
        assert_eq!((marked(&marker), lab.directories()), (vec![], 0));
        assert_eq!(lab.done("down"), "", "there is nothing left to do");
    });
}

#[test]
fn an_interrupt_ends_everything() {
    alone("background::an_interrupt_ends_everything", || {
        let lab = Background::new();
        std::fs::create_dir(lab.runtime()).unwrap();
        let hold = format!("hold --topology topology.toml --runtime {}", lab.runtime().display());
        let mut holder = lab.command(&hold).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n");
        let marker = lab.marker();
        assert_eq!(marked(&marker).len(), 3);
        signal(holder.id(), "INT");
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = holder.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(130));
        assert_eq!((marked(&marker), lab.directories()), (vec![], 0));
        assert!(!lab.runtime().join("control.sock").exists());
    });
}

#[test]
fn a_lab_that_cannot_be_built_says_why() {
    alone("background::a_lab_that_cannot_be_built_says_why", || {
        let lab = Background::new();
        let write = |text: &str| std::fs::write(lab.0.path().join("topology.toml"), text).unwrap();
        write("[[host]]\nname = \"A\"\naddresses = []\n");
        let told = lab.fails("up --topology topology.toml");
        assert!(told.contains("a name is") && told.contains("no address"), "{told}");
        write(
            "[[host]]\nname = \"a\"\naddresses = [\"10.0.0.1\"]\nprogram = { kind = \"command\", argv = [\"/none\"] }\n",
        );
        let told = lab.fails("up --topology topology.toml");
        assert!(told.contains("host a: /none: No such file"), "{told}");
        assert!(lab.fails("status").contains("no lab is up"));
        assert_eq!(lab.directories(), 0);
    });
}
