//! The shipped programs, built once by the cargo that runs the tests: same profile, same target
//! directory, so that little is left to be built.

use std::{
    env,
    ffi::OsStr,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The daemons.
pub const DAEMONS: [&str; 3] = ["dns-b", "dns-lb", "dns-a-sync"];
/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// The folder that holds all programs.
///
/// # Panics
/// When they cannot be built.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build)
}

/// A program with these arguments, its output to be read, no input.
///
/// # Panics
/// When it cannot be built.
pub fn command(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(folder().join(program));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["DGLB_LOG", "DGLB_ADMIN", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command to its end, at most for `within`.
///
/// # Panics
/// When it does not end; what it said is shown.
pub fn run(mut command: Command, within: Duration) -> Output {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Read beside the waiting, or a long output would hold it up.
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = wait(&mut child, within);
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().expect("reading does not panic");
    let output = Output { status: status.unwrap_or(ExitStatus::from_raw(9)), stdout: text(out), stderr: text(err) };
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(status.is_some(), "{command:?} has not ended within {within:?}:\n{said}");
    output
}

/// Waits for the end of a process; `None`, and it is killed, if it takes longer than `within`.
///
/// # Panics
/// When the system does not know it.
pub fn wait(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < within {
        if let Some(status) = child.try_wait().expect("it is a child of ours") {
            return Some(status);
        }
        std::thread::sleep(LOOK);
    }
    child.kill().expect("it is a child of ours");
    child.wait().expect("it is a child of ours");
    None
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read is what there is.
            let _ = pipe.read_to_end(&mut octets);
        }
        octets
    })
}

fn build() -> PathBuf {
    // target/[triple/]profile/deps/scenarios-…
    let own = env::current_exe().expect("a process knows its program");
    let folder = own.parent().and_then(Path::parent).expect("tests are built into a target directory").to_owned();
    let mut command = Command::new(env!("CARGO"));
    // The test is there already; that it is named keeps all features as they are for the tests.
    command.args(["build", "--workspace", "--bins", "--test", "scenarios", "--quiet"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let profile = name(&folder);
    command.args(["--profile", if profile == "debug" { "dev" } else { &profile }]);
    let mut target = folder.parent().expect("a profile has its folder in the target directory");
    let triple = name(target);
    if triple.starts_with(&format!("{}-", env::consts::ARCH)) {
        command.args(["--target", &triple]);
        target = target.parent().expect("a target has its folder in the target directory");
    }
    command.arg("--target-dir").arg(target);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    folder
}
