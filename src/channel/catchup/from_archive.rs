//! What is asked for and only the archive has is read there, and sent when it answers (docs/protocol.md section 13.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::channel::archive::ArchiveRead;
use crate::channel::log::cost;
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::types::{Frame, FrameBody, Lamport, millis};

use super::serve::RETRY;
use super::{Act, CatchUp, View, set};

/// Questions to the archive at a time.
const MAX_READING: usize = 16;
/// Bytes of messages from the archive in answer to one question, as they are counted; one message more may be.
const MAX_ANSWER: u64 = 1 << 20;

impl CatchUp {
    /// The archive has these; with the last of them, the log is compared with it.
    pub(in crate::channel) fn archived(&mut self, items: &[Item], whole: bool, floor: Lamport) {
        self.set.add_archived(items, floor);
        if whole {
            self.sweep = Some(LogKey::first_at(Lamport(0)));
        }
    }

    /// Whether there is an archive.
    pub(in crate::channel) fn has_archive(&self) -> bool {
        self.set.has_archive()
    }

    /// Somebody asks others for what they may not have any more, and may not know that there is an archive here.
    pub(super) fn show_archive(&mut self, view: &View<'_>, body: &FrameBody) {
        let asks = matches!(body, FrameBody::Reconcile { answer: false, .. } | FrameBody::FetchIds { .. });
        if asks && self.has_archive() && self.serve.announcements.take(view.now) {
            self.owed = true;
            self.acts.push(Act::Announce);
        }
    }

    /// What the archive lacks of the log is given to it, in slices. All of the log: also what lies below the set, as the
    /// history of a newcomer does.
    pub(super) fn sweep(&mut self, view: &View<'_>) {
        let Some(after) = self.sweep.take() else { return };
        let mut left = set::SLICE_BYTES;
        for logged in view.log.after(&after) {
            left = left.saturating_sub(set::hashed_bytes(&logged.body));
            if !self.set.is_archived(&set::item_of(view.channel, &logged.body).rid) {
                self.acts.push(Act::Keep(logged.body.key.clone()));
            }
            if left == 0 {
                self.sweep = Some(logged.body.key.clone());
                return;
            }
        }
    }

    /// Asks the archive, which answers later; as many questions at a time as it may have.
    pub(super) fn read(&mut self, view: &View<'_>, mut read: ArchiveRead) {
        if self.serve.reading >= MAX_READING {
            if self.serve.refusals.take(view.now) {
                self.end_read(&read, FrameBody::Busy { retry_after_ms: millis(RETRY) });
            }
        } else if self.serve.archived.left(view.now) == 0 {
            read.more = true;
            self.end(read);
        } else {
            self.serve.reading += 1;
            self.acts.push(Act::Read(Box::new(read)));
        }
    }

    /// The archive has answered: so many of the messages were looked for, and these are there. Those looked for in vain
    /// are not there any more, and neither are those in whose place something else came.
    pub(in crate::channel) fn take_read(
        &mut self,
        view: &View<'_>,
        mut read: ArchiveRead,
        bodies: Vec<Arc<Body>>,
        looked: usize,
        failed: bool,
    ) {
        self.serve.reading = self.serve.reading.saturating_sub(1);
        let mut here: BTreeMap<Rid, Arc<Body>> =
            bodies.into_iter().map(|body| (set::item_of(view.channel, &body).rid, body)).collect();
        let mut left = self.serve.archived.left(view.now).min(MAX_ANSWER);
        for (place, item) in std::mem::take(&mut read.items).into_iter().enumerate() {
            match here.remove(&item.rid) {
                Some(body) if body.is_erased() => read.gone.push(item.rid.0),
                Some(_) if left == 0 => read.more = true,
                Some(body) => {
                    let bytes = cost(&body) as u64;
                    left = left.saturating_sub(bytes);
                    self.serve.archived.spend(bytes);
                    self.acts.push(Act::SendArchived(body, read.to.clone()));
                    read.sent += 1;
                }
                None if place < looked => {
                    self.set.forget_archived(&item);
                    read.gone.push(item.rid.0);
                }
                None if failed => read.gone.push(item.rid.0),
                None => read.more = true,
            }
        }
        self.end(read);
    }

    fn end(&mut self, mut read: ArchiveRead) {
        let gone = std::mem::take(&mut read.gone);
        let body = FrameBody::End { sent: read.sent, gone, more: read.more, evicted: Vec::new() };
        self.end_read(&read, body);
    }

    fn end_read(&mut self, read: &ArchiveRead, body: FrameBody) {
        self.acts.push(Act::Say(Frame::new(read.exchange, read.to.clone(), self.set.floor(), body)));
    }
}
