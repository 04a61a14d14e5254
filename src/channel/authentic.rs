//! What may be believed of a message, and the signatures of our own (docs/protocol.md section 14).
//!
//! Without [`Config::authenticator`](super::Config::authenticator) nothing here does anything. With one nothing changes by a
//! message whose author did not sign it, and nothing by what rides on a transmission whose sender did not sign that. How it
//! moves: [`Channel::authenticate`] looks at every message before anything else does; [`Channel::signed`] and
//! [`Channel::sign_transmissions`] sign; [`Channel::copy_of`] lets out what others will believe.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::authenticity::{SharedAuthenticator, body_statement, message_statement};
use crate::state::{Body, Logged};
use crate::types::{FilterField, Message, MessageKind, RunningTime, Signature};

use super::known::Keyed;
use super::{Channel, ChannelError, Config, Event, Forgery, erase};

/// Between two events that tell of forgeries.
const TELL: Duration = Duration::from_secs(1);
/// Transmissions remembered, so that one that is replayed counts for nothing.
const REMEMBERED: usize = 4_096;

/// What was heard with signatures, and without good ones.
#[derive(Debug)]
pub(super) struct Heard {
    keys: Keyed,
    /// Hashes of the senders' signatures heard last.
    signatures: BTreeSet<u64>,
    order: VecDeque<u64>,
    /// Forgeries since they were told of.
    untold: u64,
    tell_after: RunningTime,
}

impl Heard {
    pub(super) fn new(keys: Keyed) -> Self {
        let (signatures, order) = (BTreeSet::new(), VecDeque::new());
        Self { keys, signatures, order, untold: 0, tell_after: RunningTime::default() }
    }

    /// Remembers a sender's signature; says whether it was not heard before.
    fn is_new(&mut self, signature: &Signature) -> bool {
        let hash = self.keys.hash_one(signature.as_bytes());
        if !self.signatures.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.signatures.remove(&oldest);
        }
        true
    }
}

/// Whose word a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Its sender's, all of it.
    Sender,
    /// Somebody's who passes on what its author said.
    Copy,
    /// Its sender's, heard before: no content, so that there is no reason to send it twice.
    Again,
}

impl Channel {
    /// Checks who says this, and takes out of a content message what nobody vouches for.
    pub(super) fn authenticate(&mut self, message: &mut Message, kind: MessageKind) -> Result<Word, ChannelError> {
        let (Some(authenticator), Some(heard)) = (&self.config.authenticator, &mut self.heard) else {
            return Ok(Word::Sender);
        };
        let content_hash = Sha256::digest(&message.content).into();
        let good = |signature: &Signature, statement: &[u8]| {
            let signed = authenticator.verify(&message.sender, statement, signature);
            if signed { Ok(()) } else { Err(Forgery::BadSignature) }
        };
        let whole = || match &message.sender_signature {
            Some(signature) => good(signature, &message_statement(message, &content_hash)),
            None => Err(Forgery::Unsigned),
        };
        let checked = match (kind, &message.author_signature) {
            (MessageKind::Content, Some(signature)) => {
                let statement = statement_of(message, &content_hash);
                good(signature, &statement).map(|()| whole())
            }
            (MessageKind::Content, None) => Err(Forgery::Unsigned),
            _ => whole().map(Ok),
        };
        match checked {
            Err(why) => {
                self.stats.refused += 1;
                self.note_forgery(message, why);
                Err(ChannelError::NotAuthentic { sender: message.sender.clone(), why })
            }
            Ok(Ok(())) => {
                // A resend may be the same to the last byte, and must be acknowledged once more.
                let new = kind == MessageKind::Content
                    || message.sender_signature.as_ref().is_none_or(|signature| heard.is_new(signature));
                Ok(if new { Word::Sender } else { Word::Again })
            }
            Ok(Err(why)) => {
                if drop_claims(message) || why == Forgery::BadSignature {
                    self.note_forgery(message, Forgery::Claims);
                }
                Ok(Word::Copy)
            }
        }
    }

    /// Counts a forgery, and tells of all since the last telling, at most once a second.
    fn note_forgery(&mut self, message: &Message, why: Forgery) {
        self.stats.forgeries += 1;
        let Some(heard) = &mut self.heard else { return };
        heard.untold += 1;
        if self.now.running >= heard.tell_after {
            let count = std::mem::take(&mut heard.untold);
            heard.tell_after = self.now.running.after(TELL);
            let (id, sender) = (message.id.clone(), message.sender.clone());
            self.effects.tell(Event::NotAuthentic { id, sender, why, count });
        }
    }

    /// Our signature of what is kept of an own message; none without an authenticator.
    pub(super) fn signed(&self, body: &Body) -> Option<Signature> {
        let authenticator = self.config.authenticator.as_ref()?;
        Some(authenticator.sign(&self.statement_of_body(body)))
    }

    /// Signs what goes out of our own: [`Config::room_for_signature`] left room for it.
    pub(super) fn sign_transmissions(&mut self) {
        let Some(authenticator) = &self.config.authenticator else { return };
        for transmit in &mut self.effects.transmit {
            let message = &mut transmit.message;
            if message.sender_signature.is_some() {
                let content_hash = Sha256::digest(&message.content).into();
                message.sender_signature = Some(authenticator.sign(&message_statement(message, &content_hash)));
            }
        }
    }

    /// The signature that a copy of a logged message carries. An own one from before there was an authenticator is signed now.
    pub(super) fn signature_of(&self, body: &Body) -> Option<Signature> {
        let unsigned_own = || {
            let own = self.is_own(&body.sender) && self.log.get(&body.key).is_some_and(|it| self.was_sent_here(it));
            own.then(|| self.signed(body)).flatten()
        };
        body.signature.clone().or_else(unsigned_own)
    }

    /// A copy of a logged message for others; `None` where they would not believe it, or its content was erased.
    pub(super) fn copy_of(&self, body: &Body) -> Option<Message> {
        if body.is_erased() {
            return None;
        }
        let message = self.message_of(body);
        let Some(authenticator) = &self.config.authenticator else { return Some(message) };
        let signature = message.author_signature.as_ref()?;
        let good = authenticator.verify(&body.sender, &self.statement_of_body(body), signature);
        good.then_some(message)
    }

    fn statement_of_body(&self, body: &Body) -> Vec<u8> {
        let content_hash = erase::content_hash(body);
        let Body { key, sender, causal_history, .. } = body;
        body_statement(&self.id, &key.id, sender, key.lamport, causal_history, &content_hash)
    }
}

impl Config {
    /// Holds the place of a signature until it is made; none without an authenticator.
    pub(super) fn room_for_signature(&self) -> Option<Signature> {
        self.authenticator.as_ref().map(|authenticator: &SharedAuthenticator| authenticator.room())
    }

    /// [`Config::max_transmit_bytes`] without the signature of a message that is no content.
    pub(super) fn max_unsigned_bytes(&self) -> Option<usize> {
        let signature = self.room_for_signature().map_or(0, |room| room.as_bytes().len());
        self.max_transmit_bytes.map(|max| max.saturating_sub(signature))
    }

    /// Whether others may be sent a logged message: one that was not erased and that they may believe, for it is signed, or
    /// was sent here and can be signed. [`Channel::copy_of`] looks closer.
    pub(super) fn may_pass_on(&self, logged: &Logged) -> bool {
        let believed = self.authenticator.is_none() || logged.body.signature.is_some() || logged.delivery.is_none();
        believed && !logged.body.is_erased()
    }
}

fn statement_of(message: &Message, content_hash: &[u8; 32]) -> Vec<u8> {
    let Message { channel, id, sender, causal_history, .. } = message;
    body_statement(channel, id, sender, message.lamport.unwrap_or_default(), causal_history, content_hash)
}

/// Takes out of a content message what its sender alone could vouch for; says whether there was any.
fn drop_claims(message: &mut Message) -> bool {
    message.sender_signature = None;
    let filter = std::mem::take(&mut message.filter);
    let requests = std::mem::take(&mut message.repair_request);
    filter != FilterField::Absent || !requests.is_empty()
}
