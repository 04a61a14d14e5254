//! Read access to a channel: looks, changes nothing.

use std::sync::Arc;

use crate::state::{ChannelData, ChannelMeta, Logged, Row};
use crate::types::{ChannelId, ParticipantId};

use super::{
    Channel, Config, Cursor, Deliveries, DeliveryState, IncomingView, OutgoingView, Renumbered, RequestView,
    ResponseView, Stats,
};

impl Channel {
    /// The channel's id.
    #[must_use]
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Who this participant is.
    #[must_use]
    pub fn participant(&self) -> &ParticipantId {
        &self.participant
    }

    /// The options.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Clock, floors, horizon, numbers and counts.
    #[must_use]
    pub fn meta(&self) -> &ChannelMeta {
        &self.meta
    }

    /// The log in (lamport, id) order: messages delivered and sent.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        self.log.iter()
    }

    /// Where the last delivery stands.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let number = self.meta.next_delivery.saturating_sub(1);
        Cursor { incarnation: self.incarnations.of(number), number }
    }

    /// Deliveries after a cursor, in order, as far as the log still has them.
    ///
    /// # Errors
    /// [`Renumbered`] for a cursor that is not of this store's past.
    pub fn deliveries_since(&self, cursor: Cursor) -> Result<Deliveries, Renumbered> {
        self.check_cursor(cursor)?;
        let number = cursor.number;
        let mut deliveries: Vec<_> = self
            .log
            .iter()
            .chain(self.late.values())
            .filter_map(|logged| {
                let above = logged.delivery.filter(|delivered| *delivered > number)?;
                self.delivery_at(above, &logged.body.key)
            })
            .collect();
        deliveries.sort_by_key(|delivery| delivery.number);
        let made = self.meta.next_delivery.saturating_sub(1).saturating_sub(number);
        let evicted = made.saturating_sub(deliveries.len() as u64);
        Ok(Deliveries { deliveries, evicted })
    }

    /// Own messages nobody acknowledged yet, given-up ones among them, in log order.
    #[must_use]
    pub fn outgoing(&self) -> Vec<OutgoingView> {
        self.outgoing
            .iter()
            .map(|open| {
                let entry = &open.entry;
                let state = self.delivery_state(&entry.key.id).unwrap_or(DeliveryState::Unacknowledged);
                let next_due = (!entry.failed).then_some(open.due);
                OutgoingView { id: entry.key.id.clone(), state, attempts: entry.attempts, next_due }
            })
            .collect()
    }

    /// Messages that wait for dependencies, in log order.
    #[must_use]
    pub fn incoming(&self) -> Vec<IncomingView> {
        self.incoming
            .iter()
            .map(|waiting| IncomingView {
                id: waiting.parked.body.key.id.clone(),
                sender: waiting.parked.body.sender.clone(),
                waits_for: waiting.unmet.iter().cloned().collect(),
            })
            .collect()
    }

    /// The outgoing repair buffer by T_req.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestView> {
        self.requests
            .iter()
            .map(|missing| RequestView {
                entry: missing.request.entry.clone(),
                due: missing.due,
                sent: missing.request.sent,
                heard: missing.request.heard,
            })
            .collect()
    }

    /// The incoming repair buffer by T_resp.
    #[must_use]
    pub fn responses(&self) -> Vec<ResponseView> {
        self.responses.iter().map(|(due, response)| ResponseView { id: response.id, due }).collect()
    }

    /// Counters and present sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            log_len: self.log.len(),
            log_bytes: self.log.bytes(),
            remembered_bytes: self.remembered_bytes(),
            unconfirmed_len: self.unconfirmed.len(),
            unconfirmed_bytes: self.unconfirmed.bytes(),
            parked_len: self.incoming.len(),
            parked_bytes: self.incoming.bytes(),
            outgoing_len: self.outgoing.active(),
            ..self.stats
        }
    }

    /// Everything saved of the channel so far, as
    /// [`load_channel`](crate::store::Persistence::load_channel) gives it back.
    #[must_use]
    pub fn data(&self) -> ChannelData {
        let mut rows: Vec<Row> = Vec::new();
        rows.extend(self.log.iter().chain(self.late.values()).cloned().map(Row::Message));
        rows.extend(self.incoming.iter().map(|waiting| Row::Parked(waiting.parked.clone())));
        rows.extend(self.log.stubs().map(Row::Stub));
        rows.extend(self.outgoing.iter().map(|open| Row::Outgoing(open.entry.clone())));
        rows.extend(self.requests.iter().map(|missing| Row::Request(missing.as_saved())));
        rows.extend(self.responses.iter().map(|(_, response)| Row::Response(response)));
        rows.extend(self.marks.iter().map(Row::Mark));
        rows.extend(self.incarnations.rows());
        rows.extend(self.members.iter().flat_map(|members| members.rows()));
        rows.sort_by_cached_key(Row::key);
        let mut hints: Vec<_> = self.hints.iter().map(|(id, hint)| (id.clone(), hint.clone())).collect();
        hints.sort();
        let meta = self.stored.then(|| self.saved.clone());
        ChannelData { meta, rows, hints }
    }
}
