//! `name-server`: an authoritative server for root, TLD and DNS-A zones from master files, with
//! RFC 2136 updates signed by TSIG. It never recurses. Updates live in memory: a restart goes back
//! to the master file. With `log` it writes each question to `questions.log` in the host's
//! directory, as far as [`super::question_log`] goes.
//!
//! ```toml
//! [host.program]      # of the [[host]] dnsa
//! kind = "name-server"
//! key = { name = "labkey", algorithm = "hmac-sha256", secret = "…" }   # allows updates
//! zones = [{ origin = "foobar.test", text = """ … """ }]               # or file = "PATH"
//! port = 53                                                            # default
//! addresses = ["10.0.0.1"]                                             # default: the host's
//! log = true                                                           # default: false
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, LowerName, Name, RecordType, TSigner};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::UpdateRequest;
use serde::{Deserialize, Serialize};

use super::answer::{Outcome, answer};
use super::counters::{ADMIN_SOCKET, Counter, Registry};
use super::dns::{self, Reply};
use super::question_log::{QUESTION_LOG, QuestionLog};
use super::signature::Signature;
use super::zone::Zone;
use super::{RunError, update};
use crate::programs::master::ZoneSource;
use crate::programs::settings::{self, DNS_PORT, Family};
use crate::programs::{HostContext, Launch, PrepareError, Ready, TsigKey};

const KIND: &str = "name-server";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    zones: Vec<ZoneSource>,
    key: Option<TsigKey>,
    port: Option<u16>,
    addresses: Option<Vec<IpAddr>>,
    #[serde(default)]
    log: bool,
}

/// What the process reads from its file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    listen: Vec<SocketAddr>,
    admin: PathBuf,
    log: Option<PathBuf>,
    key: Option<TsigKey>,
    zones: Vec<ZoneFile>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ZoneFile {
    origin: String,
    file: PathBuf,
}

/// Checks and writes the zones and the configuration.
pub(in crate::programs) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings: Settings = settings::read(KIND, table)?;
    if let Some(key) = &settings.key {
        key.signer()?;
    }
    let port = settings.port.unwrap_or(DNS_PORT);
    let listen = settings::listen(host, settings.addresses.as_deref(), Family::Dual, port)?;
    let mut zones = Vec::with_capacity(settings.zones.len());
    for source in &settings.zones {
        let text = source.master(host)?;
        parse(&source.origin, &text).map_err(|reason| PrepareError::Zone { origin: source.origin.clone(), reason })?;
        let file = settings::write(host, &source.file_name(), &text)?;
        zones.push(ZoneFile { origin: source.origin.clone(), file });
    }
    let config = Config {
        listen: listen.clone(),
        admin: host.dir.join(ADMIN_SOCKET),
        log: settings.log.then(|| host.dir.join(QUESTION_LOG)),
        key: settings.key,
        zones,
    };
    let argv = settings::embedded_command(host, KIND, &config)?;
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}

/// The process.
pub(super) async fn serve(config: Config) -> Result<(), RunError> {
    let mut zones = Vec::with_capacity(config.zones.len());
    for ZoneFile { origin, file } in &config.zones {
        let fail = |reason: String| RunError::Config(format!("{}: {reason}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        zones.push(parse(origin, &text).map_err(fail)?);
    }
    let key = config.key.map(|key| key.signer()).transpose().map_err(|error| RunError::Config(error.to_string()))?;
    let log = config.log.map(|path| QuestionLog::create(&path)).transpose()?;
    let mut registry = Registry::default();
    let counts = Counts::new(&mut registry);
    let server = NameServer { zones: RwLock::new(zones), key, log, counts };
    registry.publish(&config.admin)?;
    dns::serve(&config.listen, server).await
}

fn parse(origin: &str, text: &str) -> Result<Zone, String> {
    let mut name = Name::from_str(origin).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Zone::parse(&name, text)
}

/// The name server's state: zones are replaced whole by updates.
struct NameServer {
    zones: RwLock<Vec<Zone>>,
    key: Option<TSigner>,
    log: Option<QuestionLog>,
    counts: Counts,
}

struct Counts {
    queries: Counter,
    answers: Counter,
    referrals: Counter,
    nodata: Counter,
    nxdomain: Counter,
    refused: Counter,
    truncated: Counter,
    updates: Counter,
    updates_refused: Counter,
}

impl Counts {
    fn new(registry: &mut Registry) -> Self {
        Self {
            queries: registry.counter("lab_queries_total"),
            answers: registry.counter("lab_answers_total"),
            referrals: registry.counter("lab_referrals_total"),
            nodata: registry.counter("lab_nodata_total"),
            nxdomain: registry.counter("lab_nxdomain_total"),
            refused: registry.counter("lab_refused_total"),
            truncated: registry.counter("lab_truncated_total"),
            updates: registry.counter("lab_updates_total"),
            updates_refused: registry.counter("lab_updates_refused_total"),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for NameServer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, handle: R) -> ResponseInfo {
        let signature = Signature::of(request, self.key.as_ref());
        let reply = match dns::settled(request) {
            Some(reply) => reply,
            None => self.reply(request, &signature),
        };
        let info = dns::send(request, reply, signature.reply(), handle).await;
        if info.truncation {
            self.counts.truncated.add();
        }
        info
    }
}

impl NameServer {
    fn reply(&self, request: &Request, signature: &Signature) -> Reply {
        match request.metadata.op_code {
            OpCode::Update => {
                let code = self.update(request, signature).err().unwrap_or(ResponseCode::NoError);
                let counter =
                    if code == ResponseCode::NoError { &self.counts.updates } else { &self.counts.updates_refused };
                counter.add();
                Reply::empty(request, code)
            }
            OpCode::Query if matches!(signature, Signature::Bad(_)) => Reply::empty(request, ResponseCode::NotAuth),
            OpCode::Query => self.query(request),
            _ => Reply::empty(request, ResponseCode::NotImp),
        }
    }

    fn query(&self, request: &Request) -> Reply {
        self.counts.queries.add();
        let [question] = request.queries.queries() else { return Reply::empty(request, ResponseCode::FormErr) };
        if let Some(log) = &self.log {
            log.note(request, question.original());
        }
        let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
        if question.query_class() != DNSClass::IN || transfer {
            self.counts.refused.add();
            return Reply::empty(request, ResponseCode::Refused);
        }
        let answer = {
            let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
            answer(&zones, question.original())
        };
        let counter = match answer.outcome {
            Outcome::Answer => &self.counts.answers,
            Outcome::Referral => &self.counts.referrals,
            Outcome::NoData => &self.counts.nodata,
            Outcome::NoName => &self.counts.nxdomain,
            Outcome::Refused => &self.counts.refused,
        };
        counter.add();
        let mut reply = Reply::empty(request, answer.code);
        reply.metadata.authoritative = answer.authoritative;
        reply.answers = answer.answers;
        reply.authorities = answer.authorities;
        reply.additionals = answer.additionals;
        reply.additionals_optional = answer.outcome != Outcome::Referral;
        reply
    }

    fn update(&self, request: &Request, signature: &Signature) -> Result<(), ResponseCode> {
        let zone = request.zone().map_err(|_| ResponseCode::FormErr)?;
        if zone.query_type() != RecordType::SOA {
            return Err(ResponseCode::FormErr);
        }
        signature.permission()?;
        let origin = LowerName::from(zone.original().name());
        let mut zones = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        let ours = |zone: &&mut Zone| *zone.origin() == origin;
        let Some(current) = zones.iter_mut().find(ours).filter(|_| zone.query_class() == DNSClass::IN) else {
            return Err(ResponseCode::NotAuth);
        };
        if let Some(next) = update::apply(current, request.prerequisites(), request.updates())? {
            *current = next;
        }
        Ok(())
    }
}
