//! What one input has led to so far; becomes the [`Step`](super::Step).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::state::{ChannelMeta, Commit, HistoryUpdate, Row, RowKey};
use crate::types::{Message, MessageId, ParticipantId};

use super::{Event, Limit, Transmit, TransmitKind};

/// Changed rows (per row the last change wins), hints, messages to transmit, events.
#[derive(Debug, Default)]
pub(super) struct Effects {
    rows: BTreeMap<RowKey, Option<Row>>,
    pub(super) hints: Vec<(MessageId, Bytes)>,
    pub(super) transmit: Vec<Transmit>,
    pub(super) events: Vec<Event>,
    /// Messages delivered, in order.
    pub(super) released: Vec<MessageId>,
    /// Limits hit.
    pub(super) limits: u64,
}

impl Effects {
    pub(super) fn put(&mut self, row: Row) {
        self.rows.insert(row.key(), Some(row));
    }

    pub(super) fn delete(&mut self, key: RowKey) {
        self.rows.insert(key, None);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn transmit(&mut self, kind: TransmitKind, message: Message) {
        self.transmit.push(Transmit { kind, message });
    }

    pub(super) fn limit(&mut self, limit: Limit, id: Option<MessageId>, by: Option<ParticipantId>) {
        self.limits += 1;
        self.tell(Event::LimitReached { limit, id, by });
    }

    pub(super) fn rows_changed(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn saves(&self) -> bool {
        !self.rows.is_empty() || !self.hints.is_empty()
    }

    /// Takes what must be saved.
    pub(super) fn commit(&mut self, meta: Option<ChannelMeta>) -> Commit {
        let mut history = HistoryUpdate::default();
        for (key, row) in std::mem::take(&mut self.rows) {
            match row {
                Some(row) => history.put.push(row),
                None => history.delete.push(key),
            }
        }
        Commit { meta, history, hints: std::mem::take(&mut self.hints) }
    }
}
