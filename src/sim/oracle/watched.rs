//! What one participant was told, with times: for figures of a member that was away or came late.

use crate::channel::Event;

use super::{Registry, Seen};

/// A participant that is looked at more closely.
#[derive(Clone, Debug)]
pub struct Watched {
    node: usize,
    /// Index of each message it was told of, and when, in virtual milliseconds.
    pub shown: Vec<(usize, u64)>,
    /// Messages given up.
    pub lost: u64,
    /// Gaps told.
    pub gaps: u64,
}

impl Watched {
    /// Looks at this participant from now on.
    #[must_use]
    pub fn new(node: usize) -> Self {
        Self { node, shown: Vec::new(), lost: 0, gaps: 0 }
    }

    pub(super) fn note(&mut self, now_ms: u64, registry: &Registry, seen: &Seen<'_>) {
        let Seen::Told { node, event, .. } = seen else { return };
        if *node != self.node {
            return;
        }
        match event {
            Event::MessageDelivered(delivery) => {
                self.shown.extend(registry.find(&delivery.body.key.id).map(|index| (index, now_ms)));
            }
            Event::HistoryGap { .. } => self.gaps += 1,
            Event::DependencyLost { .. } => self.lost += 1,
            _ => {}
        }
    }
}
