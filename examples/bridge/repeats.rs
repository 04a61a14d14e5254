//! What the bridge has relayed and nobody has named yet.
//!
//! What: [`Repeats`], packets to broadcast again. Why: resends are for a participant's own messages, and a network
//! without sync messages, nim's, may never learn of one it lost. How it moves: added when relayed, gone when a message of
//! that side names it, else due after 5, 10, 20, 40 and 80 seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::MessageId;
use reliable_channel::types::{Message, RunningTime};

const FIRST_WAIT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;
/// Packets kept; the oldest id gives way, and is left to repair.
const MAX: usize = 1_000;

#[derive(Default)]
pub struct Repeats {
    open: BTreeMap<MessageId, Repeat>,
}

struct Repeat {
    packet: Bytes,
    attempts: u32,
    due: RunningTime,
}

impl Repeats {
    pub fn add(&mut self, id: MessageId, packet: Bytes, now: RunningTime) {
        if self.open.len() >= MAX
            && let Some(next) = self.open.iter().min_by_key(|(_, repeat)| repeat.due).map(|(id, _)| id.clone())
        {
            self.open.remove(&next);
        }
        self.open.insert(id, Repeat { packet, attempts: 0, due: now.after(FIRST_WAIT) });
    }

    /// A message of that side was heard: what it depends on has arrived.
    pub fn named_by(&mut self, message: &Message) {
        for entry in &message.causal_history {
            self.open.remove(&entry.id);
        }
    }

    /// Packets to broadcast again.
    pub fn due(&mut self, now: RunningTime) -> Vec<Bytes> {
        let mut due = Vec::new();
        for repeat in self.open.values_mut().filter(|repeat| repeat.due <= now) {
            due.push(repeat.packet.clone());
            repeat.attempts += 1;
            repeat.due = now.after(FIRST_WAIT.saturating_mul(1 << repeat.attempts));
        }
        self.open.retain(|_, repeat| repeat.attempts < ATTEMPTS);
        due
    }
}
