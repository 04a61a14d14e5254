//! All messages ever sent, and who has which: what the invariants compare with.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::channel::{Event, Fate, Limit, TransmitKind};
use crate::state::{LogKey, Mark, MarkKind, Row};
use crate::types::{FilterField, Lamport, Message, MessageId, MessageKind, ParticipantId};

use super::super::{EPOCH_MS, Node};
use super::past::Begun;
use super::watched::Watched;
use super::{Order, Seen, copy_of};

/// Beyond this a timestamp may be refused by some participant's clock.
const PREMATURE_MS: u64 = 23 * 60 * 60 * 1_000;

/// A message, known from its sending or only by name.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its id.
    pub id: MessageId,
    /// Its place in the log, once sent.
    pub key: Option<LogKey>,
    /// Who it says sent it.
    pub sender: Option<ParticipantId>,
    /// Index of the honest participant that sent it.
    pub from: Option<usize>,
    /// When, in virtual milliseconds.
    pub sent_ms: u64,
    /// Its content.
    pub content: Bytes,
    /// What it names.
    pub names: Vec<usize>,
    /// Two different messages were sent under this id.
    pub contested: bool,
    /// The application chose the id.
    pub given: bool,
    /// A hostile member sent it.
    pub hostile: bool,
    /// Its timestamp may be refused.
    pub premature: bool,
    /// It was sent when there were no faults any more.
    pub after_faults: bool,
    /// Participants that delivered or sent it.
    pub holders: usize,
    /// Its sender took it back.
    pub withdrawn: bool,
}

/// All messages by index, and sets of indices per participant.
#[derive(Debug, Default)]
pub struct Registry {
    index: HashMap<MessageId, usize>,
    messages: Vec<Registered>,
    had: Vec<Vec<bool>>,
    taken: Vec<Vec<bool>>,
    heard_of: Vec<Vec<bool>>,
    /// What each participant began with.
    begun: Vec<Begun>,
    lost: Vec<BTreeSet<usize>>,
    declared: Vec<BTreeSet<usize>>,
    handed: Vec<Vec<bool>>,
    /// Who took what back.
    withdrawn: BTreeSet<(usize, usize)>,
    /// Who erased what.
    erased: BTreeSet<(usize, usize)>,
    /// Receivers, names under which a hostile member spoke to them, and what it named.
    forged: BTreeSet<(usize, ParticipantId, usize)>,
    /// Receivers, and names under which a hostile member sent them a filter that may be worth something.
    vouched: BTreeSet<(usize, ParticipantId)>,
    /// There are no faults any more.
    healed: bool,
    repaired: BTreeSet<usize>,
    /// What a hostile member said of that it had left a log.
    said_gone: BTreeSet<usize>,
    transmitted: HashMap<TransmitKind, u64>,
    /// A participant looked at more closely, if any.
    pub watched: Option<Watched>,
    /// Messages that an honest participant sent.
    pub sent: u64,
    /// Deliveries told.
    pub delivered: u64,
    /// Milliseconds from sending to delivery, one for each delivery of an honest message.
    pub latencies: Vec<u32>,
    /// Milliseconds from sending to the first acknowledgement.
    pub acknowledged_after: Vec<u32>,
    /// Milliseconds from sending until a participant whom the first transmission did not reach heard of the message.
    pub gaps_found_after: Vec<u32>,
}

impl Registry {
    /// A message by index.
    #[must_use]
    pub fn message(&self, index: usize) -> &Registered {
        &self.messages[index]
    }

    /// The index of an id.
    #[must_use]
    pub fn find(&self, id: &MessageId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Whether a message and another one name each other.
    #[must_use]
    pub fn is_cycle(&self, index: usize) -> bool {
        self.messages[index].names.iter().any(|name| self.messages[*name].names.contains(&index))
    }

    /// A hostile member says of these that they have left somebody's log.
    pub(crate) fn say_gone(&mut self, ids: &[MessageId]) {
        let gone: Vec<usize> = ids.iter().filter_map(|id| self.find(id)).collect();
        self.said_gone.extend(gone);
    }

    /// Whether one did.
    pub(super) fn is_said_gone(&self, index: usize) -> bool {
        self.said_gone.contains(&index)
    }

    /// All messages that were sent.
    pub fn all_sent(&self) -> impl Iterator<Item = (usize, &Registered)> {
        self.messages.iter().enumerate().filter(|(_, message)| message.key.is_some())
    }

    /// Whether a message with this id was sent.
    #[must_use]
    pub fn is_sent(&self, id: &MessageId) -> bool {
        self.find(id).is_some_and(|index| self.messages[index].key.is_some())
    }

    /// Whether a participant sent it or told its application of it.
    #[must_use]
    pub fn has(&self, node: usize, index: usize) -> bool {
        bit(&self.had, node, index)
    }

    /// Whether a participant received it, waiting for others or not.
    #[must_use]
    pub fn took(&self, node: usize, index: usize) -> bool {
        bit(&self.taken, node, index)
    }

    /// Whether it reached a participant, was not refused, and did not give way since.
    #[must_use]
    pub fn was_handed(&self, node: usize, index: usize) -> bool {
        bit(&self.handed, node, index)
    }

    /// Whether a participant gave it up as lost.
    #[must_use]
    pub fn is_lost(&self, node: usize, index: usize) -> bool {
        self.lost.get(node).is_some_and(|lost| lost.contains(&index))
    }

    /// What a participant gave up or was told to need not wait for.
    pub(super) fn waived(&self, node: usize) -> impl Iterator<Item = usize> {
        self.lost.get(node).into_iter().chain(self.declared.get(node)).flatten().copied()
    }

    /// How a participant began.
    pub(super) fn begun(&self, node: usize) -> Begun {
        self.begun.get(node).copied().unwrap_or_default()
    }

    /// Whether a participant's application declared it met, or it forgot that it was lost.
    #[must_use]
    pub fn is_declared(&self, node: usize, index: usize) -> bool {
        self.declared.get(node).is_some_and(|declared| declared.contains(&index))
    }

    /// Whether a participant took it back.
    #[must_use]
    pub fn is_withdrawn(&self, node: usize, index: usize) -> bool {
        self.withdrawn.contains(&(node, index))
    }

    /// Whether a participant erased it.
    #[must_use]
    pub fn is_erased(&self, node: usize, index: usize) -> bool {
        self.erased.contains(&(node, index))
    }

    /// Whether a hostile member told a participant under this name that a message had been received.
    #[must_use]
    pub fn is_forged(&self, node: usize, name: &ParticipantId, index: usize) -> bool {
        self.forged.contains(&(node, name.clone(), index)) || self.vouched.contains(&(node, name.clone()))
    }

    /// Packets of this kind.
    #[must_use]
    pub fn transmitted(&self, kind: TransmitKind) -> u64 {
        self.transmitted.get(&kind).copied().unwrap_or(0)
    }

    /// Distinct messages that somebody rebroadcast for others.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.repaired.len() as u64
    }

    /// Before the invariants look: new messages.
    pub(super) fn register(&mut self, now_ms: u64, nodes: usize, seen: &Seen<'_>) {
        for sets in [&mut self.had, &mut self.taken, &mut self.handed, &mut self.heard_of] {
            sets.resize(sets.len().max(nodes), Vec::new());
        }
        self.lost.resize(nodes, BTreeSet::new());
        self.declared.resize(nodes, BTreeSet::new());
        self.begun.resize(nodes, Begun::default());
        match seen {
            Seen::Sent { node, message, given } => {
                self.sent += 1;
                self.add(message, Some(*node), now_ms, *given);
            }
            Seen::Recovered { node, message } => self.add(message, Some(*node), now_ms, true),
            Seen::Ordered { node, id, order: Order::Withdrawn } => self.withdraw(*node, id),
            Seen::Ordered { node, id, order: Order::Erased } => {
                let index = self.intern(id);
                self.erased.insert((*node, index));
            }
            // What was saved of it, but not seen before the crash.
            Seen::Restarted { node, saved, .. } => {
                for row in &saved.rows {
                    match row {
                        Row::Mark(Mark { id, kind: MarkKind::Withdrawn, .. }) => self.withdraw(*node, id),
                        Row::Mark(Mark { id, kind: MarkKind::Erased, .. }) => {
                            let index = self.intern(id);
                            self.erased.insert((*node, index));
                        }
                        _ => {}
                    }
                }
            }
            Seen::Copied { of, copy } => self.copy(*of, *copy),
            Seen::Hostile { message } if message.kind() == Some(MessageKind::Content) => {
                self.add(message, None, now_ms, true);
            }
            _ => {}
        }
    }

    /// After they looked: who has what.
    pub(super) fn note(&mut self, now_ms: u64, nodes: &[Node], seen: &Seen<'_>) {
        if let Some(mut watched) = self.watched.take() {
            watched.note(now_ms, self, seen);
            self.watched = Some(watched);
        }
        if let Seen::Received { node, .. } | Seen::Told { node, .. } = seen
            && let Some(channel) = nodes.get(*node).map(Node::channel)
        {
            let begun = &mut self.begun[*node];
            begun.horizon = begun.horizon.max(channel.meta().horizon);
        }
        match seen {
            Seen::Sent { node, message, .. } | Seen::Recovered { node, message } => {
                if let Some(index) = self.find(&message.id) {
                    self.hold(*node, index);
                    set(&mut self.taken, *node, index);
                }
                let begun = &mut self.begun[*node];
                if begun.heard.is_none() {
                    begun.sent = begun.sent.or(message.lamport);
                }
            }
            Seen::Received { node, transmission, fate } => {
                let Some(message) = &transmission.message else { return };
                // Where everybody signs, what a stranger says is no excuse for anything.
                let signs = nodes[*node].channel().config().authenticator.is_some();
                let stranger = transmission.from.is_none();
                if stranger && signs && fate.is_none() {
                    return;
                }
                self.hear_of(*node, &message.id, transmission.kind == Some(TransmitKind::Content), now_ms);
                message.causal_history.iter().for_each(|entry| self.hear_of(*node, &entry.id, false, now_ms));
                let hostile = self.find(&message.id).is_some_and(|index| self.messages[index].hostile);
                if stranger && !signs || hostile {
                    for entry in &message.causal_history {
                        let index = self.intern(&entry.id);
                        self.forged.insert((*node, message.sender.clone(), index));
                    }
                }
                if stranger && !signs && may_be_worth_something(&message.filter) {
                    self.vouched.insert((*node, message.sender.clone()));
                }
                if let Some(fate) = fate
                    && message.kind() == Some(MessageKind::Content)
                {
                    let index = self.intern(&message.id);
                    set(&mut self.handed, *node, index);
                    if matches!(fate, Fate::Delivered | Fate::Parked { .. } | Fate::Duplicate | Fate::Echo) {
                        set(&mut self.taken, *node, index);
                    }
                }
            }
            Seen::Told { node, event: Event::MessageDelivered(delivery), .. } => {
                let index = self.intern(&delivery.body.key.id);
                set(&mut self.taken, *node, index);
                if !delivery.history {
                    self.begun[*node].heard.get_or_insert((index, delivery.body.key.lamport));
                }
                self.delivered += 1;
                if self.hold(*node, index) && self.messages[index].from.is_some() {
                    let after = now_ms.saturating_sub(self.messages[index].sent_ms);
                    self.latencies.push(u32::try_from(after).unwrap_or(u32::MAX));
                }
            }
            // It gave way, and stays in repair only as long as somebody waits for it.
            Seen::Told { node, event: Event::LimitReached { limit: Limit::Parked, id: Some(id), .. }, .. } => {
                if let Some(handed) = self.find(id).and_then(|index| self.handed[*node].get_mut(index)) {
                    *handed = false;
                }
            }
            Seen::Told { node, event: Event::Joined { first, .. }, .. } => {
                self.begun[*node].joined = Some(self.intern(first));
            }
            Seen::Told { node, event: Event::ClockReset { to, .. }, .. }
                if nodes[*node].channel().meta().horizon.is_some_and(|horizon| horizon <= *to) =>
            {
                self.begun[*node].set_back(*to);
            }
            Seen::Told { node, event: Event::DependencyLost { id }, .. } => {
                let index = self.intern(id);
                self.lost[*node].insert(index);
            }
            // A mark that is forgotten before what waited for it goes ahead is not named there: `LimitReached` has told.
            Seen::Told { node, event: Event::LimitReached { limit: Limit::Marks, id: Some(id), .. }, .. } => {
                self.declare(*node, id);
                self.forget_withdrawn(*node, id);
            }
            Seen::Told { event: Event::MessageAcknowledged { id, .. }, .. } => {
                if let Some(index) = self.find(id) {
                    let after = now_ms.saturating_sub(self.messages[index].sent_ms);
                    self.acknowledged_after.push(u32::try_from(after).unwrap_or(u32::MAX));
                }
            }
            Seen::Transmitted { transmission, .. } => {
                let Some(kind) = transmission.kind else { return };
                *self.transmitted.entry(kind).or_default() += 1;
                if let (TransmitKind::Repair, Some(message)) = (kind, &transmission.message) {
                    let index = self.intern(&message.id);
                    self.repaired.insert(index);
                }
            }
            // What was received before a crash and is saved was received, though nobody saw it.
            Seen::Restarted { node, .. } => {
                let channel = nodes[*node].channel();
                let logged = channel.log().map(|logged| logged.body.key.id.clone());
                let parked = channel.incoming().into_iter().map(|view| view.id);
                for id in logged.chain(parked).collect::<Vec<_>>() {
                    let index = self.intern(&id);
                    set(&mut self.taken, *node, index);
                }
            }
            _ => {}
        }
    }

    fn withdraw(&mut self, node: usize, id: &MessageId) {
        let index = self.intern(id);
        self.messages[index].withdrawn = true;
        self.withdrawn.insert((node, index));
        // Who took back all that it had sent is a newcomer again.
        if self.begun[node].heard.is_none() {
            let kept = |(at, message): &(usize, &Registered)| {
                message.from == Some(node) && !self.withdrawn.contains(&(node, *at))
            };
            let first = self.all_sent().filter(kept).filter_map(|(_, message)| message.key.as_ref());
            self.begun[node].sent = first.map(|key| key.lamport).min();
        }
    }

    /// Nothing is left of what was withdrawn: another message under its id is the first.
    fn forget_withdrawn(&mut self, node: usize, id: &MessageId) {
        let index = self.intern(id);
        if self.withdrawn.remove(&(node, index)) && self.has(node, index) {
            self.had[node][index] = false;
            self.messages[index].holders -= 1;
        }
    }

    fn copy(&mut self, of: usize, copy: usize) {
        for sets in [&mut self.had, &mut self.taken, &mut self.handed, &mut self.heard_of] {
            sets[copy] = sets[of].clone();
        }
        self.lost[copy] = self.lost[of].clone();
        self.declared[copy] = self.declared[of].clone();
        self.begun[copy] = self.begun[of];
        copy_of(&mut self.withdrawn, of, copy);
        copy_of(&mut self.erased, of, copy);
    }

    /// From now on there are no faults.
    pub(super) fn healed(&mut self) {
        self.healed = true;
    }

    /// An application declared a dependency met.
    pub fn declare(&mut self, node: usize, id: &MessageId) {
        let index = self.intern(id);
        self.declared.resize(self.declared.len().max(node + 1), BTreeSet::new());
        self.declared[node].insert(index);
    }

    pub(super) fn intern(&mut self, id: &MessageId) -> usize {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        let index = self.messages.len();
        self.index.insert(id.clone(), index);
        self.messages.push(Registered {
            id: id.clone(),
            key: None,
            sender: None,
            from: None,
            sent_ms: 0,
            content: Bytes::new(),
            names: Vec::new(),
            contested: false,
            given: false,
            hostile: false,
            premature: false,
            after_faults: false,
            holders: 0,
            withdrawn: false,
        });
        index
    }

    fn add(&mut self, message: &Message, from: Option<usize>, now_ms: u64, given: bool) {
        let index = self.intern(&message.id);
        let names: Vec<usize> = message.causal_history.iter().map(|entry| self.intern(&entry.id)).collect();
        let registered = &mut self.messages[index];
        let lamport = message.lamport.unwrap_or(Lamport(0));
        let key = LogKey { lamport, id: message.id.clone() };
        if let Some(known) = &registered.key {
            let same = *known == key
                && registered.sender.as_ref() == Some(&message.sender)
                && registered.content == message.content;
            registered.contested |= !same;
            registered.given |= given;
            // Another message under this id may name what the first does not.
            let more: Vec<usize> = names.into_iter().filter(|name| !registered.names.contains(name)).collect();
            registered.names.extend(more);
            return;
        }
        registered.key = Some(key);
        registered.sender = Some(message.sender.clone());
        registered.from = from;
        registered.sent_ms = now_ms;
        registered.content = message.content.clone();
        registered.names = names;
        registered.given = given;
        registered.hostile = from.is_none();
        registered.after_faults = self.healed;
        registered.premature = lamport.0 > EPOCH_MS + now_ms + PREMATURE_MS;
    }

    fn hear_of(&mut self, node: usize, id: &MessageId, first_hand: bool, now_ms: u64) {
        let Some(index) = self.find(id).filter(|index| !bit(&self.heard_of, node, *index)) else { return };
        let message = &self.messages[index];
        if message.from.is_none_or(|from| from == node) {
            return;
        }
        if !first_hand {
            self.gaps_found_after.push(u32::try_from(now_ms.saturating_sub(message.sent_ms)).unwrap_or(u32::MAX));
        }
        set(&mut self.heard_of, node, index);
    }

    fn hold(&mut self, node: usize, index: usize) -> bool {
        let fresh = !self.has(node, index);
        set(&mut self.had, node, index);
        self.messages[index].holders += usize::from(fresh);
        fresh
    }
}

/// A filter with every bit set says nothing, whoever sends it.
fn may_be_worth_something(filter: &FilterField) -> bool {
    match filter {
        FilterField::Compact { bits, .. } | FilterField::Unspecified(bits) | FilterField::NimSds(bits) => {
            bits.iter().any(|byte| *byte != 0xFF)
        }
        _ => false,
    }
}

fn bit(sets: &[Vec<bool>], node: usize, index: usize) -> bool {
    sets.get(node).and_then(|set| set.get(index)).copied().unwrap_or(false)
}

fn set(sets: &mut [Vec<bool>], node: usize, index: usize) {
    let Some(set) = sets.get_mut(node) else { return };
    if set.len() <= index {
        set.resize(index + 1, false);
    }
    set[index] = true;
}
