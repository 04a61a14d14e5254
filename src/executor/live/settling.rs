//! What follows from a save, or from its failure: it is told, then whoever waits is answered.

use std::sync::Arc;

use tracing::{debug, warn};

use super::super::effect::{Answer, Effect, ExecutorError, OnSaveFailure};
use super::super::owed::Failing;
use super::super::step::Pending;
use super::super::told::{Telling, Told};
use super::super::turn::Turn;
use super::{Batch, Live};
use crate::store::PersistenceError;

impl Live {
    /// Tells all of a batch, in order, what its one attempt to save came to.
    pub(super) fn settle(
        &mut self,
        turn: &mut Turn<'_>,
        batch: Batch,
        attempt: Option<Result<(), Arc<PersistenceError>>>,
    ) {
        let mut failure = None;
        match attempt {
            None => {}
            Some(Ok(())) => {
                if self.failing.take().is_some() {
                    debug!(channel = %turn.id, "saved what was owed");
                    let notice = self.notice(Told::PersistenceRecovered);
                    self.tell(turn, notice);
                }
                for telling in std::mem::take(&mut self.held) {
                    self.tell(turn, telling);
                }
            }
            Some(Err(error)) => {
                if !self.is_removed() {
                    let next = Failing::after(self.failing.as_ref(), error.clone(), turn.moment.running);
                    if self.failing.replace(next).is_none() {
                        warn!(channel = %turn.id, %error, "cannot save; trying again");
                        let notice = self.notice(Told::PersistenceFailed(error.clone()));
                        self.tell(turn, notice);
                    }
                }
                failure = Some(error).filter(|_| turn.common.options.on_save_failure == OnSaveFailure::Fail);
            }
        }
        self.settling = true;
        for step in batch {
            self.carry_out(turn, step, failure.clone());
        }
        self.settling = false;
        turn.callbacks.start(turn.id, turn.effects);
    }

    /// `failure` is set where a failed save fails the operation.
    fn carry_out(&mut self, turn: &mut Turn<'_>, step: Box<Pending>, failure: Option<Arc<PersistenceError>>) {
        if step.retry {
            self.retry_queued = false;
        }
        if failure.is_some() && !self.is_removed() {
            if !step.telling.is_empty() {
                self.held.push(step.telling);
            }
        } else {
            self.tell(turn, step.telling);
        }
        match (failure, step.then) {
            (None, Some(order)) => match self.check_open() {
                Ok(()) => self.begin(turn, order),
                Err(error) => turn.refuse(&order, error),
            },
            (Some(error), Some(order)) => turn.refuse(&order, error.into()),
            (Some(error), None) => {
                for call in step.others.into_iter().chain(step.caller) {
                    turn.answer(call, Err(error.clone().into()));
                }
            }
            (None, None) => {
                let dialect = self.dialect;
                let Pending { outcome, own, further, caller, others, .. } = *step;
                let answer = outcome.map_err(ExecutorError::from);
                let own = own.map(|message| (message, dialect));
                let answer = answer.map(|outcome| Answer { outcome, own, further });
                for call in others {
                    turn.answer(call, answer.clone());
                }
                if let Some(call) = caller {
                    turn.answer(call, answer);
                }
            }
        }
    }

    pub(super) fn notice(&self, told: Told) -> Telling {
        Telling { dialect: self.dialect, told: vec![told], ..Telling::default() }
    }

    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, mut telling: Telling) {
        let asked = std::mem::take(&mut telling.archive);
        if self.is_removed() {
            return;
        }
        if let Some(archiving) = &mut self.archiving {
            archiving.ask(asked, turn.moment.running);
        }
        if telling.is_empty() {
            return;
        }
        let telling = Arc::new(telling);
        turn.callbacks.push(turn.common.options.callbacks, self.generation, &telling);
        turn.effects.push(Effect::Tell { channel: turn.id.clone(), telling });
    }
}
