//! A bridge between a network that speaks as nim-sds does and one that speaks as js-waku does.
//!
//! What: two people in each network, all in the channel `lobby`, over networks that lose a fifth of everything. They
//! cannot read each other's packets; the bridge is a member of both and carries what is delivered across. Mid-way it is
//! dropped and started again from its stores. Shown in the end: everybody has everything, each network in one order, and
//! what could not be carried was counted.
//!
//! `cargo run --example bridge`

mod bridge;
mod crossing;
mod repeats;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use bridge::{Failure, Side};
use reliable_channel::MessageId;
use reliable_channel::state::Logged;
use world::{Member, World};

const SCRIPT: [(&str, &str); 10] = [
    ("nora", "is anybody there?"),
    ("jane", "yes, in another network"),
    ("nils", "how do you read us?"),
    ("jack", "there is a bridge"),
    ("nora", "does it keep order?"),
    ("jack", "on each side, yes"),
    ("jane", "and acknowledgements come back"),
    ("nils", "what if it crashes?"),
    ("jane", "it just did"),
    ("nora", "we did not notice"),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut world = World::new(7, &["nora", "nils"], &["jane", "jack"]).await?;
    world.loss_percent = 20;
    for (turn, (name, text)) in SCRIPT.into_iter().enumerate() {
        if turn == 8 {
            // Whatever it was about to do is lost; its stores are all there is of it.
            world.bridge = None;
            world.run(Duration::from_secs(5)).await?;
            world.start_bridge().await?;
        }
        world.say(name, text, None)?;
        world.run(Duration::from_secs(20)).await?;
    }
    world.say("nora", "js cannot say my name", Some(MessageId::new([0xff, 0x07])))?;
    world.mention("jane", "is typing")?;
    world.run(Duration::from_secs(300)).await?;
    show(&world)?;
    if let Some(bridge) = world.bridge {
        bridge.close().await;
    }
    Ok(())
}

fn show(world: &World) -> Result<(), Failure> {
    let mut read = Vec::new();
    for side in Side::BOTH {
        let mut members = world.members.iter().filter(|(_, member)| member.side == side);
        let Some((name, first)) = members.next() else { continue };
        println!("the log of everybody in the {side:?} network:");
        first.read().iter().for_each(|line| println!("    {line}"));
        if let Some((other, _)) = members.find(|(_, member)| member.log() != first.log()) {
            return Err(format!("{name} and {other} end with different logs").into());
        }
        let packets = || world.broadcasts.iter().filter(|sent| sent.side == side);
        let by_bridge = || packets().filter(|sent| sent.by.is_none());
        let relayed = by_bridge().filter(|sent| !sent.message.content.is_empty()).count();
        println!(
            "    {} packets, the bridge's: {}, with what it relays: {relayed}",
            packets().count(),
            by_bridge().count()
        );
        read.push(first.read());
    }
    // All but the one that cannot be said in the js network.
    if read.iter().map(Vec::len).collect::<Vec<_>>() != [SCRIPT.len() + 1, SCRIPT.len()] {
        return Err("something was lost".into());
    }
    for (name, member) in &world.members {
        println!(
            "{name}: of {} messages, people across have named {}",
            said(member, name),
            named_across(world, member)
        );
    }
    if let Some(bridge) = &world.bridge {
        println!("since its restart the bridge counts {:?}", bridge.counts);
    }
    Ok(())
}

fn said(member: &Member, name: &str) -> usize {
    member.channel.log().filter(|logged| logged.body.sender.as_str() == Some(name)).count()
}

/// Messages of this member that a message from the other network answers to: so they are known to have arrived there.
fn named_across(world: &World, member: &Member) -> usize {
    let sender = |logged: &Logged| world.members.values().find(|one| *one.channel.participant() == logged.body.sender);
    let from_across = |logged: &&Logged| sender(logged).is_some_and(|one| one.side != member.side);
    let named: BTreeSet<_> = member
        .channel
        .log()
        .filter(from_across)
        .flat_map(|logged| &logged.body.causal_history)
        .map(|entry| &entry.id)
        .collect();
    let own = |logged: &&Logged| logged.body.sender == *member.channel.participant();
    member.channel.log().filter(own).filter(|logged| named.contains(&logged.body.key.id)).count()
}
