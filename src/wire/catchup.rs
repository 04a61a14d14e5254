//! The fields of catch-up: 101, the digest of a sync message, and 102, a frame (docs/protocol.md section 13).
//!
//! A digest is optional evidence, so one that does not parse costs its sender the digest and not the message. A frame is
//! all that its message is, so one that does not parse is an error. How it moves: `lip109` finds the fields, [`digest`]
//! and [`frame`] take them out, [`put_digest`] and [`put_frame`] write them.

use bytes::Bytes;

use super::lip109::{id, id_within, not_empty, put, put_head, put_number, text};
use super::scan::{Fields, at_most};
use super::{IdRole, WireError, compact};
use crate::types::{Digest, DigestRange, Frame, FrameBody, Lamport, Limits, MessageId, ParticipantId};

/// Ids in one list.
const MAX_IDS: usize = 256;

/// A field's body, and its offset in the packet.
type Part<'a> = (&'a [u8], usize);

/// A digest, if it is one.
pub(super) fn digest(part: Part<'_>) -> Option<Digest> {
    read_digest(part).ok().flatten()
}

fn read_digest((body, at): Part<'_>) -> Result<Option<Digest>, WireError> {
    let (mut upper, mut short, mut long, mut no_frames, mut archive, mut stable) = (0, None, None, 0, 0, 0);
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => upper = field.varint()?,
            2 => short = Some(field.bytes()?),
            3 => long = Some(field.bytes()?),
            4 => no_frames = field.varint()?,
            5 => archive = field.varint()?,
            6 => stable = field.varint()?,
            _ => {}
        }
    }
    let Some(short) = short else { return Ok(None) };
    let Some(short) = range(short, upper)? else { return Ok(None) };
    let long = match long {
        Some(long) => match range(long, upper)? {
            Some(long) => Some(long),
            None => return Ok(None),
        },
        None => None,
    };
    let mut digest = Digest::new(Lamport(upper), short, long, no_frames == 0);
    digest.archive = archive != 0;
    digest.stable = Some(Lamport(stable)).filter(|stable| *stable > Lamport(0));
    Ok(Some(digest))
}

fn range((body, at): Part<'_>, upper: u64) -> Result<Option<DigestRange>, WireError> {
    let (mut below, mut count, mut fingerprint): (_, _, &[u8]) = (0, 0, &[]);
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => below = field.varint()?,
            2 => count = field.varint()?,
            3 => fingerprint = field.bytes()?.0,
            _ => {}
        }
    }
    let lower = upper.checked_sub(below);
    Ok(lower.zip(fingerprint.try_into().ok()).map(|(lower, print)| DigestRange::new(Lamport(lower), count, print)))
}

/// A frame.
pub(super) fn frame((body, at): Part<'_>, limits: &Limits, packet: &Bytes) -> Result<Frame, WireError> {
    let (mut session, mut to, mut floor, mut what): (_, &[u8], _, _) = (0, &[], 0, None);
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => session = field.varint()?,
            2 => to = id_within(field.bytes()?.0, IdRole::Recipient, limits)?,
            3 => floor = field.varint()?,
            4..=9 => what = Some((field.number, field.bytes()?)),
            _ => {}
        }
    }
    not_empty(to.len(), IdRole::Recipient)?;
    let to = ParticipantId::new(text(to, IdRole::Recipient)?);
    let body = match what {
        Some((4, part)) => reconcile(part, packet)?,
        Some((5, part)) => FrameBody::Fetch { rids: rids(list(part, 1)?)? },
        Some((9, part)) => FrameBody::FetchIds { ids: ids(part, 1, limits)? },
        Some((6, part)) => {
            let [sent, _, more] = numbers(part)?;
            let evicted = ids(part, 4, limits)?;
            FrameBody::End { sent, gone: rids(list(part, 2)?)?, more: more != 0, evicted }
        }
        Some((7, part)) => FrameBody::Busy { retry_after_ms: numbers(part)?[0] },
        // Protobuf cuts a longer number down to 32 bits.
        Some((_, part)) => FrameBody::Cancel { reason: numbers(part)?[0] as u32 },
        None => FrameBody::Unknown,
    };
    Ok(Frame::new(session, to, Lamport(floor), body))
}

fn reconcile(part: Part<'_>, packet: &Bytes) -> Result<FrameBody, WireError> {
    let (mut rules, mut upper, mut answer, mut push, mut message): (_, _, _, _, &[u8]) = (0, 0, 0, 0, &[]);
    let mut fields = Fields::new(part.0, part.1);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => rules = field.varint()? as u32,
            2 => upper = field.varint()?,
            3 => answer = field.varint()?,
            4 => push = field.varint()?,
            5 => message = field.bytes()?.0,
            _ => {}
        }
    }
    let (upper, message) = (Lamport(upper), compact(packet, message));
    Ok(FrameBody::Reconcile { rules, upper, answer: answer != 0, push, message })
}

/// The numbers in the fields 1 to 3; 0 for those that are none.
fn numbers((body, at): Part<'_>) -> Result<[u64; 3], WireError> {
    let mut found = [0; 3];
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        let place = usize::try_from(field.number).ok().and_then(|number| found.get_mut(number.checked_sub(1)?));
        if let (Some(place), None) = (place, field.body()) {
            *place = field.varint()?;
        }
    }
    Ok(found)
}

fn list((body, at): Part<'_>, number: u32) -> Result<&[u8], WireError> {
    let mut found: &[u8] = &[];
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        if field.number == number {
            found = field.bytes()?.0;
        }
    }
    Ok(found)
}

fn ids((body, at): Part<'_>, number: u32, limits: &Limits) -> Result<Vec<MessageId>, WireError> {
    let mut found = Vec::new();
    let mut fields = Fields::new(body, at);
    while let Some(field) = fields.next()? {
        if field.number == number {
            at_most(found.len() + 1, MAX_IDS).map_err(|(found, max)| WireError::TooManyIds { found, max })?;
            let id = id_within(field.bytes()?.0, IdRole::EntryMessage, limits)?;
            not_empty(id.len(), IdRole::EntryMessage)?;
            found.push(MessageId::new(text(id, IdRole::EntryMessage)?));
        }
    }
    Ok(found)
}

fn rids(bytes: &[u8]) -> Result<Vec<[u8; 32]>, WireError> {
    let (rids, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(WireError::Rids { found: bytes.len() });
    }
    Ok(rids.to_vec())
}

pub(super) fn put_digest(out: &mut Vec<u8>, digest: &Digest) {
    put_head(out, 101, digest.body_len());
    put_some(out, 1, digest.upper.0);
    put_range(out, 2, &digest.short, digest.upper);
    if let Some(long) = &digest.long {
        put_range(out, 3, long, digest.upper);
    }
    put_some(out, 4, u64::from(!digest.frames));
    put_some(out, 5, u64::from(digest.archive));
    put_some(out, 6, digest.stable.map_or(0, |stable| stable.0));
}

fn put_range(out: &mut Vec<u8>, field: u32, range: &DigestRange, upper: Lamport) {
    put_head(out, field, range.body_len(upper));
    put_some(out, 1, upper.0.saturating_sub(range.lower.0));
    put_some(out, 2, range.count);
    put(out, 3, &range.fingerprint);
}

pub(super) fn put_frame(out: &mut Vec<u8>, frame: &Frame) -> Result<(), WireError> {
    put_head(out, 102, frame.body_len());
    put_some(out, 1, frame.session);
    put(out, 2, id(frame.to.as_bytes(), IdRole::Recipient)?);
    put_some(out, 3, frame.floor.0);
    let Some(field) = frame.body.field() else { return Ok(()) };
    put_head(out, field, frame.body.body_len());
    match &frame.body {
        FrameBody::Reconcile { rules, upper, answer, push, message } => {
            put_some(out, 1, u64::from(*rules));
            put_some(out, 2, upper.0);
            put_some(out, 3, u64::from(*answer));
            put_some(out, 4, *push);
            put_bytes(out, 5, message);
        }
        FrameBody::Fetch { rids } => put_bytes(out, 1, rids.as_flattened()),
        FrameBody::FetchIds { ids } => put_ids(out, 1, ids)?,
        FrameBody::End { sent, gone, more, evicted } => {
            put_some(out, 1, *sent);
            put_bytes(out, 2, gone.as_flattened());
            put_some(out, 3, u64::from(*more));
            put_ids(out, 4, evicted)?;
        }
        FrameBody::Busy { retry_after_ms } => put_some(out, 1, *retry_after_ms),
        FrameBody::Cancel { reason } => put_some(out, 1, u64::from(*reason)),
        FrameBody::Unknown => {}
    }
    Ok(())
}

/// A number that is left out when 0.
fn put_some(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_number(out, field, value);
    }
}

fn put_ids(out: &mut Vec<u8>, field: u32, ids: &[MessageId]) -> Result<(), WireError> {
    ids.iter().try_for_each(|message| {
        put(out, field, id(message.as_bytes(), IdRole::EntryMessage)?);
        Ok(())
    })
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put(out, field, bytes);
    }
}

#[cfg(test)]
mod tests;
