//! A running lab. Everything it consists of — namespaces, devices, processes, the wire, files —
//! ends with the value: by [`Lab::shutdown`], by `drop`, or by the death of the process.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::{self, Output},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    host::{Activity, Host, StartError},
    interrupt,
    marker::{Marker, keep, remove_unless_kept, sweep},
    net::{Backbone, Backend, Namespace},
    process::{Nursery, Process, Signal, output},
    sandbox::{self, Missing},
    topology::{Topology, TopologyError},
    wire::{HostNumber, Port, Router, Wire},
};

/// How a lab is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// How packets get out of hosts.
    pub backend: Backend,
    /// Where the lab's own directory is made; by default the system's place for temporary files.
    pub parent_dir: PathBuf,
    /// Whether the directory stays when the lab is gone, for its logs.
    pub keep_dir: bool,
    /// What loss and jitter are drawn from.
    pub seed: u64,
    /// How long a program may take until it is ready.
    pub ready_within: Duration,
    /// How long a program may take to end in good order.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            parent_dir: std::env::temp_dir(),
            keep_dir: false,
            seed: 1,
            ready_within: Duration::from_secs(20),
            grace: Duration::from_secs(3),
        }
    }
}

/// Why there is no lab.
#[derive(Debug, Error)]
pub enum UpError {
    /// The daemons' hosts cannot have certificates.
    #[error("no certificates: {0}")]
    Certificates(#[from] dglb_ca::AuthorityError),
    /// The topology has mistakes.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// This process may not build one.
    #[error("a lab needs {0}")]
    Missing(#[from] Missing),
    /// The system refuses a part of it.
    #[error("{what}: {error}")]
    System {
        /// Which part.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A host's program does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why something cannot be done with a host.
#[derive(Debug, Error)]
pub enum HostError {
    /// No such host.
    #[error("there is no host \"{0}\"")]
    Unknown(String),
    /// The system refuses.
    #[error("host {host}: {error}")]
    System {
        /// The host.
        host: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A private Internet in a box.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they must go: programs, then what they run on.
    hosts: Vec<Host>,
    router: Mutex<Option<Router>>,
    nursery: Nursery,
    pub(crate) wire: Wire,
    topology: Topology,
    numbers: HashMap<String, HostNumber>,
    backend: Backend,
    options: Options,
    marker: Marker,
    dir: PathBuf,
}

impl Lab {
    /// Builds the hosts, joins them, starts their programs in the topology's order, and waits until
    /// all are ready. Clears away what labs that were killed have left in the same place.
    ///
    /// # Errors
    /// [`UpError`]; nothing is left behind then.
    pub fn up(topology: &Topology, options: &Options) -> Result<Self, UpError> {
        topology.validate()?;
        sandbox::check()?;
        // Labs that were killed have had nobody to clear up after them. Nothing depends on it here.
        let _ = sweep(&options.parent_dir);
        let lab = Self::build(topology.clone(), options.clone())?;
        lab.start_all()?;
        Ok(lab)
    }

    /// Starts a host's program and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`]; after [`StartError::NotReady`] the program runs.
    pub fn start(&self, host: &str) -> Result<(), StartError> {
        let host = self.host(host).map_err(|_| StartError::UnknownHost(host.to_owned()))?;
        let ready = host.launch(&self.topology, &self.nursery)?;
        host.wait(ready, self.options.ready_within)
    }

    /// Ends a host's program in good order, by force if it takes longer than [`Options::grace`].
    ///
    /// # Errors
    /// [`HostError`].
    pub fn stop(&self, host: &str) -> Result<(), HostError> {
        self.with_process(host, |process| process.end(self.options.grace))
    }

    /// Sends a signal to a host's program and all of its processes. After [`Signal::Kill`] they are
    /// gone when this returns. Does nothing if it does not run.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn kill(&self, host: &str, signal: Signal) -> Result<(), HostError> {
        self.with_process(host, |process| match signal {
            Signal::Kill => process.kill(),
            other => process.signal(other),
        })
    }

    /// [`Lab::stop`], then [`Lab::start`].
    ///
    /// # Errors
    /// [`StartError`].
    pub fn restart(&self, host: &str) -> Result<(), StartError> {
        self.stop(host).map_err(|error| match error {
            HostError::Unknown(host) => StartError::UnknownHost(host),
            HostError::System { host, error } => StartError::Spawn { host, program: "stop".into(), error },
        })?;
        self.start(host)
    }

    /// Runs `work` on a fresh thread inside the host, and waits for it: for opening sockets there.
    /// They may be used anywhere afterwards.
    ///
    /// # Errors
    /// [`HostError`].
    ///
    /// # Panics
    /// If `work` does.
    pub fn in_host<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> Result<T, HostError> {
        let found = self.host(host)?;
        found.namespace.run(work).map_err(|error| HostError::System { host: host.to_owned(), error })
    }

    /// Runs a command on a host to its end, with the host's `resolv.conf` as `/etc/resolv.conf`.
    ///
    /// # Errors
    /// [`HostError`]; a command that takes longer than `within` is killed and is such an error.
    pub fn exec(&self, host: &str, argv: &[impl AsRef<OsStr>], within: Duration) -> Result<Output, HostError> {
        let found = self.host(host)?;
        let argv: Vec<OsString> = argv.iter().map(|a| a.as_ref().to_owned()).collect();
        let run = || output(&self.nursery, found.command(&argv, None, true)?, Instant::now() + within);
        run().map_err(|error| HostError::System { host: host.to_owned(), error })
    }

    /// The wire as a whole.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The topology it was built from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What carries packets out of hosts; never [`Backend::Auto`].
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// What a host's program is doing.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn activity(&self, host: &str) -> Result<Activity, HostError> {
        self.host(host).map(Host::activity)
    }

    /// The last lines that a host's program wrote.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn log_tail(&self, host: &str) -> Result<String, HostError> {
        self.host(host).map(Host::log_tail)
    }

    /// A host's own directory: its program's files, `stdout.log`, `stderr.log`, `resolv.conf`.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn host_dir(&self, host: &str) -> Result<&Path, HostError> {
        self.host(host).map(|host| host.dir.as_path())
    }

    /// The lab's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where another process of this user finds a host's network namespace, to enter it.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn namespace_path(&self, host: &str) -> Result<PathBuf, HostError> {
        let descriptor = self.host(host)?.namespace.raw();
        Ok(PathBuf::from(format!("/proc/{}/fd/{descriptor}", process::id())))
    }

    /// The value of [`crate::MARKER_VARIABLE`] in every process of this lab.
    pub fn marker(&self) -> String {
        self.marker.to_string()
    }

    /// Ends everything: programs in good order and all at once, by force after
    /// [`Options::grace`]; then the wire; then whatever still carries this lab's marker. Safe to
    /// call from any thread and more than once.
    pub fn shutdown(&self) {
        for host in &self.hosts {
            if let Some(process) = host.process().as_mut() {
                // One that has ended meanwhile is what we want.
                let _ = process.signal(Signal::Term).and_then(|()| process.signal(Signal::Cont));
            }
        }
        let deadline = Instant::now() + self.options.grace;
        for host in &self.hosts {
            if let Some(process) = host.process().as_mut()
                && process.wait(deadline).is_none()
            {
                let _ = process.kill();
            }
        }
        self.router.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (id, command) in self.marker.kill_all(Duration::from_secs(5)) {
            tracing::warn!(id, command, "left its process group and was killed");
        }
        remove_unless_kept(&self.dir);
        interrupt::forget(self.marker);
    }

    fn build(topology: Topology, options: Options) -> Result<Self, UpError> {
        let system = |what: &str| {
            let what = what.to_owned();
            move |error| UpError::System { what, error }
        };
        let marker = Marker::new().map_err(system("/proc"))?;
        let backbone = Backbone::new(options.backend).map_err(system("the backbone"))?;
        let dir = options.parent_dir.join(marker.directory_name());
        fs::create_dir_all(&dir).map_err(system(&dir.display().to_string()))?;
        // From here on an error removes the directory, too.
        interrupt::note(marker, dir.clone());
        let mut guard = BuildGuard(Some((marker, dir.clone())));
        if options.keep_dir {
            keep(&dir).map_err(system(&dir.display().to_string()))?;
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for (number, spec) in topology.hosts.iter().enumerate() {
            let what = format!("host {}", spec.name);
            let namespace = Namespace::create().map_err(system(&what))?;
            // A topology has at most `MOST_HOSTS`.
            let attachment = backbone.attach(&namespace, number as u16, &spec.addresses).map_err(system(&what))?;
            ports.push(Port { file: attachment.file, header: attachment.header });
            let servers = topology.name_servers(spec);
            let host = Host::new(spec.clone(), namespace, dir.join(&spec.name), marker, &servers);
            hosts.push(host.map_err(system(&what))?);
        }
        let wire = Wire::new(hosts.len(), |from, to| topology.link(from, to));
        let router = Router::start(wire.clone(), ports, topology.routes(), options.seed).map_err(system("the wire"))?;
        let numbers = topology.hosts.iter().enumerate().map(|(n, host)| (host.name.clone(), n)).collect();
        let nursery = Nursery::new().map_err(system("the nursery"))?;
        guard.0 = None;
        let (backend, router) = (backbone.backend(), Mutex::new(Some(router)));
        Ok(Self { hosts, router, nursery, wire, topology, numbers, backend, options, marker, dir })
    }

    fn start_all(&self) -> Result<(), StartError> {
        let starting = self.hosts.iter().filter(|host| host.spec.start && host.spec.program.is_some());
        let launched: Result<Vec<_>, _> =
            starting.map(|host| Ok((host, host.launch(&self.topology, &self.nursery)?))).collect();
        launched?.into_iter().try_for_each(|(host, ready)| host.wait(ready, self.options.ready_within))
    }

    fn with_process(&self, host: &str, act: impl FnOnce(&mut Process) -> io::Result<()>) -> Result<(), HostError> {
        let found = self.host(host)?;
        let outcome = found.process().as_mut().map_or(Ok(()), act);
        outcome.map_err(|error| HostError::System { host: host.to_owned(), error })
    }

    fn host(&self, name: &str) -> Result<&Host, HostError> {
        self.number(name).map(|number| &self.hosts[number])
    }

    pub(crate) fn number(&self, name: &str) -> Result<HostNumber, HostError> {
        self.numbers.get(name).copied().ok_or_else(|| HostError::Unknown(name.to_owned()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Removes what a lab that is not finished has made.
struct BuildGuard(Option<(Marker, PathBuf)>);

impl Drop for BuildGuard {
    fn drop(&mut self) {
        if let Some((marker, dir)) = self.0.take() {
            remove_unless_kept(&dir);
            interrupt::forget(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_may_be_used_from_many_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Lab>();
    }
}
