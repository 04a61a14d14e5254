//! Servers that are killed, restarted and emptied lose nothing that a member has.
//!
//! The long versions are run by hand: `cargo test --release -p reliable-channel-nats --test outages -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use reliable_channel::reliable::ChannelEvent;
use reliable_channel::store::MemoryPersistence;
use reliable_channel::transport::{Topic, Transport as _};
use reliable_channel_nats::{ConnectionStatus, History, HistoryStatus, Nats, Options, Replay};

use common::group::{CHANNEL, Member, agree, config};
use common::{BOTH, Generation, Server};

/// How the servers do not behave.
struct Plan {
    members: usize,
    /// How often one is killed.
    rounds: usize,
    /// How long it is there before.
    up: Duration,
    /// How long it is gone.
    down: Duration,
    /// Between two lines of one member.
    pace: Duration,
}

/// Members talk while one of the servers is killed and comes back, in turn; then all stores are deleted, and each member says
/// a last word. All logs must be equal, with all that was said.
async fn survive(mut servers: Vec<Server>, options: Options, plan: Plan) {
    let mut members = Vec::new();
    for number in 0..plan.members {
        members.push(Member::start(&format!("m{number}"), options.clone(), config()).await);
    }
    let mut said = BTreeSet::new();
    let until = Instant::now() + (plan.up + plan.down) * plan.rounds as u32;
    let killing = async {
        for round in 0..plan.rounds {
            tokio::time::sleep(plan.up).await;
            // Any order that is not always the same one.
            let at = (round * 7 + round / 3) % servers.len();
            servers[at].kill();
            tokio::time::sleep(plan.down).await;
            servers[at].up();
        }
    };
    let talking = futures_util::future::join_all(members.iter().map(|member| member.talk(plan.pace, until)));
    let (lines, ()) = tokio::join!(talking, killing);
    said.extend(lines.into_iter().flatten());
    let before = agree(&members, &said, Duration::from_secs(120)).await;
    println!("{} lines of {} members, equal {before:?} after the last restart", said.len(), members.len());

    servers.iter_mut().for_each(Server::kill);
    servers.iter().for_each(Server::forget);
    for server in &mut servers {
        server.spawn();
    }
    servers.iter().for_each(Server::wait);
    for member in &members {
        let line = format!("{} after all was deleted", member.name);
        member.say(&line).await;
        said.insert(line);
    }
    let after = agree(&members, &said, Duration::from_secs(120)).await;
    println!("equal {after:?} after all stores were deleted, 0 of {} lost", said.len());
    let breaks = |member: &Member| member.breaks.load(Ordering::Relaxed);
    assert!(members.iter().any(|member| breaks(member) > 0), "nobody noticed");
    for member in &members {
        assert_eq!(member.nats.status().borrow().connection, ConnectionStatus::Up);
    }
}

fn short() -> Plan {
    let ms = Duration::from_millis;
    Plan { members: 4, rounds: 3, up: ms(700), down: ms(300), pace: ms(50) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_emptied_loses_nothing() {
    for generation in BOTH {
        let server = Server::start(&program_or_skip!(generation));
        let options = server.options();
        survive(vec![server], options, short()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_which_one_is_killed_loses_nothing() {
    let (servers, options) = cluster(&program_or_skip!(Generation::Newer)).await;
    survive(servers, options, short()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "two minutes"]
async fn twenty_members_and_a_server_killed_every_ten_seconds() {
    for generation in BOTH {
        let server = Server::start(&program_or_skip!(generation));
        let options = server.options();
        let (up, down) = (Duration::from_secs(8), Duration::from_secs(2));
        let plan = Plan { members: 20, rounds: 12, up, down, pace: Duration::from_secs(1) };
        println!("{generation:?}");
        survive(vec![server], options, plan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "two minutes"]
async fn twenty_members_and_a_cluster_of_which_one_is_killed() {
    for generation in BOTH {
        let (servers, options) = cluster(&program_or_skip!(generation)).await;
        let (up, down) = (Duration::from_secs(7), Duration::from_secs(3));
        let plan = Plan { members: 20, rounds: 12, up, down, pace: Duration::from_secs(1) };
        println!("{generation:?}");
        survive(servers, options, plan).await;
    }
}

/// A cluster of three, once it keeps a stream in three replicas.
async fn cluster(program: &std::path::Path) -> (Vec<Server>, Options) {
    let servers = Server::cluster(program);
    let url = servers.iter().map(Server::url).collect::<Vec<_>>().join(",");
    let history = Some(History { replicas: 3, ..History::default() });
    let options = Options { url, history, ..Options::default() };
    let nats = Nats::connect(options.clone()).await.unwrap();
    let mut status = nats.status();
    let kept = status.wait_for(|status| matches!(status.history, HistoryStatus::Kept { .. }));
    let kept = tokio::time::timeout(Duration::from_secs(30), kept).await;
    assert!(kept.is_ok(), "no stream in the cluster: {}", nats.status().borrow().clone());
    (servers, options)
}

/// Who comes late, when nobody else is there, hears the newest hundred from the stream; who was away, all that it missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_has_what_was_said_when_nobody_is_there() {
    for generation in BOTH {
        let server = Server::start(&program_or_skip!(generation));
        let lines = talk_and_leave(&server, 300).await;
        let start = Instant::now();
        let late = Member::start("late", server.options(), config()).await;
        let newest = &lines[200..];
        let log = until(&late, "the newest hundred", |log| log.ends_with(newest)).await;
        println!("{generation:?}: {} of 300 lines {:?} after joining", log.len(), start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_reads_what_was_said_from_the_stream() {
    for generation in BOTH {
        away(&Server::start(&program_or_skip!(generation)), 300).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute"]
async fn who_was_away_for_ten_thousand_messages_reads_them_from_the_stream() {
    for generation in BOTH {
        println!("{generation:?}");
        away(&Server::start(&program_or_skip!(generation)), 10_000).await;
    }
}

/// Bob leaves, so many lines are said, everybody leaves, and bob comes back to the stream alone.
async fn away(server: &Server, count: usize) {
    let store = Arc::new(MemoryPersistence::new());
    let alice = Member::start("alice", server.options(), config()).await;
    let (bob, _) = Member::join("bob", server.options(), config(), store.clone()).await;
    alice.say("before").await;
    until(&bob, "what was said before", |log| log == ["before"]).await;
    bob.node.shutdown().await;
    drop(bob);
    let left = SystemTime::now();
    let carol = Member::start("carol", server.options(), config()).await;
    for number in 0..count {
        alice.say(&format!("line {number}")).await;
    }
    let last = format!("line {}", count - 1);
    until(&carol, "the last line", |log| log.last() == Some(&last)).await;
    for member in [alice, carol] {
        member.node.shutdown().await;
    }

    let start = Instant::now();
    let (bob, mut events) = Member::join("bob", server.options(), config(), store).await;
    let nats = bob.nats.clone();
    let replay = tokio::spawn(async move { nats.replay(&Topic::from(CHANNEL), Replay::Since(left)).await });
    let mut first = None;
    while first.is_none() {
        let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap();
        first = matches!(event, Some(ChannelEvent::Received(_))).then(|| start.elapsed());
    }
    let log = until(&bob, "all lines", |log| log.len() == count + 1).await;
    println!("{count} lines: the first after {:?}, all after {:?}", first.unwrap(), start.elapsed());
    assert!(log[1..].iter().enumerate().all(|(number, line)| *line == format!("line {number}")));
    assert!(replay.await.unwrap().unwrap() as usize >= count);
}

/// A connection that is lost before all topics are subscribed to again loses nothing of those that were not.
#[tokio::test]
async fn a_topic_that_is_subscribed_to_late_lacks_nothing_after_two_losses() {
    let mut server = Server::start(&program_or_skip!(Generation::Newer));
    let history = Some(History { newest: 0, ..History::default() });
    let options = Options { history, ..server.options() };
    let bob = Nats::connect(options.clone()).await.unwrap();
    let (prompt, late) = (Topic::from("prompt"), Topic::from("late"));
    let (mut heard, mut prompt_heard) = (bob.subscribe(&late).await.unwrap(), bob.subscribe(&prompt).await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    for text in ["first", "second"] {
        server.kill();
        while !matches!(bob.status().borrow().connection, ConnectionStatus::Down(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.up();
        let alice = Nats::connect(options.clone()).await.unwrap();
        alice.publish(&late, None, text.into()).await.unwrap().unwrap();
        // As a member does that says something: it learns how far the stream has come.
        while !matches!(bob.publish(&Topic::from("other"), None, "x".into()).await, Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        prompt_heard = bob.subscribe(&prompt).await.unwrap();
    }
    drop(prompt_heard);
    assert_eq!(heard.next().await, None);
    heard = bob.subscribe(&late).await.unwrap();
    for text in ["first", "second"] {
        let next = tokio::time::timeout(Duration::from_secs(10), heard.next()).await;
        assert_eq!(next.unwrap().unwrap().unwrap().bytes, text);
    }
}

/// Who leaves is not kept by what it reads, and what is read from the stream waits for who reads it here.
#[tokio::test]
async fn a_member_that_is_dropped_while_it_reads_from_the_stream_is_gone() {
    for generation in BOTH {
        let server = Server::start(&program_or_skip!(generation));
        let (topic, count, bytes) = (Topic::from("a"), 400, 100_000);
        let alice = Nats::connect(server.options()).await.unwrap();
        for _ in 0..count {
            alice.publish(&topic, None, vec![7; bytes].into()).await.unwrap().unwrap();
        }
        let history = Some(History { newest: count, ..History::default() });
        let bob = Nats::connect(Options { history, ..server.options() }).await.unwrap();
        let mut heard = bob.subscribe(&topic).await.unwrap();
        assert!(heard.next().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(bob);
        let mut read = 1;
        while let Some(item) = tokio::time::timeout(Duration::from_secs(10), heard.next()).await.unwrap() {
            item.unwrap();
            read += 1;
        }
        assert!(read < 100, "{read} of {count} although it was dropped");
    }
}

/// So many lines of two who then leave.
async fn talk_and_leave(server: &Server, count: usize) -> Vec<String> {
    let alice = Member::start("alice", server.options(), config()).await;
    let bob = Member::start("bob", server.options(), config()).await;
    let lines: Vec<String> = (0..count).map(|number| format!("line {number}")).collect();
    for line in &lines {
        alice.say(line).await;
    }
    until(&bob, "all lines", |log| log == lines).await;
    for member in [alice, bob] {
        member.node.shutdown().await;
    }
    lines
}

async fn until(member: &Member, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
    let start = Instant::now();
    loop {
        let log = member.log();
        if is_so(&log) {
            return log;
        }
        let status = member.nats.status().borrow().clone();
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not among {} lines; {status}", log.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
