//! Processes that end with us.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, SocketAddrV4},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdout, Command, Stdio},
};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::cpu;

/// What a child of ours says first, followed by its address.
const LISTENING: &str = "listening on ";

/// How operators start a dns-b; ours get the same environment.
const UNIT: &str = include_str!("../../../config/systemd/dns-b.service");

/// What the unit puts into the environment, name by name.
fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// A process; it is killed and waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    /// What ours say.
    said: Option<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a program on one processor. What it says goes into `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn program(core: usize, program: &str, arguments: &[&str], log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        let mut command = held(core, program)?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { process: command.spawn()?, said: None })
    }

    /// Starts this very program, or another `build` of it, on one processor, and waits until it has
    /// announced itself.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it says anything.
    pub(crate) fn ourselves(
        core: usize,
        build: Option<&Path>,
        arguments: &[String],
    ) -> io::Result<(Self, SocketAddrV4)> {
        let own = build.map_or_else(std::env::current_exe, |build| Ok(build.to_owned()))?;
        let own = own.to_str().ok_or_else(|| io::Error::other("the path of this program is not UTF-8"))?;
        let mut command = held(core, own)?;
        command.args(arguments).envs(environment()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let said = process.stdout.take().map(BufReader::new);
        let mut child = Self { process, said };
        let line = child.hear()?;
        let address = line.strip_prefix(LISTENING).and_then(|address| address.parse().ok());
        match address {
            Some(SocketAddr::V4(address)) => Ok((child, address)),
            _ => Err(io::Error::other(format!("\"{}\" ended or said {line:?}", arguments.join(" ")))),
        }
    }

    /// Gives one of ours an order; what it says to it.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn order(&mut self, order: &str) -> io::Result<String> {
        if let Some(orders) = &mut self.process.stdin {
            writeln!(orders, "{order}")?;
        }
        self.hear()
    }

    fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if let Some(said) = &mut self.said {
            said.read_line(&mut line)?;
        }
        if line.is_empty() {
            Err(io::Error::other("a child of ours has ended"))
        } else {
            Ok(line.trim_end().to_owned())
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, without a chance to tidy up.
    pub(crate) fn kill(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Daemons that have children of their own end those when they are asked to end.
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid().cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while self.runs() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.kill();
    }
}

/// Says where this process serves, to [`Child::ourselves`].
///
/// # Errors
/// When nobody reads.
pub(crate) fn announce(address: SocketAddr) -> io::Result<()> {
    say(&format!("{LISTENING}{address}"))
}

/// Says a line to the parent.
///
/// # Errors
/// When nobody reads.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The command `hold`: keeps this process on one processor, lets it end with its parent, and becomes
/// the program. Returns only what went wrong.
pub(crate) fn hold(core: usize, program: &[String]) -> io::Error {
    let [program, arguments @ ..] = program else {
        return io::Error::other("no program");
    };
    if let Err(error) = cpu::pin(core) {
        return error;
    }
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    Command::new(program).args(arguments).exec()
}

fn held(core: usize, program: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["hold", "--core", &core.to_string(), "--", program]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_asks_for_large_pages() {
        assert!(environment().any(|(name, value)| name == "GLIBC_TUNABLES" && value == "glibc.malloc.hugetlb=1"));
    }
}
