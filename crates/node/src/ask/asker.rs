//! Asks many servers over UDP from one socket for each family, for who asks thousands of them all
//! the time: a socket for each question costs more than the question.
//!
//! The port stays the same, so only the id keeps an answer from being guessed: 16 bits. What must not
//! be forged has to be proven by the question itself, as by a nonce in its name.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dglb_core::name::Name;
use hickory_proto::{op::Message, rr::RecordType};
use socket2::SockRef;
use tokio::{net::UdpSocket, sync::oneshot, task::JoinHandle, time::timeout};

use super::{AskError, answer, question};

/// Octets of the longest datagram.
const LONGEST: usize = 65_535;
/// Octets of answers that may wait to be read.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Draws of an id that no other question to the same server has.
const DRAWS: usize = 64;

/// The sockets, and who waits for what.
#[derive(Debug)]
pub struct Asker {
    v4: Option<Socket>,
    v6: Option<Socket>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct Socket {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

/// Questions under way by whom they were put to and their id.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<(SocketAddr, u16), Open>>);

#[derive(Debug)]
struct Open {
    question: Message,
    answered: oneshot::Sender<Message>,
}

/// Takes a question back when nobody waits for its answer any more.
struct Ticket<'a> {
    waiting: &'a Waiting,
    key: (SocketAddr, u16),
}

impl Asker {
    /// Opens a socket for each family that this host has. To be called within a runtime; the sockets are
    /// read by a task each until this is dropped.
    ///
    /// # Errors
    /// Whatever the system says if it has room for neither.
    pub async fn open() -> io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await;
        let (v4, v6) = match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => (v4.ok(), v6.ok()),
        };
        let read = |socket| Socket::read(socket, Arc::clone(&waiting));
        Ok(Self { v4: v4.map(read), v6: v6.map(read), waiting })
    }

    /// Asks `server` for the records of `rtype` at `name`, as [`ask`](super::ask) does over UDP. That
    /// nobody listens there is not noticed before `patience` is over.
    ///
    /// # Errors
    /// [`AskError`]; an answer with an error code is an answer.
    pub async fn ask(
        &self,
        server: SocketAddr,
        name: &Name,
        rtype: RecordType,
        patience: Duration,
    ) -> Result<Message, AskError> {
        let failed = |source| AskError::Socket { server, source };
        let socket = if server.is_ipv4() { &self.v4 } else { &self.v6 };
        let socket = socket.as_ref().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
        let (octets, ticket, answer) = self.register(server, question(name, rtype)?)?;
        let sent = socket.socket.send_to(&octets, server).await;
        sent.map_err(failed)?;
        let answer = timeout(patience, answer).await;
        drop(ticket);
        // Its sender is dropped only with the asker.
        answer.ok().and_then(Result::ok).ok_or(AskError::TimedOut { server, timeout: patience })
    }

    /// Notes a question, with an id that no other to the same server has.
    fn register(
        &self,
        server: SocketAddr,
        mut question: Message,
    ) -> Result<(Vec<u8>, Ticket<'_>, oneshot::Receiver<Message>), AskError> {
        let mut open = self.waiting.lock();
        for _ in 0..DRAWS {
            let key = (server, question.metadata.id);
            if let Entry::Vacant(vacant) = open.entry(key) {
                let octets = question.to_vec().map_err(|error| AskError::Question(error.to_string()))?;
                let (answered, answer) = oneshot::channel();
                vacant.insert(Open { question, answered });
                return Ok((octets, Ticket { waiting: &self.waiting, key }, answer));
            }
            question.metadata.id = rand::random();
        }
        Err(AskError::Question("too many questions to this server are open".to_owned()))
    }
}

impl Socket {
    fn read(socket: UdpSocket, waiting: Arc<Waiting>) -> Self {
        // As far as the system grants it; less means answers lost when many come at once.
        let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        let socket = Arc::new(socket);
        let reader = tokio::spawn(read(Arc::clone(&socket), waiting));
        Self { socket, reader }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Hands answers to who waits for them; what answers no open question is passed over.
async fn read(socket: Arc<UdpSocket>, waiting: Arc<Waiting>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok((length, server)) = socket.recv_from(&mut buffer).await else {
            // Errors of earlier datagrams end up here; a socket that is broken for good must not
            // keep a thread busy.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let octets = &buffer[..length];
        let Some(id) = octets.first_chunk().map(|id| u16::from_be_bytes(*id)) else { continue };
        let mut open = waiting.lock();
        // A forgery must not end the wait for the true answer.
        let Some(found) = open.get(&(server, id)).and_then(|open| answer(&open.question, octets)) else { continue };
        if let Some(open) = open.remove(&(server, id)) {
            // Nobody may be waiting any more.
            let _ = open.answered.send(found);
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<(SocketAddr, u16), Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::ResponseCode, rr};

    use super::*;

    const SOON: Duration = Duration::from_secs(30);
    /// No more than a socket has room for with its answers and two forgeries for each.
    const QUESTIONS: u32 = 40;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// A server that answers each question after the next one has come, with forgeries before.
    async fn slow_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held: Option<(Message, SocketAddr)> = None;
            let mut octets = [0; 1_500];
            loop {
                let (length, peer) = socket.recv_from(&mut octets).await.unwrap();
                let asked = Message::from_vec(&octets[..length]).unwrap();
                let Some((question, from)) = held.replace((asked, peer)) else { continue };
                let answer = question.into_response();
                let mut other_name = answer.clone();
                other_name.queries[0].name = rr::Name::from_ascii("evil.test.").unwrap();
                let mut other_id = answer.clone();
                other_id.metadata.id ^= 1;
                for answer in [other_name, other_id, answer] {
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn many_questions_share_a_socket_and_each_gets_its_own_answer() {
        let asker = Arc::new(Asker::open().await.unwrap());
        let server = slow_server().await;
        let mut asking = tokio::task::JoinSet::new();
        for n in 0..QUESTIONS {
            let asker = Arc::clone(&asker);
            asking.spawn(async move {
                let asked = name(&format!("n{n}.test"));
                (n, asker.ask(server, &asked, RecordType::TXT, SOON).await)
            });
        }
        // The last question's answer waits for another question.
        let (mut right, mut last) = (0_u32, 0_u32);
        while right < QUESTIONS - 1 {
            let (n, answer) = asking.join_next().await.unwrap().unwrap();
            let answer = answer.unwrap();
            assert_eq!(answer.queries[0].name.to_ascii(), format!("n{n}.test."));
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            right += 1;
            last += n;
        }
        let nobody = asker.ask(server, &name("push.test"), RecordType::A, Duration::from_millis(50)).await;
        assert!(matches!(nobody, Err(AskError::TimedOut { .. })), "{nobody:?}");
        let (n, answer) = asking.join_next().await.unwrap().unwrap();
        assert_eq!((n + last, answer.is_ok()), (QUESTIONS * (QUESTIONS - 1) / 2, true));
        assert!(asker.waiting.lock().is_empty(), "what is not waited for is not kept");
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_behind() {
        let asker = Asker::open().await.unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = silent.local_addr().unwrap();
        let silence = asker.ask(server, &name("a.test"), RecordType::A, Duration::from_millis(20)).await;
        assert_eq!(silence.unwrap_err().to_string(), format!("{server} did not answer within 20ms"));
        let name = name("b.test");
        let gone = timeout(Duration::from_millis(20), asker.ask(server, &name, RecordType::A, SOON));
        assert!(gone.await.is_err());
        assert!(asker.waiting.lock().is_empty());
    }
}
