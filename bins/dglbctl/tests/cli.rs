//! The program against real admin endpoints, dead ones and strangers.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    process::{Command, Output},
};

use dglb_node::{
    admin::{Address, Admin, Readiness, Request, Requests},
    lifecycle::{Stopped, Tasks},
};
use serde_json::{Value, json};

/// A served admin endpoint.
struct Served {
    address: Address,
    readiness: Readiness,
    runtime: tokio::runtime::Runtime,
    tasks: Tasks,
}

impl Served {
    fn start(address: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut tasks = Tasks::on(runtime.handle().clone());
        let admin = Admin::bind(&address.parse().unwrap()).unwrap();
        let (address, readiness) = (admin.local_address(), Readiness::new());
        let registry = dglb_node::metrics::registry("dns-x", &tasks);
        let status =
            async || json!({ "daemon": "dns-x", "identity": "x1", "zones": [{ "zone": "a.test.", "generation": 7 }] });
        admin.run(&mut tasks, registry, readiness.clone(), status).unwrap();
        Self { address, readiness, runtime, tasks }
    }

    fn stop(self) {
        let stopped = self.runtime.block_on(self.tasks.stop(std::time::Duration::from_secs(10)));
        assert_eq!(stopped, Stopped::default());
    }
}

fn dglbctl(arguments: &[&str]) -> Output {
    // A proxy in the environment must not be asked.
    let mut command = Command::new(env!("CARGO_BIN_EXE_dglbctl"));
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env_remove("DGLB_ADMIN");
    command.args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// Fails with this exit code, saying this.
fn fails(arguments: &[&str], exit: i32, says: &str) {
    let output = dglbctl(arguments);
    let error = text(&output.stderr);
    assert!(code(&output) == exit && error.contains(says), "{arguments:?}: {output:?}");
    assert!(error.starts_with("dglbctl: ") || exit == 64, "{error}");
}

#[test]
fn status_metrics_and_readiness_over_both_kinds_of_sockets() {
    let directory = tempfile::tempdir().unwrap();
    for address in [format!("unix:{}/x.sock", directory.path().display()), "127.0.0.1:0".to_owned()] {
        let served = Served::start(&address);
        let admin = match &served.address {
            Address::Tcp(tcp) => format!("http://{tcp}"),
            unix => unix.to_string(),
        };
        let output = dglbctl(&["status", "--admin", &admin]);
        let expected = "daemon    dns-x\nidentity  x1\nzones (1):\n  ZONE     GENERATION\n  a.test.  7\nready\n";
        assert_eq!((code(&output), text(&output.stdout)), (0, expected));

        let output = dglbctl(&["--admin", &admin, "status", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((code(&output), &document["zones"][0]["generation"]), (0, &json!(7)));

        let output = dglbctl(&["metrics", "--admin", &admin]);
        assert!(text(&output.stdout).contains("# TYPE dglb_build info"), "{output:?}");
        let output = dglbctl(&["metrics", "dglb_config", "--admin", &admin]);
        let lines: Vec<_> = text(&output.stdout).lines().collect();
        assert!(!lines.is_empty() && lines.iter().all(|l| l.starts_with("dglb_config_reloads_total{")), "{lines:?}");

        assert_eq!(code(&dglbctl(&["ready", "--admin", &admin])), 0);
        served.readiness.wait("catalogue", "none has come");
        fails(&["ready", "--admin", &admin], 75, "not ready: catalogue: none has come");
        let output = dglbctl(&["status", "--admin", &admin]);
        assert!(text(&output.stdout).ends_with("NOT READY: catalogue: none has come\n"), "{output:?}");
        served.stop();
    }
}

#[test]
fn every_socket_of_the_host_is_asked_and_a_dead_one_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    fails(&["status", "--sockets", path], 69, "no daemon is running");
    let first = Served::start(&format!("unix:{path}/dns-b.sock"));
    let last = Served::start(&format!("unix:{path}/dns-lb.sock"));
    // Left behind by a daemon that was killed.
    drop(UnixListener::bind(directory.path().join("dns-c.sock")).unwrap());
    let output = dglbctl(&["status", "--sockets", path]);
    let shown = text(&output.stdout);
    assert!(shown.contains("dns-b.sock\ndaemon") && shown.contains("dns-lb.sock\ndaemon"), "{shown}");
    assert_eq!(code(&output), 69);
    assert!(text(&output.stderr).contains("dns-c.sock: no daemon listens there"), "{output:?}");
    let output = dglbctl(&["status", "--json", "--sockets", path]);
    let documents: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((documents.len(), code(&output)), (2, 69));
    first.stop();
    last.stop();
}

#[test]
fn what_is_not_there_is_told_from_what_is_strange() {
    let directory = tempfile::tempdir().unwrap();
    let missing = format!("unix:{}/missing.sock", directory.path().display());
    fails(&["status", "--admin", &missing], 69, "Is it running");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    fails(&["metrics", "--admin", &nobody], 69, "Is it running");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    fails(&["status", "--timeout", "1", "--admin", &address], 69, "does not answer in time");
    for (answer, says) in [
        ("SSH-2.0-x\r\n", "no admin endpoint"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "names no daemon"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n<", "no admin endpoint"),
    ] {
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stranger.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = stranger.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        fails(&["status", "--admin", &address], 76, says);
        thread.join().unwrap();
    }
}

#[test]
fn a_socket_of_somebody_else_is_a_matter_of_permission() {
    let directory = tempfile::tempdir().unwrap();
    let closed = directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let served = Served::start(&format!("unix:{}/x.sock", closed.display()));
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Nobody may not even read the build directory, so the program is copied to where it may.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("dglbctl");
    // By another process: one that this one starts meanwhile would hold the copy open for writing, and nobody
    // could run it.
    assert!(Command::new("cp").args([env!("CARGO_BIN_EXE_dglbctl").as_ref(), &*program]).status().unwrap().success());
    let mut command = Command::new(&program);
    command.args(["status", "--admin", &served.address.to_string()]);
    if is_root() {
        command.uid(65_534).gid(65_534);
    } else {
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = command.output();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    match output {
        Ok(output) => {
            assert_eq!(code(&output), 77, "{output:?}");
            assert!(text(&output.stderr).contains("permission denied"), "{output:?}");
        }
        // Root of a user namespace that has no other user to be.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: needs a second user: {error}");
        }
        Err(error) => panic!("{error}"),
    }
    served.stop();
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

#[test]
fn the_command_line_explains_itself() {
    let output = dglbctl(&["--help"]);
    let help = text(&output.stdout);
    for word in ["status", "metrics", "ready", "unix:/run/dglb/dns-b.sock", "Exit codes", "69", "77", "[admin] listen"]
    {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    assert_eq!(code(&output), 0);
    fails(&["status", "--admin", "https://example.net"], 64, "wanted unix:");
    fails(&["stat"], 64, "status");
    fails(&[], 64, "Usage");
    let output = dglbctl(&["--version"]);
    assert!(text(&output.stdout).starts_with("dglbctl ") && code(&output) == 0);
}

/// A dns-b that answers what the operator asks with what it was asked.
fn asked_dns_b() -> Served {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut tasks = Tasks::on(runtime.handle().clone());
    let mut admin = Admin::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, readiness) = (admin.local_address(), Readiness::new());
    let (to, mut requests) = tokio::sync::mpsc::channel(1);
    admin.set_requests(Requests { look: &["/api/v1/map"], change: &["/api/v1/drain", "/api/v1/force"], to });
    runtime.spawn(async move {
        while let Some(Request { path, parameters, reply }) = requests.recv().await {
            let entry = json!({ "prefix": parameters.get("prefix"), "dns_lb": "sea1", "preference": 1, "weight": 1,
                "source": "static", "age_seconds": 61, "lease_left_seconds": null, "state": "alive" });
            let answer = match path {
                "/api/v1/map" => Ok(json!({ "entries": [entry], "more": 0 })),
                "/api/v1/force" if parameters["site"] == "nowhere" => Err("no such site".to_owned()),
                "/api/v1/force" => Ok(json!(parameters)),
                _ if parameters["dns-lb"] == "nobody" => Err("no [[peer]] \"nobody\"".to_owned()),
                _ => Ok(json!({ "changed": parameters["drained"] == "true" })),
            };
            let _ = reply.send(answer);
        }
    });
    let registry = dglb_node::metrics::registry("dns-b", &tasks);
    admin.run(&mut tasks, registry, readiness.clone(), async || json!({ "daemon": "dns-b" })).unwrap();
    Served { address, readiness, runtime, tasks }
}

#[test]
fn the_map_is_listed_and_dns_lbs_are_drained() {
    let served = asked_dns_b();
    let admin = format!("http://{}", served.address);
    let map = dglbctl(&["map", "--prefix", "2001:db8::/32", "--admin", &admin]);
    assert_eq!(code(&map), 0, "{map:?}");
    let expected = "\
PREFIX         DNS LB  PREFERENCE  WEIGHT  SOURCE  AGE    LEASE LEFT  STATE
2001:db8::/32  sea1    1           1       static  1m 1s  linked      alive
";
    assert_eq!(text(&map.stdout), expected);
    let json = dglbctl(&["map", "--json", "--admin", &admin]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["entries"][0]["dns_lb"], "sea1");

    let drained = dglbctl(&["drain", "sea1", "--admin", &admin]);
    assert_eq!((code(&drained), text(&drained.stdout)), (0, format!("{admin}: sea1 is drained\n").as_str()));
    let undone = dglbctl(&["drain", "sea1", "--undo", "--admin", &admin]);
    assert_eq!(text(&undone.stdout), format!("{admin}: sea1 is not drained, as before\n"));
    fails(&["drain", "nobody", "--admin", &admin], 64, "no [[peer]] \"nobody\"");

    let force = ["force", "www.test", "sea", "down", "--for", "2h", "--reason", "a & b", "--admin", &admin];
    let forced = dglbctl(&force);
    let expected = format!("{admin}: sea of www.test counts as down for 2h\n");
    assert_eq!((code(&forced), text(&forced.stdout)), (0, expected.as_str()), "{forced:?}");
    let undone = dglbctl(&["force", "www.test", "sea", "--undo", "--admin", &admin]);
    assert_eq!(text(&undone.stdout), format!("{admin}: sea of www.test is what probes, or its customer, say\n"));
    fails(&["force", "www.test", "nowhere", "--undo", "--admin", &admin], 64, "no such site");
    fails(&["force", "www.test", "sea", "down", "--admin", &admin], 64, "--reason");

    // A web page of somebody else's could send this much, and no more.
    let Address::Tcp(socket) = &served.address else { panic!("not TCP") };
    let mut stream = std::net::TcpStream::connect(socket).unwrap();
    let request = "POST /api/v1/drain?dns-lb=sea1&drained=true HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    served.stop();

    let served = Served::start("127.0.0.1:0");
    fails(&["map", "--admin", &format!("http://{}", served.address)], 76, "another daemon");
    served.stop();
}
