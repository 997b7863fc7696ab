//! Waiting until a program does what it is there for.

use std::{
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    process::ExitStatus,
    thread,
    time::{Duration, Instant},
};

use crate::{net::Namespace, process::LOOK, programs::Ready};

/// How long one question may go unanswered before it is asked again.
const PATIENCE: Duration = Duration::from_millis(200);

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ready,
    Died(ExitStatus),
    Late,
}

/// Asks from inside the host until it is ready, has died, or the deadline has passed.
pub(crate) fn wait(
    ready: &Ready,
    host: &Namespace,
    deadline: Instant,
    mut ended: impl FnMut() -> Option<ExitStatus>,
) -> Outcome {
    loop {
        if let Some(status) = ended() {
            return Outcome::Died(status);
        }
        if host.run(|| is_ready(ready)).unwrap_or(false) {
            return Outcome::Ready;
        }
        if Instant::now() >= deadline {
            return Outcome::Late;
        }
        thread::sleep(LOOK);
    }
}

fn is_ready(ready: &Ready) -> bool {
    match ready {
        Ready::Dns(addresses) => addresses.iter().all(|&address| answers_dns(address)),
        Ready::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).is_ok(),
        Ready::File(path) => path.exists(),
        Ready::None => true,
    }
}

/// Whether anything that looks like an answer comes back; what it says does not matter.
fn answers_dns(address: SocketAddr) -> bool {
    /// `. SOA IN`, no recursion desired.
    const QUESTION: [u8; 17] = [0x4c, 0x61, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let ask = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(address)?;
        socket.send(&QUESTION)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok::<_, std::io::Error>(length >= 12 && answer[..2] == QUESTION[..2] && answer[2] & 0x80 != 0)
    };
    ask().unwrap_or(false)
}
