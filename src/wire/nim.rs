//! The `NimSds` dialect.
//!
//! What: the limits and rules of an encoded message as nim-sds applies them, and its conversion. Why read by hand:
//! nim-sds passes over a known field of the wrong wire type and over field number 0, and refuses numbers longer than
//! need be; a protobuf decoder does none of it. How it moves: [`decode`] walks the packet twice, first to hold it to
//! the limits without taking memory, then to take the parts, which share the packet's memory; [`encode`] fills the
//! generated type. Lamport time is seconds on the wire and milliseconds in [`Message`].
//!
//! nim-sds 0.3 requires fields 1, 2, 4 and 5; 0.4 leaves out what is empty or 0 and requires the two ids alone. Read is
//! what either writes, written is what both read.

use bytes::Bytes;
use prost::Message as _;

use super::generated::nim as proto;
use super::lip109::{id_within, not_empty};
use super::scan::{Field, Fields, Value, at_most};
use super::{IdRole, WireError, compact, filter};
use crate::types::{
    CatchUpField, ChannelId, Dialect, FilterField, HistoryEntry, Lamport, Limits, Message, MessageId, ParticipantId,
};

pub(super) fn decode(packet: &Bytes, limits: &Limits) -> Result<Message, WireError> {
    check(packet, limits)?;
    let (mut id, mut channel, mut sender): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let (mut seconds, mut content, mut bloom): (u64, &[u8], &[u8]) = (0, &[], &[]);
    let (mut causal_history, mut repair_request) = (Vec::new(), Vec::new());
    let mut fields = Fields::nim(packet, 0);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (2, Value::Varint(value)) => seconds = value,
            (1, Value::Bytes { body, .. }) => id = body,
            (3, Value::Bytes { body, at }) => causal_history.push(entry(packet, body, at)?),
            (4, Value::Bytes { body, .. }) => channel = body,
            (5, Value::Bytes { body, .. }) => content = body,
            (6, Value::Bytes { body, .. }) => bloom = body,
            (7, Value::Bytes { body, .. }) => sender = body,
            (13, Value::Bytes { body, at }) => repair_request.push(entry(packet, body, at)?),
            _ => {}
        }
    }
    not_empty(id.len(), IdRole::Message)?;
    not_empty(channel.len(), IdRole::Channel)?;
    Ok(Message {
        id: MessageId::new(id),
        sender: ParticipantId::new(sender),
        channel: ChannelId::new(channel),
        lamport: Some(lamport(seconds)?),
        causal_history,
        filter: filter::decode_nim(bloom, packet),
        repair_request,
        content: compact(packet, content),
        catch_up: CatchUpField::Absent,
        author_signature: None,
        sender_signature: None,
    })
}

pub(super) fn encode(message: &Message) -> Result<Bytes, WireError> {
    let lamport = message.lamport.ok_or(WireError::NotInDialect { what: "ephemeral message" })?;
    not_empty(message.id.len(), IdRole::Message)?;
    not_empty(message.channel.len(), IdRole::Channel)?;
    let copy = Bytes::copy_from_slice;
    let entries = |list: &[HistoryEntry]| list.iter().map(encode_entry).collect::<Result<Vec<_>, _>>();
    let encoded = proto::Message {
        message_id: Some(copy(message.id.as_bytes())),
        lamport_timestamp: Some(lamport.0 / Dialect::NimSds.tick_ms()),
        causal_history: entries(&message.causal_history)?,
        channel_id: Some(copy(message.channel.as_bytes())),
        content: Some(message.content.clone()),
        bloom_filter: Some(match &message.filter {
            FilterField::NimSds(bytes) => bytes.clone(),
            _ => Bytes::new(),
        }),
        sender_id: copy(message.sender.as_bytes()),
        repair_request: entries(&message.repair_request)?,
    };
    Ok(encoded.encode_to_vec().into())
}

/// Holds the packet to the limits, without taking memory.
fn check(packet: &[u8], limits: &Limits) -> Result<(), WireError> {
    let (mut causal, mut repair) = (0, 0);
    let mut fields = Fields::nim(packet, 0);
    while let Some(field) = fields.next()? {
        let Some((body, _)) = field.body() else { continue };
        match field.number {
            1 => drop(id_within(body, IdRole::Message, limits)?),
            3 => {
                causal += 1;
                at_most(causal, limits.max_causal_entries)
                    .map_err(|(found, max)| WireError::TooManyCausalEntries { found, max })?;
                check_entry(field, limits)?;
            }
            4 => drop(id_within(body, IdRole::Channel, limits)?),
            5 => at_most(body.len(), limits.max_content_bytes)
                .map_err(|(found, max)| WireError::ContentTooLarge { found, max })?,
            7 => drop(id_within(body, IdRole::Sender, limits)?),
            13 => {
                repair += 1;
                at_most(repair, limits.max_causal_entries)
                    .map_err(|(found, max)| WireError::TooManyRepairEntries { found, max })?;
                check_entry(field, limits)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_entry(entry: Field<'_>, limits: &Limits) -> Result<(), WireError> {
    let Some((body, at)) = entry.body() else { return Ok(()) };
    let mut message = 0;
    let mut fields = Fields::nim(body, at);
    while let Some(field) = fields.next()? {
        let Some((body, _)) = field.body() else { continue };
        match field.number {
            1 => message = id_within(body, IdRole::EntryMessage, limits)?.len(),
            2 => at_most(body.len(), limits.max_hint_bytes)
                .map_err(|(found, max)| WireError::HintTooLarge { found, max })?,
            3 => drop(id_within(body, IdRole::EntrySender, limits)?),
            _ => {}
        }
    }
    not_empty(message, IdRole::EntryMessage)
}

/// A history entry that [`check_entry`] has passed. What is empty counts as absent: nim-sds leaves it out.
fn entry(packet: &Bytes, body: &[u8], at: usize) -> Result<HistoryEntry, WireError> {
    let (mut id, mut hint, mut sender): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let mut fields = Fields::nim(body, at);
    while let Some(field) = fields.next()? {
        match (field.number, field.body()) {
            (1, Some((body, _))) => id = body,
            (2, Some((body, _))) => hint = body,
            (3, Some((body, _))) => sender = body,
            _ => {}
        }
    }
    Ok(HistoryEntry {
        id: MessageId::new(id),
        hint: (!hint.is_empty()).then(|| compact(packet, hint)),
        sender: (!sender.is_empty()).then(|| ParticipantId::new(sender)),
    })
}

fn encode_entry(entry: &HistoryEntry) -> Result<proto::HistoryEntry, WireError> {
    not_empty(entry.id.len(), IdRole::EntryMessage)?;
    Ok(proto::HistoryEntry {
        message_id: Bytes::copy_from_slice(entry.id.as_bytes()),
        retrieval_hint: entry.hint.clone().unwrap_or_default(),
        sender_id: entry.sender.as_ref().map_or(Bytes::new(), |sender| Bytes::copy_from_slice(sender.as_bytes())),
    })
}

/// Seconds as milliseconds. nim-sds takes the number for signed, and dies of negative ones.
fn lamport(seconds: u64) -> Result<Lamport, WireError> {
    let millis = i64::try_from(seconds).ok().and_then(|_| seconds.checked_mul(Dialect::NimSds.tick_ms()));
    millis.map(Lamport).ok_or(WireError::LamportRange { seconds })
}
