//! Members who all say much at once.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::net::{Ipv4Addr, UdpSocket};

use reliable_channel::channel::Config;
use reliable_channel::reliable::{ChannelEvent, Node};
use reliable_channel_udp::{Options, Udp};
use tokio::task::JoinSet;

const MEMBERS: usize = 5;
const EACH: usize = 400;

/// The example `burst` has 100,000.
#[tokio::test(flavor = "multi_thread")]
async fn what_five_say_at_once_is_heard_by_all_in_one_order_after_what_it_follows() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = Options { port, interface: Some(Ipv4Addr::LOCALHOST), ..Options::default() };
    let mut config = Config::default();
    config.max_message_history = MEMBERS * EACH + 1;
    let (mut nodes, mut joined, mut work) = (Vec::new(), Vec::new(), JoinSet::new());
    for member in 0..MEMBERS {
        let network = match Udp::join(options.clone()).await {
            Ok(network) => network,
            Err(error) => return println!("SKIPPED: {error}"),
        };
        let node = Node::builder(format!("member {member}")).transport(network).config(config.clone()).build().unwrap();
        joined.push(node.join("burst").await.unwrap());
        nodes.push(node);
    }
    for (member, (channel, mut events)) in joined.into_iter().enumerate() {
        work.spawn(async move {
            for number in 0..EACH {
                channel.send(format!("{member} {number}")).await.unwrap();
            }
        });
        work.spawn(async move {
            let (mut heard, mut last) = (0, [None; MEMBERS]);
            while heard < EACH * (MEMBERS - 1) {
                let ChannelEvent::Received(delivery) = events.next().await.unwrap() else { continue };
                let text = String::from_utf8(delivery.body.content.to_vec()).unwrap();
                let (sender, number) = text.split_once(' ').unwrap();
                let (sender, number) = (sender.parse::<usize>().unwrap(), number.parse::<usize>().unwrap());
                assert!(delivery.missing.is_empty() && last[sender] < Some(number), "{text} after {last:?}");
                last[sender] = Some(number);
                heard += 1;
            }
        });
    }
    work.join_all().await;
    let logs = nodes.iter().map(|node| node.manager().log(&"burst".into()).unwrap());
    let logs: Vec<Vec<_>> = logs.map(|log| log.into_iter().map(|logged| logged.body.key.clone()).collect()).collect();
    assert!(logs.iter().all(|log| log.len() == MEMBERS * EACH && *log == logs[0]));
}
