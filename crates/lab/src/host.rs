//! One host: its namespace, its directory, its program.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    marker::{Marker, VARIABLE},
    net::Namespace,
    process::{Nursery, Process},
    programs::{self, HostContext, Launch, PrepareError, Ready},
    ready::{self, Outcome},
    sandbox,
    sys::process::{Before, prepare},
    topology::{HostSpec, Topology},
};

/// The environment variable that tells a process which host it runs on.
pub const HOST_VARIABLE: &str = "DGLB_HOST";
const STDOUT: &str = "stdout.log";
const STDERR: &str = "stderr.log";
/// Lines of each log that an error shows.
const TAIL: usize = 15;

/// Why a host's program does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// No such host.
    #[error("there is no host \"{0}\"")]
    UnknownHost(String),
    /// The topology gives it none.
    #[error("host {0} has no program")]
    NoProgram(String),
    /// It runs already.
    #[error("the program of host {0} runs already")]
    Running(String),
    /// Its table in the topology is wrong, or the host lacks what it needs.
    #[error("host {host}: {error}")]
    Prepare {
        /// The host.
        host: String,
        /// What is wrong.
        error: PrepareError,
    },
    /// A program of the kind `command` is described wrongly.
    #[error("host {host}: program: {mistake}")]
    Command {
        /// The host.
        host: String,
        /// What is wrong.
        mistake: String,
    },
    /// The system refuses.
    #[error("host {host}: {}: {error}", program.display())]
    Spawn {
        /// The host.
        host: String,
        /// What was to be run.
        program: OsString,
        /// What the system said.
        error: io::Error,
    },
    /// It ended before it was ready.
    #[error("host {host}: the program ended ({status}) before it was ready\n{log}")]
    Died {
        /// The host.
        host: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its logs.
        log: String,
    },
    /// It runs, but was not ready in time; it has been left running.
    #[error("host {host}: not ready after {:.1} s, waiting for {awaited:?}\n{log}", waited.as_secs_f64())]
    NotReady {
        /// The host.
        host: String,
        /// How long we waited.
        waited: Duration,
        /// What for.
        awaited: Ready,
        /// The end of its logs.
        log: String,
    },
}

/// What a program is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It was never started, or the host has none.
    Idle,
    /// It runs, with this process id.
    Running(u32),
    /// It has ended.
    Ended(ExitStatus),
}

/// One host of a running lab.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) spec: HostSpec,
    pub(crate) namespace: Namespace,
    pub(crate) dir: PathBuf,
    marker: Marker,
    process: Mutex<Option<Process>>,
}

impl Host {
    /// Makes the host's directory, with its `resolv.conf` if it has name servers.
    pub(crate) fn new(
        spec: HostSpec,
        namespace: Namespace,
        dir: PathBuf,
        marker: Marker,
        servers: &[IpAddr],
    ) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        if !servers.is_empty() {
            let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
            fs::write(dir.join("resolv.conf"), lines)?;
        }
        Ok(Self { spec, namespace, dir, marker, process: Mutex::new(None) })
    }

    /// Starts the program without waiting; what it returns is what [`Host::wait`] waits for.
    pub(crate) fn launch(&self, topology: &Topology, nursery: &Nursery) -> Result<Ready, StartError> {
        let name = &self.spec.name;
        let mut process = self.process();
        if process.as_mut().is_some_and(|p| p.ended().is_none()) {
            return Err(StartError::Running(name.clone()));
        }
        let Launch { argv, env, ready } = self.plan(topology)?;
        let program = argv.first().cloned().unwrap_or_default();
        if let Ready::File(path) = &ready {
            // What an earlier run has left would look like this one's readiness.
            let _ = fs::remove_file(path);
        }
        let spawn = || {
            let mut command = self.command(&argv, Some(env), false)?;
            let log = |name| File::options().append(true).create(true).open(self.dir.join(name));
            command.stdin(Stdio::null()).stdout(log(STDOUT)?).stderr(log(STDERR)?);
            nursery.spawn(command)
        };
        *process = Some(spawn().map_err(|error| StartError::Spawn { host: name.clone(), program, error })?);
        Ok(ready)
    }

    /// Waits until the launched program is ready.
    pub(crate) fn wait(&self, awaited: Ready, within: Duration) -> Result<(), StartError> {
        let host = self.spec.name.clone();
        let ended = || self.process().as_mut().and_then(Process::ended);
        match ready::wait(&awaited, &self.namespace, Instant::now() + within, ended) {
            Outcome::Ready => Ok(()),
            Outcome::Died(status) => Err(StartError::Died { host, status, log: self.log_tail() }),
            Outcome::Late => Err(StartError::NotReady { host, waited: within, awaited, log: self.log_tail() }),
        }
    }

    /// The process, if one was ever started.
    pub(crate) fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn activity(&self) -> Activity {
        match self.process().as_mut() {
            None => Activity::Idle,
            Some(process) => process.ended().map_or(Activity::Running(process.id()), Activity::Ended),
        }
    }

    /// A command that will run inside the host. A person's command also sees the host's
    /// `resolv.conf` where tools look for it.
    pub(crate) fn command(
        &self,
        argv: &[OsString],
        env: Option<Vec<(OsString, OsString)>>,
        personal: bool,
    ) -> io::Result<Command> {
        let [program, arguments @ ..] = argv else { return Err(io::Error::other("nothing to run")) };
        let mut command = Command::new(program);
        command.args(arguments).envs(env.unwrap_or_default()).current_dir(&self.dir).process_group(0);
        command.env(VARIABLE, self.marker.to_string()).env(HOST_VARIABLE, &self.spec.name);
        let before = Before {
            die_with: Some(process::id()),
            network: Some(self.namespace.descriptor()?),
            resolv_conf: if personal { own_resolv_conf(&self.dir) } else { None },
            ..Before::default()
        };
        prepare(&mut command, before);
        Ok(command)
    }

    /// The last lines of what the program has written.
    pub(crate) fn log_tail(&self) -> String {
        let mut told = String::new();
        for name in [STDOUT, STDERR] {
            let text = fs::read(self.dir.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                told.push_str("  | ");
                told.push_str(line);
                told.push('\n');
            }
        }
        if told.is_empty() { "  | it wrote nothing".into() } else { told }
    }

    fn plan(&self, topology: &Topology) -> Result<Launch, StartError> {
        let host = || self.spec.name.clone();
        let program = self.spec.program.as_ref().ok_or_else(|| StartError::NoProgram(host()))?;
        if program.get("kind").and_then(toml::Value::as_str) == Some("command") {
            return plain_command(program, &self.dir).map_err(|mistake| StartError::Command { host: host(), mistake });
        }
        let context = HostContext {
            name: &self.spec.name,
            addresses: &self.spec.addresses,
            dir: &self.dir,
            rootless: sandbox::is_rootless(),
            lookup: &|name| topology.addresses(name).map(<[IpAddr]>::to_vec),
        };
        programs::prepare(program, &context).map_err(|error| StartError::Prepare { host: host(), error })
    }
}

/// The file that is to cover `/etc/resolv.conf`, if there are both.
pub(crate) fn own_resolv_conf(dir: &Path) -> Option<CString> {
    let own = dir.join("resolv.conf");
    let both = own.exists() && Path::new("/etc/resolv.conf").exists();
    both.then(|| CString::new(own.as_os_str().as_bytes()).ok())?
}

/// `{ kind = "command", argv = [..], ready_tcp = "address:port" }`: any program at all. Ready by
/// `ready_tcp`, `ready_udp53` (addresses), `ready_file` (in the host's directory), or at once.
fn plain_command(program: &toml::Value, dir: &Path) -> Result<Launch, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        #[serde(rename = "kind")]
        _kind: String,
        argv: Vec<String>,
        #[serde(default)]
        env: std::collections::BTreeMap<String, String>,
        ready_tcp: Option<SocketAddr>,
        ready_udp53: Option<Vec<IpAddr>>,
        ready_file: Option<PathBuf>,
    }
    let plain: Plain = program.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let ready = match (plain.ready_tcp, plain.ready_udp53, plain.ready_file) {
        (None, None, None) => Ready::None,
        (Some(address), None, None) => Ready::Tcp(address),
        (None, Some(addresses), None) => Ready::Dns(addresses.into_iter().map(|a| SocketAddr::new(a, 53)).collect()),
        (None, None, Some(path)) => Ready::File(dir.join(path)),
        _ => return Err("give at most one of ready_tcp, ready_udp53, ready_file".into()),
    };
    let os = |text: &String| OsStr::new(text).to_owned();
    let env = plain.env.iter().map(|(name, value)| (os(name), os(value))).collect();
    Ok(Launch { argv: plain.argv.iter().map(os).collect(), env, ready })
}
