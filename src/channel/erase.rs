//! Contents that are to be gone, while the messages keep their places (docs/protocol.md section 16).
//!
//! What is left of an erased message has its id, sender, time, causal history and signature, and the hash of its content:
//! order, sets and signatures hold. Nobody is sent it. The id is marked, so that a copy that comes later, to log or
//! archive, loses its content as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::state::{Body, LogKey, Logged, MarkKind, Parked, Row, RowKey, Stub};
use crate::types::{Lamport, MessageId, RunningTime, millis};

use super::known::Standing;
use super::{Channel, ChannelError, Event, ForArchive, Outcome};

/// Messages that lose their content in one step because of their age; the rest follows.
const BATCH: usize = 256;
const LEAST_WAIT_MS: u64 = 1_000;
/// An archive is looked through for what is too old this often.
const ARCHIVE_PAUSE_MS: u64 = 60_000;

/// What an archive is to erase: the contents of these messages, within these places.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erasure {
    /// Which ones; all of them where there is none.
    pub ids: Option<BTreeSet<MessageId>>,
    /// Behind this place.
    pub after: Option<LogKey>,
    /// Up to this time.
    pub up_to: Lamport,
}

impl Erasure {
    /// Whether a message is meant.
    #[must_use]
    pub fn covers(&self, key: &LogKey) -> bool {
        let within = self.after.as_ref().is_none_or(|after| key > after) && key.lamport <= self.up_to;
        within && self.ids.as_ref().is_none_or(|ids| ids.contains(&key.id))
    }
}

/// Up to where contents were looked at for their age.
#[derive(Debug, Default)]
pub(super) struct Expired {
    log: Option<LogKey>,
    archive: Lamport,
}

/// SHA-256 of a message's content, also where that is gone.
pub(super) fn content_hash(body: &Body) -> [u8; 32] {
    body.erased.as_ref().map_or_else(|| Sha256::digest(&body.content).into(), |hash| **hash)
}

/// Whether this is a message's content, also where that is gone.
pub(super) fn is_content_of(body: &Body, content: &[u8]) -> bool {
    match &body.erased {
        Some(hash) => **hash == *Sha256::digest(content),
        None => body.content == content,
    }
}

/// A message with the hash of its content in the content's place.
#[must_use]
pub fn erased(body: &Body) -> Body {
    Body { content: Bytes::new(), erased: Some(Box::new(content_hash(body))), ..body.clone() }
}

impl Channel {
    /// Erases a message's content, wherever it is, and for good.
    pub(super) fn erase(&mut self, id: &MessageId) -> Result<Outcome, ChannelError> {
        let max = self.config.limits.max_id_bytes;
        if !self.config.dialect.allows_id(id.as_bytes(), max) {
            return Err(ChannelError::InvalidId { max });
        }
        if self.is_taken_out(id) {
            return Ok(Outcome::Done);
        }
        let key = self.known.key(id);
        match (self.known.standing(id), &key) {
            (Standing::Delivered, Some(key)) => self.erase_logged(key),
            (Standing::Parked, Some(key)) => self.erase_parked(key),
            _ => {}
        }
        if let Some(key) = &key {
            self.erase_hint(key);
        }
        // Also of what is in the log: what waits for the archive may find no room there.
        self.erase_archived([id.clone()].into(), key.map(|key| key.lamport));
        // Whoever waits for it, waits no longer, and nobody is asked for it.
        self.set_mark(id, MarkKind::Erased);
        self.settle();
        self.retain();
        Ok(Outcome::Done)
    }

    /// Whether the application erased what has this id.
    pub(super) fn is_erased(&self, id: &MessageId) -> bool {
        self.marks.get(id) == Some(MarkKind::Erased)
    }

    /// A message as it may be kept, shown and sent here: without its content, if that was erased or is too old.
    pub(crate) fn without_erased(&self, body: Arc<Body>) -> Arc<Body> {
        let gone = self.is_erased(&body.key.id) || self.is_expired(body.key.lamport);
        if gone && !body.is_erased() { Arc::new(erased(&body)) } else { body }
    }

    /// Whether the application took back or erased what has this id.
    pub(super) fn is_taken_out(&self, id: &MessageId) -> bool {
        matches!(self.marks.get(id), Some(MarkKind::Withdrawn | MarkKind::Erased))
    }

    /// The archive has been named whole: what was erased may be in it still.
    pub(super) fn erase_in_archive(&mut self) {
        let ids = self.marks.iter().filter(|mark| mark.kind == MarkKind::Erased).map(|mark| mark.id).collect();
        self.erase_archived(ids, None);
    }

    /// Of messages whose place is known, only that is looked at.
    fn erase_archived(&mut self, ids: BTreeSet<MessageId>, at: Option<Lamport>) {
        if self.has_archive() && !ids.is_empty() {
            let (after, up_to) = (at.map(LogKey::first_at), at.unwrap_or(Lamport(u64::MAX)));
            self.effects.archive.push(ForArchive::Erase(Erasure { ids: Some(ids), after, up_to }));
        }
    }

    /// Erases the content of a message that is in the log, or kept below it.
    fn erase_logged(&mut self, key: &LogKey) {
        let logged = self.log.get(key).or_else(|| self.late.get(key));
        let Some(logged) = logged.filter(|logged| !logged.body.is_erased()) else { return };
        let (body, id) = (Arc::new(erased(&logged.body)), &key.id);
        if let Some(open) = self.outgoing.remove(key) {
            self.effects.delete(RowKey::outgoing(key));
            if !open.failed {
                self.log.unpin(key);
            }
        }
        self.end_response(id);
        self.erase_hint(key);
        let logged = match self.late.get_mut(key) {
            Some(late) => {
                late.body = body.clone();
                Some(late.clone())
            }
            None => self.log.replace(body.clone(), &mut self.known),
        };
        if let Some(logged) = logged {
            self.effects.put(Row::Message(logged));
        }
        self.archive_body(&body);
    }

    fn erase_parked(&mut self, key: &LogKey) {
        let Some(waiting) = self.incoming.remove(key) else { return };
        let body = Arc::new(erased(&waiting.parked.body));
        self.keep_parked(Parked { body, ..waiting.parked }, waiting.unmet);
        // Its hash may be larger than a small content.
        self.enforce_parked(self.config.limits.max_parked, self.config.limits.max_parked_bytes);
    }

    /// A store deletes a hint with the row of its message: that is put anew.
    fn erase_hint(&mut self, key: &LogKey) {
        if self.hints.get(&key.id).is_none() {
            return;
        }
        self.hints.remove(&key.id);
        self.effects.drop_hint(RowKey::body(key));
        if let Some(sender) = self.log.stub_sender(key) {
            self.effects.put(Row::Stub(Stub { key: key.clone(), sender: sender.clone() }));
        }
    }

    /// Whether a message of this time is too old to have a content.
    pub(super) fn is_expired(&self, lamport: Lamport) -> bool {
        let Some(age) = self.config.max_body_age else { return false };
        lamport.0.saturating_add(millis(age)) <= self.now.wall.as_millis()
    }

    /// A message came to this place: what lies below may become too old later than what lies above.
    pub(super) fn note_expiring(&mut self, key: &LogKey) {
        if self.expired.log.as_ref().is_some_and(|expired| key < expired) {
            self.expired.log = self.log.predecessor(key).cloned();
        }
    }

    /// Erases what has become too old, lowest first.
    pub(super) fn erase_expired(&mut self) {
        let Some(age) = self.config.max_body_age else { return };
        let before = self.now.wall.as_millis().saturating_sub(millis(age));
        let after = self.expired.log.clone().unwrap_or_else(|| LogKey::first_at(Lamport(0)));
        let expired: Vec<LogKey> = self
            .log
            .after(&after)
            .take_while(|logged| first_known(logged) <= before)
            .take(BATCH)
            .map(|logged| logged.body.key.clone())
            .collect();
        for key in expired {
            if self.log.get(&key).is_some_and(|logged| !logged.body.is_erased()) {
                self.erase_logged(&key);
                self.effects.tell(Event::MessageExpired { id: key.id.clone() });
            }
            self.expired.log = Some(key);
        }
        if self.has_archive() && before >= self.expired.archive.0.saturating_add(ARCHIVE_PAUSE_MS) {
            let after = (self.expired.archive > Lamport(0)).then(|| LogKey::first_above(self.expired.archive));
            self.expired.archive = Lamport(before);
            self.effects.archive.push(ForArchive::Erase(Erasure { ids: None, after, up_to: Lamport(before) }));
        }
    }

    /// When the next message becomes too old to keep its content.
    pub(super) fn next_expired(&self) -> Option<RunningTime> {
        let age = self.config.max_body_age?;
        let after = self.expired.log.clone().unwrap_or_else(|| LogKey::first_at(Lamport(0)));
        let due = first_known(self.log.after(&after).next()?).saturating_add(millis(age));
        let wait = due.saturating_sub(self.now.wall.as_millis());
        Some(self.now.running.after(Duration::from_millis(wait.max(LEAST_WAIT_MS))))
    }
}

/// Since when a message is known to be there, in milliseconds of wall time: since it was sent, as its time says, or since it
/// came, whichever is earlier.
fn first_known(logged: &Logged) -> u64 {
    logged.body.key.lamport.0.min(logged.seen.as_millis())
}
