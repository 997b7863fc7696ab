//! Talks DNS with the enterprise's DNS-A. Every exchange ends within its time-out, and an answer
//! counts only if it answers the very question that was asked.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use dglb_core::name::Name;
use dglb_node::ask::{self, Via};
use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        RecordType, TSigner,
        rdata::tsig::{TsigAlgorithm, TsigError},
    },
};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::wire::to_hickory;

/// Times that a question is asked before the server counts as dead.
const TRIES: u32 = 2;
/// Seconds that clocks may differ (RFC 8945 section 10 recommends 300).
const FUDGE: u16 = 300;

/// A TSIG key. Its secret is never shown.
#[derive(Clone)]
pub struct Key(TSigner);

impl Key {
    /// A key called `name` for one of the HMACs that [`algorithm`] knows.
    ///
    /// # Errors
    /// The algorithm is not supported.
    pub fn new(name: &Name, algorithm: TsigAlgorithm, secret: Vec<u8>) -> Result<Self, String> {
        TSigner::new(secret, algorithm, to_hickory(name), FUDGE).map(Self).map_err(|e| e.to_string())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.0.signer_name(), self.0.algorithm())
    }
}

/// The algorithm of this name, if it is one that we can use: `hmac-sha256`, `-sha384`, `-sha512`.
pub fn algorithm(text: &str) -> Option<TsigAlgorithm> {
    match text {
        "hmac-sha256" => Some(TsigAlgorithm::HmacSha256),
        "hmac-sha384" => Some(TsigAlgorithm::HmacSha384),
        "hmac-sha512" => Some(TsigAlgorithm::HmacSha512),
        _ => None,
    }
}

/// Why DNS-A gave no usable answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// None came.
    #[error(transparent)]
    None(#[from] ask::AskError),
    /// REFUSED, SERVFAIL and their like.
    #[error("{server} answers {rcode} for {name} {rtype}")]
    Failed {
        /// DNS-A.
        server: SocketAddr,
        /// The question's name.
        name: Name,
        /// The question's type.
        rtype: RecordType,
        /// RCODE.
        rcode: ResponseCode,
    },
    /// A lame server: it answered, but not with authority.
    #[error("{server} has no authority over {name}")]
    Lame {
        /// DNS-A.
        server: SocketAddr,
        /// The question's name.
        name: Name,
    },
}

/// Why DNS-A did not take an update (RFC 2136).
#[derive(Debug, Error)]
pub enum UpdateError {
    /// No answer came.
    #[error(transparent)]
    None(#[from] ask::AskError),
    /// TSIG trouble that the server reports; such a report cannot be signed.
    #[error("{server} rejects the TSIG key: {what}")]
    Key {
        /// DNS-A.
        server: SocketAddr,
        /// In words, with the RFC 8945 name of the error.
        what: &'static str,
    },
    /// The answer's own signature is missing or wrong: nothing it says can be believed.
    #[error("the answer of {0} is not signed with our key, so it is not believed")]
    Unsigned(SocketAddr),
    /// A prerequisite failed: somebody else changed the records in between.
    #[error("the records in DNS-A are not what they were when they were read ({0})")]
    Changed(ResponseCode),
    /// Any other RCODE.
    #[error("{server} answers {rcode} to the update{}", hint(*rcode))]
    Refused {
        /// DNS-A.
        server: SocketAddr,
        /// RCODE.
        rcode: ResponseCode,
    },
}

fn hint(rcode: ResponseCode) -> &'static str {
    match rcode {
        ResponseCode::Refused => "; does its configuration let the key update this zone?",
        ResponseCode::NotAuth => "; is it the primary of the zone?",
        ResponseCode::NotZone => "; the records lie outside the zone",
        ResponseCode::ServFail => "; can it write the zone's journal?",
        ResponseCode::NotImp => "; it does not do dynamic updates",
        _ => "",
    }
}

/// The enterprise's authoritative server.
#[derive(Clone, Debug)]
pub struct DnsA {
    server: SocketAddr,
    timeout: Duration,
    key: Option<Key>,
}

impl DnsA {
    /// The server at `server`; an update takes `timeout` at most, a question twice that.
    pub fn new(server: SocketAddr, timeout: Duration, key: Option<Key>) -> Self {
        Self { server, timeout, key }
    }

    /// Where it is.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Asks without recursion. The answer is NOERROR or NXDOMAIN, with or without authority.
    ///
    /// # Errors
    /// [`AskError`], all but [`AskError::Lame`].
    pub async fn ask(&self, name: &Name, rtype: RecordType, via: Via) -> Result<Message, AskError> {
        let mut tries = 1..TRIES;
        let answer = loop {
            match ask::ask(self.server, via, name, rtype, self.timeout).await {
                Err(ask::AskError::TimedOut { .. }) if tries.next().is_some() => {}
                answer => break answer?,
            }
        };
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
            rcode => Err(AskError::Failed { server: self.server, name: name.clone(), rtype, rcode }),
        }
    }

    /// Like [`DnsA::ask`] over whatever it takes, but only an authoritative answer counts.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask_authority(&self, name: &Name, rtype: RecordType) -> Result<Message, AskError> {
        let answer = self.ask(name, rtype, Via::UdpThenTcp).await?;
        if !answer.authoritative {
            return Err(AskError::Lame { server: self.server, name: name.clone() });
        }
        Ok(answer)
    }

    /// Sends an update by TCP, signed if there is a key, and believes only a signed answer then.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn update(&self, mut message: Message) -> Result<(), UpdateError> {
        let mut verifier = None;
        if let Some(Key(signer)) = &self.key {
            verifier = message.finalize(signer, now()).map_err(|e| ask::AskError::Question(e.to_string()))?;
        }
        let (answer, octets) = self.exchange(&message).await?;
        if let Some(mut verifier) = verifier {
            if let Some(what) = answer.signature().and_then(|tsig| tsig_error(tsig.data.error)) {
                return Err(UpdateError::Key { server: self.server, what });
            }
            verifier.verify(&octets).map_err(|_| UpdateError::Unsigned(self.server))?;
        }
        match answer.response_code {
            ResponseCode::NoError => Ok(()),
            rcode @ (ResponseCode::NXRRSet
            | ResponseCode::YXRRSet
            | ResponseCode::YXDomain
            | ResponseCode::NXDomain) => Err(UpdateError::Changed(rcode)),
            rcode => Err(UpdateError::Refused { server: self.server, rcode }),
        }
    }

    /// Sends an update and receives its answer, also as it came, for the signature.
    async fn exchange(&self, message: &Message) -> Result<(Message, Vec<u8>), ask::AskError> {
        let server = self.server;
        let octets = message.to_vec().map_err(|e| ask::AskError::Question(e.to_string()))?;
        let length = u16::try_from(octets.len()).map_err(|e| ask::AskError::Question(e.to_string()))?;
        let exchange = async {
            let mut stream = TcpStream::connect(server).await?;
            stream.write_all(&[&length.to_be_bytes(), &octets[..]].concat()).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        };
        let received = timeout(self.timeout, exchange).await;
        let received = received.map_err(|_| ask::AskError::TimedOut { server, timeout: self.timeout })?;
        let octets = received.map_err(|source| ask::AskError::Socket { server, source })?;
        let answer = answer_to(message, &octets).ok_or(ask::AskError::Mismatch { server })?;
        Ok((answer, octets))
    }
}

/// The answer in `octets`, if they answer the update `message`: same number and operation, and the
/// same zone where it is repeated, which servers may leave out (RFC 2136 section 3.8).
fn answer_to(message: &Message, octets: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(octets).ok()?;
    let same = answer.message_type == MessageType::Response
        && answer.id == message.id
        && answer.op_code == message.op_code
        && (answer.queries.is_empty() || answer.queries == message.queries);
    same.then_some(answer)
}

fn tsig_error(error: Option<TsigError>) -> Option<&'static str> {
    Some(match error? {
        TsigError::BadSig => "the secret or the algorithm is another one there (BADSIG)",
        TsigError::BadKey => "it does not know a key of this name and algorithm (BADKEY)",
        TsigError::BadTime => "its clock and ours differ by more than five minutes (BADTIME)",
        TsigError::BadTrunc => "it wants longer signatures (BADTRUNC)",
        _ => "for a reason that RFC 8945 does not know",
    })
}

/// Seconds since 1970, the one place where the wall clock takes part: TSIG wants it.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
