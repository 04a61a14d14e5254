//! What anybody orders in a world: tasks, and callbacks from inside.

use bytes::Bytes;

use super::{World, config};
use crate::channel::Input as ChannelInput;
use crate::executor::Order;
use crate::types::MessageId;

impl World {
    pub(super) fn any_order(&mut self) -> Order {
        match self.random.below(20) {
            0..=5 => Order::Open(config()),
            6..=14 => Order::Enter { input: self.any_input(), heard: None },
            15 | 16 => Order::Close,
            17 | 18 => Order::Remove,
            _ if self.random.percent(30) => Order::ShutDown,
            _ => Order::Close,
        }
    }

    /// What an application does with a channel, mostly sending.
    fn any_input(&mut self) -> ChannelInput {
        let content = Bytes::from(self.sequence.to_string());
        let known = named(self.random.below(self.named.max(1)));
        match self.random.below(40) {
            0..=9 => ChannelInput::Send { content, id: None },
            10..=22 => {
                self.named += 1;
                ChannelInput::Send { content, id: Some(named(self.named - 1)) }
            }
            23 | 24 => ChannelInput::SendMany(vec![content.clone(), content]),
            25 => ChannelInput::SendEphemeral { content },
            26..=28 => ChannelInput::SendSync,
            29 | 30 => ChannelInput::Timeout,
            31 => ChannelInput::Online,
            32 => ChannelInput::CatchUp,
            33 => ChannelInput::Checkpoint,
            34 => ChannelInput::DependenciesMet(vec![known]),
            35 => ChannelInput::SetHint { id: known, hint: content },
            36 => ChannelInput::Resend(known),
            37 if self.random.percent(50) => ChannelInput::Send { content, id: Some(loose(self.named / 8)) },
            37 => ChannelInput::Withdraw(loose(self.named / 8)),
            _ => ChannelInput::Erase(known),
        }
    }
}

fn named(number: u64) -> MessageId {
    format!("m{number}").as_str().into()
}

/// A message that may be taken back.
fn loose(number: u64) -> MessageId {
    format!("loose {number}").as_str().into()
}

/// Whether what this sends need not be there later.
pub(super) fn is_loose(input: &ChannelInput) -> bool {
    match input {
        ChannelInput::SendEphemeral { .. } => true,
        ChannelInput::Send { id: Some(id), .. } => id.as_bytes().starts_with(b"loose"),
        _ => false,
    }
}
