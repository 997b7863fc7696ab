//! The admin endpoint over real sockets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::{UnixListener, UnixStream},
    time::Instant,
};

use super::*;
use crate::metrics;

const SOON: Duration = Duration::from_secs(5);

/// Asks over `stream` and returns status line and body.
fn get(mut stream: impl Read + Write, path: &str) -> (String, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn connect(address: &Address) -> TcpStream {
    let Address::Tcp(address) = address else { panic!("not TCP: {address}") };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn run(admin: Admin, tasks: &mut Tasks, readiness: Readiness) {
    let registry = metrics::registry("test", tasks);
    admin.run(tasks, registry, readiness, async || serde_json::json!({"identity": "b1"})).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_pages_are_shown_over_tcp() {
    let mut tasks = Tasks::new();
    let readiness = Readiness::new();
    readiness.wait("fleet", "no fleet document yet");
    readiness.wait("catalogue", "none received");
    let admin = Admin::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = admin.local_address();
    run(admin, &mut tasks, readiness.clone());

    assert_eq!(get(connect(&address), "/livez"), ("HTTP/1.1 200 OK".into(), "live\n".into()));
    let (status, body) = get(connect(&address), "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "catalogue: none received\nfleet: no fleet document yet\n");
    readiness.met("catalogue");
    assert_eq!(get(connect(&address), "/readyz").1, "fleet: no fleet document yet\n");
    readiness.met("fleet");
    assert_eq!(get(connect(&address), "/readyz"), ("HTTP/1.1 200 OK".into(), "ready\n".into()));

    let (status, body) = get(connect(&address), "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains("dglb_build_info{daemon=\"test\""), "{body}");
    assert!(body.contains("dglb_config_reloads_total{outcome=\"refused\"} 0\n"), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    assert_eq!(get(connect(&address), "/api/v1/status").1, "{\"identity\":\"b1\"}");
    assert_eq!(get(connect(&address), "/nothing").0, "HTTP/1.1 404 Not Found");
    assert_eq!(tasks.stop(SOON).await, Default::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_answers_while_every_worker_is_stuck() {
    let mut tasks = Tasks::new();
    let admin = Admin::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = admin.local_address();
    run(admin, &mut tasks, Readiness::new());
    let (release, stuck) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel();
    tasks.spawn("stuck", async move {
        begun.send(()).unwrap();
        let _ = stuck.recv_timeout(SOON);
    });
    has_begun.recv_timeout(SOON).unwrap();
    assert_eq!(get(connect(&address), "/livez").1, "live\n");
    drop(release);
    assert_eq!(tasks.stop(SOON).await, Default::default());
}

#[tokio::test]
async fn a_unix_socket_is_made_used_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    let mut tasks = Tasks::new();
    let admin = Admin::bind(&address).unwrap();
    assert_eq!(admin.local_address(), address);
    assert!(matches!(Admin::bind(&address), Err(BindError::InUse(_))), "bound, though not yet served");
    run(admin, &mut tasks, Readiness::new());
    assert_eq!(get(UnixStream::connect(&path).unwrap(), "/readyz").1, "ready\n");
    let refused = Admin::bind(&address).unwrap_err();
    assert!(refused.to_string().ends_with("admin.sock: another process listens there"), "{refused}");
    assert_eq!(get(UnixStream::connect(&path).unwrap(), "/livez").1, "live\n");
    assert_eq!(tasks.stop(SOON).await, Default::default());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    // Closing a unix listener leaves its file behind, as a killed process does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = Admin::bind(&address).unwrap();

    // Somebody else's socket at our path is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(other);

    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(Admin::bind(&address), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_neither_pile_up_nor_delay_the_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let capped = Capped::new(listener, 2, Duration::from_millis(200));
    let stop = CancellationToken::new();
    let shown = Shown { registry: Registry::default(), readiness: Readiness::new() };
    let serving = axum::serve(capped, router(Arc::new(shown))).with_graceful_shutdown(stop.clone().cancelled_owned());
    let server = tokio::spawn(within(Duration::from_millis(100), stop.clone(), serving.into_future()));

    let begin = Instant::now();
    let (mut silent, half) = (connect(&address), connect(&address));
    (&half).write_all(b"GET /li").unwrap();
    // Both places are taken; the next is served once they are too old.
    let asked = address.clone();
    let answer = tokio::task::spawn_blocking(move || get(connect(&asked), "/livez")).await.unwrap();
    assert_eq!(answer.1, "live\n");
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "the silent connection is still open");

    let _held = connect(&address);
    stop.cancel();
    tokio::time::timeout(SOON, server).await.unwrap().unwrap().unwrap();
}
