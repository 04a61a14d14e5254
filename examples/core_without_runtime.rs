//! The core alone: two participants in one thread, a network that loses half of all packets, no runtime, no store.
//!
//! `cargo run --example core_without_runtime --no-default-features`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Channel, Config, Context, Event, Input, Step};
use reliable_channel::state::{ChannelData, RowKey};
use reliable_channel::types::{RunningTime, WallTime};
use reliable_channel::wire;

/// What an event loop owns: the clock, the network, and where channels are saved.
struct Loop {
    now_ms: u64,
    sent: u64,
    channels: Vec<Channel>,
    saved: Vec<ChannelData>,
    in_flight: BTreeMap<(u64, u64), (usize, Bytes)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Arc::new(Config::default());
    let mut world = Loop { now_ms: 0, sent: 0, channels: vec![], saved: vec![], in_flight: BTreeMap::new() };
    for name in ["alice", "bob"] {
        world.channels.push(Channel::new("lobby", name, config.clone(), &world.context())?);
        world.saved.push(ChannelData::default());
    }
    for (turn, text) in ["hi bob", "hi alice", "how are you?", "fine, and you?"].into_iter().enumerate() {
        world.input(turn % 2, Input::Send { content: text.into(), id: None })?;
        world.run_until(world.now_ms + 500)?;
    }

    // Bob's process ends here. What was saved is all there is of it.
    let data = std::mem::take(&mut world.saved[1]);
    let (bob, step) = Channel::restore("lobby".into(), "bob".into(), config, data.clone(), &world.context())?;
    (world.channels[1], world.saved[1]) = (bob, data);
    world.carry_out(1, step)?;
    println!("{:>6} ms  bob crashed and came back", world.now_ms);

    world.run_until(120_000)?;
    let logs: Vec<Vec<_>> =
        world.channels.iter().map(|channel| channel.log().map(|row| row.body.clone()).collect()).collect();
    assert_eq!(logs[0], logs[1]);
    assert_eq!(logs[0].len(), 4);
    println!("both logs hold the same {} messages; {} packets were sent", logs[0].len(), world.sent);
    Ok(())
}

impl Loop {
    /// Does what comes next until `end`: a packet arrives, or a channel wants to be woken.
    fn run_until(&mut self, end: u64) -> Result<(), Box<dyn Error>> {
        loop {
            let wake = (0..self.channels.len())
                .filter_map(|of| Some((self.channels[of].poll_timeout()?.as_millis(), of)))
                .min()
                .filter(|(at, _)| *at <= end);
            let packet = self.in_flight.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= end);
            match (packet, wake) {
                (Some(at), wake) if wake.is_none_or(|(wake, _)| at <= wake) => {
                    self.now_ms = self.now_ms.max(at);
                    let Some((_, (to, bytes))) = self.in_flight.pop_first() else { continue };
                    let (message, _) = wire::decode(&bytes, &self.channels[to].config().limits)?;
                    self.input(to, Input::Receive(message))?;
                }
                (_, Some((at, of))) => {
                    self.now_ms = self.now_ms.max(at);
                    self.input(of, Input::Timeout)?;
                }
                _ => break,
            }
        }
        self.now_ms = end;
        Ok(())
    }

    fn input(&mut self, of: usize, input: Input) -> Result<(), Box<dyn Error>> {
        let context = self.context();
        let step = self.channels[of].handle(&context, input);
        self.carry_out(of, step)
    }

    /// Save, then transmit, then tell.
    fn carry_out(&mut self, of: usize, step: Step) -> Result<(), Box<dyn Error>> {
        step.outcome?;
        let saved = &mut self.saved[of];
        let mut rows: BTreeMap<RowKey, _> =
            std::mem::take(&mut saved.rows).into_iter().map(|row| (row.key(), row)).collect();
        step.save.history.delete.iter().for_each(|key| drop(rows.remove(key)));
        rows.extend(step.save.history.put.into_iter().map(|row| (row.key(), row)));
        saved.rows = rows.into_values().collect();
        saved.meta = step.save.meta.or(saved.meta.take());

        for transmit in step.transmit {
            self.sent += 1;
            println!("{:>6} ms  {} sends {:?}", self.now_ms, self.channels[of].participant(), transmit.kind);
            // Half of all, in no period that senders could fall into step with.
            if self.sent.count_ones().is_multiple_of(2) {
                let bytes = wire::encode(&transmit.message, self.channels[of].config().dialect)?;
                self.in_flight.insert((self.now_ms + 20, self.sent), (1 - of, bytes));
            }
        }
        for event in step.events {
            match event {
                Event::MessageDelivered(delivery) => {
                    let text = String::from_utf8_lossy(&delivery.body.content);
                    println!("{:>6} ms  {} reads {text:?}", self.now_ms, self.channels[of].participant());
                }
                Event::MessageAcknowledged { by, .. } => {
                    println!(
                        "{:>6} ms  {} knows that {by} has a message",
                        self.now_ms,
                        self.channels[of].participant()
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn context(&self) -> Context {
        Context::new(
            WallTime::from_millis(1_767_225_600_000 + self.now_ms),
            RunningTime::from_millis(self.now_ms),
            // A real program brings real random bits.
            self.now_ms.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.sent,
        )
    }
}
