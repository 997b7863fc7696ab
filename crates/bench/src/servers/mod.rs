//! The servers that are compared, each as a child of its own with the same names in it.

mod gdnsd;
mod knot;
mod nsd;
mod zones;

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::{child::Child, client::Client, cpu, questions::Scenario};

/// Longest time until a server answers.
const STARTING: Duration = Duration::from_secs(60);

/// A server to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A bare `recvmmsg`/`sendmmsg` loop.
    Echo,
    /// Our lanes with as little to answer as the echo: what our sockets cost.
    Lanes,
    /// Ours.
    Dglb,
    /// [`Kind::Lanes`] of another build of this program.
    LanesBeside,
    /// [`Kind::Dglb`] of another build of this program.
    DglbBeside,
    /// gdnsd with address records in its zones.
    GdnsdStatic,
    /// gdnsd with its plug-in `weighted`.
    GdnsdWeighted,
    /// Knot DNS.
    Knot,
    /// NSD.
    Nsd,
}

impl Kind {
    /// As printed.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Lanes => "lanes alone",
            Self::Dglb => "dglb",
            Self::LanesBeside => "lanes, beside",
            Self::DglbBeside => "dglb, beside",
            Self::GdnsdStatic => "gdnsd, static",
            Self::GdnsdWeighted => "gdnsd, weighted",
            Self::Knot => "Knot",
            Self::Nsd => "NSD",
        }
    }

    /// Whether it says the same whatever it is asked, so that each scenario needs one of its own.
    pub(crate) fn is_floor(self) -> bool {
        matches!(self, Self::Echo | Self::Lanes | Self::LanesBeside)
    }

    /// The build to run; `None` for this one.
    fn build(self, beside: Option<&Path>) -> Option<&Path> {
        beside.filter(|_| matches!(self, Self::LanesBeside | Self::DglbBeside))
    }

    /// The program of somebody else that it needs.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::Echo | Self::Lanes | Self::Dglb | Self::LanesBeside | Self::DglbBeside => None,
            Self::GdnsdStatic | Self::GdnsdWeighted => Some("gdnsd"),
            Self::Knot => Some("knotd"),
            Self::Nsd => Some("nsd"),
        }
    }

    /// Whether it can be started here; else the program that is missing.
    pub(crate) fn installed(self) -> Result<(), &'static str> {
        match self.program() {
            Some(program) if find(program).is_none() => Err(program),
            _ => Ok(()),
        }
    }
}

/// What replies look like that have no content.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Octets, at least a header's 12
    #[arg(long)]
    pub(crate) length: usize,
    /// Response code
    #[arg(long)]
    pub(crate) rcode: u8,
    /// Number of answers that the header tells of
    #[arg(long)]
    pub(crate) answers: u16,
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Running {
    /// Which.
    pub(crate) kind: Kind,
    /// Where.
    pub(crate) address: SocketAddrV4,
    child: Child,
    _files: Option<TempDir>,
}

impl Running {
    /// Starts any server but the floors, and waits until it answers. `build` is another build of this
    /// program, for those that want one.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn start(kind: Kind, core: usize, build: Option<&Path>) -> io::Result<Self> {
        if matches!(kind, Kind::Dglb | Kind::DglbBeside) {
            let (child, address) = Child::ourselves(core, kind.build(build), &["serve".into()])?;
            return Self { kind, address, child, _files: None }.answering();
        }
        let files = TempDir::new()?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?);
        let folder = files.path();
        let program = kind.program().and_then(find).ok_or_else(|| io::Error::other("not installed"))?;
        let arguments = match kind {
            Kind::GdnsdStatic => gdnsd::prepare(folder, address, false)?,
            Kind::GdnsdWeighted => gdnsd::prepare(folder, address, true)?,
            Kind::Knot => knot::prepare(folder, address)?,
            _ => nsd::prepare(folder, address)?,
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let child = Child::program(core, &program.to_string_lossy(), &arguments, &folder.join("log"))?;
        Self { kind, address, child, _files: Some(files) }.answering()
    }

    /// Starts a floor with replies of this `shape`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn floor(kind: Kind, core: usize, build: Option<&Path>, shape: Shape) -> io::Result<Self> {
        let command = if kind == Kind::Echo { "echo" } else { "lanes" };
        let Shape { length, rcode, answers } = shape;
        let arguments = format!("{command} --length {length} --rcode {rcode} --answers {answers}");
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let (child, address) = Child::ourselves(core, kind.build(build), &arguments)?;
        Self { kind, address, child, _files: None }.answering()
    }

    /// Nanoseconds of processor that it has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn used(&self) -> io::Result<u64> {
        cpu::used(self.child.pid())
    }

    /// Octets of memory that it has.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        cpu::resident(self.child.pid())
    }

    fn answering(mut self) -> io::Result<Self> {
        let deadline = Instant::now() + STARTING;
        while Instant::now() < deadline && self.child.runs() {
            // Refused until it listens.
            let asked = Client::new(Scenario::OneName, self.address)?.run(Duration::from_millis(1));
            let expected = !self.kind.is_floor();
            if asked.is_ok_and(|tally| tally.answered > 0 || (!expected && tally.wrong > 0)) {
                return Ok(self);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = self._files.as_ref().and_then(|files| std::fs::read_to_string(files.path().join("log")).ok());
        Err(io::Error::other(format!("{} does not answer; it said:\n{}", self.kind.title(), log.unwrap_or_default())))
    }
}

/// A port that nobody has.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program, also where only administrators look for it.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Writes a file and says where it is.
fn file(folder: &Path, name: &str, content: &str) -> io::Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, content)?;
    Ok(path.to_string_lossy().into_owned())
}
