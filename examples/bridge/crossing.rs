//! What a message becomes on the other side.
//!
//! What: [`cross`]. Its id, sender, causal history and content stay as they are. Its Lamport time stays too from nim to
//! js, for seconds are milliseconds; from js to nim it is rounded up to seconds, and above what it depends on: an answer
//! must not sort before its question. Why ids may not cross: nim's are bytes, LIP-109's are text. How it moves: it does
//! not; this is a function.

use reliable_channel::state::{Body, Logged};
use reliable_channel::types::{ChannelId, HistoryEntry, Lamport, Message};

use crate::bridge::Side;

/// The participant that the bridge is, on both sides.
pub const BRIDGE: &str = "bridge";

const SECOND_MS: u64 = 1_000;

/// A message for the other side.
pub struct Crossed {
    pub message: Message,
    /// References that the other network cannot say. Nobody there has what they name, or could ever get it.
    pub left_out: u64,
}

/// This message as the side `to` may have it, where `there` is the log; `None` when that network cannot say who it is.
pub fn cross(channel: &ChannelId, body: &Body, to: Side, there: &[Logged]) -> Option<Crossed> {
    // Empty content is a message in the nim network and none in the other.
    if !sayable(body.key.id.as_bytes(), to) || !sayable(body.sender.as_bytes(), to) || body.content.is_empty() {
        return None;
    }
    let sayable_entry = |entry: &&HistoryEntry| {
        sayable(entry.id.as_bytes(), to) && entry.sender.as_ref().is_none_or(|sender| sayable(sender.as_bytes(), to))
    };
    let causal_history: Vec<_> = body.causal_history.iter().filter(sayable_entry).cloned().collect();
    let left_out = (body.causal_history.len() - causal_history.len()) as u64;
    let lamport = Some(lamport(body, to, there));
    let mut message = message(channel, body);
    message.lamport = lamport;
    message.causal_history = causal_history;
    Some(Crossed { message, left_out })
}

/// This message as it is.
pub fn message(channel: &ChannelId, body: &Body) -> Message {
    let mut message = Message::new(body.key.id.clone(), body.sender.clone(), channel.clone());
    message.lamport = Some(body.key.lamport);
    message.causal_history = body.causal_history.clone();
    message.content = body.content.clone();
    message
}

fn lamport(body: &Body, to: Side, there: &[Logged]) -> Lamport {
    let own = body.key.lamport.0;
    match to {
        Side::Js => Lamport(own),
        Side::Nim => {
            let named = |logged: &&Logged| body.causal_history.iter().any(|entry| entry.id == logged.body.key.id);
            let after = there.iter().filter(named).map(|logged| logged.body.key.lamport.0 + SECOND_MS).max();
            Lamport(own.div_ceil(SECOND_MS).saturating_mul(SECOND_MS).max(after.unwrap_or(0)))
        }
    }
}

fn sayable(name: &[u8], to: Side) -> bool {
    to == Side::Nim || std::str::from_utf8(name).is_ok()
}
