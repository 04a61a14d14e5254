//! The two sockets of a member.
//!
//! What: [`Sockets`]. Why two: the port of the group is shared by all programs of a machine, so that what is sent to it
//! alone reaches any of them; the own socket has a port of its own, and what comes from it can be answered. How it moves:
//! everything is sent from the own socket; what is for all arrives at the group's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::{Options, UdpError};

/// Bytes that may wait in the kernel, if it allows that many.
const RECEIVE_BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) group: UdpSocket,
    pub(crate) own: UdpSocket,
    pub(crate) to: SocketAddr,
    /// Only this machine is reached.
    pub(crate) is_local: bool,
}

impl Sockets {
    /// Joins the group on the interface that is asked for, else on the one that the system chooses, else on this machine.
    pub(crate) fn open(options: &Options) -> Result<Self, UdpError> {
        if !options.group.is_multicast() {
            return Err(UdpError::NoGroup { group: options.group });
        }
        match options.interface {
            Some(interface) => Self::open_on(options, interface),
            None => Self::open_on(options, Ipv4Addr::UNSPECIFIED).or_else(|error| match error {
                UdpError::NoMulticast { .. } => Self::open_on(options, Ipv4Addr::LOCALHOST),
                other => Err(other),
            }),
        }
    }

    fn open_on(options: &Options, interface: Ipv4Addr) -> Result<Self, UdpError> {
        let Options { group, port, ttl, .. } = *options;
        let to = SocketAddrV4::new(group, port);
        let no_multicast = |error: io::Error| UdpError::NoMulticast { group, error };
        let shared = shared(to).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => UdpError::PortTaken { port },
            _ => UdpError::Io(error),
        })?;
        shared.join_multicast_v4(&group, &interface).map_err(no_multicast)?;
        let own = udp()?;
        own.set_multicast_if_v4(&interface).map_err(no_multicast)?;
        // Connecting sends nothing and asks the system for a route.
        let probe = udp()?;
        probe.set_multicast_if_v4(&interface).map_err(no_multicast)?;
        probe.connect(&to.into()).map_err(no_multicast)?;
        own.set_multicast_ttl_v4(ttl)?;
        own.set_ttl_v4(ttl)?;
        own.set_multicast_loop_v4(true)?;
        own.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
        Ok(Self {
            group: UdpSocket::from_std(shared.into())?,
            own: UdpSocket::from_std(own.into())?,
            to: to.into(),
            is_local: interface.is_loopback(),
        })
    }
}

/// A socket on the port that all programs of this machine share.
fn shared(to: SocketAddrV4) -> io::Result<Socket> {
    let socket = udp()?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    // Bound to the group, it hears of no other group that somebody on this machine has joined. Windows binds to no group.
    let ip = if cfg!(windows) { Ipv4Addr::UNSPECIFIED } else { *to.ip() };
    socket.bind(&SocketAddrV4::new(ip, to.port()).into())?;
    Ok(socket)
}

fn udp() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // A smaller one works too, and loses more when much comes at once.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    Ok(socket)
}
