//! Members that lie in catch-up: about what they hold, about what others hold, and without end.
//!
//! How it moves: a world has a list of [`Lie`]s. One that needs no question is told by [`World::lie`]; the others answer a
//! question as soon as it is asked, and race with the true answer.

use std::iter;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use crate::types::{
    CatchUpField, Digest, DigestRange, Frame, FrameBody, HistoryEntry, Lamport, Message, MessageId, ParticipantId,
};

use super::net::{between, chance};
use super::{EPOCH_MS, World};

/// The liar's own name.
const LIAR: &str = "h0";
/// How often a question that is not asked of the liar is answered by it nevertheless.
const MEDDLES: f64 = 0.3;

/// What is lied about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Digests of messages that nobody has.
    FalseSets,
    /// Whoever is asked for messages sends others.
    WrongMessages,
    /// Each answer leads to another question.
    EndlessRounds,
    /// More questions than anybody answers.
    Questions,
    /// Under the name of whoever was asked: all that was asked for is gone.
    Gone,
    /// Under that name: not now, or never.
    Refusals,
}

impl Lie {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::FalseSets, Self::WrongMessages, Self::EndlessRounds, Self::Questions, Self::Gone, Self::Refusals];
}

impl World {
    /// Tells one lie that needs no question.
    pub fn lie(&mut self, lie: Lie) {
        match lie {
            Lie::FalseSets => {
                let newest = Lamport(EPOCH_MS + self.now_ms());
                let lower = Lamport(newest.0.saturating_sub(between(&mut self.rng, (1, 600_000))));
                let range = DigestRange::new(lower, between(&mut self.rng, (0, 1_000)), self.noise());
                let (sender, long) = (self.somebody(), self.rng.next_u64().is_multiple_of(2));
                let digest = Digest::new(newest, range, long.then_some(range), true);
                self.say(sender, Some(newest), CatchUpField::Digest(Box::new(digest)));
            }
            Lie::Questions => {
                let to = self.somebody();
                for _ in 0..100 {
                    let rids = (0..8).map(|_| self.long_noise()).collect();
                    self.frame(LIAR.into(), &to, self.now_ms(), FrameBody::Fetch { rids });
                }
                let ids = (0..64).map(|n| MessageId::from(format!("fake{n}"))).collect();
                self.frame(LIAR.into(), &to, 1, FrameBody::FetchIds { ids });
                let listing = self.listing();
                self.frame(LIAR.into(), &to, 2, reconcile(false, &listing));
            }
            _ => {}
        }
    }

    /// Answers a question that a member asked, if there is a lie for it.
    pub(super) fn lie_to(&mut self, asking: &ParticipantId, frame: &Frame) {
        let asked = frame.to.as_bytes() == LIAR.as_bytes();
        for lie in self.lies.clone() {
            if !asked && !chance(&mut self.rng, MEDDLES) {
                continue;
            }
            let body = match (lie, &frame.body) {
                (Lie::WrongMessages, FrameBody::Reconcile { answer: false, .. }) => reconcile(true, &self.listing()),
                (Lie::WrongMessages, FrameBody::Fetch { .. } | FrameBody::FetchIds { .. }) => {
                    self.wrong_message();
                    end(Vec::new(), Vec::new())
                }
                (Lie::EndlessRounds, FrameBody::Reconcile { answer: false, .. }) => reconcile(true, &self.sums()),
                (Lie::Gone, FrameBody::Fetch { rids }) => end(rids.clone(), Vec::new()),
                (Lie::Gone, FrameBody::FetchIds { ids }) => {
                    if !self.signs() {
                        self.oracle.registry.say_gone(ids);
                    }
                    end(Vec::new(), ids.clone())
                }
                (Lie::Refusals, FrameBody::Fetch { .. } | FrameBody::Reconcile { answer: false, .. }) => {
                    let busy = self.rng.next_u64().is_multiple_of(2);
                    if busy { FrameBody::Busy { retry_after_ms: u64::MAX } } else { FrameBody::Cancel { reason: 1 } }
                }
                _ => continue,
            };
            self.frame(frame.to.clone(), asking, frame.session, body);
        }
    }

    /// A message of another time than any that was asked for.
    fn wrong_message(&mut self) {
        let now = self.now_ms();
        let lamport = Lamport(EPOCH_MS + between(&mut self.rng, (0, now)));
        let known = self.oracle.registry.all_sent().map(|(_, message)| message.id.clone()).last();
        let message = Message {
            lamport: Some(lamport),
            causal_history: known.map(HistoryEntry::new).into_iter().collect(),
            content: Bytes::from_static(b"not what was asked for"),
            ..self.blank(LIAR.into())
        };
        let bytes = self.encode(&message);
        self.inject(bytes);
    }

    fn frame(&mut self, sender: ParticipantId, to: &ParticipantId, session: u64, body: FrameBody) {
        let frame = Frame::new(session, to.clone(), Lamport(0), body);
        self.say(sender, None, CatchUpField::Frame(Box::new(frame)));
    }

    fn say(&mut self, sender: ParticipantId, lamport: Option<Lamport>, catch_up: CatchUpField) {
        let message = Message { lamport, catch_up, ..self.blank(sender) };
        let bytes = self.encode(&message);
        self.inject(bytes);
    }

    fn blank(&mut self, sender: ParticipantId) -> Message {
        Message::new(MessageId::from(format!("h{:x}", self.rng.next_u64())), sender, self.channel.clone())
    }

    /// The liar, or a member whose name it takes.
    fn somebody(&mut self) -> ParticipantId {
        let drawn = usize::try_from(self.rng.next_u64() % (self.nodes().len() as u64 + 1)).unwrap_or(0);
        self.nodes().get(drawn).map_or_else(|| LIAR.into(), |node| node.channel().participant().clone())
    }

    fn noise(&mut self) -> [u8; 16] {
        let mut noise = [0; 16];
        self.rng.fill_bytes(&mut noise);
        noise
    }

    fn long_noise(&mut self) -> [u8; 32] {
        let mut noise = [0; 32];
        self.rng.fill_bytes(&mut noise);
        noise
    }

    /// Negentropy, version 1: of all time, a list of ids that nobody has.
    fn listing(&mut self) -> Vec<u8> {
        let count = u8::try_from(between(&mut self.rng, (1, 20))).unwrap_or(1);
        let ids: Vec<u8> = (0..count).flat_map(|_| self.long_noise()).collect();
        iter::once([0x61, 0, 0, 2, count].to_vec()).chain([ids]).flatten().collect()
    }

    /// Of all time, a sum that nobody has.
    fn sums(&mut self) -> Vec<u8> {
        [[0x61, 0, 0, 1].to_vec(), self.noise().to_vec()].concat()
    }
}

fn reconcile(answer: bool, message: &[u8]) -> FrameBody {
    let message = Bytes::copy_from_slice(message);
    FrameBody::Reconcile { rules: 1, upper: Lamport(u64::MAX - 1), answer, push: 9, message }
}

fn end(gone: Vec<[u8; 32]>, evicted: Vec<MessageId>) -> FrameBody {
    FrameBody::End { sent: 1, gone, more: false, evicted }
}
