//! A lab in the background: `up` starts a process that holds it, `down` ends that process, and both
//! clear away what a crashed one has left.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use thiserror::Error;

use super::{BackendName, topology_file};
use crate::{
    control::{AskError, Reply, Request, ask, serve},
    interrupt::Interrupt,
    lab::{Lab, Options, UpError},
    marker::sweep,
    runtime::RuntimeDir,
    sandbox,
    sys::process::{Before, prepare, signal},
    topology::TopologyError,
    world::{Plan, World, WorldError},
};

/// How long the tour's world may take until everybody has found each other.
const SETTLE: Duration = Duration::from_secs(20);
/// How long the process may take to be gone when its lab has ended.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// What the holding process says on its standard output when the lab is up.
const UP: &str = "up";

/// How the lab is to be built.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// The hosts and distances; by default three bare hosts to play with
    #[arg(long, value_name = "FILE", conflicts_with = "world")]
    topology: Option<PathBuf>,
    /// The tour's world: two ISPs, three sites, dns-b, dns-lb and dns-a-sync, with real resolvers
    /// where they are installed
    #[arg(long)]
    world: bool,
    /// How packets get out of hosts: by TUN devices, by veth pairs, or what works
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendName,
    /// What loss and jitter are drawn from, and, with --world, which site is best for whom
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// The same, for the process that holds the lab.
#[derive(Debug, Args)]
pub(super) struct Hold {
    #[command(flatten)]
    up: Up,
    /// The runtime directory, which must exist
    #[arg(long)]
    runtime: PathBuf,
}

/// Why there is no lab in the background, or still one.
#[derive(Debug, Error)]
pub(super) enum BackgroundError {
    #[error("a lab is up already, held by process {0}; dglb-lab down ends it")]
    AlreadyUp(u32),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Up(#[from] UpError),
    #[error(transparent)]
    World(#[from] WorldError),
    #[error("a lab needs {0}")]
    Missing(#[from] sandbox::Missing),
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    /// What the holding process has said instead of [`UP`].
    #[error("{0}")]
    NotHeld(String),
}

impl Up {
    /// Starts the process that holds the lab and returns when all hosts are ready.
    pub(super) fn run(self, runtime: &RuntimeDir) -> Result<(), BackgroundError> {
        topology_file(self.topology.as_ref())?;
        runtime.make().map_err(system("the runtime directory"))?;
        match ask(&runtime.control_socket(), &Request::Status) {
            Ok(Reply::Status(status)) => return Err(BackgroundError::AlreadyUp(status.process)),
            Err(AskError::NoLab) => clear(runtime)?,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let log = File::create(runtime.log()).map_err(system("the lab's log"))?;
        let child = self.hold_command(runtime, log).and_then(|mut command| command.spawn());
        let mut child = child.map_err(system("the process that holds the lab"))?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).map_err(system("the process that holds the lab"))?;
        }
        if said.trim_end() == UP {
            return Ok(());
        }
        // It has said why on the log, and ends.
        let _ = child.wait();
        let why = fs::read_to_string(runtime.log()).unwrap_or_default();
        Err(BackgroundError::NotHeld(why.trim_end().trim_start_matches("dglb-lab: ").to_owned()))
    }

    fn hold_command(&self, runtime: &RuntimeDir, log: File) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("hold").arg("--runtime").arg(runtime.path());
        command.arg("--backend").arg(format!("{:?}", self.backend).to_lowercase());
        command.arg("--seed").arg(self.seed.to_string());
        if let Some(topology) = &self.topology {
            command.arg("--topology").arg(topology);
        }
        if self.world {
            command.arg("--world");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        prepare(&mut command, Before { new_session: true, ..Before::default() });
        Ok(command)
    }
}

impl Hold {
    /// Builds the lab, says [`UP`], and holds it until asked to end it or interrupted.
    pub(super) fn run(self) -> Result<(), BackgroundError> {
        let interrupt = Interrupt::catch().map_err(system("signals"))?;
        sandbox::enter()?;
        dglb_node::telemetry::init();
        let runtime = RuntimeDir::at(self.runtime);
        let socket = runtime.control_socket();
        let last = socket.clone();
        interrupt.exit_on_signal(move || drop(fs::remove_file(last))).map_err(system("signals"))?;
        let topology = topology_file(self.up.topology.as_ref())?;
        let options = Options {
            backend: self.up.backend.into(),
            seed: self.up.seed,
            parent_dir: runtime.path().to_owned(),
            ..Options::default()
        };
        let bare;
        let world;
        let lab = if self.up.world {
            world = settled_world(self.up.seed, &options)?;
            world.lab()
        } else {
            bare = Lab::up(&topology, &options)?;
            &bare
        };
        let listener = UnixListener::bind(&socket).map_err(system("the control socket"))?;
        say_up().map_err(system("standard output"))?;
        let outcome = serve(&listener, lab).map_err(system("the control socket"));
        let _ = fs::remove_file(socket);
        outcome
    }
}

/// Ends the lab in the background, if there is one, and whatever crashed ones have left.
pub(super) fn down(runtime: &RuntimeDir) -> Result<(), BackgroundError> {
    let socket = runtime.control_socket();
    match ask(&socket, &Request::Status) {
        Ok(Reply::Status(status)) => {
            ask(&socket, &Request::Down)?;
            let deadline = Instant::now() + LAST_BREATH;
            while signal(status.process, 0).is_ok() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        Err(AskError::NoLab) => {}
        Ok(_) => {}
        Err(error) => eprintln!("dglb-lab: {error}"),
    }
    clear(runtime)
}

/// The tour's world, once a client's first question has a good answer. No resolver was asked yet.
fn settled_world(seed: u64, options: &Options) -> Result<World, BackgroundError> {
    let world = World::up(Plan::of_installed(seed), options)?;
    world.wait_handed_out(SETTLE)?;
    world.wait_delegated(SETTLE)?;
    Ok(world)
}

/// Says that the lab is up and lets go of standard output, for which somebody waits.
fn say_up() -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{UP}")?;
    stdout.flush()
}

fn clear(runtime: &RuntimeDir) -> Result<(), BackgroundError> {
    let _ = fs::remove_file(runtime.control_socket());
    for dir in [runtime.path().to_owned(), env::temp_dir()] {
        if !dir.is_dir() {
            continue;
        }
        let swept = sweep(&dir).map_err(system("clearing away"))?;
        for (id, command) in swept.processes {
            eprintln!("ended process {id} ({command}), left by a lab that is gone");
        }
        for dir in swept.directories {
            eprintln!("removed {}, left by a lab that is gone", dir.display());
        }
    }
    Ok(())
}

fn system(what: &str) -> impl FnOnce(io::Error) -> BackgroundError {
    let what = what.to_owned();
    move |error| BackgroundError::System { what, error }
}
