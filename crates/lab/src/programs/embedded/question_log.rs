//! A record of the questions that a name server got, for tests that look at how a resolver asks. It
//! is off unless a topology wants it, and ends after [`MOST_LINES`] lines: no lab fills a disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::RunError;

/// The log's name in the host's directory.
pub(super) const QUESTION_LOG: &str = "questions.log";
/// The log ends here.
const MOST_LINES: u32 = 100_000;

/// Writes one line per question: who asked, over what, name, type, and the client's subnet (RFC
/// 7871) or `-`.
pub(super) struct QuestionLog(Mutex<(File, u32)>);

impl QuestionLog {
    /// Starts an empty log.
    pub(super) fn create(path: &Path) -> Result<Self, RunError> {
        let fail = |error| RunError::Config(format!("{}: {error}", path.display()));
        Ok(Self(Mutex::new((File::create(path).map_err(fail)?, MOST_LINES))))
    }

    /// Notes a question; what cannot be written is lost.
    pub(super) fn note(&self, request: &Request, question: &Query) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, left) = &mut *state;
        if *left == 0 {
            return;
        }
        *left -= 1;
        let transport = if request.protocol() == Protocol::Udp { "udp" } else { "tcp" };
        let subnet = match request.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet)) {
            Some(EdnsOption::Subnet(subnet)) => format!("{}/{}", subnet.addr(), subnet.source_prefix()),
            _ => "-".to_owned(),
        };
        let (name, kind) = (question.name(), question.query_type());
        let _ = writeln!(file, "{} {transport} {name} {kind} {subnet}", request.src().ip());
    }
}
