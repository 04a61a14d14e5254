//! What one input has led to so far; becomes the [`Step`](super::Step).

use bytes::Bytes;

use crate::state::{ChannelMeta, Commit, HistoryUpdate, Place, Row, RowKey};
use crate::types::{Lamport, Message, MessageId, ParticipantId};

use super::{Event, ForArchive, Limit, Transmit, TransmitKind};

/// Rows that most inputs change at most.
const USUAL_CHANGES: usize = 8;

/// A changed row.
#[derive(Debug)]
enum Change {
    Put(Row),
    Delete(RowKey),
}

impl Change {
    fn place(&self) -> (Place, Lamport, &MessageId) {
        match self {
            Self::Put(row) => row.place(),
            Self::Delete(key) => (key.place, key.lamport, &key.id),
        }
    }
}

/// Changed rows (per row the last change wins), hints, messages to transmit, events.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// In the order they changed.
    rows: Vec<Change>,
    pub(super) hints: Vec<(MessageId, Bytes)>,
    pub(super) transmit: Vec<Transmit>,
    pub(super) events: Vec<Event>,
    pub(super) archive: Vec<ForArchive>,
    /// Messages that lose their hints, which stores delete with a body.
    unhinted: Vec<RowKey>,
    /// Messages delivered, in order.
    pub(super) released: Vec<MessageId>,
    /// Limits hit.
    pub(super) limits: u64,
}

impl Effects {
    pub(super) fn put(&mut self, row: Row) {
        self.change(Change::Put(row));
    }

    pub(super) fn delete(&mut self, key: RowKey) {
        self.change(Change::Delete(key));
    }

    fn change(&mut self, change: Change) {
        if self.rows.is_empty() {
            self.rows.reserve_exact(USUAL_CHANGES);
        }
        self.rows.push(change);
    }

    /// The hint of a message is gone, and the message is put anew.
    pub(super) fn drop_hint(&mut self, body: RowKey) {
        self.unhinted.push(body);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn transmit(&mut self, kind: TransmitKind, message: Message) {
        self.transmit_to(kind, message, None);
    }

    pub(super) fn transmit_to(&mut self, kind: TransmitKind, message: Message, to: Option<ParticipantId>) {
        self.transmit.push(Transmit { kind, message, to });
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
        let mut rows = std::mem::take(&mut self.rows);
        // Stable: of the changes of one row the last one stays last.
        rows.sort_by(|a, b| a.place().cmp(&b.place()));
        let mut rows = rows.into_iter().peekable();
        while let Some(change) = rows.next() {
            if rows.peek().is_some_and(|next| next.place() == change.place()) {
                continue;
            }
            match change {
                Change::Put(row) => history.put.push(row),
                Change::Delete(key) => history.delete.push(key),
            }
        }
        if !self.unhinted.is_empty() {
            history.delete.append(&mut self.unhinted);
            history.delete.sort();
            history.delete.dedup();
        }
        Commit { meta, history, hints: std::mem::take(&mut self.hints) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::state::{Mark, MarkKind, Response};
    use crate::types::WallTime;

    #[test]
    fn of_each_row_the_last_change_is_saved_in_the_order_of_keys() {
        let response = |id: &str, due| Row::Response(Response { id: id.into(), due: WallTime::from_millis(due) });
        let key = |id: &str| RowKey::by_id(Place::Response, &id.into());
        let mut effects = Effects::default();
        effects.put(Row::Mark(Mark { id: "a".into(), kind: MarkKind::Lost, sequence: 1 }));
        effects.put(response("b", 1));
        effects.put(response("c", 1));
        effects.delete(key("b"));
        effects.delete(key("a"));
        effects.put(response("a", 2));
        effects.delete(key("c"));
        effects.put(response("c", 3));
        let commit = effects.commit(None);
        let put: Vec<RowKey> = commit.history.put.iter().map(Row::key).collect();
        assert_eq!(put, [key("a"), key("c"), RowKey::by_id(Place::Mark, &"a".into())]);
        assert_eq!(commit.history.put[..2], [response("a", 2), response("c", 3)]);
        assert_eq!(commit.history.delete, [key("b")]);
        assert!(!effects.saves(), "all was taken");
    }
}
