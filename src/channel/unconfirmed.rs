//! Deliveries that the application may not have seen yet, under [`Config::confirm_deliveries`](super::Config): they stay
//! in the log, or below its floor, until it confirms them (docs/protocol.md section 6).
//!
//! An application that never confirms must not cost memory without end: beyond
//! [`Limits::max_unconfirmed_bytes`](crate::types::Limits::max_unconfirmed_bytes) the oldest delivery is kept no longer
//! for its sake, and that is told.

use std::collections::VecDeque;

use crate::state::LogKey;

use super::{Channel, Limit, log};

/// By number, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    queue: VecDeque<Entry>,
    bytes: usize,
    late_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    key: LogKey,
    cost: usize,
    /// Below the floor, and so not among the bytes of the log.
    late: bool,
}

impl Unconfirmed {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of those that are not in the log.
    pub(super) fn late_bytes(&self) -> usize {
        self.late_bytes
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost;
        if entry.late {
            self.late_bytes += entry.cost;
        }
        self.queue.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.bytes -= entry.cost;
        if entry.late {
            self.late_bytes -= entry.cost;
        }
        Some(entry)
    }
}

impl Channel {
    /// Keeps a delivery, which is in the log or among the late ones, until it is confirmed.
    pub(super) fn keep_unconfirmed(&mut self, number: u64, key: LogKey) {
        let late = self.late.get(&key);
        let Some(logged) = late.or_else(|| self.log.get(&key)) else { return };
        let entry = Entry { number, cost: log::cost(&logged.body), late: late.is_some(), key };
        self.log.pin(&entry.key);
        self.unconfirmed.push(entry);
    }

    /// The application has seen all deliveries up to this number: they may leave the log.
    pub(super) fn deliveries_told(&mut self, number: u64) {
        self.meta.told = self.meta.told.max(number.min(self.meta.next_delivery.saturating_sub(1)));
        while self.unconfirmed.queue.front().is_some_and(|entry| entry.number <= self.meta.told) {
            self.let_go_of_oldest();
        }
        self.retain();
    }

    /// Keeps no more than so many bytes for the sake of confirmation, but always the newest delivery.
    pub(super) fn enforce_unconfirmed(&mut self, max_bytes: usize) {
        while self.unconfirmed.bytes > max_bytes && self.unconfirmed.len() > 1 {
            let Some(key) = self.let_go_of_oldest() else { return };
            self.effects.limit(Limit::Unconfirmed, Some(key.id), None);
        }
    }

    fn let_go_of_oldest(&mut self) -> Option<LogKey> {
        let key = self.unconfirmed.pop()?.key;
        self.log.unpin(&key);
        if let Some(logged) = self.late.remove(&key) {
            self.leave_stub(&logged);
        }
        Some(key)
    }
}
