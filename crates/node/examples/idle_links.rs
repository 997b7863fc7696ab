//! What a map link that is up and idle costs the side that accepts it, in memory.
//!
//! ```sh
//! cargo run -p dglb-node --example idle_links -- 2000
//! ```
//!
//! The accepting side is a process of its own, whose resident memory is read before and after. Each
//! link is under TLS, with a certificate on both sides, and holds its sender as a dns-b does. Without
//! the keeper's part; "plain" as second argument leaves TLS out.

use std::{
    io::{self, BufRead, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use dglb_ca::Ephemeral;
use dglb_core::{
    fleet::{Fleet, FleetServer, FleetTtls},
    proto::{
        VERSION,
        message::{BootId, FleetStamp, Hello, PeerRole, Welcome},
    },
};
use dglb_node::link::{
    AcceptSettings, Acceptor, Credentials, Decision, Dialler, LinkEvent, LinkId, LinkMetrics, LinkSettings, PlainTcp,
    TlsFiles,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SERVER: &str = "dglb:dns-b:b1";
const CLIENT: &str = "dglb:dns-lb:sea1";

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["accept", directory] => runtime.block_on(accept(directory)),
        [count] => runtime.block_on(measure(count.parse()?, true)),
        [count, "plain"] => runtime.block_on(measure(count.parse()?, false)),
        _ => Err("wanted: how many links, and \"plain\" for none of TLS".into()),
    }
}

/// Settings of the host of this name, whose files are in the directory; `-` for none.
fn links(directory: &str, name: &str) -> Outcome<LinkSettings> {
    if directory == "-" {
        return Ok(LinkSettings { plain_tcp: PlainTcp::Loopback, ..LinkSettings::default() });
    }
    let credentials = Credentials::load(&TlsFiles::in_directory(Path::new(directory)), name.parse()?)?;
    Ok(LinkSettings { tls: Some(credentials), ..LinkSettings::default() })
}

async fn accept(directory: &str) -> Outcome {
    let settings = AcceptSettings { link: links(directory, SERVER)?, ..AcceptSettings::default() };
    let acceptor = Acceptor::bind("127.0.0.1:0".parse()?, settings, LinkMetrics::default()).await?;
    println!("{}", acceptor.local_addr()?);
    let (sender, mut events) = mpsc::channel(1_024);
    tokio::spawn(acceptor.run(sender, CancellationToken::new()));
    let mut senders = Vec::new();
    while let Some((_, event)) = events.recv().await {
        match event {
            LinkEvent::Hello { hello, remote, decision } => {
                let welcome = Welcome {
                    version: VERSION,
                    identity: "b1".parse()?,
                    boot: hello.boot,
                    observed: remote,
                    features: 0,
                    fleet: Some(fleet()?),
                    map_generation: 0,
                    report_generation: 0,
                    catalogues: vec![],
                };
                // The link may be gone again.
                let _ = decision.send(Decision::Welcome(Box::new(welcome)));
            }
            LinkEvent::Up { link, .. } => {
                senders.push(link);
                println!("up {}", senders.len());
                io::stdout().flush()?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn fleet() -> Outcome<Fleet> {
    let address = |n| std::net::IpAddr::from([192, 0, 2, n]);
    let server = FleetServer { identity: "b1".parse()?, referral: vec![address(1)], fallback: vec![address(2)] };
    Ok(Fleet::new(Fleet {
        serial: 1,
        operator_zone: "ops.test".parse()?,
        hostmaster: "hostmaster.ops.test".parse()?,
        servers: vec![server],
        labels: vec![],
        ttl: FleetTtls::default(),
    })?)
}

async fn measure(count: u64, tls: bool) -> Outcome {
    let (server, client, ca) = (tempfile::tempdir()?, tempfile::tempdir()?, Ephemeral::new()?);
    ca.write(&SERVER.parse()?, server.path())?;
    ca.write(&CLIENT.parse()?, client.path())?;
    let directory = |of: &tempfile::TempDir| if tls { of.path().display().to_string() } else { "-".to_owned() };
    let mut child =
        Command::new(std::env::current_exe()?).args(["accept", &directory(&server)]).stdout(Stdio::piped()).spawn()?;
    let mut lines = io::BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let address = lines.next().ok_or("no address")??.parse()?;
    let before = resident(child.id())?;
    let settings = links(&directory(&client), CLIENT)?;
    let (events, mut heard) = mpsc::channel(1_024);
    for n in 0..count {
        let (settings, metrics) = (settings.clone(), LinkMetrics::default());
        let dialler = Dialler { id: LinkId(n), server: address, expected: "b1".parse()?, settings, metrics };
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            role: PeerRole::DnsLb,
            identity: "sea1".parse()?,
            boot: BootId([1; 16]),
            uptime_ms: 0,
            features: 0,
            fleet: FleetStamp::default(),
        };
        tokio::spawn(dialler.run(move || hello.clone(), events.clone(), CancellationToken::new()));
    }
    let mut senders = Vec::new();
    tokio::spawn(async move {
        while let Some((_, event)) = heard.recv().await {
            if let LinkEvent::Up { link, .. } = event {
                senders.push(link);
            }
        }
    });
    let last = format!("up {count}");
    for line in lines.by_ref() {
        if line? == last {
            break;
        }
    }
    // What the handshakes needed is given back, and keep-alives go both ways.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let after = resident(child.id())?;
    child.kill()?;
    child.wait()?;
    let each = (after - before) * 1_024 / count;
    println!("{count} links: {before} KiB before, {after} KiB after, {each} octets for each");
    Ok(())
}

/// Resident memory of a process in KiB.
fn resident(process: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
