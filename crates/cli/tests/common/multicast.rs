//! Where people of one machine can chat over real sockets.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, UdpSocket};

/// A port that no other group of this machine meets on.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Why this machine carries no multicast to itself, if it does not.
pub fn is_there() -> io::Result<()> {
    let group = Ipv4Addr::new(239, 255, 109, 173);
    UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST))
}

/// Says which tests cannot run, and why.
pub fn skipped(what: &str, why: &io::Error) {
    // Not `eprintln!`, which a test that passes keeps to itself.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}: {why}");
}
