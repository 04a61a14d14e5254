//! Channels on disk, driven by one plain thread: the executor and a store, no runtime.
//!
//! `cargo run --example without_runtime --no-default-features --features redb`

#![allow(clippy::disallowed_methods, reason = "whoever drives the executor brings the clock")]

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reliable_channel::channel::{Config, Event, Input as ChannelInput};
use reliable_channel::executor::{
    Answer, CallId, Caller, Effect, Executor, ExecutorError, Input, Moment, Options, Order, Told,
};
use reliable_channel::store::{Persistence, RedbPersistence};
use reliable_channel::types::{ChannelId, Limits, RunningTime, WallTime};
use reliable_channel::wire;

const CHANNEL: &str = "lobby";

/// One participant: its executor, its store, and what it wants to broadcast.
struct Node {
    name: &'static str,
    executor: Executor,
    store: RedbPersistence,
    start: Instant,
    effects: VecDeque<Effect>,
    answer: Option<Result<Answer, ExecutorError>>,
    outbox: Vec<Bytes>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut alice = Node::open("alice", &dir.path().join("alice"))?;
    let mut bob = Node::open("bob", &dir.path().join("bob"))?;
    for (text, answer) in [("hi bob", "hi alice"), ("how are you?", "fine, and you?")] {
        alice.send(text)?;
        exchange(&mut alice, &mut bob)?;
        bob.send(answer)?;
        exchange(&mut alice, &mut bob)?;
    }
    alice.end()?;
    bob.end()?;

    // Another process would go on like this.
    let alice = Node::open("alice", &dir.path().join("alice"))?;
    let channel = alice.executor.channel(&CHANNEL.into()).ok_or("the channel is open")?;
    let texts: Vec<_> = channel.log().map(|row| String::from_utf8_lossy(&row.body.content).into_owned()).collect();
    assert_eq!(texts, ["hi bob", "hi alice", "how are you?", "fine, and you?"]);
    println!("alice came back with {texts:?}");
    alice.end()
}

/// The network: here it loses nothing.
fn exchange(alice: &mut Node, bob: &mut Node) -> Result<(), Box<dyn Error>> {
    // What is due by itself goes out with it: a program would sleep until `poll_timeout`.
    let moment = alice.moment();
    let due = alice.executor.timeout(&moment);
    alice.carry_out(due);
    for bytes in std::mem::take(&mut alice.outbox) {
        bob.receive(&bytes)?;
    }
    for bytes in std::mem::take(&mut bob.outbox) {
        alice.receive(&bytes)?;
    }
    Ok(())
}

impl Node {
    fn open(name: &'static str, dir: &Path) -> Result<Self, Box<dyn Error>> {
        let store = RedbPersistence::open(dir)?;
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
        let executor = Executor::new(Options::new(name, seed));
        let (effects, outbox) = (VecDeque::new(), Vec::new());
        let mut node = Self { name, executor, store, start: Instant::now(), effects, answer: None, outbox };
        node.order(Order::Open(Arc::new(Config::default())))?;
        Ok(node)
    }

    fn send(&mut self, text: &'static str) -> Result<(), Box<dyn Error>> {
        let input = ChannelInput::Send { content: Bytes::from_static(text.as_bytes()), id: None };
        let answer = self.order(Order::Enter { input, heard: None })?;
        if let Some((message, dialect)) = answer.own {
            self.outbox.push(wire::encode(&message, dialect)?);
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &Bytes) -> Result<(), Box<dyn Error>> {
        let (message, dialect) = wire::decode(bytes, &Limits::default())?;
        self.order(Order::Enter { input: ChannelInput::Receive(message), heard: Some(dialect) })?;
        Ok(())
    }

    fn end(mut self) -> Result<(), Box<dyn Error>> {
        let caller = Caller { call: CallId(0), inside: false };
        let effects = self.executor.shut_down(&self.moment(), caller);
        self.carry_out(effects);
        Ok(block_on(self.store.close())?)
    }

    /// Makes an order; all that it leads to is done when this returns, for the store is waited for.
    fn order(&mut self, order: Order) -> Result<Answer, ExecutorError> {
        let caller = Some(Caller { call: CallId(0), inside: false });
        self.hand_in(&CHANNEL.into(), Input::Order { caller, order });
        self.answer.take().unwrap_or(Err(ExecutorError::ShutDown))
    }

    fn hand_in(&mut self, channel: &ChannelId, input: Input) {
        let effects = self.executor.handle(&self.moment(), channel, input);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::Load { channel, generation } => {
                    let result = block_on(self.store.load_channel(&channel)).map_err(Arc::new);
                    self.hand_in(&channel, Input::Loaded { generation, result });
                }
                Effect::Commit { channel, generation, commit } => {
                    let result = block_on(self.store.commit(&channel, &commit)).map_err(Arc::new);
                    self.hand_in(&channel, Input::Saved { generation, result });
                }
                Effect::Drop { channel, generation } => {
                    let result = block_on(self.store.drop_channel(&channel)).map_err(Arc::new);
                    self.hand_in(&channel, Input::Dropped { generation, result });
                }
                Effect::Flush => {
                    let effects = self.executor.flushed(block_on(self.store.flush()).map_err(Arc::new));
                    self.effects.extend(effects);
                }
                Effect::Tell { telling, .. } => {
                    for told in &telling.told {
                        if let Told::Event(Event::MessageDelivered(delivery)) = told {
                            let text = String::from_utf8_lossy(&delivery.body.content);
                            println!("{} reads {text:?} from {}", self.name, delivery.body.sender);
                        }
                    }
                    let encoded = telling.transmit.iter().map(|sent| wire::encode(&sent.message, telling.dialect));
                    self.outbox.extend(encoded.filter_map(Result::ok));
                }
                Effect::Answer { result, .. } => self.answer = Some(result),
                // Without an archive in the options there is none.
                Effect::Archive { .. } => {}
                // Without callbacks in the options there are none.
                Effect::CallBack { .. } => {}
                Effect::ShutDown { report, .. } => println!("{} ends, unsaved: {}", self.name, report.unsaved.len()),
            }
        }
    }

    fn moment(&self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Moment {
            wall: WallTime::from_millis(wall.as_millis() as u64),
            running: RunningTime::from_millis(self.start.elapsed().as_millis() as u64),
        }
    }
}

/// Waits for a call to the store, which has a thread of its own.
fn block_on<F: Future>(call: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut call = pin!(call);
    loop {
        match call.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}
