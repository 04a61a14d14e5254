//! What an open channel takes in memory, and whether there is room for more.

use super::super::memory::Footprint;
use super::super::told::Callbacks;
use super::super::turn::Turn;
use super::Live;
use crate::channel;

/// Steps of one channel that may wait to be carried out or told; later orders wait before their input is handled.
const MAX_STEPS: usize = 1_024;
/// Bytes that these may keep in memory, beyond the first that exceeds them.
const MAX_STEP_BYTES: usize = 32 << 20;

impl Live {
    pub(in crate::executor) fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// Whether further orders wait: for their number, for what they keep in memory, or for what all channels keep.
    pub(in crate::executor) fn is_full(&self, callbacks: &Callbacks) -> bool {
        let saving = self.saving.as_ref().map_or(0, |saving| saving.batch.len());
        let bytes = self.queued_bytes() + callbacks.bytes();
        self.steps.len() + saving + callbacks.len() >= MAX_STEPS
            || bytes >= MAX_STEP_BYTES
            || bytes > 0 && self.memory.is_queue_full()
    }

    /// What steps that wait or are being saved keep in memory.
    pub(in crate::executor) fn queued_bytes(&self) -> usize {
        self.steps.bytes() + self.saving.as_ref().map_or(0, |saving| saving.bytes)
    }

    pub(super) fn has_room(&self, turn: &Turn<'_>) -> bool {
        !self.is_full(turn.callbacks)
    }

    pub(super) fn rows(&self) -> usize {
        let counts = self.channel.meta().counts;
        let rows = counts.messages + counts.parked + counts.stubs + counts.outgoing + counts.requests;
        usize::try_from(rows + counts.responses + counts.marks).unwrap_or(usize::MAX)
    }

    pub(super) fn state_bytes(&self) -> usize {
        usize::try_from(self.footprint.log.saturating_add(self.footprint.parked)).unwrap_or(usize::MAX)
    }

    /// Counts what the channel takes now, and lets it shrink where all channels together take too much.
    pub(super) fn measure(&mut self, turn: &Turn<'_>) {
        let before = self.footprint;
        self.count();
        if let Some((log_bytes, parked_bytes)) = self.memory.excess(before, self.footprint) {
            let context = turn.context(&mut self.entropy);
            if let Ok(step) = self.handle(turn, &context, channel::Input::Shrink { log_bytes, parked_bytes }) {
                let step = self.pending(turn, step);
                self.steps.push(step);
                self.count();
            }
        }
    }

    fn count(&mut self) {
        let now = Footprint::from(self.channel.stats());
        self.memory.change(self.footprint, now);
        self.footprint = now;
    }
}
