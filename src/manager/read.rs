//! Looking at channels between inputs.
//!
//! What: the reading methods of [`ReliabilityManager`]. Why not async: each takes a channel's lock for as long as it
//! copies what it gives, and waits for nothing else. How it moves: it does not; what they show may have changed when
//! they return.

use std::sync::Arc;

use super::{ManagerError, ReliabilityManager};
use crate::channel::{
    Cursor, Deliveries, DeliveryState, IncomingView, OutgoingView, RequestView, ResponseView, Stats, SyncStatus,
};
use crate::state::{ChannelData, Logged};
use crate::store::PersistenceError;
use crate::types::{ChannelId, Lamport, MessageId, ParticipantId};

/// Looking at channels: every method fails with [`ManagerError::UnknownChannel`] for a channel that is not open.
#[allow(clippy::missing_errors_doc)]
impl ReliabilityManager {
    /// Deliveries after a cursor, in order, as the events told them: for a start after a crash (see the module page) and
    /// for a stream's reader that was told it [`Lagged`](super::Lagged). [`ManagerError::Renumbered`] for a cursor that is
    /// not of this store's past: go on from what it names.
    pub fn deliveries_since(&self, channel: &ChannelId, cursor: Cursor) -> Result<Deliveries, ManagerError> {
        Ok(self.cell(channel)?.read(|channel| channel.deliveries_since(cursor))??)
    }

    /// Where the last delivery stands.
    pub fn cursor(&self, channel: &ChannelId) -> Result<Cursor, ManagerError> {
        self.cell(channel)?.read(|channel| channel.cursor())
    }

    /// The log, in the order all participants share.
    pub fn log(&self, channel: &ChannelId) -> Result<Vec<Logged>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.log().cloned().collect())
    }

    /// How far an own message has come; `None` for one that is not known any more.
    pub fn delivery_state(&self, channel: &ChannelId, id: &MessageId) -> Result<Option<DeliveryState>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.delivery_state(id))
    }

    /// Who is known to have received an own message that was acknowledged since the channel was opened, first who was known
    /// first: up to 32 participants, of the last 1,024 such messages. Then the members that were seen to have it.
    pub fn acknowledged_by(&self, channel: &ChannelId, id: &MessageId) -> Result<Vec<ParticipantId>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.acknowledged_by(id))
    }

    /// The epoch and the members of the channel, as [`set_members`](Self::set_members) has said them.
    pub fn members(&self, channel: &ChannelId) -> Result<Option<(u64, Vec<ParticipantId>)>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.members())
    }

    /// Members to whom a message of the log is due and who were not seen to have it: see
    /// [`Channel::missing_members`](crate::channel::Channel::missing_members).
    pub fn missing_members(&self, channel: &ChannelId, id: &MessageId) -> Result<Vec<ParticipantId>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.missing_members(id))
    }

    /// Users to whom a message of the log is due and who were not seen to have it on any device.
    pub fn missing_users(&self, channel: &ChannelId, id: &MessageId) -> Result<Vec<ParticipantId>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.missing_users(id))
    }

    /// Up to which Lamport time the log will not change any more: see
    /// [`Channel::stable_up_to`](crate::channel::Channel::stable_up_to).
    pub fn stable_up_to(&self, channel: &ChannelId) -> Result<Option<Lamport>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.stable_up_to())
    }

    /// How far catching up is, as the last [`Event::SyncStatus`](crate::channel::Event::SyncStatus) told it.
    pub fn sync_status(&self, channel: &ChannelId) -> Result<SyncStatus, ManagerError> {
        self.cell(channel)?.read(|channel| channel.sync_status())
    }

    /// Own messages that nobody has acknowledged yet.
    pub fn outgoing(&self, channel: &ChannelId) -> Result<Vec<OutgoingView>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.outgoing())
    }

    /// Messages that wait for dependencies.
    pub fn incoming(&self, channel: &ChannelId) -> Result<Vec<IncomingView>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.incoming())
    }

    /// Missing messages that are, or will be, asked for.
    pub fn repair_requests(&self, channel: &ChannelId) -> Result<Vec<RequestView>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.requests())
    }

    /// Messages that will be rebroadcast for others.
    pub fn repair_responses(&self, channel: &ChannelId) -> Result<Vec<ResponseView>, ManagerError> {
        self.cell(channel)?.read(|channel| channel.responses())
    }

    /// Counters and sizes.
    pub fn stats(&self, channel: &ChannelId) -> Result<Stats, ManagerError> {
        self.cell(channel)?.read(|channel| channel.stats())
    }

    /// Why the channel's last save failed; `None` when the store has everything.
    pub fn save_failure(&self, channel: &ChannelId) -> Result<Option<Arc<PersistenceError>>, ManagerError> {
        Ok(self.cell(channel)?.save_failure())
    }

    /// Everything that is, or is owed to be, in the store: for backups, and for tests of stores.
    pub fn data(&self, channel: &ChannelId) -> Result<ChannelData, ManagerError> {
        self.cell(channel)?.read(|channel| channel.data())
    }
}
