//! A world that runs: asking questions from its hosts, reading its daemons' counters, waiting for
//! what must come.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use serde_json::Value;
use thiserror::Error;

use super::{ISPS, Plan, SERVERS, SITES, Style, WWW, site};
use crate::{
    lab::{HostError, Lab, Options, UpError},
    topology::Topology,
};

/// Where every daemon of a world has its admin endpoint, inside its own host.
const ADMIN: &str = "127.0.0.1:8053";
/// After how long a client's stub asks again. It must: Unbound, for one, drops an answer that took
/// it longer than 1.9 s, and has it ready for whoever asks again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A running world. It ends with the value.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    lab: Lab,
}

/// Why something could not be learnt of a world.
#[derive(Debug, Error)]
pub enum WorldError {
    /// The host could not be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A daemon's admin endpoint.
    #[error("{host}: {path}: {reason}")]
    Admin {
        /// Whose.
        host: String,
        /// What was asked for.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// What was waited for did not come.
    #[error("waited {waited:.1?} in vain until {what}; at last: {state}")]
    TooLate {
        /// What should have been.
        what: String,
        /// How long.
        waited: Duration,
        /// What was seen last.
        state: String,
    },
}

/// What a client got for a look-up.
#[derive(Clone, Debug)]
pub struct LookUp {
    /// How long it took.
    pub took: Duration,
    /// What came; nothing if nobody answered in time.
    pub reply: Option<Message>,
}

impl LookUp {
    /// The first address.
    pub fn address(&self) -> Option<IpAddr> {
        self.reply.iter().flat_map(|m| &m.answers).find_map(|r| match &r.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(a) => Some(IpAddr::V6(a.0)),
            _ => None,
        })
    }

    /// The owner of the first address: in whose name it was answered.
    pub fn owner(&self) -> Option<String> {
        let holds = |r: &&hickory_proto::rr::Record| matches!(r.data, RData::A(_) | RData::AAAA(_));
        self.reply.iter().flat_map(|m| &m.answers).find(holds).map(|r| r.name.to_ascii().to_lowercase())
    }

    /// What came, in a few words: the site's address, or why there is none.
    pub fn describe(&self) -> String {
        match (&self.reply, self.address()) {
            (_, Some(address)) => address.to_string(),
            (Some(reply), None) => format!("{} without an address", reply.metadata.response_code),
            (None, None) => format!("no answer within {:.1?}", self.took),
        }
    }

    /// Whether there was an address.
    pub fn succeeded(&self) -> bool {
        self.reply.as_ref().is_some_and(|m| m.metadata.response_code == ResponseCode::NoError)
            && self.address().is_some()
    }
}

impl World {
    /// Builds the plan's topology and starts every program.
    ///
    /// # Errors
    /// [`UpError`].
    pub fn up(plan: Plan, options: &Options) -> Result<Self, UpError> {
        Self::up_with(plan, options, |_| {})
    }

    /// The same, with something changed in the topology before.
    ///
    /// # Errors
    /// [`UpError`].
    pub fn up_with(plan: Plan, options: &Options, change: impl FnOnce(&mut Topology)) -> Result<Self, UpError> {
        let mut topology = plan.topology()?;
        change(&mut topology);
        let lab = Lab::up(&topology, options)?;
        Ok(Self { plan, lab })
    }

    /// What it was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its hosts and its wire.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Waits until every DNS-LB is handed out by every dns-b, and until the client of every ISP is
    /// answered in the name of its own DNS-LB.
    ///
    /// # Errors
    /// [`WorldError::TooLate`] after `within`.
    pub fn settle(&self, within: Duration) -> Result<Duration, WorldError> {
        let started = Instant::now();
        let left = || within.saturating_sub(started.elapsed());
        self.wait_handed_out(left())?;
        self.wait_delegated(left())?;
        for isp in 0..ISPS {
            let own = self.plan.label_name(&format!("lb{}", isp + 1));
            self.wait(&format!("client{} is answered by lb{}", isp + 1, isp + 1), left(), || {
                let got = self.look_up(isp, self.qtype(), Duration::from_secs(2))?;
                let owner = got.owner().unwrap_or_default();
                Ok((owner.trim_end_matches('.') == own, format!("{owner:?} after {:?}", got.took)))
            })?;
        }
        Ok(started.elapsed())
    }

    /// Waits until every dns-b hands every DNS-LB out. No resolver is asked.
    ///
    /// # Errors
    /// [`WorldError::TooLate`] after `within`.
    pub fn wait_handed_out(&self, within: Duration) -> Result<Duration, WorldError> {
        let started = Instant::now();
        for server in SERVERS {
            self.wait_handed_out_by(server, within.saturating_sub(started.elapsed()))?;
        }
        Ok(started.elapsed())
    }

    /// Waits until one dns-b hands every DNS-LB out.
    ///
    /// # Errors
    /// [`WorldError::TooLate`] after `within`.
    pub fn wait_handed_out_by(&self, server: &str, within: Duration) -> Result<Duration, WorldError> {
        self.wait(&format!("{server} hands out every DNS-LB"), within, || {
            let status = self.status(server)?;
            let lbs = status["dns_lbs"].as_array().map_or(&[][..], Vec::as_slice);
            let fit = |lb: &&Value| {
                lb["handed_out"] == true && lb["state"] == "alive" && lb["services_ranked"].as_u64() >= Some(1)
            };
            Ok((lbs.iter().filter(fit).count() == ISPS + 1, status["dns_lbs"].to_string()))
        })
    }

    /// Waits until DNS-A delegates the zone to every dns-b and, in sub-zone style, has the service's
    /// CNAME. No resolver is asked.
    ///
    /// # Errors
    /// [`WorldError::TooLate`] after `within`.
    pub fn wait_delegated(&self, within: Duration) -> Result<Duration, WorldError> {
        self.wait_delegated_to(SERVERS.len(), within)
    }

    /// The same with another number of dns-bs.
    ///
    /// # Errors
    /// [`WorldError::TooLate`] after `within`.
    pub fn wait_delegated_to(&self, wanted: usize, within: Duration) -> Result<Duration, WorldError> {
        let dns_a = SocketAddr::new(self.plan.host_addresses("dnsa")[0], 53);
        let asked = |name: &str, rtype| {
            let got = self.lab.in_host("sync", || ask(dns_a, name, rtype, Duration::from_secs(1)))?;
            Ok::<_, WorldError>(got.reply.unwrap_or_else(Message::query))
        };
        self.wait("DNS-A delegates the zone to the dns-bs", within, || {
            let referral = asked(self.plan.zone(), RecordType::NS)?;
            let servers = referral.authorities.iter().filter(|r| r.record_type() == RecordType::NS).count();
            let alias = self.plan.style == Style::Host || !asked(WWW, RecordType::CNAME)?.answers.is_empty();
            Ok((servers == wanted && alias, format!("{servers} name servers, CNAME: {alias}")))
        })
    }

    /// Looks at something again and again until it is so.
    ///
    /// # Errors
    /// [`WorldError::TooLate`] with what was seen last.
    pub fn wait(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> Result<(bool, String), WorldError>,
    ) -> Result<Duration, WorldError> {
        let started = Instant::now();
        loop {
            let (so, state) = match look() {
                Ok(seen) => seen,
                // A daemon that is only just starting has no admin endpoint yet.
                Err(error @ WorldError::Admin { .. }) => (false, error.to_string()),
                Err(error) => return Err(error),
            };
            if so {
                return Ok(started.elapsed());
            }
            if started.elapsed() >= within {
                return Err(WorldError::TooLate { what: what.to_owned(), waited: started.elapsed(), state });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A or AAAA: what this world has, A where it has both.
    pub fn qtype(&self) -> RecordType {
        if self.plan.host_addresses("site1").iter().any(IpAddr::is_ipv4) { RecordType::A } else { RecordType::AAAA }
    }

    /// What the client of an ISP (counted from 0) gets for the service from its resolver.
    ///
    /// # Errors
    /// [`WorldError::Host`] when the client's host cannot be used; no answer is no error.
    pub fn look_up(&self, isp: usize, rtype: RecordType, patience: Duration) -> Result<LookUp, WorldError> {
        let resolver = self.plan.host_addresses(&format!("isp{}", isp + 1));
        let client = format!("client{}", isp + 1);
        Ok(self.lab.in_host(&client, || ask(SocketAddr::new(resolver[0], 53), WWW, rtype, patience))?)
    }

    /// Has other clients of an ISP ask for names below its DNS-LB's label that nobody asked for before,
    /// so that its resolver must ask the label's servers; their answers are not waited for.
    ///
    /// # Errors
    /// [`WorldError::Host`].
    pub fn murmur(&self, isp: usize, names: u32) -> Result<(), WorldError> {
        let resolver = SocketAddr::new(self.plan.host_addresses(&format!("isp{}", isp + 1))[0], 53);
        let label = self.plan.label_name(&format!("lb{}", isp + 1));
        let murmur = || {
            for _ in 0..names {
                let name = format!("n{:016x}.{label}", rand::random::<u64>());
                let _ = over_udp(resolver, &name, RecordType::A, Duration::from_millis(1));
            }
        };
        Ok(self.lab.in_host(&format!("client{}", isp + 1), murmur)?)
    }

    /// The number of the site that has this address.
    pub fn site_of(&self, address: IpAddr) -> Option<usize> {
        (0..SITES).find(|&s| self.plan.host_addresses(&site(s)).contains(&address))
    }

    /// How long a TCP connection from a client to a site takes to be made: the least of three,
    /// which is the network's round trip.
    ///
    /// # Errors
    /// [`WorldError::Host`].
    pub fn round_trip(&self, isp: usize, site: usize) -> Result<Option<Duration>, WorldError> {
        let addresses = self.plan.host_addresses(&super::site(site));
        let target = SocketAddr::new(addresses[0], 80);
        let measure = || {
            let once = || {
                let started = Instant::now();
                TcpStream::connect_timeout(&target, Duration::from_secs(2)).ok().map(|_| started.elapsed())
            };
            (0..3).filter_map(|_| once()).min()
        };
        Ok(self.lab.in_host(&format!("client{}", isp + 1), measure)?)
    }

    /// A daemon's `/api/v1/status`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn status(&self, host: &str) -> Result<Value, WorldError> {
        let path = "/api/v1/status";
        let text = self.admin(host, path)?;
        serde_json::from_str(&text).map_err(|error| admin_error(host, path, &error))
    }

    /// The sum of a daemon's counter over all samples whose labels contain `labels` (such as
    /// `decision="mapped"`); 0 if there is none.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn counter(&self, host: &str, name: &str, labels: &str) -> Result<u64, WorldError> {
        let counters = self.counters(host, name)?;
        Ok(counters.iter().filter(|(of, _)| of.contains(labels)).map(|(_, value)| value).sum())
    }

    /// Every sample of a daemon's counter, as of now: its labels as written, and its value.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn counters(&self, host: &str, name: &str) -> Result<Vec<(String, u64)>, WorldError> {
        let text = self.admin(host, "/metrics")?;
        let value = |line: &str| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (of, labels) = sample.split_once('{').unwrap_or((sample, ""));
            (of == name).then(|| Some((labels.to_owned(), value.parse::<f64>().ok()? as u64))).flatten()
        };
        Ok(text.lines().filter_map(value).collect())
    }

    fn admin(&self, host: &str, path: &str) -> Result<String, WorldError> {
        let fetched = self.lab.in_host(host, || fetch(path))?;
        fetched.map_err(|error| admin_error(host, path, &error))
    }
}

fn admin_error(host: &str, path: &str, error: &dyn std::fmt::Display) -> WorldError {
    WorldError::Admin { host: host.to_owned(), path: path.to_owned(), reason: error.to_string() }
}

fn fetch(path: &str) -> Result<String, Box<ureq::Error>> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().into();
    let mut response = agent.get(format!("http://{ADMIN}{path}")).call()?;
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text).map_err(ureq::Error::Io)?;
    Ok(text)
}

/// One question over UDP, asked again every [`ASK_AGAIN`]; like a client's stub.
fn ask(server: SocketAddr, name: &str, rtype: RecordType, patience: Duration) -> LookUp {
    let started = Instant::now();
    let reply = over_udp(server, name, rtype, patience).ok();
    LookUp { took: started.elapsed(), reply }
}

fn over_udp(server: SocketAddr, name: &str, rtype: RecordType, patience: Duration) -> io::Result<Message> {
    let invalid = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(format!("{name}.")).map_err(|e| invalid(&e))?, rtype));
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let octets = question.to_vec().map_err(|e| invalid(&e))?;
    let deadline = Instant::now() + patience;
    let mut again = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if now >= again {
            socket.send(&octets)?;
            again = now + ASK_AGAIN;
        }
        let wait = again.min(deadline).saturating_duration_since(now).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv(&mut buffer).map(|length| Message::from_vec(&buffer[..length])) {
            Ok(Ok(reply)) if reply.metadata.id == question.metadata.id => return Ok(reply),
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Err(error);
            }
            _ => {}
        }
    }
}
