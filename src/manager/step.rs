//! A step on its way through a slot.
//!
//! What: [`Pending`] is a step that waits to be carried out, with who waits for it; [`Told`] is the part of it that is
//! told once it is saved. Why apart: with [`OnSaveFailure::Fail`](super::OnSaveFailure::Fail) that part is held back
//! while the caller has its error already. How it moves: `slot` makes it, `drain` takes it apart.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::ManagerError;
use super::events::ManagerEvent;
use crate::channel::{ChannelError, Event, Outcome, Step, Transmit, TransmitKind};
use crate::state::Commit;
use crate::store::PersistenceError;
use crate::types::{Message, MessageId};

/// A step to carry out.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) save: Commit,
    /// Save what is owed, even if there is nothing to add.
    pub(super) retry: bool,
    /// What the caller gets as bytes.
    pub(super) own: Option<Message>,
    pub(super) told: Told,
    pub(super) outcome: Result<Outcome, ChannelError>,
    pub(super) reply: Option<oneshot::Sender<Result<Answer, ManagerError>>>,
    pub(super) saved: Option<oneshot::Sender<Result<(), Arc<PersistenceError>>>>,
}

impl Pending {
    /// A step that a channel gave. With `hints`, the hint of a message sent is asked for afterwards.
    pub(super) fn new(mut step: Step, hints: bool) -> Self {
        let own = step.transmit.iter().position(|transmit| is_answer(transmit.kind));
        let own = own.map(|position| step.transmit.remove(position));
        let content = own.as_ref().filter(|own| own.kind == TransmitKind::Content);
        let hint_for = content.filter(|_| hints).map(|own| own.message.id.clone());
        Self {
            save: step.save,
            retry: false,
            own: own.map(|own| own.message),
            told: Told { transmit: step.transmit, events: step.events, hint_for, ..Told::default() },
            outcome: step.outcome,
            reply: None,
            saved: None,
        }
    }

    /// A step that does nothing but save what is owed.
    pub(super) fn retry(saved: oneshot::Sender<Result<(), Arc<PersistenceError>>>) -> Self {
        Self {
            save: Commit::default(),
            retry: true,
            own: None,
            told: Told::default(),
            outcome: Ok(Outcome::Done),
            reply: None,
            saved: Some(saved),
        }
    }
}

/// What a step tells, once it is saved.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) transmit: Vec<Transmit>,
    pub(super) notices: Vec<ManagerEvent>,
    pub(super) events: Vec<Event>,
    /// An own message whose hint the provider is asked for.
    pub(super) hint_for: Option<MessageId>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// What a caller waits for.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) bytes: Option<Bytes>,
}

/// What a sweep did. Nobody has to wait for it.
#[derive(Debug)]
pub(super) enum Sweep {
    Handled(Waiting),
    /// With [`OnSaveFailure::Fail`](super::OnSaveFailure::Fail), when something is owed: only that was saved, if it could be.
    Retried(SaveWaiting),
    /// Too much is queued.
    Busy,
}

impl Sweep {
    pub(super) async fn end(self) -> Result<(), ManagerError> {
        match self {
            Self::Handled(waiting) => waiting.await.unwrap_or(Err(ManagerError::ShutDown)).map(|_| ()),
            Self::Retried(saved) => Ok(saved.await.map_err(|_| ManagerError::ShutDown)??),
            Self::Busy => Ok(()),
        }
    }
}

pub(super) type Waiting = oneshot::Receiver<Result<Answer, ManagerError>>;
pub(super) type SaveWaiting = oneshot::Receiver<Result<(), Arc<PersistenceError>>>;

/// Whether the caller alone gets this message; all others go out by themselves.
fn is_answer(kind: TransmitKind) -> bool {
    matches!(kind, TransmitKind::Content | TransmitKind::Ephemeral | TransmitKind::Relay)
}
