//! Network devices as descriptors: a TUN device, a packet socket on an interface, and switching an
//! interface's offloads off.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use super::check;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// ethtool's commands that switch off: transmit checksums, scatter-gather, TCP segmentation,
/// generic segmentation, generic receive.
const ETHTOOL_OFF: [u32; 5] = [0x17, 0x19, 0x1f, 0x24, 0x2c];

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes a TUN device of this name in the calling thread's network namespace. It lives as long as
/// the descriptor, which reads and writes bare IP packets, one a call, and never blocks.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = interface_request(name)?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}

/// A packet socket on one interface of the calling thread's network namespace. It reads and writes
/// whole Ethernet frames, never blocks, and does not read what it has written.
pub(crate) fn open_packet_socket(interface: u32) -> io::Result<File> {
    let every_protocol = libc::c_int::from((libc::ETH_P_ALL as u16).to_be());
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // A protocol of 0 receives nothing until the socket is bound, so nothing foreign slips in.
    // SAFETY: integers only; on success the descriptor is new and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0))?) };
    option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    // The kernel gives an interface its queue some time after its peer came up, and until then throws
    // packets away in silence. We need none: a veth hands every packet over within the call.
    option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
    for (plain, forced) in [(libc::SO_RCVBUF, libc::SO_RCVBUFFORCE), (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE)] {
        if option(&socket, libc::SOL_SOCKET, forced, 8 << 20).is_err() {
            option(&socket, libc::SOL_SOCKET, plain, 8 << 20)?;
        }
    }
    // SAFETY: all zeroes is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = every_protocol as u16;
    address.sll_ifindex = interface.cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(File::from(socket))
}

/// Has the interface's own namespace compute every checksum and cut every segment itself, so that
/// frames on a veth pair look as they would on a cable.
pub(crate) fn switch_offloads_off(name: &str) -> io::Result<()> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: integers only; on success the descriptor is new and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, kind, 0))?) };
    for command in ETHTOOL_OFF {
        let mut value = EthtoolValue { command, data: 0 };
        let mut request = interface_request(name)?;
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: these commands read one `ethtool_value` behind the request; both live through the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    }
    Ok(())
}

/// The index of an interface of the calling thread's network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: NUL-terminated, lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) }).map(drop)
}
