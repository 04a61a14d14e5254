//! A step on its way through an open channel: what it saves, what it tells, and who waits for it.

use std::collections::VecDeque;

use super::effect::{CallId, Caller};
use super::told::{Telling, Told};
use crate::channel::{self, ChannelError, Outcome, Step, Transmit, TransmitKind};
use crate::state::{Commit, Row};
use crate::types::{Dialect, Message};

/// What a row, or something told, takes in memory beyond its content.
pub(super) const ITEM_BYTES: usize = 256;

/// A step to carry out.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) save: Commit,
    /// Save what is owed, even if there is nothing to add.
    pub(super) retry: bool,
    /// What the caller gets to broadcast; boxed, for it moves from hand to hand.
    pub(super) own: Option<Box<Message>>,
    /// What follows it, where several were sent as one.
    pub(super) further: Vec<Message>,
    pub(super) telling: Telling,
    pub(super) outcome: Result<Outcome, ChannelError>,
    /// Who waits for it.
    pub(super) caller: Option<CallId>,
    /// Who else does, for an opening.
    pub(super) others: Vec<CallId>,
    /// An order that is begun once what is owed was saved.
    pub(super) then: Option<Waiting>,
    /// What it keeps in memory.
    pub(super) bytes: usize,
}

/// Steps to carry out, and what they keep in memory.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Boxed, for a step is large, and moves from here into a batch.
    queue: VecDeque<Box<Pending>>,
    bytes: usize,
}

impl Steps {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, step: Pending) {
        self.bytes += step.bytes;
        self.queue.push_back(Box::new(step));
    }

    pub(super) fn pop(&mut self) -> Option<Box<Pending>> {
        let step = self.queue.pop_front()?;
        self.bytes -= step.bytes;
        Some(step)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<Pending>> {
        self.queue.iter_mut()
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> VecDeque<Box<Pending>> {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }
}

/// An order to enter an input that was not begun.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) caller: Option<Caller>,
    pub(super) input: channel::Input,
    pub(super) heard: Option<Dialect>,
}

impl Waiting {
    pub(super) fn is_of(&self, call: CallId) -> bool {
        self.caller.is_some_and(|caller| caller.call == call)
    }

    /// What it keeps in memory.
    fn bytes(&self, dialect: Dialect) -> usize {
        match &self.input {
            channel::Input::Send { content, .. } | channel::Input::SendEphemeral { content } => content.len(),
            channel::Input::Receive(message) | channel::Input::Relay(message) => {
                message.encoded_len(self.heard.unwrap_or(dialect))
            }
            channel::Input::SetHint { hint, .. } => hint.len(),
            channel::Input::SendMany(contents) => contents.iter().map(|content| content.len() + ITEM_BYTES).sum(),
            channel::Input::DependenciesMet(ids) => ids.iter().map(|id| id.len() + ITEM_BYTES).sum(),
            _ => 0,
        }
    }
}

impl Pending {
    /// A step that a channel gave. With `hints`, the hint of a message sent is asked for afterwards.
    pub(super) fn new(mut step: Step, dialect: Dialect, hints: bool) -> Self {
        let own = step.transmit.iter().position(|transmit| is_answer(transmit.kind));
        let own = own.map(|position| step.transmit.remove(position));
        let mut further = Vec::new();
        if matches!(step.outcome, Ok(Outcome::SentMany(_))) {
            let (answers, others) = step.transmit.into_iter().partition(|transmit| is_answer(transmit.kind));
            step.transmit = others;
            let answers: Vec<Transmit> = answers;
            further.extend(answers.into_iter().map(|transmit| transmit.message));
        }
        let content = own.as_ref().filter(|own| own.kind == TransmitKind::Content);
        let hint_for = content.filter(|_| hints).map(|own| own.message.id.clone());
        let told = step.events.into_iter().map(Told::Event).collect();
        let telling = Telling { dialect, transmit: step.transmit, told, hint_for, archive: step.archive };
        let messages = own.as_ref().map(|own| &own.message).into_iter().chain(&further);
        let (content, rest) = messages.fold((0, 0), |(sum, rest), message| {
            let content = message.content.len();
            (sum + content, rest + ITEM_BYTES + message.encoded_len(dialect) - content)
        });
        Self {
            // What is delivered or sent is mostly what is saved.
            bytes: bytes_of(&step.save).max(telling.bytes()).max(content) + rest,
            save: step.save,
            retry: false,
            own: own.map(|own| Box::new(own.message)),
            further,
            telling,
            outcome: step.outcome,
            caller: None,
            others: Vec::new(),
            then: None,
        }
    }

    /// A step that does nothing but save what is owed, before another order to a channel of this dialect is begun.
    pub(super) fn retry(then: Option<Waiting>, dialect: Dialect) -> Self {
        Self {
            bytes: ITEM_BYTES + then.as_ref().map_or(0, |order| order.bytes(dialect)),
            save: Commit::default(),
            retry: true,
            own: None,
            further: Vec::new(),
            telling: Telling::default(),
            outcome: Ok(Outcome::Done),
            caller: None,
            others: Vec::new(),
            then,
        }
    }

    /// Whoever waits for it, and is then answered by nobody else.
    pub(super) fn take_calls(&mut self) -> Vec<CallId> {
        let mut calls = std::mem::take(&mut self.others);
        calls.extend(self.caller.take());
        calls.extend(self.then.take().and_then(|order| order.caller).map(|caller| caller.call));
        calls
    }
}

/// Whether a step has nothing to carry out.
pub(super) fn is_empty(step: &Step) -> bool {
    step.save.is_empty() && step.transmit.is_empty() && step.events.is_empty() && step.archive.is_empty()
}

/// What a commit keeps in memory.
pub(super) fn bytes_of(commit: &Commit) -> usize {
    let content = commit.history.put.iter().map(|row| match row {
        Row::Message(logged) => logged.body.content.len(),
        Row::Parked(parked) => parked.body.content.len(),
        _ => 0,
    });
    let hints = commit.hints.iter().map(|(_, hint)| hint.len());
    let items = commit.history.put.len() + commit.history.delete.len() + commit.hints.len();
    items * ITEM_BYTES + content.chain(hints).sum::<usize>()
}

/// Whether the caller alone gets this message; all others go out by themselves.
fn is_answer(kind: TransmitKind) -> bool {
    matches!(kind, TransmitKind::Content | TransmitKind::Ephemeral | TransmitKind::Relay)
}
