//! `resolver`: a recursive resolver (the DNS-ISP) for labs without a real one. It answers whoever
//! asks, validates nothing, and asks root servers on private addresses too.
//!
//! ```toml
//! [host.program]      # of the [[host]] isp1
//! kind = "resolver"
//! roots = ["root"]        # hosts or addresses
//! qmin = "on"             # or "strict" (RFC 8020 for an NXDOMAIN); "off" it cannot
//! family = "auto"         # "dual", "ipv4", "ipv6": what it listens on and asks over
//! port = 53               # listens there; it always asks on 53
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::{OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record};
use hickory_resolver::recursor::{QNameMinimization, Recursor, RecursorError, RecursorOptions};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use serde::{Deserialize, Serialize};

use super::RunError;
use super::counters::{ADMIN_SOCKET, Counter, Registry};
use super::dns::{self, Reply};
use super::impatient::Impatient;
use crate::programs::real::{QnameMinimisation, ResolverSettings};
use crate::programs::settings::{self, Family};
use crate::programs::{HostContext, Launch, PrepareError, Ready, master};

const KIND: &str = "resolver";
/// The longest look-up; a client has given up by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process reads from its file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    listen: Vec<SocketAddr>,
    admin: PathBuf,
    roots: Vec<IpAddr>,
    family: Family,
    strict: bool,
}

/// Checks and writes the configuration.
pub(in crate::programs) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = ResolverSettings::read(KIND, table)?;
    settings.refuse(KIND, settings.qmin == QnameMinimisation::Off, "qmin = \"off\"")?;
    settings.refuse(KIND, !settings.extra.is_empty(), "extra")?;
    settings.refuse(KIND, settings.ecs, "ecs")?;
    let family = settings.family(host);
    let listen = settings.listen(host)?;
    let roots = master::root_servers(&settings.roots, host, family)?;
    let config = Config {
        listen: listen.clone(),
        admin: host.dir.join(ADMIN_SOCKET),
        roots: roots.into_iter().flat_map(|(_, addresses)| addresses).collect(),
        family,
        strict: settings.qmin == QnameMinimisation::Strict,
    };
    let argv = settings::embedded_command(host, KIND, &config)?;
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}

/// The process.
pub(super) async fn serve(config: Config) -> Result<(), RunError> {
    let wrong = |error: &dyn std::fmt::Display| RunError::Config(error.to_string());
    let unused = match config.family {
        Family::Ipv4 => Some("::/0"),
        Family::Ipv6 => Some("0.0.0.0/0"),
        Family::Auto | Family::Dual => None,
    };
    let options = RecursorOptions {
        // The default list holds all private networks, which is where a lab lives.
        deny_server: unused.iter().filter_map(|network| network.parse().ok()).collect(),
        deny_answers: Vec::new(),
        qname_minimization: if config.strict { QNameMinimization::Strict } else { QNameMinimization::Relaxed },
        ..RecursorOptions::default()
    };
    let recursor =
        Recursor::with_options(&config.roots, options, Impatient::default()).map_err(|error| wrong(&error))?;
    let mut registry = Registry::default();
    let resolver = Resolver { recursor, counts: Counts::new(&mut registry) };
    registry.publish(&config.admin)?;
    dns::serve(&config.listen, resolver).await
}

struct Resolver {
    recursor: Recursor<Impatient>,
    counts: Counts,
}

struct Counts {
    queries: Counter,
    answers: Counter,
    negative: Counter,
    failures: Counter,
    timeouts: Counter,
}

impl Counts {
    fn new(registry: &mut Registry) -> Self {
        Self {
            queries: registry.counter("lab_queries_total"),
            answers: registry.counter("lab_answers_total"),
            negative: registry.counter("lab_negative_total"),
            failures: registry.counter("lab_failures_total"),
            timeouts: registry.counter("lab_timeouts_total"),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Resolver {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, handle: R) -> ResponseInfo {
        let reply = match dns::settled(request) {
            Some(reply) => reply,
            None => self.reply(request).await,
        };
        dns::send(request, reply, None, handle).await
    }
}

impl Resolver {
    async fn reply(&self, request: &Request) -> Reply {
        if request.metadata.op_code != OpCode::Query {
            return Reply::empty(request, ResponseCode::NotImp);
        }
        let [question] = request.queries.queries() else { return Reply::empty(request, ResponseCode::FormErr) };
        self.counts.queries.add();
        if question.query_class() != DNSClass::IN || !request.metadata.recursion_desired {
            return Reply::empty(request, ResponseCode::Refused);
        }
        let mut query = Query::query(question.original().name().clone(), question.query_type());
        query.name.set_fqdn(true);
        let found = tokio::time::timeout(PATIENCE, self.recursor.resolve(query, Instant::now(), false)).await;
        let mut reply = match found {
            Err(_) => self.failed(request, &self.counts.timeouts),
            Ok(Ok(message)) => {
                self.counts.answers.add();
                let mut reply = Reply::empty(request, message.metadata.response_code);
                reply.answers = message.answers;
                reply.authorities = message.authorities;
                reply
            }
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => {
                self.counts.negative.add();
                negative(request, error)
            }
            Ok(Err(_)) => self.failed(request, &self.counts.failures),
        };
        reply.metadata.recursion_available = true;
        reply
    }

    fn failed(&self, request: &Request, counter: &Counter) -> Reply {
        counter.add();
        Reply::empty(request, ResponseCode::ServFail)
    }
}

/// NXDOMAIN or NODATA with the SOA that says how long it holds.
fn negative(request: &Request, error: RecursorError) -> Reply {
    let code = if error.is_nx_domain() { ResponseCode::NXDomain } else { ResponseCode::NoError };
    let mut reply = Reply::empty(request, code);
    let soa = error.into_soa();
    reply.authorities.extend(soa.map(|soa| Record::from_rdata(soa.name, soa.ttl, RData::SOA(soa.data))));
    reply
}
