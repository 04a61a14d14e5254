//! Messages that others may send, made from the parts of an operation: `who` sends, `id`, `names` which others it
//! names, `time` its Lamport time, `extra` the rest.

use bytes::Bytes;

use super::{CHANNEL, EPOCH, OWN, Op};
use crate::channel::Channel;
use crate::filter::{IdHash, RollingFilter, RollingFilterConfig};
use crate::types::{
    CatchUpField, Dialect, FilterField, HistoryEntry, JS_FILTER_BYTES, Lamport, Message, MessageId, ParticipantId,
    RunningTime,
};

/// One of sixteen.
pub(super) fn id(n: u8) -> MessageId {
    MessageId::new(format!("m{}", n % 16))
}

/// What the operation names: bit `n` the message `n`, or `n + 8` where bit 0 of `extra` is set.
pub(super) fn named(op: Op) -> impl Iterator<Item = HistoryEntry> {
    let first = if op.bit(0) { 8 } else { 0 };
    (0..8).filter(move |n| op.names >> n & 1 == 1).map(move |n| HistoryEntry {
        id: id(n + first),
        hint: (n == 7).then(|| Bytes::from_static(b"somewhere")),
        sender: (n % 2 == 0).then(|| sender(n)),
    })
}

/// A content message. Bit 1 of `extra` makes another content under the same id, bit 2 a large one, bits 3 to 5 say
/// which filter, bits 6 and 7 whether it asks for what it names, only asks, or asks for a lot.
pub(super) fn content(op: Op, wall: u64, channel: &Channel) -> Message {
    let id = id(op.id);
    let content = match (op.bit(1), op.bit(2)) {
        (false, false) => Bytes::copy_from_slice(id.as_bytes()),
        (true, false) => Bytes::from_static(b"other"),
        (_, true) => Bytes::from(vec![op.id; 300]),
    };
    Message { content, lamport: Some(lamport(op, wall, channel)), ..bare(id, op, channel) }
}

/// A sync message.
pub(super) fn sync(op: Op, wall: u64, channel: &Channel) -> Message {
    let id = MessageId::new(format!("s{}", op.id));
    Message { lamport: Some(lamport(op, wall, channel)), ..bare(id, op, channel) }
}

/// An ephemeral message, or one that breaks a rule.
pub(super) fn odd(op: Op, wall: u64, channel: &Channel) -> Message {
    let mut message = Message { content: Bytes::from_static(b"now"), ..bare(id(op.id), op, channel) };
    match op.time % 8 {
        0 => message.content = Bytes::new(),
        1 => message.id = MessageId::new(vec![b'i'; 257]),
        2 => message.sender = ParticipantId::from(""),
        3 => message.channel = "another".into(),
        4 => message.content = Bytes::from(vec![0; channel.config().limits.max_content_bytes.min(600) + 1]),
        5 => message.causal_history = vec![HistoryEntry::new("many"); 1_025],
        6 => message = Message { lamport: Some(Lamport(u64::MAX)), ..content(op, wall, channel) },
        _ => {}
    }
    message
}

/// A filter of another participant, often in the layout of the channel.
pub(super) fn filter(op: Op, channel: &Channel) -> FilterField {
    let compact = |k, bits| FilterField::Compact { k, seed: [op.id; 8], bits };
    let dialect = channel.config().dialect;
    match (op.extra >> 3 & 7, dialect) {
        (1, Dialect::JsWaku) => FilterField::Unspecified(vec![0xff; JS_FILTER_BYTES].into()),
        (2, Dialect::JsWaku) => FilterField::Unspecified(Bytes::new()),
        (1, Dialect::NimSds) => FilterField::NimSds(Bytes::from_static(NIM_FULL)),
        (2, Dialect::NimSds) => FilterField::NimSds(Bytes::from_static(NIM_WITHOUT_BITS)),
        (4, Dialect::NimSds) => FilterField::NimSds(Bytes::new()),
        (1, _) => compact(7, Bytes::from_static(&[0xff; 16])),
        (2, _) => compact(7, Bytes::new()),
        (3, _) => FilterField::Unusable,
        (4, _) => FilterField::Unspecified(Bytes::from_static(b"js")),
        (5, _) => holding(channel.outgoing().into_iter().map(|open| open.id), op.id, dialect),
        (6, _) => compact(65, Bytes::from_static(&[1; 16])),
        (7, _) => compact(1, Bytes::from(vec![op.names; 24])),
        _ => FilterField::Absent,
    }
}

/// A word full of ones, k = 7, m = 64.
const NIM_FULL: &[u8] = b"\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x10\x01\x18\x01\x20\x07\x28\x40";
/// No word, k = 1, m = 0, of which nim-sds dies.
const NIM_WITHOUT_BITS: &[u8] = b"\x0a\x00\x10\x01\x18\x01\x20\x01\x28\x00";

fn holding(ids: impl Iterator<Item = MessageId>, seed: u8, dialect: Dialect) -> FilterField {
    let mut filter = RollingFilter::new(RollingFilterConfig::of(dialect));
    ids.for_each(|id| filter.insert(&id, IdHash::in_dialect(&id, dialect), RunningTime::default()));
    filter.reseed(RunningTime::default(), [seed; 8]);
    filter.field()
}

fn bare(id: MessageId, op: Op, channel: &Channel) -> Message {
    let asks = op.extra >> 6;
    Message {
        id,
        sender: sender(op.who),
        channel: CHANNEL.into(),
        lamport: None,
        causal_history: if asks == 2 { Vec::new() } else { named(op).collect() },
        filter: filter(op, channel),
        repair_request: match asks {
            0 => Vec::new(),
            3 => named(op).chain((0..4).map(|n| HistoryEntry::new(id_of_own(channel, n)))).collect(),
            _ => named(op).collect(),
        },
        content: Bytes::new(),
        catch_up: CatchUpField::Absent,
        author_signature: None,
        sender_signature: None,
    }
}

fn id_of_own(channel: &Channel, at: usize) -> MessageId {
    channel.log().nth(at).map_or_else(|| id(15), |logged| logged.body.key.id.clone())
}

pub(super) fn sender(n: u8) -> ParticipantId {
    ["bob", "carol", "dave", OWN][usize::from(n % 4)].into()
}

/// Close to the start, close to now, or at the edges of what is accepted.
fn lamport(op: Op, wall: u64, channel: &Channel) -> Lamport {
    let limit = wall.saturating_add(channel.config().max_clock_drift.as_millis() as u64);
    Lamport(match op.time {
        time @ 0..200 => EPOCH + u64::from(time) * 100,
        time @ 200..250 => wall.saturating_add(u64::from(time - 200) * 500),
        250 => 0,
        251 => limit,
        252 => limit.saturating_add(1),
        253 => u64::MAX,
        _ => wall,
    })
}
