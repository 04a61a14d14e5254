//! An open channel and its archive: calls go out, and their ends come in.

use std::sync::Arc;

use tracing::{debug, warn};

use super::super::archiving::Archiving;
use super::super::effect::{ArchiveAnswer, Effect};
use super::super::ending::End;
use super::super::told::Told;
use super::super::turn::Turn;
use super::Live;
use crate::store::PersistenceError;

impl Live {
    /// Makes the next call to the archive, if there is something to do.
    pub(in crate::executor) fn call_archive(&mut self, turn: &mut Turn<'_>) {
        if self.failed || self.is_removed() || self.ending.as_ref().is_some_and(|ending| ending.done) {
            return;
        }
        if let Some(call) = self.archiving.as_mut().and_then(|it| it.next(turn.moment.running)) {
            turn.effects.push(Effect::Archive { channel: turn.id.clone(), generation: self.generation, call });
        }
    }

    /// A call to the archive has ended.
    pub(in crate::executor) fn archived(
        &mut self,
        turn: &mut Turn<'_>,
        result: Result<ArchiveAnswer, Arc<PersistenceError>>,
    ) {
        let Some(archiving) = &mut self.archiving else { return };
        let ended = archiving.ended(result, turn.moment.running);
        if self.ending.as_ref().is_some_and(|ending| ending.kind == End::Remove || ending.done) {
            return;
        }
        if let Some(error) = ended.failed {
            warn!(channel = %turn.id, %error, "the archive cannot be used; trying again");
            let notice = self.notice(Told::ArchiveFailed(error));
            self.tell(turn, notice);
        } else if ended.recovered {
            debug!(channel = %turn.id, "the archive works again");
            let notice = self.notice(Told::ArchiveRecovered);
            self.tell(turn, notice);
        }
        for input in ended.inputs {
            self.enter_alone(turn, input);
        }
        turn.callbacks.start(turn.id, turn.effects);
    }

    /// Answers questions that have waited too long for the archive.
    pub(super) fn archive_in_time(&mut self, turn: &mut Turn<'_>) {
        let inputs = self.archiving.as_mut().map(|it| it.timeout(turn.moment.running)).unwrap_or_default();
        for input in inputs {
            self.enter_alone(turn, input);
        }
    }

    /// The call to the archive that is under way.
    pub(in crate::executor) fn archive_call(&self) -> Option<&'static str> {
        self.archiving.as_ref().and_then(Archiving::calling)
    }

    /// The call to the archive that the end of the channel waits for.
    pub(in crate::executor) fn ends_after_call(&self) -> Option<&'static str> {
        let waits = match self.ending.as_ref()?.kind {
            End::Remove => true,
            End::Close | End::ShutDown => self.is_keeping_in_archive(),
        };
        self.archive_call().filter(|_| waits)
    }

    /// Whether closing should wait until the archive has what waits for it.
    pub(in crate::executor) fn is_keeping_in_archive(&self) -> bool {
        !self.failed && self.archiving.as_ref().is_some_and(Archiving::is_keeping)
    }
}
