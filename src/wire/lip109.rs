//! The `Lip109` and `JsWaku` dialects, which differ in their filter alone.
//!
//! What: the limits of an encoded message, how its parts are taken out, and how it is written. Why the
//! limits come first: they are checked on borrowed slices, so a hostile packet costs a walk over its bytes
//! and no memory. How it moves: [`decode`] checks, which finds the scalar fields and where the history entries lie,
//! walks those again, and builds the message; [`encode`] writes. The generated types are what tests hold both to.

use bytes::Bytes;

use super::scan::{Fields, at_most};
use super::{IdRole, WireError, catchup, compact, filter};
use crate::types::{
    CatchUpField, ChannelId, Dialect, FilterField, HistoryEntry, Lamport, Limits, Message, MessageId, ParticipantId,
    Signature,
};

/// What the check of a packet found in it: of each scalar field the last one.
#[derive(Default)]
struct Parts<'a> {
    sender: &'a [u8],
    id: &'a [u8],
    channel: &'a [u8],
    lamport: Option<u64>,
    causal: List,
    field_12: Option<&'a [u8]>,
    repair: List,
    content: &'a [u8],
    filter: Option<&'a [u8]>,
    digest: Option<(&'a [u8], usize)>,
    frame: Option<(&'a [u8], usize)>,
    author_signature: &'a [u8],
    sender_signature: &'a [u8],
}

/// Where the fields of one list lie in the packet, others perhaps between them.
#[derive(Default)]
struct List {
    len: usize,
    start: usize,
    end: usize,
}

impl List {
    fn push(&mut self, start: usize, end: usize) {
        if self.len == 0 {
            self.start = start;
        }
        self.end = end;
        self.len += 1;
    }
}

pub(super) fn decode(packet: &Bytes, limits: &Limits) -> Result<Message, WireError> {
    let parts = check(packet, limits)?;
    let message = Message {
        sender: ParticipantId::new(text(parts.sender, IdRole::Sender)?),
        id: MessageId::new(text(parts.id, IdRole::Message)?),
        channel: ChannelId::new(text(parts.channel, IdRole::Channel)?),
        lamport: parts.lamport.map(Lamport),
        causal_history: decode_entries(packet, CAUSAL, &parts.causal)?,
        filter: filter::decode(parts.filter, parts.field_12, limits.max_filter_bytes, packet),
        repair_request: decode_entries(packet, REPAIR, &parts.repair)?,
        content: compact(packet, parts.content),
        catch_up: catch_up(&parts, limits, packet)?,
        author_signature: signature(parts.author_signature),
        sender_signature: signature(parts.sender_signature),
    };
    if message.kind().is_none() {
        return Err(WireError::NoKind);
    }
    Ok(message)
}

/// What a sync message or a frame carries. Elsewhere the fields are skipped, as unknown ones are.
fn catch_up(parts: &Parts<'_>, limits: &Limits, packet: &Bytes) -> Result<CatchUpField, WireError> {
    if !parts.content.is_empty() {
        return Ok(CatchUpField::Absent);
    }
    match (parts.lamport, parts.digest, parts.frame) {
        (Some(_), Some(digest), _) => {
            let digest = catchup::digest(digest);
            Ok(digest.map_or(CatchUpField::Absent, |digest| CatchUpField::Digest(Box::new(digest))))
        }
        (None, _, Some(frame)) => {
            at_most(frame.0.len(), MAX_FRAME_BYTES).map_err(|(found, max)| WireError::FrameTooLarge { found, max })?;
            Ok(CatchUpField::Frame(Box::new(catchup::frame(frame, limits, packet)?)))
        }
        _ => Ok(CatchUpField::Absent),
    }
}

/// Bytes of one frame.
const MAX_FRAME_BYTES: usize = 256 << 10;

pub(super) fn encode(message: &Message, dialect: Dialect) -> Result<Bytes, WireError> {
    message.kind().ok_or(WireError::NoKind)?;
    let mut out = Vec::with_capacity(message.encoded_len(dialect));
    put(&mut out, 1, id(message.sender.as_bytes(), IdRole::Sender)?);
    put(&mut out, 2, id(message.id.as_bytes(), IdRole::Message)?);
    put(&mut out, 3, id(message.channel.as_bytes(), IdRole::Channel)?);
    if let Some(lamport) = message.lamport {
        put_number(&mut out, 10, lamport.0);
    }
    put_entries(&mut out, CAUSAL, &message.causal_history, dialect)?;
    if dialect == Dialect::JsWaku
        && let Some(bits) = filter::js(&message.filter)
    {
        put(&mut out, 12, bits);
    }
    put_entries(&mut out, REPAIR, &message.repair_request, dialect)?;
    if !message.content.is_empty() {
        put(&mut out, 20, &message.content);
    }
    if dialect == Dialect::Lip109
        && let FilterField::Compact { k, seed, bits } = &message.filter
    {
        put_head(&mut out, 100, message.filter.body_len());
        if *k != 0 {
            put_number(&mut out, 1, u64::from(*k));
        }
        put(&mut out, 2, seed);
        if !bits.is_empty() {
            put(&mut out, 3, bits);
        }
    }
    match &message.catch_up {
        CatchUpField::Absent => {}
        CatchUpField::Digest(digest) => catchup::put_digest(&mut out, digest),
        CatchUpField::Frame(frame) => catchup::put_frame(&mut out, frame)?,
    }
    for (field, signature) in [(103, &message.author_signature), (104, &message.sender_signature)] {
        if let Some(signature) = signature.as_ref().filter(|signature| !signature.as_bytes().is_empty()) {
            put(&mut out, field, signature.as_bytes());
        }
    }
    Ok(out.into())
}

const CAUSAL: u32 = 11;
const REPAIR: u32 = 13;

/// A length-delimited field. Written from what it borrows: the generated types would own a copy of every identifier.
pub(super) fn put(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// The key and the length of a length-delimited field.
pub(super) fn put_head(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, len as u64);
}

pub(super) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, value);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_entries(out: &mut Vec<u8>, field: u32, entries: &[HistoryEntry], dialect: Dialect) -> Result<(), WireError> {
    for entry in entries {
        put_head(out, field, entry.body_len(dialect));
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
fn check<'a>(packet: &'a [u8], limits: &Limits) -> Result<Parts<'a>, WireError> {
    let mut parts = Parts::default();
    let mut fields = Fields::new(packet, 0);
    loop {
        let start = fields.at();
        let Some(field) = fields.next()? else { break };
        match field.number {
            1 => parts.sender = id_within(field.bytes()?.0, IdRole::Sender, limits)?,
            2 => parts.id = id_within(field.bytes()?.0, IdRole::Message, limits)?,
            3 => parts.channel = id_within(field.bytes()?.0, IdRole::Channel, limits)?,
            10 => parts.lamport = Some(field.varint()?),
            CAUSAL => {
                parts.causal.push(start, fields.at());
                at_most(parts.causal.len, limits.max_causal_entries)
                    .map_err(|(found, max)| WireError::TooManyCausalEntries { found, max })?;
                check_entry(field.bytes()?, limits)?;
            }
            12 => parts.field_12 = Some(field.bytes()?.0),
            REPAIR => {
                parts.repair.push(start, fields.at());
                at_most(parts.repair.len, limits.max_causal_entries)
                    .map_err(|(found, max)| WireError::TooManyRepairEntries { found, max })?;
                check_entry(field.bytes()?, limits)?;
            }
            20 => {
                parts.content = field.bytes()?.0;
                at_most(parts.content.len(), limits.max_content_bytes)
                    .map_err(|(found, max)| WireError::ContentTooLarge { found, max })?;
            }
            100 => parts.filter = Some(field.bytes()?.0),
            // As with the filter, their bodies are not looked into here.
            101 => parts.digest = Some(field.bytes()?),
            102 => parts.frame = Some(field.bytes()?),
            103 => parts.author_signature = signature_within(field.bytes()?.0, limits)?,
            104 => parts.sender_signature = signature_within(field.bytes()?.0, limits)?,
            _ => {}
        }
    }
    not_empty(parts.sender.len(), IdRole::Sender)?;
    not_empty(parts.id.len(), IdRole::Message)?;
    not_empty(parts.channel.len(), IdRole::Channel)?;
    Ok(parts)
}

fn check_entry((body, at): (&[u8], usize), limits: &Limits) -> Result<(), WireError> {
    let mut message = 0;
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => message = id_within(field.bytes()?.0, IdRole::EntryMessage, limits)?.len(),
            2 => at_most(field.bytes()?.0.len(), limits.max_hint_bytes)
                .map_err(|(found, max)| WireError::HintTooLarge { found, max })?,
            3 => drop(id_within(field.bytes()?.0, IdRole::EntrySender, limits)?),
            _ => {}
        }
    }
    not_empty(message, IdRole::EntryMessage)
}

pub(super) fn id_within<'a>(id: &'a [u8], role: IdRole, limits: &Limits) -> Result<&'a [u8], WireError> {
    at_most(id.len(), limits.max_id_bytes).map_err(|(found, max)| WireError::IdTooLong { role, found, max })?;
    Ok(id)
}

fn signature_within<'a>(signature: &'a [u8], limits: &Limits) -> Result<&'a [u8], WireError> {
    at_most(signature.len(), limits.max_signature_bytes)
        .map_err(|(found, max)| WireError::SignatureTooLarge { found, max })?;
    Ok(signature)
}

fn signature(bytes: &[u8]) -> Option<Signature> {
    (!bytes.is_empty()).then(|| Signature::new(bytes))
}

pub(super) fn not_empty(len: usize, role: IdRole) -> Result<(), WireError> {
    if len == 0 { Err(WireError::EmptyId { role }) } else { Ok(()) }
}

/// One of the lists that [`check`] has found and counted.
fn decode_entries(packet: &Bytes, number: u32, list: &List) -> Result<Vec<HistoryEntry>, WireError> {
    let mut entries = Vec::with_capacity(list.len);
    let mut fields = Fields::new(&packet[list.start..list.end], list.start);
    while let Some(field) = fields.next()? {
        if field.number == number {
            entries.push(decode_entry(packet, field.bytes()?)?);
        }
    }
    Ok(entries)
}

/// An empty sender counts as absent: applications of js-waku write one where they know none.
fn decode_entry(packet: &Bytes, (body, at): (&[u8], usize)) -> Result<HistoryEntry, WireError> {
    let (mut id, mut hint, mut sender): (&[u8], _, &[u8]) = (&[], None, &[]);
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => id = field.bytes()?.0,
            2 => hint = Some(field.bytes()?.0),
            3 => sender = field.bytes()?.0,
            _ => {}
        }
    }
    let id = MessageId::new(text(id, IdRole::EntryMessage)?);
    let sender = text(sender, IdRole::EntrySender)?;
    let sender = (!sender.is_empty()).then(|| ParticipantId::new(sender));
    Ok(HistoryEntry { id, hint: hint.map(|hint| compact(packet, hint)), sender })
}

/// An identifier to write.
pub(super) fn id(bytes: &[u8], role: IdRole) -> Result<&[u8], WireError> {
    not_empty(bytes.len(), role)?;
    text(bytes, role)
}

#[inline(never)] // Five callers have no need of five copies.
pub(super) fn text(bytes: &[u8], role: IdRole) -> Result<&[u8], WireError> {
    // Most identifiers are ASCII, which is told in a third of the time.
    let text = bytes.is_ascii() || std::str::from_utf8(bytes).is_ok();
    if text { Ok(bytes) } else { Err(WireError::NotUtf8 { role }) }
}

#[cfg(test)]
mod tests;
