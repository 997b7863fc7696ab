//! How long from the start of dns-b's process to its first answer, with a store of a million map
//! entries: after it was stopped, and after it was killed. Fails where one of them takes a second. Beside
//! the time stands what the process has had of processors by then, in all its threads.
//!
//! `cargo run --release -p dns-b --example restart [DNS-LBS [ENTRIES-EACH [SERVICES]]]`

use std::{
    env, fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::{Child, Command, ExitCode, Termination},
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    identity::Identity,
    name::Name,
    net::Prefix,
    proto::message::{BootId, Message, Report},
    report::{Figures, Health, RankedSite, Ranking},
    table::{Claim, Source},
};
use dglb_node::store::{Batch, Store, record::body};
use dns_b::record::{FILE, LBS, LbRecord, REPORTS, SCHEMA, ZONES, report_key};

const ZONE: &str = "glb.test";
const BOUND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;

/// Where it is asked.
const REFERRAL: &str = "127.9.9.1:5353";

type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    if arguments.iter().any(|argument| argument == "--config") {
        return dns_b::run(arguments).report();
    }
    match measure() {
        Ok(worst) if worst < BOUND => ExitCode::SUCCESS,
        Ok(worst) => {
            println!("{worst:.0?} is too long");
            ExitCode::FAILURE
        }
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Duration, Problem> {
    let number = |n: usize, default| env::args().nth(n).map_or(Ok(default), |text| text.parse());
    let (lbs, entries, services) = (number(1, 10_000)?, number(2, 100)?, number(3, 10)?);
    let directory = tempfile::tempdir()?;
    let begin = Instant::now();
    fill(directory.path(), lbs, entries, services)?;
    configure(directory.path(), lbs)?;
    let octets = fs::metadata(directory.path().join(FILE))?.len();
    println!(
        "{lbs} DNS-LBs with {entries} entries and {services} rankings each: {} MB, written in {:.1?}",
        octets / 1_000_000,
        begin.elapsed()
    );
    let mut worst = Duration::ZERO;
    for round in 1..=ROUNDS {
        let (mut child, stopped, busy) = start(directory.path())?;
        child.kill()?;
        child.wait()?;
        let (mut child, killed, busy_again) = start(directory.path())?;
        Command::new("kill").arg(child.id().to_string()).status()?;
        child.wait()?;
        worst = worst.max(stopped).max(killed);
        println!(
            "{round}: first answer {stopped:.2?} after a start (processors {busy:.2?}), \
             {killed:.2?} after one that follows kill -9 ({busy_again:.2?})"
        );
    }
    Ok(worst)
}

/// Starts dns-b and asks until it answers.
fn start(directory: &Path) -> Result<(Child, Duration, Duration), Problem> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(name("s0", ZONE)?.wire());
    question.extend_from_slice(&[0, 1, 0, 1]);
    let begin = Instant::now();
    let mut child = Command::new(env::current_exe()?)
        .arg("--config")
        .arg(directory.join("dns-b.toml"))
        .env("DGLB_LOG", env::var("DGLB_LOG").unwrap_or_else(|_| "error".to_owned()))
        .spawn()?;
    let mut reply = [0; 512];
    while begin.elapsed() < PATIENCE {
        // Until it listens, the system says that nobody does.
        let _ = socket.send_to(&question, REFERRAL);
        match socket.recv(&mut reply) {
            // NOERROR, and an answer.
            Ok(length) if length > 12 && reply[3] & 0x0f == 0 && reply[7] > 0 => {
                let took = begin.elapsed();
                let busy = processors(child.id())?;
                return Ok((child, took, busy));
            }
            Ok(_) | Err(_) => {}
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("dns-b has ended: {status}").into());
        }
    }
    child.kill()?;
    Err("dns-b does not answer".into())
}

/// What a process has had of processors, to a hundredth of a second.
fn processors(process: u32) -> Result<Duration, Problem> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything: state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| -> Result<u64, Problem> { Ok(fields.get(field - 3).ok_or("no such field")?.parse()?) };
    Ok(Duration::from_millis(10 * (ticks(14)? + ticks(15)?)))
}

fn identity(n: usize) -> Result<Identity, Problem> {
    Ok(format!("lb{n}").parse()?)
}

fn name(label: &str, zone: &str) -> Result<Name, Problem> {
    Ok(format!("{label}.{zone}").parse()?)
}

fn configure(directory: &Path, lbs: usize) -> Result<(), Problem> {
    use std::fmt::Write;
    let fleet = "serial = 1\noperator-zone = 'ops.test'\nhostmaster = 'hostmaster.ops.test'\n\
                 [[dns-b]]\nidentity = 'b1'\nreferral = ['127.9.9.1']\nfallback = ['127.9.9.2']\n";
    fs::write(directory.join("fleet.toml"), fleet)?;
    let mut text = format!(
        "identity = 'b1'\nfleet = 'fleet.toml'\nstate-dir = '.'\n\
         [dns]\nreferral = ['{REFERRAL}']\nfallback = ['127.9.9.2:5353']\n\
         [map]\nlisten = ['127.9.9.1:5300']\nplain-tcp = 'loopback'\n[admin]\nlisten = 'unix:{}'\n\
         [[peer]]\nidentity = 'sync'\nrole = 'dns-a-sync'\nmay-publish = ['{ZONE}']\n",
        directory.join("admin.sock").display()
    );
    for n in 0..lbs {
        writeln!(text, "[[peer]]\nidentity = '{}'\nrole = 'dns-lb'\nmay-map = ['0.0.0.0/0', '::/0']", identity(n)?)?;
    }
    Ok(fs::write(directory.join("dns-b.toml"), text)?)
}

fn fill(directory: &Path, lbs: usize, entries: usize, services: usize) -> Result<(), Problem> {
    let store = Store::open(&directory.join(FILE), &SCHEMA)?.store;
    let mut batch = Batch::default();
    let catalogue = Message::snapshot(catalogue(services)?).encode()?;
    batch.put(ZONES, ZONE.parse::<Name>()?.wire(), body(catalogue.body()));
    for n in 0..lbs {
        let identity = identity(n)?;
        batch.put(LBS, identity.as_str(), record(n, entries)?.encode());
        let rankings = (0..services).map(|s| ranking(n, s)).collect::<Result<_, Problem>>()?;
        let report = Message::Report(Report { generation: 9, base: 0, rankings, removed: vec![] }).encode()?;
        batch.put(REPORTS, report_key(&identity, 0), body(report.body()));
        if batch.len() > 2_000 {
            store.commit(&std::mem::take(&mut batch))?;
        }
    }
    Ok(store.commit(&batch)?)
}

fn record(n: usize, entries: usize) -> Result<LbRecord, Problem> {
    let claim = |e: usize| -> Result<(Claim, bool), Problem> {
        // A fifth of them are IPv6, a fifth client networks; all over the address space.
        let spread = (n * entries + e) as u32;
        let bits = spread.wrapping_mul(0x9e37_79b1);
        let prefix = match e % 5 {
            0 => Prefix::containing(
                std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits) << 64).into(),
                64,
            )?,
            1 => Prefix::containing(Ipv4Addr::from(bits).into(), 24)?,
            _ => Prefix::host(Ipv4Addr::from(bits).into()),
        };
        Ok((Claim { prefix, preference: 10, weight: 1, source: Source::Static }, e % 5 == 1))
    };
    Ok(LbRecord {
        boot: BootId([1; 16]),
        map_generation: 3,
        lease_ms: 60_000,
        ready: true,
        handed_out: true,
        drained: false,
        addresses: vec![Ipv4Addr::from(0xc612_0000 + n as u32).into()],
        claims: (0..entries).map(claim).collect::<Result<_, Problem>>()?,
    })
}

fn site(n: u8) -> Site {
    Site { name: format!("site{n}"), addresses: vec![[203, 0, 113, n].into()], cost: 0.0, ..Site::default() }
}

fn catalogue(services: usize) -> Result<ZoneCatalogue, Problem> {
    let service = |n: usize| -> Result<Service, Problem> {
        Ok(Service {
            name: name(&format!("s{n}"), ZONE)?,
            host: "www.test".parse()?,
            mode: Mode::Referral,
            ttl: 300,
            answers: 1,
            policy: Policy::default(),
            probes: vec![Probe {
                kind: ProbeKind::Tcp { port: 80 },
                interval_ms: 10_000,
                timeout_ms: 1_000,
                fall: 2,
                rise: 2,
            }],
            https: None,
            probe_ceiling: None,
            least_ttl: None,
            sites: (1..=3).map(site).collect(),
        })
    };
    Ok(ZoneCatalogue {
        zone: ZONE.parse()?,
        generation: 1,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: (0..services).map(service).collect::<Result<_, Problem>>()?,
        records: vec![],
    })
}

fn ranking(lb: usize, service: usize) -> Result<Ranking, Problem> {
    let ranked = |n: u8| {
        let latency_us = Some((lb * 37 + service * 11 + usize::from(n) * 5_003) as u32 % 200_000);
        let figures = Figures { address: [203, 0, 113, n].into(), health: Health::Up, latency_us };
        RankedSite {
            site: format!("site{n}"),
            score: latency_us.map(|l| f64::from(l) / 1_000.0),
            addresses: vec![figures],
            share: 0,
        }
    };
    Ok(Ranking {
        service: name(&format!("s{service}"), ZONE)?,
        catalogue: 1,
        sites: (1..=3).map(ranked).collect(),
        unsettled: false,
    })
}
