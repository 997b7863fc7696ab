//! A whole daemon as a process of its own: command line, exit codes, signals, life and end.
//!
//! The daemon is this test binary, started again; see [`the_daemon_itself`].

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dglb_core::{
    directory::{Directory, Settings as Answers},
    dns::{Conduct, Role},
    published::Publisher,
};
use dglb_node::{
    admin::{self, Admin, Readiness},
    ask::{Via, ask},
    cli,
    config::{self, ConfigError, Loaded, Section, choice, text},
    lifecycle::{Daemon, StartError, Tasks},
    metrics::{self, DnsCounters},
    serve::{Content, Endpoint, Server, Settings},
};
use hickory_proto::{op::ResponseCode, rr::RecordType};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// Carries the arguments to the child.
const ARGUMENTS: &str = "DGLB_NODE_TEST_ARGUMENTS";

/// The smallest daemon that has everything.
struct Probe {
    greeting: Arc<Mutex<String>>,
    dns: SocketAddr,
    _directory: Publisher<Directory>,
}

struct ProbeConfig {
    dns: SocketAddr,
    admin: admin::Address,
    greeting: String,
    habit: Habit,
}

#[derive(Clone, Copy)]
enum Habit {
    Good,
    Ends,
    Panics,
    Deaf,
    Slow,
}

fn read(section: &Section<'_>) -> Option<ProbeConfig> {
    let dns = section.required("dns", text);
    let admin = section.required("admin", text);
    let greeting = section.or("greeting", text, "hello".to_owned());
    let habits = [
        ("good", Habit::Good),
        ("ends", Habit::Ends),
        ("panics", Habit::Panics),
        ("deaf", Habit::Deaf),
        ("slow", Habit::Slow),
    ];
    let habit = section.or("habit", choice(&habits), Habit::Good);
    if greeting.is_empty() {
        section.warning("greeting", "an empty greeting is impolite");
    }
    Some(ProbeConfig { dns: dns?, admin: admin?, greeting, habit })
}

impl Daemon for Probe {
    const NAME: &'static str = "probe";
    const ABOUT: &'static str = "Does nothing, properly";
    const DRAIN: Duration = Duration::from_secs(5);
    type Config = ProbeConfig;

    fn load(path: &Path) -> Result<Loaded<ProbeConfig>, ConfigError> {
        config::load(path, read)
    }

    async fn start(config: ProbeConfig, tasks: &mut Tasks) -> Result<Self, StartError> {
        let admin = Admin::bind(&config.admin)?;
        let endpoint = Endpoint { address: config.dns, role: Role::DnsLb };
        let server = Server::bind(&[endpoint], Settings::default())?;
        let dns = server.local_addresses()[0];
        let directory = Publisher::new(Directory::new(Answers::default()));
        let counters = DnsCounters::new();
        let internal = |error: std::io::Error| StartError::Internal(error.to_string());
        let conduct = Publisher::new(Conduct::default());
        let content = Content { directory: directory.reader(), conduct: conduct.reader() };
        server.run(content, &counters, tasks).map_err(internal)?;
        let stop = tasks.stop_token();
        tasks.spawn("habit", async move {
            match config.habit {
                Habit::Good => stop.cancelled().await,
                Habit::Ends => {}
                Habit::Panics => panic!("a habit of mine"),
                Habit::Deaf => std::future::pending().await,
                Habit::Slow => {
                    stop.cancelled().await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    tracing::info!("the slow one is done");
                }
            }
        });
        let mut registry = metrics::registry(Self::NAME, tasks);
        counters.register(&mut registry);
        let greeting = Arc::new(Mutex::new(config.greeting));
        let shown = Arc::clone(&greeting);
        let status = move || std::future::ready(json!({"dns": dns.to_string(), "greeting": *shown.lock().unwrap()}));
        admin.run(tasks, registry, Readiness::new(), status).map_err(internal)?;
        Ok(Self { greeting, dns, _directory: directory })
    }

    fn reload(&mut self, config: ProbeConfig) -> Result<(), String> {
        if config.dns.port() != 0 && config.dns != self.dns {
            return Err("dns: only a restart can change this".to_owned());
        }
        *self.greeting.lock().unwrap() = config.greeting;
        Ok(())
    }
}

/// Not a test: the child that the tests start.
#[test]
fn the_daemon_itself() {
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        std::process::exit(cli::run::<Probe>(arguments.split('\n')) as i32);
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_daemon_itself", "--nocapture", "--test-threads=1"]);
    let arguments = [&["probe"], arguments].concat();
    command.env(ARGUMENTS, arguments.join("\n")).env_remove("NOTIFY_SOCKET").env_remove("DGLB_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    finish(command(arguments).spawn().unwrap())
}

fn finish(mut child: Child) -> (i32, String, String) {
    let deadline = Instant::now() + SOON;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code().expect("killed by a signal"), text(stdout), text(stderr))
}

/// A directory for one daemon: configuration, admin socket, and the service manager's socket.
struct Home {
    directory: tempfile::TempDir,
    manager: UnixDatagram,
}

impl Home {
    fn new(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(SOON)).unwrap();
        let home = Self { directory, manager };
        home.configure(configuration);
        home
    }

    fn configure(&self, configuration: &str) {
        let admin = self.path("admin").display().to_string();
        std::fs::write(self.path("probe.toml"), format!("admin = 'unix:{admin}'\n{configuration}")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn arguments(&self) -> [String; 2] {
        ["--config".to_owned(), self.path("probe.toml").display().to_string()]
    }

    /// Starts the daemon without waiting for it.
    fn start(&self) -> Running {
        let arguments = self.arguments();
        let mut command = command(&arguments.each_ref().map(String::as_str));
        Running(Some(command.env("NOTIFY_SOCKET", self.path("notify")).spawn().unwrap()))
    }

    /// What the daemon tells the service manager next.
    fn told(&self) -> String {
        let mut octets = [0; 1_000];
        let length = loop {
            match self.manager.recv(&mut octets) {
                // The end of some child may interrupt a call.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome.expect("the service manager was told nothing"),
            }
        };
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    fn serving(&self) -> Running {
        let running = self.start();
        assert_eq!(self.told().trim(), "READY=1");
        running
    }

    fn page(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.path("admin")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.page("/api/v1/status")).unwrap()
    }

    fn shows(&self, metric: &str) {
        let page = self.page("/metrics");
        assert!(page.lines().any(|line| line == metric), "{metric} is not in\n{page}");
    }
}

/// A daemon that is killed if the test does not end it.
struct Running(Option<Child>);

impl Running {
    fn signal(&self, signal: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -$0 $1", signal, &id]).status().unwrap().success());
    }

    fn finish(mut self) -> (i32, String, String) {
        finish(self.0.take().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_command_line_teaches() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for taught in
        ["Does nothing, properly", "/etc/dglb/probe.toml", "--check", "SIGHUP", "78  the configuration", "DGLB_LOG"]
    {
        assert!(help.contains(taught), "{taught} is not in\n{help}");
    }
    let (code, version, _) = run(&["--version"]);
    assert_eq!(code, 0);
    assert!(version.contains(concat!("probe ", env!("CARGO_PKG_VERSION"), "\n")), "{version}");
    let (code, _, error) = run(&["--chekc"]);
    assert_eq!(code, 64);
    assert!(error.contains("--check"), "{error}");
}

#[test]
fn check_reads_as_a_start_does_but_opens_no_socket() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let home = Home::new(&format!("dns = '{}'\ngreeting = ''\n", taken.local_addr().unwrap()));
    let arguments = home.arguments();
    let (code, out, error) = run(&[&arguments[0], &arguments[1], "--check"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let file = &arguments[1];
    assert!(
        out.contains(&format!("{file}:3:12: greeting: an empty greeting is impolite (warning)\n{file}: ok\n")),
        "{out}"
    );
    assert!(!home.path("admin").exists());

    home.configure("dns = 'here'\nhabit = 'god'\nextra = 1\n");
    for check in [&["--check"][..], &[]] {
        let (code, _, error) = run(&[&arguments.each_ref().map(String::as_str)[..], check].concat());
        assert_eq!(code, 78);
        let wanted = [
            format!("{file}:2:7: dns: \"here\": invalid socket address syntax"),
            format!(
                "{file}:3:9: habit: wanted one of \"good\", \"ends\", \"panics\", \"deaf\", \"slow\", found \"god\"; did you mean \"good\"?"
            ),
            format!("{file}:4:1: unknown key \"extra\""),
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn a_socket_that_cannot_be_had_has_an_exit_code_of_its_own() {
    let first = Home::new("dns = '127.0.0.1:0'");
    let running = first.serving();
    let second = Home::new(&format!("dns = '{}'", first.status()["dns"].as_str().unwrap()));
    let (code, _, error) = second.start().finish();
    assert_eq!(code, 71);
    assert!(error.contains("probe did not start: dns 127.0.0.1:"), "{error}");
    // The same with the admin socket, by a second start of the same configuration.
    let (code, _, error) = first.start().finish();
    assert_eq!(code, 71);
    assert!(error.contains("another process listens there"), "{error}");
    drop(running);
}

#[test]
fn it_serves_counts_and_stops_when_told() {
    let home = Home::new("dns = '127.0.0.1:0'\nhabit = 'slow'");
    let running = home.serving();
    let dns: SocketAddr = home.status()["dns"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for via in [Via::Udp, Via::Tcp] {
        let name = "www.example.com".parse().unwrap();
        let answer = runtime.block_on(ask(dns, via, &name, RecordType::A, SOON)).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "an empty directory is not ready");
    }
    for metric in [
        "dglb_dns_questions_total{transport=\"udp\"} 1",
        "dglb_dns_questions_total{transport=\"tcp\"} 1",
        "dglb_dns_replies_total{rcode=\"SERVFAIL\"} 2",
        "dglb_dns_decisions_total{decision=\"not-ready\"} 2",
    ] {
        home.shows(metric);
    }
    assert_eq!(home.page("/readyz"), "ready\n");
    let begin = Instant::now();
    running.signal("TERM");
    assert_eq!(home.told().trim(), "STOPPING=1");
    let (code, _, error) = running.finish();
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("the slow one is done"), "not waited for: {error}");
    assert!(begin.elapsed() < Probe::DRAIN, "{:?}", begin.elapsed());
    assert!(!home.path("admin").exists());
}

#[test]
fn who_does_not_stop_is_stopped_at_the_deadline_or_when_told_twice() {
    let home = Home::new("dns = '127.0.0.1:0'\nhabit = 'deaf'");
    let running = home.serving();
    let begin = Instant::now();
    running.signal("INT");
    assert_eq!(home.told().trim(), "STOPPING=1");
    let (code, _, error) = running.finish();
    assert_eq!(code, 0);
    assert!(error.contains("task habit did not stop in time"), "{error}");
    assert!(begin.elapsed() >= Probe::DRAIN, "{:?}", begin.elapsed());

    let running = home.serving();
    let begin = Instant::now();
    running.signal("TERM");
    assert_eq!(home.told().trim(), "STOPPING=1");
    // Signals of one kind that follow closely are one.
    running.signal("INT");
    let (code, _, error) = running.finish();
    assert_eq!(code, 0);
    assert!(error.contains("told to stop twice"), "{error}");
    assert!(begin.elapsed() < Probe::DRAIN, "{:?}", begin.elapsed());
}

#[test]
fn a_task_that_fails_ends_the_daemon_under_its_name() {
    for (habit, told) in [
        ("ends", "task habit ended although nobody told it to; the daemon ends with it"),
        ("panics", "task habit panicked at "),
    ] {
        let (code, _, error) = Home::new(&format!("dns = '127.0.0.1:0'\nhabit = '{habit}'")).start().finish();
        assert_eq!(code, 70, "{error}");
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_reload_takes_a_good_configuration_and_leaves_a_bad_one() {
    let home = Home::new("dns = '127.0.0.1:0'");
    let running = home.serving();
    assert_eq!(home.status()["greeting"], "hello");
    let reload = |configuration: &str| {
        home.configure(configuration);
        running.signal("HUP");
        let told = home.told();
        assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
        assert_eq!(home.told().trim(), "READY=1");
        home.status()["greeting"].as_str().unwrap().to_owned()
    };
    assert_eq!(reload("dns = '127.0.0.1:0'\ngreeting = 'salve'"), "salve");
    assert_eq!(reload("dns = '127.0.0.1:0'\ngreeting = 5"), "salve");
    assert_eq!(reload("dns = '127.0.0.1:1'\ngreeting = 'ave'"), "salve");
    home.shows("dglb_config_reloads_total{outcome=\"applied\"} 1");
    home.shows("dglb_config_reloads_total{outcome=\"refused\"} 2");
    running.signal("TERM");
    let (code, _, error) = running.finish();
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("probe.toml:3:12: greeting: wanted a text in quotes, found 5"), "{error}");
    assert!(error.contains("dns: only a restart can change this"), "{error}");
}
