//! A participant's channel as an application has it: in an [`Executor`], which is driven here with a medium that answers
//! at once.
//!
//! What is slow, fails or hangs is the matter of the worlds in [`executor`](super::executor). Here each input is carried
//! out to its end before the next one, unless its participant dies on the way.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::channel::{Channel, ChannelError, Config, Event, Input as ChannelInput, Outcome, Transmit, TransmitKind};
use crate::executor::{CallId, Caller, Effect, Executor, ExecutorError, Input, Moment, Options, Order, Told};
use crate::types::{ChannelId, ParticipantId, RunningTime};

use super::{Archive, Crash, Medium, archive};

/// One channel in an executor of its own.
#[derive(Debug)]
pub(super) struct Driven {
    executor: Executor,
    id: ChannelId,
    calls: u64,
}

/// What an input led to, outside of the medium.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) transmit: Vec<Transmit>,
    pub(super) events: Vec<Event>,
    pub(super) outcome: Result<Outcome, ChannelError>,
}

impl Driven {
    /// Opens the channel with what its medium has.
    ///
    /// # Panics
    /// When the options are refused.
    pub(super) fn open(
        medium: &mut Medium,
        participant: ParticipantId,
        config: Arc<Config>,
        moment: &Moment,
        seed: u64,
    ) -> (Self, Carried) {
        let id = medium.channel().clone();
        let options = Options { archive: medium.archive.is_some(), ..Options::new(participant, seed) };
        if let Some(archive) = &mut medium.archive {
            archive.forget_calls();
        }
        let mut driven = Self { executor: Executor::new(options), id, calls: 0 };
        let effects = driven.order(moment, Order::Open(config));
        let carried =
            driven.carry_out(medium, moment, effects, TransmitKind::Content, None).expect("nobody dies while opening");
        (driven, carried)
    }

    /// Hands an input in and carries out what it leads to; `None` when the participant died of `crash` at a save.
    pub(super) fn handle(
        &mut self,
        medium: &mut Medium,
        moment: &Moment,
        input: ChannelInput,
        crash: Option<Crash>,
    ) -> Option<Carried> {
        let kind = match input {
            ChannelInput::SendEphemeral { .. } => TransmitKind::Ephemeral,
            ChannelInput::Relay(_) => TransmitKind::Relay,
            _ => TransmitKind::Content,
        };
        let mut effects = Vec::new();
        if let Some((generation, result)) = medium.archive.as_mut().and_then(Archive::come_back) {
            effects = self.executor.handle(moment, &self.id, Input::Archived { generation, result });
        }
        effects.extend(match input {
            ChannelInput::Timeout => self.executor.timeout(moment),
            input => self.order(moment, Order::Enter { input, heard: None }),
        });
        self.carry_out(medium, moment, effects, kind, crash)
    }

    /// The channel.
    pub(super) fn channel(&self) -> &Channel {
        self.executor.channel(&self.id).expect("a world's channel is open and without defect")
    }

    /// When to hand in [`ChannelInput::Timeout`].
    pub(super) fn poll_timeout(&self) -> Option<RunningTime> {
        self.executor.poll_timeout()
    }

    fn order(&mut self, moment: &Moment, order: Order) -> Vec<Effect> {
        let caller = Some(Caller { call: CallId(self.calls), inside: false });
        self.calls += 1;
        self.executor.handle(moment, &self.id, Input::Order { caller, order })
    }

    /// `kind` is that of the message which a caller is given to broadcast.
    fn carry_out(
        &mut self,
        medium: &mut Medium,
        moment: &Moment,
        effects: Vec<Effect>,
        kind: TransmitKind,
        crash: Option<Crash>,
    ) -> Option<Carried> {
        let mut carried = Carried { transmit: Vec::new(), events: Vec::new(), outcome: Ok(Outcome::Done) };
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let input = match effect {
                Effect::Load { generation, .. } => Input::Loaded { generation, result: Ok(medium.load()) },
                Effect::Commit { generation, commit, .. } => {
                    match crash {
                        None | Some(Crash::AfterSave) => medium.apply(&commit),
                        Some(Crash::BetweenWrites) => medium.apply_rows(&commit),
                        Some(Crash::BeforeSave) => {}
                    }
                    if crash.is_some() {
                        return None;
                    }
                    Input::Saved { generation, result: Ok(()) }
                }
                Effect::Archive { generation, call, .. } => {
                    archive::check(medium, &call);
                    let ended = medium.archive.as_mut().and_then(|archive| archive.call(generation, call));
                    let Some((generation, result)) = ended else { continue };
                    Input::Archived { generation, result }
                }
                Effect::Tell { telling, .. } => {
                    carried.transmit.extend(telling.transmit.iter().cloned());
                    carried.events.extend(telling.told.iter().filter_map(event));
                    continue;
                }
                Effect::Answer { result, .. } => {
                    carried.outcome = match result {
                        Ok(answer) => {
                            let messages = answer.own.map(|(message, _)| *message).into_iter().chain(answer.further);
                            carried.transmit.splice(0..0, messages.map(|message| Transmit { kind, message, to: None }));
                            Ok(answer.outcome)
                        }
                        Err(ExecutorError::Channel(error)) => Err(error),
                        Err(error) => panic!("{error}"),
                    };
                    continue;
                }
                effect => panic!("nobody asked for this: {effect:?}"),
            };
            effects.extend(self.executor.handle(moment, &self.id, input));
        }
        Some(carried)
    }
}

fn event(told: &Told) -> Option<Event> {
    if let Told::Event(event) = told { Some(event.clone()) } else { None }
}
