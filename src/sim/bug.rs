//! Known bugs, put back to see that the oracle finds them: each changes what a participant does, from outside of its
//! [`Channel`](crate::channel::Channel).

use std::collections::BTreeSet;
use std::time::Duration;

use sha3::{Digest, Keccak256};

use crate::channel::{Channel, Config, Event, FilterEvidence, Input, Transmit, TransmitKind};
use crate::state::Place;
use crate::types::{HistoryEntry, Message, MessageId, MessageKind};

use super::Medium;

/// A known bug. Most are those of nim-sds 0.3 and @waku/sds 0.0.8, named in docs/protocol.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A dependency that is only parked counts as met (js).
    ParkedIsMet,
    /// Messages are delivered as they come, whatever they depend on.
    NoDependencies,
    /// Any filter hit is final (nim).
    AnyHit,
    /// A missing message is asked for once in its life (js and nim).
    AskOnce,
    /// Causal histories name the log's tail alone, no heads (js and nim).
    TailOnly,
    /// Nobody sends sync messages (nim).
    NoSync,
    /// Repair requests are never answered.
    NoAnswers,
    /// A message nobody acknowledged is reported as sent when it is given up (nim).
    FailureIsSuccess,
    /// The log is in arrival order (nim).
    ArrivalOrder,
    /// The id of a message is a hash of its content alone (js).
    ContentId,
    /// Any timestamp is adopted (js and nim).
    AnyTimestamp,
    /// What is asked for is answered at once, without bound (js).
    NoPace,
    /// A restart loses the newest message.
    LostRow,
    /// A restart finds the meta of an earlier save.
    OldMeta,
    /// A restart delivers the newest message again.
    DeliveredAgain,
    /// The buffer of messages waiting for acknowledgement is not saved.
    LostOutgoing,
    /// A restart forgets floor and horizon.
    LostBounds,
    /// Nothing is sent again (nim).
    NoResend,
    /// A founder takes the first message it hears for the beginning: what that one names counts as met.
    FounderSkips,
    /// Where packets are small, requests are the first to be left out.
    RequestsLeftOut,
    /// What another device sends under the own name is taken for an echo.
    OwnNameIgnored,
    /// What the application takes back is not taken back.
    WithdrawIgnored,
    /// What the application erases is not erased.
    EraseIgnored,
    /// What the application sends again is not sent.
    ResendIgnored,
    /// A restart forgets the newest mark: of what was withdrawn, lost, or is history.
    LostMark,
    /// Every signature counts as good, as where nobody checks.
    StrangersBelieved,
    /// What one other has, or may have, is told as delivered to all.
    OneIsAll,
    /// All that is here is told as stable, once anything is.
    AllIsStable,
    /// A restart forgets a member.
    LostMember,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::ParkedIsMet,
        Self::NoDependencies,
        Self::AnyHit,
        Self::AskOnce,
        Self::TailOnly,
        Self::NoSync,
        Self::NoAnswers,
        Self::FailureIsSuccess,
        Self::ArrivalOrder,
        Self::ContentId,
        Self::AnyTimestamp,
        Self::NoPace,
        Self::LostRow,
        Self::OldMeta,
        Self::DeliveredAgain,
        Self::LostOutgoing,
        Self::LostBounds,
        Self::NoResend,
        Self::FounderSkips,
        Self::RequestsLeftOut,
        Self::OwnNameIgnored,
        Self::WithdrawIgnored,
        Self::EraseIgnored,
        Self::ResendIgnored,
        Self::LostMark,
        Self::StrangersBelieved,
        Self::OneIsAll,
        Self::AllIsStable,
        Self::LostMember,
    ];

    /// Bugs that are a matter of options.
    pub(super) fn configure(self, config: &mut Config) {
        match self {
            Self::AnyHit => config.filter_evidence = FilterEvidence::Hits(1),
            Self::AnyTimestamp => config.max_clock_drift = Duration::MAX,
            Self::NoPace => {
                config.repair_bytes_per_second = u32::MAX;
                config.limits.max_requests_per_message = usize::MAX;
            }
            _ => {}
        }
    }

    /// Whether the channel never sees this, and the application is told that it was done.
    pub(super) fn ignores(self, input: &Input) -> bool {
        match self {
            Self::WithdrawIgnored => matches!(input, Input::Withdraw(_)),
            Self::EraseIgnored => matches!(input, Input::Erase(_)),
            Self::ResendIgnored => matches!(input, Input::Resend(_)),
            _ => false,
        }
    }

    /// Changes a message before the channel sees it; false when it does not.
    pub(super) fn received(self, channel: &Channel, message: &mut Message) -> bool {
        match self {
            Self::ParkedIsMet => {
                let parked: BTreeSet<MessageId> = channel.incoming().into_iter().map(|view| view.id).collect();
                message.causal_history.retain(|entry| !parked.contains(&entry.id));
            }
            Self::NoDependencies => message.causal_history.clear(),
            Self::FounderSkips => {
                let mut log = channel.log().peekable();
                let founder = log.peek().is_some() && log.all(|logged| logged.delivery.is_none());
                if founder && channel.stats().parked_len == 0 && message.kind() == Some(MessageKind::Content) {
                    message.causal_history.clear();
                }
            }
            Self::OwnNameIgnored => return message.sender != *channel.participant(),
            _ => {}
        }
        true
    }

    /// Changes a message before it goes out; false when it does not.
    pub(super) fn sends(self, channel: &Channel, asked: &mut BTreeSet<MessageId>, transmit: &mut Transmit) -> bool {
        match (self, transmit.kind) {
            (Self::NoSync, TransmitKind::Sync)
            | (Self::NoAnswers, TransmitKind::Repair)
            | (Self::NoResend, TransmitKind::Resend) => return false,
            (Self::RequestsLeftOut, _) if channel.config().max_transmit_bytes.is_some() => {
                transmit.message.repair_request.clear();
            }
            (Self::AskOnce, _) => transmit.message.repair_request.retain(|entry| asked.insert(entry.id.clone())),
            (Self::TailOnly, TransmitKind::Content | TransmitKind::Sync) => {
                let own = transmit.message.id.clone();
                let tail = channel.log().rev().filter(|logged| logged.body.key.id != own).take(2);
                transmit.message.causal_history =
                    tail.map(|logged| HistoryEntry::new(logged.body.key.id.clone())).collect();
            }
            _ => {}
        }
        true
    }

    /// Changes what the application hears.
    pub(super) fn told(self, channel: &Channel, event: &mut Event) {
        let told = match (self, &*event) {
            (Self::FailureIsSuccess, Event::DeliveryFailed { id, .. }) => {
                let by = channel.participant().clone();
                Event::MessageAcknowledged { id: id.clone(), by, after_failure: false }
            }
            (Self::OneIsAll, Event::MessageAcknowledged { id, .. }) if channel.members().is_some() => {
                Event::DeliveredToAll { id: id.clone() }
            }
            (Self::AllIsStable, Event::Stable { up_to }) => {
                let newest = channel.log().next_back().map_or(*up_to, |logged| logged.body.key.lamport);
                Event::Stable { up_to: newest.max(*up_to) }
            }
            _ => return,
        };
        *event = told;
    }

    /// The id under which content is sent.
    pub(super) fn id(self, content: &[u8]) -> Option<MessageId> {
        let hash = || Keccak256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        (self == Self::ContentId).then(|| MessageId::from(hash()))
    }

    /// Damages what was saved before it is loaded.
    pub(super) fn restarts(self, medium: &mut Medium, first_meta: Option<bytes::Bytes>) {
        match self {
            Self::LostRow => medium.lose_newest(Place::Body),
            Self::LostOutgoing => medium.lose_newest(Place::Outgoing),
            Self::LostMark => medium.lose_newest(Place::Mark),
            Self::LostMember => medium.lose_newest(Place::Member),
            Self::LostBounds => medium.forget_bounds(),
            Self::OldMeta if first_meta.is_some() => medium.replace_meta(first_meta),
            _ => {}
        }
    }
}
