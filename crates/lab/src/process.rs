//! Hosts' processes. Each leads a process group of its own and dies with the lab: the kernel kills
//! it when the [`Nursery`]'s thread ends, for whatever reason.

use std::{
    io,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::sys::process::signal_group;

/// How often we look whether something has happened that nothing tells us about.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// What a host's program can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// SIGTERM: end in good order.
    Term,
    /// SIGKILL: end at once, without a word to anybody.
    Kill,
    /// SIGSTOP: hang, holding every socket open.
    Stop,
    /// SIGCONT: go on after [`Signal::Stop`].
    Cont,
    /// SIGHUP: for most daemons, read the configuration again.
    Hup,
    /// SIGINT: as by Ctrl-C.
    Int,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Self::Term => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Cont => libc::SIGCONT,
            Self::Hup => libc::SIGHUP,
            Self::Int => libc::SIGINT,
        }
    }
}

/// The thread that starts all processes. It lives as long as the lab, unlike the threads that ask
/// it to: the kernel counts the *thread* that forked as the parent whose death kills.
#[derive(Debug)]
pub(crate) struct Nursery {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = (Command, SyncSender<io::Result<Child>>);

impl Nursery {
    pub(crate) fn new() -> io::Result<Self> {
        // A job waits for its answer, so a full channel only means that several start at once.
        let (jobs, received) = sync_channel::<Job>(16);
        let run = move || {
            for (mut command, answer) in received {
                // Whoever asked may have given up.
                let _ = answer.send(command.spawn());
            }
        };
        let thread = thread::Builder::new().name("lab-nursery".into()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Starts a program, leader of its own group.
    pub(crate) fn spawn(&self, command: Command) -> io::Result<Process> {
        let gone = || io::Error::other("the lab is shutting down");
        let (answer, answered) = sync_channel(1);
        self.jobs.as_ref().ok_or_else(gone)?.send((command, answer)).map_err(|_| gone())?;
        let child = answered.recv().map_err(|_| gone())??;
        Ok(Process { child, ended: None })
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A process and the group that it leads.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// The process id, which is the group's too.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has. What is left of its group ends with it.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            // Nobody else can have got the number yet: it was ours until the line above.
            let _ = signal_group(self.child.id(), libc::SIGKILL);
            self.ended = Some(status);
        }
        self.ended
    }

    /// Sends a signal to the whole group; nothing if it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match self.ended() {
            Some(_) => Ok(()),
            None => signal_group(self.child.id(), signal.number()),
        }
    }

    /// Waits until it has ended, or the deadline.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            thread::sleep(LOOK);
        }
    }

    /// Ends it: SIGTERM, and SIGKILL when `grace` is over.
    pub(crate) fn end(&mut self, grace: Duration) -> io::Result<()> {
        self.signal(Signal::Term)?;
        // A stopped process takes its SIGTERM only when it goes on.
        self.signal(Signal::Cont)?;
        if self.wait(Instant::now() + grace).is_none() {
            self.kill()?;
        }
        Ok(())
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::Kill)?;
        match self.wait(Instant::now() + Duration::from_secs(5)) {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "the process does not die")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Runs a command to its end, or kills it at the deadline, which is an error.
pub(crate) fn output(nursery: &Nursery, mut command: Command, deadline: Instant) -> io::Result<Output> {
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut process = nursery.spawn(command)?;
    match process.wait(deadline) {
        Some(status) => Ok(Output { status, stdout: whole(stdout)?, stderr: whole(stderr)? }),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "the command did not end in time and was killed")),
    }
}

fn whole(mut file: std::fs::File) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};

    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).process_group(0);
        command
    }

    #[test]
    fn output_is_collected_and_time_bounded() {
        let nursery = Nursery::new().unwrap();
        let soon = || Instant::now() + Duration::from_secs(10);
        let done = output(&nursery, sh("echo out; echo err >&2; exit 3"), soon()).unwrap();
        assert_eq!((&done.stdout[..], &done.stderr[..], done.status.code()), (&b"out\n"[..], &b"err\n"[..], Some(3)));
        let late = output(&nursery, sh("sleep 60"), Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    /// Starts a script that makes the file `$1` when its traps are set, and waits for that.
    fn trapped(nursery: &Nursery, script: &str) -> Process {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("set");
        let mut command = sh(script);
        command.arg("sh").arg(&set);
        let process = nursery.spawn(command).unwrap();
        until(|| set.exists());
        process
    }

    fn until(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline, "it never came true");
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn the_whole_group_ends_even_if_it_does_not_want_to() {
        let nursery = Nursery::new().unwrap();
        let mut process = trapped(&nursery, "trap '' TERM; sleep 60 & : >$1; while :; do wait; done");
        let group = process.id();
        process.end(Duration::from_millis(100)).unwrap();
        assert_eq!(process.ended().unwrap().signal(), Some(libc::SIGKILL));
        until(|| signal_group(group, 0).is_err());
    }

    #[test]
    fn a_stopped_process_can_be_ended_in_good_order() {
        let nursery = Nursery::new().unwrap();
        let mut process = trapped(&nursery, "trap 'exit 7' TERM; : >$1; while :; do sleep 0.01; done");
        process.signal(Signal::Stop).unwrap();
        process.end(Duration::from_secs(10)).unwrap();
        // The group's `sleep` may be the one that takes the signal first; the shell then exits 7.
        assert_eq!(process.ended().unwrap().code(), Some(7));
    }
}
