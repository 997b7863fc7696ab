//! Asks one DNS server one question: for checks, agents and tests. Bounded in time and size, and
//! what comes back is the answer to what was asked, or an error.

mod asker;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use dglb_core::name::Name;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{self, RecordType},
};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

pub use asker::Asker;

/// What we take over UDP, in octets.
const PAYLOAD: u16 = 1_232;

/// Over what to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// UDP; the answer may be truncated.
    Udp,
    /// TCP.
    Tcp,
    /// UDP, and TCP if the answer is truncated.
    UdpThenTcp,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nothing that answers the question came in time.
    #[error("{server} did not answer within {}", humantime::format_duration(*.timeout))]
    TimedOut {
        /// Who was asked.
        server: SocketAddr,
        /// How long it had.
        timeout: Duration,
    },
    /// The server cannot be reached, or closed the connection.
    #[error("{server}: {source}")]
    Socket {
        /// Who was asked.
        server: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Over TCP came something that does not answer the question.
    #[error("{server} sent something that does not answer the question")]
    Mismatch {
        /// Who was asked.
        server: SocketAddr,
    },
    /// The name cannot be put into a message.
    #[error("the question cannot be asked: {0}")]
    Question(String),
}

/// Asks `server` for the records of `rtype` at `name`, without wanting recursion. Id and source
/// port are random; over UDP, whatever is not the answer to this question is passed over.
///
/// # Errors
/// [`AskError`]; an answer with an error code is an answer.
pub async fn ask(
    server: SocketAddr,
    via: Via,
    name: &Name,
    rtype: RecordType,
    patience: Duration,
) -> Result<Message, AskError> {
    let question = question(name, rtype)?;
    ask_message(server, via, &question, patience).await
}

/// Like [`ask`], with a message of the caller's, such as one with options. Its id is used as it is.
///
/// # Errors
/// [`AskError`].
pub async fn ask_message(
    server: SocketAddr,
    via: Via,
    question: &Message,
    patience: Duration,
) -> Result<Message, AskError> {
    let octets = question.to_vec().map_err(|error| AskError::Question(error.to_string()))?;
    let asking = async {
        if via != Via::Tcp {
            let answer = over_udp(server, question, &octets).await?;
            if via == Via::Udp || !answer.metadata.truncation {
                return Ok(answer);
            }
        }
        over_tcp(server, question, &octets).await
    };
    match timeout(patience, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(AskError::TimedOut { server, timeout: patience }),
    }
}

/// A question as [`ask`] sends it: random id, no recursion, EDNS.
///
/// # Errors
/// [`AskError::Question`] when the name cannot be put into a message.
pub fn question(name: &Name, rtype: RecordType) -> Result<Message, AskError> {
    let name = rr::Name::from_labels(name.labels()).map_err(|error| AskError::Question(error.to_string()))?;
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.set_edns(edns);
    Ok(message)
}

async fn over_udp(server: SocketAddr, question: &Message, octets: &[u8]) -> Result<Message, AskError> {
    let failed = |source| AskError::Socket { server, source };
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    // Connected, so that only this server is heard, and its host when nobody listens there.
    socket.connect(server).await.map_err(failed)?;
    socket.send(octets).await.map_err(failed)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(failed)?;
        // A forgery must not end the wait for the true answer.
        if let Some(answer) = answer(question, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message, octets: &[u8]) -> Result<Message, AskError> {
    let failed = |source| AskError::Socket { server, source };
    let mut stream = connect(server, octets).await?;
    let message = receive(&mut stream).await.map_err(failed)?;
    answer(question, &message).ok_or(AskError::Mismatch { server })
}

/// Asks several questions over one TCP connection; the answers in the order of the questions. The
/// whole may take as long as `patience`.
///
/// # Errors
/// [`AskError`]; then none of the answers counts.
pub async fn ask_all(server: SocketAddr, questions: &[Message], patience: Duration) -> Result<Vec<Message>, AskError> {
    let asking = async {
        let mut octets = Vec::new();
        for question in questions {
            octets.push(question.to_vec().map_err(|error| AskError::Question(error.to_string()))?);
        }
        let failed = |source| AskError::Socket { server, source };
        let (first, rest) = octets.split_first().ok_or_else(|| AskError::Question("there is none".to_owned()))?;
        let mut stream = connect(server, first).await?;
        for octets in rest {
            stream.write_all(&framed(octets)?).await.map_err(failed)?;
        }
        let mut answers = vec![None; questions.len()];
        for _ in questions {
            // They may come in any order (RFC 7766 section 6.2.1.1).
            let message = receive(&mut stream).await.map_err(failed)?;
            let mut open = questions.iter().zip(&mut answers).filter(|(_, place)| place.is_none());
            let found = open.find_map(|(question, place)| Some((answer(question, &message)?, place)));
            let (answer, place) = found.ok_or(AskError::Mismatch { server })?;
            *place = Some(answer);
        }
        Ok(answers.into_iter().flatten().collect())
    };
    match timeout(patience, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(AskError::TimedOut { server, timeout: patience }),
    }
}

/// A connection on which a first question was asked.
async fn connect(server: SocketAddr, octets: &[u8]) -> Result<TcpStream, AskError> {
    let failed = |source| AskError::Socket { server, source };
    let framed = framed(octets)?;
    let mut stream = TcpStream::connect(server).await.map_err(failed)?;
    stream.write_all(&framed).await.map_err(failed)?;
    Ok(stream)
}

/// A message with its length in front (RFC 1035 section 4.2.2).
fn framed(octets: &[u8]) -> Result<Vec<u8>, AskError> {
    let length = u16::try_from(octets.len()).map_err(|error| AskError::Question(error.to_string()))?;
    Ok([&length.to_be_bytes(), octets].concat())
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// The message in `octets`, if it answers `question`. A server that cannot read a question may
/// leave it out of its error (RFC 1035 section 4.1.1 gives FORMERR nothing to copy).
fn answer(question: &Message, octets: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(octets).ok()?;
    let (asked, got) = (&question.metadata, &answer.metadata);
    let same_question = answer.queries == question.queries
        || (answer.queries.is_empty() && got.response_code != hickory_proto::op::ResponseCode::NoError);
    let fits = got.id == asked.id && got.message_type == MessageType::Response && got.op_code == asked.op_code;
    (fits && same_question).then_some(answer)
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::ResponseCode, rr::RData};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(100);

    fn name() -> Name {
        "www.GLB.foobar.com".parse().unwrap()
    }

    /// The answer to what was asked, with an address.
    fn response(octets: &[u8]) -> Message {
        let mut message = Message::from_vec(octets).unwrap().into_response();
        let owner = message.queries[0].name.clone();
        message.add_answer(rr::Record::from_rdata(owner, 60, RData::A("192.0.2.1".parse().unwrap())));
        message
    }

    /// A UDP server that answers its first question with `answers`.
    async fn udp(answers: impl FnOnce(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        udp_on(UdpSocket::bind("127.0.0.1:0").await.unwrap(), answers)
    }

    /// Sockets of both kinds with one port.
    async fn both() -> (UdpSocket, TcpListener) {
        loop {
            // In this order: a number that TCP has free may be held by UDP for this moment only, while what
            // TCP is through with blocks it for a minute.
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                return (udp, tcp);
            }
        }
    }

    fn udp_on(socket: UdpSocket, answers: impl FnOnce(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut octets = [0; 1_500];
            let (length, peer) = socket.recv_from(&mut octets).await.unwrap();
            for answer in answers(&octets[..length]) {
                socket.send_to(&answer, peer).await.unwrap();
            }
            // Stays open: a closed one would be told from a silent one.
            std::future::pending::<()>().await;
        });
        address
    }

    /// A TCP server that answers its first question with `answer`.
    async fn tcp(answer: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tcp_on(listener, answer);
        address
    }

    fn tcp_on(listener: TcpListener, answer: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) {
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut octets).await.unwrap();
            let answer = answer(&octets);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
    }

    #[tokio::test]
    async fn forgeries_are_passed_over_until_the_answer_comes() {
        let server = udp(|octets| {
            let mut other_id = response(octets);
            other_id.metadata.id ^= 1;
            let mut other_name = response(octets);
            other_name.queries[0].name = "evil.test.".parse().unwrap();
            let mut other_type = response(octets);
            other_type.queries[0].query_type = RecordType::TXT;
            let mut no_question = response(octets);
            no_question.queries.clear();
            let mut refused = response(octets);
            refused.metadata.response_code = ResponseCode::Refused;
            let mut list: Vec<_> =
                [other_id, other_name, other_type, no_question, refused].map(|m| m.to_vec().unwrap()).into();
            list.insert(0, octets.to_vec());
            list.insert(0, b"garbage".to_vec());
            list
        });
        let answer = ask(server.await, Via::Udp, &name(), RecordType::A, SOON).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "a forgery was taken");
        assert!(!answer.metadata.recursion_desired);
        assert_eq!(answer.queries[0].query_type, RecordType::A);
        assert_eq!(answer.answers.len(), 1);
    }

    #[tokio::test]
    async fn an_error_without_a_question_is_an_answer() {
        let server = udp(|octets| {
            let mut error = response(octets);
            error.queries.clear();
            error.answers.clear();
            error.metadata.response_code = ResponseCode::FormErr;
            vec![error.to_vec().unwrap()]
        });
        let answer = ask(server.await, Via::Udp, &name(), RecordType::A, SOON).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    }

    #[tokio::test]
    async fn truncated_answers_are_asked_for_again_over_tcp_when_wanted() {
        let truncated = |octets: &[u8]| vec![response(octets).truncate().to_vec().unwrap()];
        let server = udp(truncated).await;
        let answer = ask(server, Via::Udp, &name(), RecordType::A, SOON).await.unwrap();
        assert!(answer.metadata.truncation && answer.answers.is_empty());

        let (socket, listener) = both().await;
        let server = udp_on(socket, truncated);
        tcp_on(listener, |octets| response(octets).to_vec().unwrap());
        let answer = ask(server, Via::UdpThenTcp, &name(), RecordType::A, SOON).await.unwrap();
        assert!(!answer.metadata.truncation);
        assert_eq!(answer.answers.len(), 1);
    }

    #[tokio::test]
    async fn silence_and_absence_are_told_apart_and_bounded() {
        let silent = udp(|_| Vec::new()).await;
        let error = ask(silent, Via::Udp, &name(), RecordType::A, SHORT).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{silent} did not answer within 100ms"));

        // The port of a service that is to be found nowhere any more (RFC 863).
        let nobody = "127.0.0.1:9".parse().unwrap();
        for via in [Via::Udp, Via::Tcp] {
            let error = ask(nobody, via, &name(), RecordType::A, SOON).await.unwrap_err();
            assert!(
                matches!(&error, AskError::Socket { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused),
                "{error}"
            );
        }

        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = ask(silent.local_addr().unwrap(), Via::Tcp, &name(), RecordType::A, SHORT).await.unwrap_err();
        assert!(matches!(error, AskError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn tcp_answers_must_fit_too() {
        let server = tcp(|octets| {
            let mut other = response(octets);
            other.metadata.id ^= 1;
            other.to_vec().unwrap()
        });
        let error = ask(server.await, Via::Tcp, &name(), RecordType::A, SOON).await.unwrap_err();
        assert!(matches!(error, AskError::Mismatch { .. }), "{error}");
        let server = tcp(|octets| response(octets).to_vec().unwrap()).await;
        assert_eq!(ask(server, Via::Tcp, &name(), RecordType::A, SOON).await.unwrap().answers.len(), 1);
    }
}
