//! What a manager does without being asked: timers, syncs, and the streams of what goes by itself.

use super::{EventStream, ManagerError, ReliabilityManager, TransmitStream, callbacks};
#[cfg(doc)]
use super::{OnSaveFailure, Transmission};
use crate::channel::Input;
use crate::executor::{ExecutorError, Order};
use crate::types::{ChannelId, ParticipantId};

impl ReliabilityManager {
    /// Starts the task that resends, syncs, repairs and retries failed saves when that is due. It ends with the
    /// manager. Without it, call [`sweep_all`](Self::sweep_all) about every second.
    pub fn start_periodic_tasks(&self) {
        self.shared.timers.start(&self.shared);
    }

    /// Does what is due in one channel.
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn sweep(&self, channel: impl Into<ChannelId>) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::Timeout).await.map(|_| ())
    }

    /// Does what is due in all channels. Channels so busy that their queue is full are left out.
    ///
    /// # Errors
    /// The first one; the other channels are swept all the same.
    pub async fn sweep_all(&self) -> Result<(), ManagerError> {
        self.enter_all(&Input::Timeout).await
    }

    /// As [`online`](Self::online), for one channel.
    pub(crate) async fn online_in(&self, channel: &ChannelId) -> Result<(), ManagerError> {
        self.call(channel, Input::Online).await.map(|_| ())
    }

    async fn enter_all(&self, input: &Input) -> Result<(), ManagerError> {
        let mut outcome = Ok(());
        let mut sweeps = Vec::new();
        let inside = callbacks::is_inside();
        for cell in self.shared.directory.cells() {
            if cell.look(|lane| lane.is_open() && !lane.is_full()) {
                let asked = cell.ask(&self.shared, Order::Enter { input: input.clone(), heard: None }, inside);
                sweeps.push((asked.begin(&self.shared, &cell), cell));
            }
        }
        for (sweep, cell) in sweeps {
            outcome = outcome.and(cell.told(sweep.await.unwrap_or(Err(ExecutorError::ShutDown))).map(|_| ()));
        }
        outcome
    }

    /// Sends a sync message now, whether or not one is due. It comes as a [`Transmission`].
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn sync_now(&self, channel: impl Into<ChannelId>) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::SendSync).await.map(|_| ())
    }

    /// The network is back, or the machine was asleep: in all open channels what is pending is sent again, and what is
    /// missing is asked for, now and not when their turns come.
    ///
    /// # Errors
    /// The first one; the other channels are told all the same.
    pub async fn online(&self) -> Result<(), ManagerError> {
        self.enter_all(&Input::Online).await
    }

    /// Compares a channel with another participant now, and fetches what is missing, without waiting for a sign that
    /// something is. How far it is comes as [`Event::SyncStatus`](crate::channel::Event::SyncStatus). Nothing happens with
    /// [`Config::catch_up`](crate::channel::Config::catch_up) off, or where nobody was heard who could be asked.
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn catch_up(&self, channel: impl Into<ChannelId>) -> Result<(), ManagerError> {
        self.call(&channel.into(), Input::CatchUp).await.map(|_| ())
    }

    /// Says who is in the channel from now on: a sender id each, `user/device` where users have several devices. Saved. A
    /// later set has a higher epoch; an empty one ends it (docs/members.md).
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`]; [`ManagerError::Channel`] for an epoch that has passed, and for names that are no
    /// ids or more than 1,024; [`ManagerError::Persistence`] with [`OnSaveFailure::Fail`].
    pub async fn set_members(
        &self,
        channel: impl Into<ChannelId>,
        epoch: u64,
        members: impl IntoIterator<Item = impl Into<ParticipantId>>,
    ) -> Result<(), ManagerError> {
        let members = members.into_iter().map(Into::into).collect();
        self.call(&channel.into(), Input::SetMembers { epoch, members }).await.map(|_| ())
    }

    /// All events from now on. A reader that is too slow is told how many it missed.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.shared.feeds.events()
    }

    /// All messages from now on that must go out by themselves.
    #[must_use]
    pub fn transmissions(&self) -> TransmitStream {
        self.shared.feeds.transmissions()
    }
}
