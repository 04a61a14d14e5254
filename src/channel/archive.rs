//! History beyond the log: what the channel gives to an archive, and asks of it (docs/protocol.md section 13.6).
//!
//! The channel does no I/O. Whoever drives it and has an archive says what that has ([`Input::Archived`]), keeps what
//! [`Step::archive`] gives it, reads what it asks for, and hands that in ([`Input::FromArchive`]). Without the first of
//! these inputs there is no archive, and nothing of this costs anything.

use std::sync::Arc;

use crate::reconcile::Item;
use crate::state::{Body, LogKey};
use crate::types::{ChannelId, ParticipantId};

use super::{Channel, Erasure};
#[cfg(doc)]
use super::{Input, Step};

/// What an archive has to do.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ForArchive {
    /// Keep this message; then say so, with [`Input::Archived`]. It may have it already.
    Keep(Arc<Body>),
    /// Read messages, and hand them in with [`Input::FromArchive`], also where there are none: until then the question
    /// counts as one of 16 that may wait.
    Read(ArchiveRead),
    /// Leave the hashes of contents in their place, as [`erased`](super::erased) does. Nothing is to be said of it.
    Erase(Erasure),
}

/// Messages that a participant asked for and only the archive has.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveRead {
    /// The messages, 256 at most.
    pub items: Vec<Item>,
    pub(super) to: ParticipantId,
    /// The question that is answered when they are there.
    pub(super) exchange: u64,
    /// What the log answered of it already.
    pub(super) sent: u64,
    pub(super) gone: Vec<[u8; 32]>,
    pub(super) more: bool,
}

/// What stands for a message in an archive, and in digests.
#[must_use]
pub fn item_of(channel: &ChannelId, body: &Body) -> Item {
    super::catchup::item_of(channel, body)
}

impl Channel {
    /// A message is delivered, sent, acknowledged, or leaves the log: an archive is to have it, but for what may still be
    /// withdrawn.
    pub(super) fn keep_in_archive(&mut self, key: &LogKey) {
        if self.has_archive()
            && let Some(logged) = self.log.get(key)
            && self.outgoing.get(key).is_none()
        {
            self.effects.archive.push(ForArchive::Keep(logged.body.clone()));
        }
    }

    /// As [`keep_in_archive`](Self::keep_in_archive), of a message that is not in the log.
    pub(super) fn archive_body(&mut self, body: &Arc<Body>) {
        if self.has_archive() {
            self.effects.archive.push(ForArchive::Keep(body.clone()));
        }
    }

    pub(super) fn has_archive(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|it| it.has_archive())
    }

    pub(super) fn take_archived(&mut self, items: &[Item], whole: bool) {
        if let Some((catch_up, view)) = self.catching_up() {
            catch_up.archived(items, whole, view.floor);
        }
        if whole {
            self.erase_in_archive();
        }
    }

    pub(super) fn take_read(&mut self, read: ArchiveRead, bodies: Vec<Arc<Body>>, looked: usize, failed: bool) {
        // The archive may not have erased it yet.
        let bodies = bodies.into_iter().map(|body| self.without_erased(body)).collect();
        if let Some((catch_up, view)) = self.catching_up() {
            catch_up.take_read(&view, read, bodies, looked, failed);
        }
        self.carry_out();
    }
}
