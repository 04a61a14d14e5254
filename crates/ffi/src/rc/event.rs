//! What a manager tells, as C reads it.
//!
//! What: [`rc_event`], one flat structure for all kinds. Why flat: a host that does not know a kind can still free it, and new
//! members come at the end. How it moves: [`Told`] is what the library tells; [`Shown`] owns it and shows it, and the pointers
//! in the event are to what it owns.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ptr;

use bytes::Bytes;
use reliable_channel::channel::{Delivery, Event, SyncStatus};
use reliable_channel::manager::ManagerEvent;
use reliable_channel::reliable::ChannelEvent;
use reliable_channel::state::{Body, Logged};
use reliable_channel::types::{ChannelId, HistoryEntry, MessageId, with_causes};

use crate::rc::types::rc_bytes;

/// What happened. Later versions may tell more: pass over what you do not know.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rc_event_kind {
    /// A message of another participant, once and in causal order: `message`.
    RC_EVENT_MESSAGE = 1,
    /// Another participant has an own message: `message.id`; `peer` is who.
    RC_EVENT_DELIVERED = 2,
    /// Another participant probably has it: `message.id`, `peer`; `chance` is that of an error.
    RC_EVENT_POSSIBLY_DELIVERED = 3,
    /// An own message was given up: `message.id`. It may still be delivered.
    RC_EVENT_FAILED = 4,
    /// An own message is not sent again, and is probably there: `message.id`; `chance` is that of an error.
    RC_EVENT_UNCERTAIN = 5,
    /// `bytes` must be broadcast to `channel`. Without a transport alone.
    RC_EVENT_TRANSMIT = 6,
    /// A message waits for others: `message.id`, `message.missing`.
    RC_EVENT_MISSING = 7,
    /// Messages went ahead without `count` that they refer to: `message.id` is the first after the gap.
    RC_EVENT_GAP = 8,
    /// What a message refers to was given up: `message.id`.
    RC_EVENT_LOST = 9,
    /// The first message of others was heard: `message.id`; up to `count` older ones are fetched.
    RC_EVENT_JOINED = 10,
    /// A message that is not kept: `message.id`, `message.sender`, `message.content`.
    RC_EVENT_EPHEMERAL = 11,
    /// How far catching up is: `sync`, `count` fetched, `total` known to be missing still.
    RC_EVENT_SYNC_STATUS = 12,
    /// The network took an own message for the first time: `message.id`. With a transport alone, as the next four.
    RC_EVENT_SENT = 13,
    /// The network took `count` of the `total` segments of an own message: `message.id`.
    RC_EVENT_SENDING = 14,
    /// `count` of the `total` segments of a large message of `message.sender` are here.
    RC_EVENT_RECEIVING = 15,
    /// The network refused an own message for good: `message.id`; `text` says why.
    RC_EVENT_SEND_ERROR = 16,
    /// The network is not there: `text`. It is tried again.
    RC_EVENT_DISCONNECTED = 17,
    /// The network is back.
    RC_EVENT_CONNECTED = 18,
    /// The host was too slow, and `count` older events were given up; `rc_log_read` has the messages among them.
    RC_EVENT_MISSED = 19,
    /// A channel could not be saved, and it is tried again: `text`.
    RC_EVENT_STORE_FAILED = 20,
    /// Everything was saved since.
    RC_EVENT_STORE_RECOVERED = 21,
    /// A message under our own name was not sent from here: `message.id`. Each device needs a participant id of its own.
    RC_EVENT_SHARED_IDENTITY = 22,
    /// Two messages came under one id, and the first stays: `message.id`; `message.sender` is the second one's.
    RC_EVENT_ID_CONFLICT = 23,
    /// A message is older than all that is remembered, and was not delivered: `message.id`, `message.sender`.
    RC_EVENT_TOO_OLD = 24,
    /// A limit was hit: `text` says which; `message.id` is what gave way, and `peer` whose message led to it.
    RC_EVENT_LIMIT = 25,
    /// Something else: `text` says what.
    RC_EVENT_OTHER = 26,
}

use rc_event_kind::*;

/// How far catching up is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rc_sync {
    /// Nothing is known to be missing.
    RC_SYNC_IN_SYNC = 0,
    /// Missing messages are being fetched.
    RC_SYNC_SYNCING = 1,
    /// Messages are missing, and nobody gives them now. There will be another try.
    RC_SYNC_BEHIND = 2,
}

/// A flag of a message: it is from before this participant joined, and no news.
pub const RC_FLAG_HISTORY: u32 = 1;
/// A flag of a message: it sorts below the newest one of the log.
pub const RC_FLAG_LATE: u32 = 2;
/// A flag of a message: this participant sent it.
pub const RC_FLAG_OWN: u32 = 4;
/// A flag of an event: after it had been told as failed; of a failure: with some evidence of receipt.
pub const RC_FLAG_DOUBTFUL: u32 = 8;

/// A message that another one refers to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_dependency {
    /// Its id.
    pub id: rc_bytes,
    /// Where an archive has it, where that is known.
    pub hint: rc_bytes,
}

/// A message. All pointers are to what owns it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_message {
    /// Its id.
    pub id: rc_bytes,
    /// Who sent it.
    pub sender: rc_bytes,
    /// What it says.
    pub content: rc_bytes,
    /// Its Lamport time in milliseconds: logs are in the order of this and then of `id`.
    pub lamport: u64,
    /// Number of its delivery in the channel, from 1; 0 for one that was not delivered, as an own one.
    pub number: u64,
    /// Together with `number`, where to go on from: see `rc_deliveries_since`. 0 where `number` is.
    pub incarnation: u64,
    /// `RC_FLAG_*`.
    pub flags: u32,
    /// How many there are of `missing`.
    pub missing_count: usize,
    /// What it refers to and is not here.
    pub missing: *const rc_dependency,
}

/// Something that happened. All pointers are to what the event owns, and good until `rc_event_free`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_event {
    /// What.
    pub kind: rc_event_kind,
    /// `RC_FLAG_*`.
    pub flags: u32,
    /// Where.
    pub channel: rc_bytes,
    /// The message that it is about; its id alone where the kind says so.
    pub message: rc_message,
    /// Another participant.
    pub peer: rc_bytes,
    /// A message to broadcast.
    pub bytes: rc_bytes,
    /// For people: UTF-8.
    pub text: rc_bytes,
    /// A number.
    pub count: u64,
    /// Of how many.
    pub total: u64,
    /// A probability.
    pub chance: f64,
    /// How far catching up is.
    pub sync: rc_sync,
}

impl rc_message {
    pub(crate) const EMPTY: Self = Self {
        id: rc_bytes::EMPTY,
        sender: rc_bytes::EMPTY,
        content: rc_bytes::EMPTY,
        lamport: 0,
        number: 0,
        incarnation: 0,
        flags: 0,
        missing_count: 0,
        missing: ptr::null(),
    };

    pub(crate) fn of_body(body: &Body) -> Self {
        let (id, sender) = (rc_bytes::of(body.key.id.as_bytes()), rc_bytes::of(body.sender.as_bytes()));
        Self { id, sender, content: rc_bytes::of(&body.content), lamport: body.key.lamport.0, ..Self::EMPTY }
    }

    pub(crate) fn of_delivery(delivery: &Delivery) -> Self {
        let flags = flag(delivery.history, RC_FLAG_HISTORY) | flag(delivery.late, RC_FLAG_LATE);
        let (number, incarnation) = (delivery.number, delivery.incarnation);
        Self { number, incarnation, flags, ..Self::of_body(&delivery.body) }
    }

    pub(crate) fn of_logged(logged: &Logged, incarnation: u64) -> Self {
        let flags = flag(logged.late, RC_FLAG_LATE) | flag(logged.delivery.is_none(), RC_FLAG_OWN);
        let (number, incarnation) = logged.delivery.map_or((0, 0), |number| (number, incarnation));
        Self { number, incarnation, flags, ..Self::of_body(&logged.body) }
    }

    pub(crate) fn lacks(&mut self, missing: &[rc_dependency]) {
        self.missing_count = missing.len();
        self.missing = if missing.is_empty() { ptr::null() } else { missing.as_ptr() };
    }
}

impl rc_event {
    fn new(channel: rc_bytes) -> Self {
        Self {
            kind: RC_EVENT_OTHER,
            flags: 0,
            channel,
            message: rc_message::EMPTY,
            peer: rc_bytes::EMPTY,
            bytes: rc_bytes::EMPTY,
            text: rc_bytes::EMPTY,
            count: 0,
            total: 0,
            chance: 0.0,
            sync: rc_sync::RC_SYNC_IN_SYNC,
        }
    }

    fn about(&mut self, kind: rc_event_kind, id: &MessageId) {
        (self.kind, self.message.id) = (kind, rc_bytes::of(id.as_bytes()));
    }
}

fn flag(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}

pub(crate) fn dependency_of(entry: &HistoryEntry) -> rc_dependency {
    let hint = entry.hint.as_ref().map_or(rc_bytes::EMPTY, |hint| rc_bytes::of(hint));
    rc_dependency { id: rc_bytes::of(entry.id.as_bytes()), hint }
}

pub(crate) fn dependency(id: &MessageId) -> rc_dependency {
    rc_dependency { id: rc_bytes::of(id.as_bytes()), hint: rc_bytes::EMPTY }
}

/// Catching up: how far, messages fetched, messages missing still.
pub(crate) fn sync_of(status: SyncStatus) -> (rc_sync, u64, u64) {
    match status {
        SyncStatus::Syncing { received, missing } => (rc_sync::RC_SYNC_SYNCING, received, missing),
        SyncStatus::Behind => (rc_sync::RC_SYNC_BEHIND, 0, 0),
        _ => (rc_sync::RC_SYNC_IN_SYNC, 0, 0),
    }
}

/// What the library tells.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// The manager.
    Manager(ManagerEvent),
    /// A joined channel of a node.
    Channel(ChannelId, ChannelEvent),
    /// What must go out.
    Transmit(ChannelId, Bytes),
    /// So many older ones were given up.
    Missed(u64),
}

impl Told {
    /// Bytes that it keeps in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let content = match self {
            Self::Manager(ManagerEvent::Channel { event: Event::MessageDelivered(delivery), .. })
            | Self::Channel(_, ChannelEvent::Received(delivery)) => delivery.body.content.len(),
            Self::Manager(ManagerEvent::Channel { event: Event::EphemeralReceived { content, .. }, .. })
            | Self::Channel(_, ChannelEvent::Other(Event::EphemeralReceived { content, .. })) => content.len(),
            Self::Transmit(_, bytes) => bytes.len(),
            _ => 0,
        };
        size_of::<Self>() + content
    }
}

/// An event, and what it shows. The event is first, so that a pointer to it is one to this.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) event: rc_event,
    told: Told,
    missing: Vec<rc_dependency>,
    text: String,
}

impl Shown {
    /// Boxed, for what it shows must stay where it is.
    pub(crate) fn new(told: Told) -> Box<Self> {
        let event = rc_event::new(rc_bytes::EMPTY);
        let mut shown = Box::new(Self { event, told, missing: Vec::new(), text: String::new() });
        shown.show();
        shown
    }

    fn show(&mut self) {
        let Self { event, told, missing, text } = self;
        match told {
            Told::Manager(told) => {
                event.channel = rc_bytes::of(told.channel().as_bytes());
                match told {
                    ManagerEvent::Channel { event: told, .. } => show_event(event, missing, text, told),
                    ManagerEvent::PersistenceFailed { error, .. } => {
                        event.kind = RC_EVENT_STORE_FAILED;
                        *text = with_causes(&**error);
                    }
                    ManagerEvent::PersistenceRecovered { .. } => event.kind = RC_EVENT_STORE_RECOVERED,
                    other => *text = format!("{other:?}"),
                }
            }
            Told::Channel(channel, told) => {
                event.channel = rc_bytes::of(channel.as_bytes());
                show_channel_event(event, missing, text, told);
            }
            Told::Transmit(channel, bytes) => {
                event.channel = rc_bytes::of(channel.as_bytes());
                (event.kind, event.bytes) = (RC_EVENT_TRANSMIT, rc_bytes::of(bytes));
            }
            Told::Missed(count) => (event.kind, event.count) = (RC_EVENT_MISSED, *count),
        }
        event.message.lacks(missing);
        event.text = rc_bytes::of(text.as_bytes());
    }
}

fn show_event(shown: &mut rc_event, missing: &mut Vec<rc_dependency>, text: &mut String, told: &Event) {
    match told {
        Event::MessageDelivered(delivery) => show_delivery(shown, missing, delivery),
        Event::MessageAcknowledged { id, by, after_failure } => {
            shown.about(RC_EVENT_DELIVERED, id);
            (shown.peer, shown.flags) = (rc_bytes::of(by.as_bytes()), flag(*after_failure, RC_FLAG_DOUBTFUL));
        }
        Event::AlsoAcknowledged { id, by } => {
            shown.about(RC_EVENT_DELIVERED, id);
            shown.peer = rc_bytes::of(by.as_bytes());
        }
        Event::MessagePossiblyAcknowledged { id, by, chance } => {
            shown.about(RC_EVENT_POSSIBLY_DELIVERED, id);
            (shown.peer, shown.chance) = (rc_bytes::of(by.as_bytes()), *chance);
        }
        Event::DeliveryFailed { id, possibly } => {
            shown.about(RC_EVENT_FAILED, id);
            shown.flags = flag(*possibly, RC_FLAG_DOUBTFUL);
        }
        Event::DeliveryUncertain { id, chance } => {
            shown.about(RC_EVENT_UNCERTAIN, id);
            shown.chance = *chance;
        }
        Event::MissingDependencies { id, missing: entries } => {
            shown.about(RC_EVENT_MISSING, id);
            missing.extend(entries.iter().map(dependency_of));
        }
        Event::HistoryGap { missing: count, before, .. } => {
            shown.about(RC_EVENT_GAP, &before.id);
            (shown.count, shown.message.lamport) = (*count, before.lamport.0);
        }
        Event::DependencyLost { id } => shown.about(RC_EVENT_LOST, id),
        Event::Joined { first, history } => {
            shown.about(RC_EVENT_JOINED, first);
            shown.count = *history;
        }
        Event::EphemeralReceived { id, sender, content } => {
            shown.about(RC_EVENT_EPHEMERAL, id);
            (shown.message.sender, shown.message.content) = (rc_bytes::of(sender.as_bytes()), rc_bytes::of(content));
        }
        Event::SyncStatus(status) => {
            shown.kind = RC_EVENT_SYNC_STATUS;
            (shown.sync, shown.count, shown.total) = sync_of(*status);
        }
        Event::SharedIdentity { id } => shown.about(RC_EVENT_SHARED_IDENTITY, id),
        Event::IdConflict { id, sender } => {
            shown.about(RC_EVENT_ID_CONFLICT, id);
            shown.message.sender = rc_bytes::of(sender.as_bytes());
        }
        Event::TooOld { id, sender } => {
            shown.about(RC_EVENT_TOO_OLD, id);
            shown.message.sender = rc_bytes::of(sender.as_bytes());
        }
        Event::LimitReached { limit, id, by } => {
            shown.kind = RC_EVENT_LIMIT;
            shown.message.id = id.as_ref().map_or(rc_bytes::EMPTY, |id| rc_bytes::of(id.as_bytes()));
            shown.peer = by.as_ref().map_or(rc_bytes::EMPTY, |by| rc_bytes::of(by.as_bytes()));
            *text = format!("{limit:?}");
        }
        other => *text = format!("{other:?}"),
    }
}

fn show_delivery(shown: &mut rc_event, missing: &mut Vec<rc_dependency>, delivery: &Delivery) {
    (shown.kind, shown.message) = (RC_EVENT_MESSAGE, rc_message::of_delivery(delivery));
    missing.extend(delivery.missing.iter().map(dependency));
}

fn show_channel_event(shown: &mut rc_event, missing: &mut Vec<rc_dependency>, text: &mut String, told: &ChannelEvent) {
    match told {
        ChannelEvent::Received(delivery) => show_delivery(shown, missing, delivery),
        ChannelEvent::Sent { request } => shown.about(RC_EVENT_SENT, request.message()),
        ChannelEvent::Sending { request, sent, of } => {
            shown.about(RC_EVENT_SENDING, request.message());
            (shown.count, shown.total) = (*sent as u64, *of as u64);
        }
        ChannelEvent::Receiving { sender, progress } => {
            (shown.kind, shown.message.sender) = (RC_EVENT_RECEIVING, rc_bytes::of(sender.as_bytes()));
            (shown.count, shown.total) = (progress.held as u64, progress.needed as u64);
        }
        ChannelEvent::SendError { request, error, .. } => {
            shown.about(RC_EVENT_SEND_ERROR, request.message());
            *text = error.to_string();
        }
        ChannelEvent::Delivered { request, by, after_error } => {
            shown.about(RC_EVENT_DELIVERED, request.message());
            (shown.peer, shown.flags) = (rc_bytes::of(by.as_bytes()), flag(*after_error, RC_FLAG_DOUBTFUL));
        }
        ChannelEvent::DeliveryError { request, possibly } => {
            shown.about(RC_EVENT_FAILED, request.message());
            shown.flags = flag(*possibly, RC_FLAG_DOUBTFUL);
        }
        ChannelEvent::Disconnected { error } => {
            shown.kind = RC_EVENT_DISCONNECTED;
            *text = error.to_string();
        }
        ChannelEvent::Connected => shown.kind = RC_EVENT_CONNECTED,
        ChannelEvent::Missed { events, lost } => {
            (shown.kind, shown.count, shown.total) = (RC_EVENT_MISSED, *events, *lost);
        }
        ChannelEvent::PersistenceFailed(error) => {
            shown.kind = RC_EVENT_STORE_FAILED;
            *text = with_causes(&**error);
        }
        ChannelEvent::PersistenceRecovered => shown.kind = RC_EVENT_STORE_RECOVERED,
        ChannelEvent::Other(event) => show_event(shown, missing, text, event),
        other => *text = format!("{other:?}"),
    }
}

/// Gives an event back; nothing for NULL.
///
/// # Safety
/// `event` is NULL, or from `rc_next_event` and not given back yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_event_free(event: *mut rc_event) {
    if !event.is_null() {
        // SAFETY: such an event is the first member of a `Shown` that was boxed, and the caller owns it.
        drop(unsafe { Box::from_raw(event.cast::<Shown>()) });
    }
}
