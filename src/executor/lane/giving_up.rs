//! Callers that wait no longer: for their patience has ended, or because nothing is carried out any more.

use super::super::effect::{CallId, Caller, Common, Effect, ExecutorError, Moment, Unfinished};
use super::super::turn::Turn;
use super::{Kind, Lane, Loading, Phase, answer};

impl Lane {
    /// Nothing is carried out any more.
    pub(super) fn abandon(&mut self, common: &Common, moment: &Moment, effects: &mut Vec<Effect>) {
        self.shut_down = true;
        let mut callers: Vec<Caller> = self.line.drain(..).flat_map(|next| next.callers).collect();
        match &mut self.phase {
            Phase::Absent | Phase::Unwiped => {}
            Phase::Loading(Loading { callers: waiting, .. }) | Phase::Wiping(_, waiting) => {
                callers.append(waiting);
                self.phase = Phase::Absent;
            }
            Phase::Open(live) => {
                live.abandon(&mut Turn { id: &self.id, common, moment, callbacks: &mut self.callbacks, effects });
            }
        }
        for caller in callers {
            answer(&self.id, Some(caller), Err(ExecutorError::ShutDown), effects);
        }
    }

    /// Answers a caller whose patience has ended. What was begun goes on, but waits for callbacks no longer.
    pub(super) fn give_up(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        let is_it = |caller: &Caller| caller.call == call;
        let mut found = self.callbacks.give_up(call);
        for next in &mut self.line {
            found |= next.callers.extract_if(.., |caller| is_it(caller)).next().is_some();
        }
        match &mut self.phase {
            Phase::Absent | Phase::Unwiped => {}
            Phase::Loading(Loading { callers, .. }) | Phase::Wiping(_, callers) => {
                found |= callers.extract_if(.., |caller| is_it(caller)).next().is_some();
            }
            Phase::Open(live) => {
                found |= live.forget(call);
                if let Some(ending) = &mut live.ending {
                    let waited = ending.callers.extract_if(.., |caller| is_it(caller)).next().is_some();
                    ending.hurry |= waited || found;
                    found |= waited;
                }
            }
        }
        if found && self.shut_down {
            // Who asked for the end waits no longer, so nobody waits for the store any more.
            let calls: Vec<CallId> = match &mut self.phase {
                Phase::Loading(Loading { callers, .. }) | Phase::Wiping(_, callers) => {
                    callers.drain(..).map(|caller| caller.call).collect()
                }
                Phase::Open(live) => live.take_callers(),
                Phase::Absent | Phase::Unwiped => Vec::new(),
            };
            let opening = self.line.iter_mut().filter(|next| matches!(next.kind, Kind::Open(_)));
            let opening = opening.flat_map(|next| next.callers.drain(..)).map(|caller| caller.call);
            for call in calls.into_iter().chain(opening) {
                answer(&self.id, Some(Caller { call, inside: false }), Err(ExecutorError::ShutDown), effects);
            }
        }
        if found {
            let error = ExecutorError::Unfinished(self.waits_for());
            answer(&self.id, Some(Caller { call, inside: false }), Err(error), effects);
        }
    }

    fn waits_for(&self) -> Unfinished {
        match &self.phase {
            Phase::Loading(Loading { wiping: false, .. }) => Unfinished::Store("load_channel"),
            Phase::Loading(_) | Phase::Wiping(..) => Unfinished::Store("drop_channel"),
            Phase::Open(live) => match (live.is_saving(), live.ends_after_call()) {
                (Some(call), _) => Unfinished::Store(call),
                (None, Some(call)) => Unfinished::Archive(call),
                (None, None) => Unfinished::Callback,
            },
            Phase::Absent | Phase::Unwiped => Unfinished::Callback,
        }
    }
}
