//! When `message_sent` is told.
//!
//! What: [`Sent`]. Here it says that another participant has the message. nim-sds also tells it after any hit in any filter, and
//! when it gives up; a host that relies on that sets `LIBSDS_MESSAGE_SENT=nim` for its process. Why by the environment: such a
//! host changes the library and nothing else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::env;
use std::sync::OnceLock;

use reliable_channel::channel::Event;
use reliable_channel::types::{ChannelId, MessageId};

use crate::sync::{Mutex, lock};

/// The variable, and what it may be.
const VARIABLE: &str = "LIBSDS_MESSAGE_SENT";
const NIM: &str = "nim";
/// Messages of a channel of which is remembered that they were told: more than can be open in it.
const REMEMBERED: usize = 16_384;

/// When `message_sent` is told.
#[derive(Debug)]
pub(crate) enum Sent {
    /// When another participant has it, which happens once.
    Acknowledged,
    /// As nim-sds tells it: at the first of several signs.
    AsNim(Mutex<Told>),
}

impl Sent {
    /// As the process's environment has it, when this is first called.
    pub(crate) fn of_environment() -> Self {
        static AS_NIM: OnceLock<bool> = OnceLock::new();
        if *AS_NIM.get_or_init(|| env::var(VARIABLE).is_ok_and(|value| value == NIM)) {
            Self::as_nim()
        } else {
            Self::Acknowledged
        }
    }

    pub(crate) fn as_nim() -> Self {
        Self::AsNim(Mutex::default())
    }

    /// The message that this event says was sent.
    pub(crate) fn by<'a>(&self, channel: &ChannelId, event: &'a Event) -> Option<&'a MessageId> {
        match (self, event) {
            (Self::Acknowledged, Event::MessageAcknowledged { id, .. }) => Some(id),
            (
                Self::AsNim(told),
                Event::MessageAcknowledged { id, .. }
                | Event::MessagePossiblyAcknowledged { id, .. }
                | Event::DeliveryUncertain { id, .. }
                | Event::DeliveryFailed { id, .. },
            ) => lock(told).add(channel, id).then_some(id),
            _ => None,
        }
    }

    /// All channels were forgotten: their ids may come again.
    pub(crate) fn forget(&self) {
        if let Self::AsNim(told) = self {
            *lock(told) = Told::default();
        }
    }
}

/// What was told, by channel.
#[derive(Debug, Default)]
pub(crate) struct Told(HashMap<ChannelId, OfChannel>);

/// What was told, oldest first.
#[derive(Debug, Default)]
struct OfChannel {
    known: HashSet<MessageId>,
    order: VecDeque<MessageId>,
}

impl Told {
    /// Whether it is new.
    fn add(&mut self, channel: &ChannelId, id: &MessageId) -> bool {
        let OfChannel { known, order } = self.0.entry(channel.clone()).or_default();
        if !known.insert(id.clone()) {
            return false;
        }
        order.push_back(id.clone());
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn possibly(id: &str) -> Event {
        Event::MessagePossiblyAcknowledged { id: id.into(), by: "bob".into(), chance: 0.001 }
    }

    fn acknowledged(id: &str) -> Event {
        Event::MessageAcknowledged { id: id.into(), by: "bob".into(), after_failure: false }
    }

    #[test]
    fn an_acknowledgement_is_told_and_nothing_else() {
        let room = "room".into();
        let sent = Sent::Acknowledged;
        let failed = Event::DeliveryFailed { id: "a".into(), possibly: false };
        let told: Vec<_> =
            [possibly("a"), failed, acknowledged("a")].iter().map(|event| sent.by(&room, event).is_some()).collect();
        assert_eq!(told, [false, false, true]);
    }

    #[test]
    fn as_nim_the_first_sign_is_told_and_no_later_one() {
        let (room, hall) = ("room".into(), "hall".into());
        let sent = Sent::as_nim();
        let uncertain = Event::DeliveryUncertain { id: "b".into(), chance: 0.001 };
        let failed = Event::DeliveryFailed { id: "c".into(), possibly: false };
        for event in [possibly("a"), uncertain, failed] {
            assert!(sent.by(&room, &event).is_some(), "{event:?}");
        }
        for id in ["a", "b", "c"] {
            assert_eq!(sent.by(&room, &acknowledged(id)), None);
            assert_eq!(sent.by(&hall, &acknowledged(id)), Some(&id.into()), "another channel's");
        }
        sent.forget();
        assert!(sent.by(&room, &acknowledged("a")).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let room = "room".into();
        let sent = Sent::as_nim();
        for number in 0..=REMEMBERED {
            assert!(sent.by(&room, &possibly(&number.to_string())).is_some());
        }
        let Sent::AsNim(told) = &sent else { unreachable!() };
        let counts = |channel: &ChannelId| {
            let told = &lock(told).0[channel];
            (told.known.len(), told.order.len())
        };
        assert_eq!(counts(&room), (REMEMBERED, REMEMBERED));
        let hall = "hall".into();
        for number in 0..100 {
            assert!(sent.by(&hall, &possibly(&number.to_string())).is_some());
        }
        assert!(sent.by(&room, &possibly("1")).is_none(), "another channel's messages take none of its places");
        assert!(sent.by(&room, &possibly("0")).is_some() && sent.by(&room, &possibly("16384")).is_none());
    }
}
