//! The sockets of one endpoint.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{BindError, Endpoint, Settings, mmsg, stream};

/// How often a port chosen by the system for TCP may turn out to be taken for UDP.
const PORT_ATTEMPTS: usize = 16;

/// One TCP listener, and one UDP socket for each lane.
#[derive(Debug)]
pub(super) struct Bound {
    /// With the port that it really has.
    pub(super) endpoint: Endpoint,
    pub(super) listener: TcpListener,
    pub(super) sockets: Vec<UdpSocket>,
}

impl Bound {
    pub(super) fn new(endpoint: Endpoint, settings: &Settings) -> Result<Self, BindError> {
        for _ in 1..PORT_ATTEMPTS {
            match Self::try_new(endpoint, settings) {
                Err(error) if endpoint.address.port() == 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome,
            }
        }
        Self::try_new(endpoint, settings)
    }

    /// TCP first: its port is nobody else's, whereas any process of this user could join a
    /// `SO_REUSEPORT` group and would take a share of the questions unnoticed. So a second daemon
    /// on the same address fails here.
    fn try_new(mut endpoint: Endpoint, settings: &Settings) -> Result<Self, BindError> {
        let failed = |address, transport| move |source| BindError { address, transport, source };
        let tcp = failed(endpoint.address, "tcp");
        let listener = stream::bind(endpoint.address).map_err(tcp)?;
        endpoint.address = listener.local_addr().map_err(tcp)?;
        let udp = failed(endpoint.address, "udp");
        let lanes = 0..settings.lanes.get();
        let sockets = lanes
            .map(|_| udp_socket(endpoint.address, settings.receive_buffer))
            .collect::<io::Result<_>>()
            .map_err(udp)?;
        Ok(Self { endpoint, listener, sockets })
    }
}

fn udp_socket(address: SocketAddr, receive_buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // The system may grant less; that is no reason not to serve.
    let _ = socket.set_recv_buffer_size(receive_buffer);
    mmsg::ignore_path_mtu(socket.as_fd(), address.is_ipv6())?;
    if address.ip().is_unspecified() {
        mmsg::receive_packet_information(socket.as_fd(), address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
