//! Talks DNS with the enterprise's DNS-A. Every exchange ends within its time-out, and an answer
//! counts only if it answers the very question that was asked.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use dglb_core::name::Name;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        RecordType, TSigner,
        rdata::tsig::{TsigAlgorithm, TsigError},
    },
};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::wire::to_hickory;

/// What we can take by UDP without fragments (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// Times that a question is sent by UDP.
const UDP_TRIES: u32 = 2;
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

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP first, TCP if the answer is truncated.
    Either,
    /// TCP, for answers whose additional section must be whole.
    Tcp,
}

/// Why DNS-A gave no usable answer.
#[derive(Clone, Debug, Error)]
pub enum AskError {
    /// A socket said no.
    #[error("{server}: {source}")]
    Io {
        /// DNS-A.
        server: SocketAddr,
        /// What the socket said.
        source: Arc<io::Error>,
    },
    /// Nothing came in time.
    #[error("{0} does not answer")]
    TimedOut(SocketAddr),
    /// Something came that is no answer to the question.
    #[error("{0} sent something that is no answer to the question")]
    Malformed(SocketAddr),
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
#[derive(Clone, Debug, Error)]
pub enum UpdateError {
    /// It did not get through.
    #[error(transparent)]
    Ask(#[from] AskError),
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
    /// The server at `server`; one exchange takes `timeout` at most, one question twice that by UDP.
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
    pub async fn ask(&self, name: &Name, rtype: RecordType, transport: Transport) -> Result<Message, AskError> {
        let mut question = Message::query();
        question.metadata.recursion_desired = false;
        question.add_query(Query::query(to_hickory(name), rtype));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        question.set_edns(edns);
        let answer = match transport {
            Transport::Either => self.by_udp(&question).await?,
            Transport::Tcp => self.by_tcp(&question).await?.0,
        };
        let answer = if answer.truncation { self.by_tcp(&question).await?.0 } else { answer };
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
            rcode => Err(AskError::Failed { server: self.server, name: name.clone(), rtype, rcode }),
        }
    }

    /// Like [`DnsA::ask`] by either transport, but only an authoritative answer counts.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask_authority(&self, name: &Name, rtype: RecordType) -> Result<Message, AskError> {
        let answer = self.ask(name, rtype, Transport::Either).await?;
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
            verifier = message.finalize(signer, now()).map_err(|_| AskError::Malformed(self.server))?;
        }
        let (answer, octets) = self.by_tcp(&message).await?;
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

    async fn by_udp(&self, question: &Message) -> Result<Message, AskError> {
        let octets = question.to_vec().map_err(|_| AskError::Malformed(self.server))?;
        let from = match self.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(from).await.map_err(|e| self.io(e))?;
        socket.connect(self.server).await.map_err(|e| self.io(e))?;
        for _ in 0..UDP_TRIES {
            socket.send(&octets).await.map_err(|e| self.io(e))?;
            if let Ok(answer) = timeout(self.timeout, receive(&socket, question)).await {
                return answer.map_err(|e| self.io(e));
            }
        }
        Err(AskError::TimedOut(self.server))
    }

    async fn by_tcp(&self, question: &Message) -> Result<(Message, Vec<u8>), AskError> {
        let octets = question.to_vec().map_err(|_| AskError::Malformed(self.server))?;
        let exchange = async {
            let mut stream = TcpStream::connect(self.server).await?;
            let length = u16::try_from(octets.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(&octets);
            stream.write_all(&framed).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        };
        let received = timeout(self.timeout, exchange).await.map_err(|_| AskError::TimedOut(self.server))?;
        let octets = received.map_err(|e| self.io(e))?;
        let answer = answer_to(question, &octets).ok_or(AskError::Malformed(self.server))?;
        Ok((answer, octets))
    }

    fn io(&self, source: io::Error) -> AskError {
        AskError::Io { server: self.server, source: Arc::new(source) }
    }
}

/// The first datagram that answers the question; all others are passed over.
async fn receive(socket: &UdpSocket, question: &Message) -> io::Result<Message> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer_to(question, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

/// The answer in `octets`, if they answer `question`: same number, operation and question. Servers
/// may leave the question out when they report an error.
fn answer_to(question: &Message, octets: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(octets).ok()?;
    let same = answer.message_type == MessageType::Response
        && answer.id == question.id
        && answer.op_code == question.op_code
        && match answer.queries.first() {
            Some(_) => answer.queries == question.queries,
            None => question.op_code == OpCode::Update || answer.response_code != ResponseCode::NoError,
        };
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
