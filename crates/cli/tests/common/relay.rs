//! A bad network between two groups of this machine: what one says reaches the other, or is lost.
//!
//! For each program a socket speaks in its place on the other side, so that what is answered to it finds the way back.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use socket2::{Domain, Protocol, Socket, Type};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 109, 173);
const BUFFER: usize = 4 << 20;

/// Runs until the test ends.
pub struct Relay {
    /// In hundredths of all datagrams.
    lost: u64,
    random: AtomicU64,
    bytes: AtomicU64,
    stands_for: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
}

impl Relay {
    /// Between the groups on these ports. Of a hundred datagrams it loses so many.
    pub fn start(ports: [u16; 2], lost: u64) -> Arc<Self> {
        let random = AtomicU64::new(1);
        let relay = Arc::new(Self { lost, random, bytes: AtomicU64::new(0), stands_for: Mutex::default() });
        for (here, there) in [(ports[0], ports[1]), (ports[1], ports[0])] {
            let (group, relay) = (listening(here), relay.clone());
            std::thread::spawn(move || relay.forward(&group, SocketAddrV4::new(GROUP, there).into()));
        }
        relay
    }

    /// Bytes that were said to it, what was lost among them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn forward(self: Arc<Self>, from: &UdpSocket, to: SocketAddr) {
        let mut datagram = vec![0; 2_000];
        loop {
            let (length, sender) = from.recv_from(&mut datagram).unwrap();
            if let Some(socket) = self.stand_in(sender) {
                self.bytes.fetch_add(length as u64, Ordering::Relaxed);
                if self.draw() >= self.lost {
                    socket.send_to(&datagram[..length], to).unwrap();
                }
            }
        }
    }

    /// The socket that speaks for somebody; none for one of these sockets itself.
    fn stand_in(self: &Arc<Self>, of: SocketAddr) -> Option<Arc<UdpSocket>> {
        let mut all = self.stands_for.lock().unwrap();
        if all.values().any(|socket| socket.local_addr().unwrap().port() == of.port()) {
            return None;
        }
        let socket = all.entry(of).or_insert_with(|| {
            let socket = udp();
            socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
            socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let socket = Arc::new(UdpSocket::from(socket));
            let (answers, relay) = (socket.clone(), self.clone());
            std::thread::spawn(move || relay.forward(&answers, of));
            socket
        });
        Some(socket.clone())
    }

    /// The same hundredths in every run.
    fn draw(&self) -> u64 {
        let next =
            |state: u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let state = self.random.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        (state >> 33) % 100
    }
}

fn udp() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket
}

fn listening(port: u16) -> UdpSocket {
    let socket = udp();
    socket.set_reuse_address(true).unwrap();
    #[cfg(unix)]
    socket.set_reuse_port(true).unwrap();
    let ip = if cfg!(windows) { Ipv4Addr::UNSPECIFIED } else { GROUP };
    socket.bind(&SocketAddrV4::new(ip, port).into()).unwrap();
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST).unwrap();
    socket.into()
}
