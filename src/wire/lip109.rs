//! The `Lip109` and `JsWaku` dialects, which differ in their filter alone.
//!
//! What: the limits of an encoded message, its conversion from the generated types, and how it is written. Why the
//! limits come first: they are checked on borrowed slices, so a hostile packet costs a walk over its bytes
//! and no memory. How it moves: [`decode`] checks, hands the packet to prost (which shares its memory), and
//! converts; [`encode`] writes.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{self, WireType};

use super::scan::{Fields, at_most};
use super::{IdRole, WireError, compact, filter};
use crate::types::{ChannelId, Dialect, FilterField, HistoryEntry, Lamport, Limits, Message, MessageId, ParticipantId};

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub(super) mod proto {
    include!(concat!(env!("OUT_DIR"), "/reliable_channel.lip109.rs"));
}

pub(super) fn decode(packet: &Bytes, limits: &Limits) -> Result<Message, WireError> {
    check(packet, limits)?;
    let decoded = proto::Message::decode(packet.clone());
    let decoded = decoded.map_err(|error| WireError::Malformed { reason: error.to_string() })?;
    let entries = |list: Vec<proto::HistoryEntry>| -> Result<Vec<HistoryEntry>, WireError> {
        // Collecting results would take room for four where mostly one is kept, with every message.
        let mut entries = Vec::with_capacity(list.len());
        for entry in list {
            entries.push(decode_entry(entry, packet.len())?);
        }
        Ok(entries)
    };
    let message = Message {
        sender: ParticipantId::new(text(&decoded.sender_id, IdRole::Sender)?),
        id: MessageId::new(text(&decoded.message_id, IdRole::Message)?),
        channel: ChannelId::new(text(&decoded.channel_id, IdRole::Channel)?),
        lamport: decoded.lamport_timestamp.map(Lamport),
        causal_history: entries(decoded.causal_history)?,
        filter: filter::decode(decoded.compact_filter, decoded.bloom_filter, limits.max_filter_bytes, packet.len()),
        repair_request: entries(decoded.repair_request)?,
        content: compact(decoded.content.unwrap_or_default(), packet.len()),
    };
    message.kind().map(|_| message).ok_or(WireError::NoKind)
}

pub(super) fn encode(message: &Message, dialect: Dialect) -> Result<Bytes, WireError> {
    message.kind().ok_or(WireError::NoKind)?;
    let mut out = Vec::with_capacity(message.encoded_len(dialect));
    put(&mut out, 1, id(message.sender.as_bytes(), IdRole::Sender)?);
    put(&mut out, 2, id(message.id.as_bytes(), IdRole::Message)?);
    put(&mut out, 3, id(message.channel.as_bytes(), IdRole::Channel)?);
    if let Some(lamport) = message.lamport {
        encoding::uint64::encode(10, &lamport.0, &mut out);
    }
    put_entries(&mut out, 11, &message.causal_history, dialect)?;
    if dialect == Dialect::JsWaku
        && let Some(bits) = filter::js(&message.filter)
    {
        put(&mut out, 12, bits);
    }
    put_entries(&mut out, 13, &message.repair_request, dialect)?;
    if !message.content.is_empty() {
        put(&mut out, 20, &message.content);
    }
    if dialect == Dialect::Lip109
        && let FilterField::Compact { k, seed, bits } = &message.filter
    {
        let body = proto::CompactFilter { k: *k, seed: Bytes::copy_from_slice(seed), bits: bits.clone() };
        encoding::message::encode(100, &body, &mut out);
    }
    Ok(out.into())
}

/// A length-delimited field. Written from what it borrows: the generated types would own a copy of every identifier.
fn put(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encoding::encode_key(field, WireType::LengthDelimited, out);
    encoding::encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_entries(out: &mut Vec<u8>, field: u32, entries: &[HistoryEntry], dialect: Dialect) -> Result<(), WireError> {
    for entry in entries {
        encoding::encode_key(field, WireType::LengthDelimited, out);
        encoding::encode_varint(entry.body_len(dialect) as u64, out);
        put(out, 1, id(entry.id.as_bytes(), IdRole::EntryMessage)?);
        if let Some(hint) = &entry.hint {
            put(out, 2, hint);
        }
        if let Some(sender) = &entry.sender {
            put(out, 3, id(sender.as_bytes(), IdRole::EntrySender)?);
        }
    }
    Ok(())
}

/// Holds the packet to the limits, without taking memory.
fn check(packet: &[u8], limits: &Limits) -> Result<(), WireError> {
    let (mut sender, mut message, mut channel) = (0, 0, 0);
    let (mut causal, mut repair) = (0, 0);
    let mut fields = Fields::new(packet, 0);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sender = id_len(field.bytes()?.0, IdRole::Sender, limits)?,
            2 => message = id_len(field.bytes()?.0, IdRole::Message, limits)?,
            3 => channel = id_len(field.bytes()?.0, IdRole::Channel, limits)?,
            10 => drop(field.varint()?),
            11 => {
                causal += 1;
                at_most(causal, limits.max_causal_entries)
                    .map_err(|(found, max)| WireError::TooManyCausalEntries { found, max })?;
                check_entry(field.bytes()?, limits)?;
            }
            13 => {
                repair += 1;
                at_most(repair, limits.max_causal_entries)
                    .map_err(|(found, max)| WireError::TooManyRepairEntries { found, max })?;
                check_entry(field.bytes()?, limits)?;
            }
            20 => at_most(field.bytes()?.0.len(), limits.max_content_bytes)
                .map_err(|(found, max)| WireError::ContentTooLarge { found, max })?,
            12 | 100 => drop(field.bytes()?),
            _ => {}
        }
    }
    not_empty(sender, IdRole::Sender)?;
    not_empty(message, IdRole::Message)?;
    not_empty(channel, IdRole::Channel)
}

fn check_entry((body, at): (&[u8], usize), limits: &Limits) -> Result<(), WireError> {
    let (mut message, mut sender) = (0, None);
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => message = id_len(field.bytes()?.0, IdRole::EntryMessage, limits)?,
            2 => at_most(field.bytes()?.0.len(), limits.max_hint_bytes)
                .map_err(|(found, max)| WireError::HintTooLarge { found, max })?,
            3 => sender = Some(id_len(field.bytes()?.0, IdRole::EntrySender, limits)?),
            _ => {}
        }
    }
    not_empty(message, IdRole::EntryMessage)?;
    sender.map_or(Ok(()), |len| not_empty(len, IdRole::EntrySender))
}

pub(super) fn id_len(id: &[u8], role: IdRole, limits: &Limits) -> Result<usize, WireError> {
    at_most(id.len(), limits.max_id_bytes).map_err(|(found, max)| WireError::IdTooLong { role, found, max })?;
    Ok(id.len())
}

pub(super) fn not_empty(len: usize, role: IdRole) -> Result<(), WireError> {
    if len == 0 { Err(WireError::EmptyId { role }) } else { Ok(()) }
}

fn decode_entry(entry: proto::HistoryEntry, packet_len: usize) -> Result<HistoryEntry, WireError> {
    let sender = entry.sender_id.map(|sender| text(&sender, IdRole::EntrySender).map(ParticipantId::new));
    Ok(HistoryEntry {
        id: MessageId::new(text(&entry.message_id, IdRole::EntryMessage)?),
        hint: entry.retrieval_hint.map(|hint| compact(hint, packet_len)),
        sender: sender.transpose()?,
    })
}

/// An identifier to write.
fn id(bytes: &[u8], role: IdRole) -> Result<&[u8], WireError> {
    not_empty(bytes.len(), role)?;
    text(bytes, role)
}

fn text(bytes: &[u8], role: IdRole) -> Result<&[u8], WireError> {
    std::str::from_utf8(bytes).map(str::as_bytes).map_err(|_| WireError::NotUtf8 { role })
}
