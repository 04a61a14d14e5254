//! A group on this machine, over its real sockets.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use reliable_channel::transport::conformance::Network;
use reliable_channel::transport::{Transport, TransportError};
use reliable_channel::transport_conformance;
use reliable_channel_udp::{Options, Udp, UdpError};

/// Options for a group that no other test has.
fn alone() -> Options {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    Options { port: free.local_addr().unwrap().port(), ..Options::default() }
}

/// What keeps a group from hearing itself here, as in a container without multicast.
fn obstacle(interface: Option<Ipv4Addr>) -> Option<String> {
    let Options { group, .. } = Options::default();
    let hears = || {
        let listening = UdpSocket::bind("0.0.0.0:0")?;
        listening.join_multicast_v4(&group, &interface.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
        listening.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
        let sending = socket2::Socket::from(UdpSocket::bind("0.0.0.0:0")?);
        if let Some(interface) = interface {
            sending.set_multicast_if_v4(&interface)?;
        }
        UdpSocket::from(sending).send_to(b"hears", (group, listening.local_addr()?.port()))?;
        listening.recv_from(&mut [0; 16])
    };
    hears().err().map(|error| format!("multicast does not come back on this machine: {error}"))
}

struct Group(Options);

#[async_trait::async_trait]
impl Network for Group {
    async fn member(&self) -> Result<Arc<dyn Transport>, TransportError> {
        let joined = Udp::join(self.0.clone()).await;
        Ok(Arc::new(joined.map_err(|error| TransportError::Refused(error.to_string()))?))
    }

    fn skipped(&self) -> Option<String> {
        obstacle(self.0.interface)
    }
}

mod on_the_systems_interface {
    use super::*;
    transport_conformance!(Group(alone()));
}

mod on_this_machine_alone {
    use super::*;
    transport_conformance!(Group(Options { interface: Some(Ipv4Addr::LOCALHOST), ..alone() }));
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let unicast = Udp::join(Options { group: Ipv4Addr::new(10, 0, 0, 1), ..alone() }).await.unwrap_err();
    assert_eq!(unicast.to_string(), "10.0.0.1 is no multicast group; those begin with 224 to 239");
    let owner = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = owner.local_addr().unwrap().port();
    let taken = Udp::join(Options { port, ..alone() }).await.unwrap_err();
    assert!(matches!(taken, UdpError::PortTaken { port: found } if found == port), "{taken}");
    let elsewhere = Options { interface: Some(Ipv4Addr::new(192, 0, 2, 77)), ..alone() };
    let elsewhere = Udp::join(elsewhere).await.unwrap_err();
    assert!(matches!(elsewhere, UdpError::NoMulticast { .. }), "{elsewhere}");
}

#[tokio::test]
async fn an_address_of_another_network_is_refused_for_good() {
    if let Some(why) = obstacle(None) {
        println!("SKIPPED: {why}");
        return;
    }
    let member = Udp::join(alone()).await.unwrap();
    let error = member.publish(&"a".into(), Some(&"member 1".into()), "x".into()).await.unwrap_err();
    assert!(!error.should_retry(), "{error}");
}
