//! What is to happen in a world, at its time.

use super::storing::{End, Verb};
use crate::executor::{ArchiveCall, CallId, Effect, Generation};
use crate::types::{ChannelId, Message};

#[derive(Debug)]
pub(super) enum Happening {
    /// A call to the store lands and comes back.
    Stored {
        member: usize,
        run: u64,
        channel: ChannelId,
        generation: Generation,
        verb: Verb,
        end: End,
    },
    /// A call to the archive lands and comes back.
    Archived {
        member: usize,
        run: u64,
        channel: ChannelId,
        generation: Generation,
        call: ArchiveCall,
        end: End,
    },
    Flushed {
        member: usize,
        run: u64,
        end: End,
    },
    /// Where a bug has an effect carried out too late.
    CarryOut {
        member: usize,
        run: u64,
        effect: Effect,
    },
    /// A callback goes on.
    GoOn {
        member: usize,
        run: u64,
        channel: ChannelId,
    },
    GiveUp {
        member: usize,
        run: u64,
        channel: ChannelId,
        call: CallId,
    },
    Forget {
        member: usize,
        run: u64,
        channel: ChannelId,
        call: CallId,
    },
    Arrive {
        member: usize,
        message: Message,
    },
    Task {
        member: usize,
    },
    Heal {
        member: usize,
    },
    Restart {
        member: usize,
        run: u64,
    },
}
