//! `docs/conduct.md` shows what dig and kdig print in the tour's world: they still do.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use dglb_lab::sandbox;
use dglb_scenarios::binaries;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);
/// How long a reply may be another one: measurements settle.
const SETTLING: Duration = Duration::from_secs(20);

/// One command and what it prints.
struct Shown {
    command: String,
    output: Vec<String>,
}

/// A world in the background; it ends with the value.
struct World(tempfile::TempDir);

impl World {
    /// `None` where no lab can be had, which is said loudly.
    fn up() -> Option<Self> {
        let room = tempfile::tempdir().unwrap();
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let world = Self(room);
        let up = world.lab(["up", "--world", "--seed", "2"]);
        let error = String::from_utf8_lossy(&up.stderr);
        if let Some((_, missing)) = error.split_once("a lab needs ") {
            sandbox::skip(missing.trim_end());
            return None;
        }
        assert!(up.status.success(), "{error}");
        Some(world)
    }

    fn lab<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Output {
        let mut command = binaries::command("dglb-lab", arguments);
        let room = self.0.path();
        command.env("DGLB_LAB_RUNTIME", room.join("lab")).env("TMPDIR", room).env("HOME", room);
        binaries::run(command, LONG)
    }

    /// What a command of the page prints on the host of a resolver; one for the lab is no host's.
    fn prints(&self, command: &str) -> Vec<String> {
        if let Some(command) = command.strip_prefix("dglb-lab ") {
            return lines(&String::from_utf8_lossy(&self.lab(command.split(' ')).stdout));
        }
        let output = self.lab(["exec", "isp1"].into_iter().chain(command.split(' ')));
        lines(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let down = self.lab(["down"]);
        if !down.status.success() && !std::thread::panicking() {
            panic!("the world does not end: {}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

#[test]
fn the_page_on_conduct_shows_what_is_printed() {
    let tools = ["dig", "kdig"].map(|tool| Command::new(tool).arg("-h").output().is_ok());
    if tools != [true; 2] {
        return sandbox::skip("dig and kdig");
    }
    let page = fs::read_to_string(page()).unwrap();
    let shown = shown(&page);
    assert!(shown.len() > 30, "only {} commands found", shown.len());
    let Some(world) = World::up() else { return };
    for Shown { command, output } in shown {
        let started = Instant::now();
        let mut printed = world.prints(&command);
        while printed != output && started.elapsed() < SETTLING {
            std::thread::sleep(Duration::from_millis(200));
            printed = world.prints(&command);
        }
        assert_eq!(printed, output, "docs/conduct.md shows something else for: {command}");
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conduct.md")
}

/// The commands in the page's `text` blocks.
fn shown(page: &str) -> Vec<Shown> {
    let blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands = blocks.flat_map(|block| block.strip_prefix("$ ").unwrap_or_default().split("\n$ "));
    let read = |text: &str| {
        let (command, output) = text.split_once('\n').unwrap_or((text, ""));
        Shown { command: command.to_owned(), output: lines(output) }
    };
    commands.map(read).collect()
}

/// Lines that say something, without what is another each time: ids, servers' halves of cookies, and what
/// cipher two libraries have agreed upon.
fn lines(text: &str) -> Vec<String> {
    let silent = |line: &str| [";; Got answer", ";; TLS session"].iter().any(|start| line.starts_with(start));
    let told = text.lines().filter(|line| !line.is_empty() && !silent(line));
    told.map(|line| {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = words.split(", id: ").flat_map(|part| part.split("; id: ")).next().unwrap_or_default().to_owned();
        match words.split_once("; COOKIE: ") {
            Some((_, cookie)) => {
                let good = if cookie.ends_with(" (good)") { "good" } else { "bad" };
                format!("; COOKIE: {} and {good}", cookie.get(..16).unwrap_or_default())
            }
            None => words,
        }
    })
    .collect()
}
