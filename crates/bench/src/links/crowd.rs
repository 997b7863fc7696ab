//! The DNS-LBs' links: sessions over connections from an address for each, made again with the daemons'
//! own backoff when they are lost, and one task that says what DNS-LBs say.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dglb_ca::Ephemeral;
use dglb_core::proto::{
    CloseReason, Session, VERSION,
    message::{BootId, FleetStamp, Hello, PeerRole},
};
use dglb_node::link::{
    Accounts, Backoff, Credentials, Down, DownReason, Driver, Events, LinkEvent, LinkId, LinkMetrics, LinkSettings,
    PlainTcp, TlsFiles,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{fleet, place, script::Script};
use crate::random::Random;

/// A link that is lost sooner than this does not count as a sign of health.
const STEADY: Duration = Duration::from_secs(1);
/// Events that may wait for the one who answers them.
const EVENTS: usize = 4_096;
/// Between the links' beginnings: a DNS-LB's clock starts at its own time.
const UPTIME: Duration = Duration::from_mins(1);

/// What has come of it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// DNS-LBs whose link is up, and whose map and rankings of now are acknowledged.
    pub(super) settled: AtomicU64,
    /// DNS-LBs that hold the newest catalogue, and have said so.
    pub(super) adopted: AtomicU64,
    /// Reports that were acknowledged.
    pub(super) reports: AtomicU64,
    /// Reports that had to wait for the one before.
    pub(super) late: AtomicU64,
    /// Whatever a dns-b should not have said.
    pub(super) wrong: AtomicU64,
    /// Links that were lost without our doing.
    pub(super) lost: AtomicU64,
}

/// What DNS-LBs and the dns-a-sync are told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Publish this generation of the catalogue.
    Publish(u64),
    /// `lb` comes to a resolver; when that was said is told.
    Come { lb: u32, place: u32, said: std::sync::mpsc::Sender<Instant> },
}

/// All of them.
#[derive(Debug)]
pub(super) struct Crowd {
    counts: Arc<Counts>,
    orders: mpsc::UnboundedSender<Order>,
    cut: watch::Sender<()>,
}

/// What the links have in common.
#[derive(Clone)]
struct Common {
    settings: LinkSettings,
    metrics: LinkMetrics,
    events: Events,
    cut: watch::Receiver<()>,
    counts: Arc<Counts>,
    begun: Instant,
}

impl Crowd {
    /// Lets so many DNS-LBs dial, all at once, and the dns-a-sync, with the certificates of [`certify`].
    /// To be called within a runtime.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub(super) fn start(links: u32, certificates: Vec<Option<Credentials>>) -> io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let (events, heard) = mpsc::channel(EVENTS);
        let (orders, ordered) = mpsc::unbounded_channel();
        let (cut, is_cut) = watch::channel(());
        let common = Common {
            settings: LinkSettings { plain_tcp: PlainTcp::Loopback, ..LinkSettings::default() },
            metrics: LinkMetrics::default(),
            events,
            cut: is_cut,
            counts: Arc::clone(&counts),
            begun: Instant::now().checked_sub(UPTIME).unwrap_or_else(Instant::now),
        };
        let script = Script::new(links, Arc::clone(&counts));
        // A thread of its own: each DNS-LB has a processor, and says what it has to say although others
        // are still busy with their handshakes.
        std::thread::Builder::new().name("script".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.map(|runtime| runtime.block_on(script.run(heard, ordered)))
        })?;
        // The last one is the dns-a-sync.
        for (number, tls) in (0..=links).zip(certificates) {
            let mut common = common.clone();
            // Each is a process of its own, with an account of its own for what the dns-b says to it.
            common.settings.accounts = Accounts::default();
            common.settings.tls = tls;
            tokio::spawn(stay(number, number == links, common));
        }
        Ok(Self { counts, orders, cut })
    }

    /// What has come of it.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Has something done.
    ///
    /// # Errors
    /// When nobody is there any more to do it.
    pub(super) fn order(&self, order: Order) -> io::Result<()> {
        self.orders.send(order).map_err(io::Error::other)
    }

    /// Cuts all links without a word.
    pub(super) fn cut(&self) {
        // Nobody listens when all tasks have ended.
        let _ = self.cut.send(());
    }

    /// Waits until `what` of the counts has become `wanted`; how long that took.
    ///
    /// # Errors
    /// When it has not until `deadline`.
    pub(super) fn await_count(
        &self,
        what: fn(&Counts) -> &AtomicU64,
        wanted: u64,
        deadline: Duration,
    ) -> io::Result<Duration> {
        let begin = Instant::now();
        while what(&self.counts).load(Relaxed) < wanted {
            if begin.elapsed() > deadline {
                return Err(io::Error::other(format!("{wanted} wanted within {deadline:?}: {:?}", self.counts)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(begin.elapsed())
    }
}

/// A certificate for each of so many DNS-LBs and, last, for the dns-a-sync; nothing for each without an
/// authority.
///
/// # Errors
/// When they cannot be made.
pub(super) fn certify(links: u32, authority: Option<&Ephemeral>) -> io::Result<Vec<Option<Credentials>>> {
    let files = TempDir::new()?;
    let certified = |number: u32| {
        let Some(authority) = authority else { return Ok(None) };
        let (role, identity) = who(number, number == links);
        let name = fleet::name(role, &identity)?;
        // They are read once, so the next one's may take their place.
        authority.write(&name, files.path())?;
        Credentials::load(&TlsFiles::in_directory(files.path()), name).map(Some).map_err(io::Error::other)
    };
    (0..=links).map(certified).collect()
}

fn who(number: u32, publishes: bool) -> (PeerRole, String) {
    match publishes {
        true => (PeerRole::DnsASync, fleet::SYNC.to_owned()),
        false => (PeerRole::DnsLb, fleet::identity(number)),
    }
}

/// Keeps one link up.
async fn stay(number: u32, publishes: bool, common: Common) {
    let mut backoff = Backoff::default();
    let mut random = Random(u64::from(number));
    let mut cut = common.cut.clone();
    loop {
        cut.borrow_and_update();
        let up_for = tokio::select! {
            up_for = attempt(number, publishes, &common) => {
                let up_for = up_for.ok().flatten();
                common.counts.lost.fetch_add(u64::from(up_for.is_some()), Relaxed);
                up_for
            }
            _ = cut.changed() => {
                let reason = DownReason::Closed(CloseReason::Lost);
                let down = LinkEvent::Down(Down { reason, last_heard: None, was_up: true });
                // The script ends only with the runtime.
                let _ = common.events.send((LinkId(number.into()), down)).await;
                Some(STEADY)
            }
        };
        if up_for.is_some_and(|up| up >= STEADY) {
            backoff.reset();
        }
        let share = f64::from(random.below(1 << 20)) / f64::from(1 << 20);
        tokio::time::sleep(backoff.next(share)).await;
    }
}

/// One connection; how long its link was up.
async fn attempt(number: u32, publishes: bool, common: &Common) -> io::Result<Option<Duration>> {
    let (role, identity) = who(number, publishes);
    let stream = timeout(common.settings.connect_timeout, connect(fleet::address(number).into())).await??;
    let mut boot = [0xb0; 16];
    boot[..4].copy_from_slice(&number.to_be_bytes());
    let hello = Hello {
        version_min: VERSION,
        version_max: VERSION,
        role,
        identity: identity.parse().map_err(io::Error::other)?,
        boot: BootId(boot),
        uptime_ms: common.begun.elapsed().as_millis() as u64,
        features: 0,
        fleet: FleetStamp::default(),
    };
    let session = Session::dial(common.settings.session.clone(), hello, Instant::now()).map_err(io::Error::other)?;
    let driver = Driver {
        id: LinkId(number.into()),
        remote: place::MAP.into(),
        settings: common.settings.clone(),
        events: common.events.clone(),
        metrics: common.metrics.clone(),
        dialled: true,
        handshake: None,
        certified: None,
        stop: CancellationToken::new(),
    };
    let expected = fleet::DNS_B.parse().map_err(io::Error::other)?;
    driver.dialled(stream, session, &expected).await.map_err(io::Error::other)
}

async fn connect(from: IpAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(place::MAP.into()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
