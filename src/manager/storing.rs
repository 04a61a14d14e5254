//! Calls to the store, each of which ends with an input: also when the store panics, was taken away, or when the runtime
//! ends before the call does.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::archiving;
use super::cell::Cell;
use super::shared::Shared;
use crate::executor::{Generation, Input};
use crate::state::Commit;
use crate::store::{Persistence, PersistenceError, PersistenceErrorKind};
use crate::types::ChannelId;

pub(super) fn load(shared: &Arc<Shared>, cell: &Arc<Cell>, generation: Generation) {
    let end =
        End::new(shared, cell, "load_channel", generation, |generation, result| Input::Loaded { generation, result });
    start(shared, async move {
        let result = match end.store() {
            Some(store) => without_panic(end.verb, Some(&end.cell.id), || store.load_channel(&end.cell.id)).await,
            None => Err(closed(end.verb, &end.cell.id)),
        };
        end.with(result);
    });
}

pub(super) fn commit(shared: &Arc<Shared>, cell: &Arc<Cell>, generation: Generation, commit: Arc<Commit>) {
    let end = End::new(shared, cell, "commit", generation, |generation, result| Input::Saved { generation, result });
    start(shared, async move {
        let result = match end.store() {
            Some(store) => without_panic(end.verb, Some(&end.cell.id), || store.commit(&end.cell.id, &commit)).await,
            None => Err(closed(end.verb, &end.cell.id)),
        };
        drop(commit);
        end.with(result);
    });
}

pub(super) fn drop_channel(shared: &Arc<Shared>, cell: &Arc<Cell>, generation: Generation) {
    let end =
        End::new(shared, cell, "drop_channel", generation, |generation, result| Input::Dropped { generation, result });
    start(shared, async move {
        let result = match end.store() {
            Some(store) => {
                let archive = end.shared.archive();
                match without_panic(end.verb, Some(&end.cell.id), || store.drop_channel(&end.cell.id)).await {
                    Ok(()) => archiving::drop_channel(archive, &end.cell.id).await,
                    failed => failed,
                }
            }
            None => Err(closed(end.verb, &end.cell.id)),
        };
        end.with(result);
    });
}

/// A call to the store in which a panic is an error: of the call, of its future, or of dropping that.
pub(super) async fn without_panic<'a, T>(
    verb: &'static str,
    channel: Option<&ChannelId>,
    call: impl FnOnce() -> Pin<Box<dyn Future<Output = Result<T, PersistenceError>> + Send + 'a>>,
) -> Result<T, PersistenceError> {
    let panicked = || PersistenceError::new(verb, channel, PersistenceErrorKind::Backend("the store panicked".into()));
    let mut call = Some(catch_unwind(AssertUnwindSafe(call)).map_err(|_| panicked())?);
    poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let Some(future) = call.as_mut() else { return Poll::Pending };
            let result = future.as_mut().poll(context);
            if result.is_ready() {
                call = None;
            }
            result
        }));
        polled.unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    })
    .await
}

/// Polls once on this thread, which is all it takes when the store answers at once; else it becomes a task.
pub(super) fn start(shared: &Arc<Shared>, call: impl Future<Output = ()> + Send + 'static) {
    let _runtime = shared.runtime.enter();
    let mut call = Box::pin(call);
    if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        shared.runtime.spawn(call);
    }
}

/// Hands the result in; without one, that the runtime has ended.
pub(super) struct End<T> {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    verb: &'static str,
    generation: Generation,
    input: Option<MakeInput<T>>,
}

type MakeInput<T> = fn(Generation, Result<T, Arc<PersistenceError>>) -> Input;

impl<T> End<T> {
    pub(super) fn new(
        shared: &Arc<Shared>,
        cell: &Arc<Cell>,
        verb: &'static str,
        generation: Generation,
        input: MakeInput<T>,
    ) -> Self {
        Self { shared: shared.clone(), cell: cell.clone(), verb, generation, input: Some(input) }
    }

    pub(super) fn channel(&self) -> &ChannelId {
        &self.cell.id
    }

    fn store(&self) -> Option<Arc<dyn Persistence>> {
        self.shared.store()
    }

    pub(super) fn with(mut self, result: Result<T, PersistenceError>) {
        if let Some(input) = self.input.take() {
            self.cell.hand_in(&self.shared, input(self.generation, result.map_err(Arc::new)));
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if self.input.is_some() {
            self.cell.hand_in(&self.shared, Input::Abandon);
        }
    }
}

pub(super) fn runtime_ended(verb: &'static str, channel: &ChannelId) -> PersistenceError {
    let kind = PersistenceErrorKind::Backend("the runtime ended before the store answered".into());
    PersistenceError::new(verb, Some(channel), kind)
}

pub(super) fn closed(verb: &'static str, channel: &ChannelId) -> PersistenceError {
    PersistenceError::new(verb, Some(channel), PersistenceErrorKind::Closed)
}
