//! What others ask for is answered from what is here, without remembering who asked (docs/protocol.md section 13).
//!
//! Names are forgeable, so the budgets of the channel are what counts.

use std::time::Duration;

use crate::channel::archive::ArchiveRead;
use crate::channel::known::Standing;
use crate::reconcile::{self, Rid};
use crate::types::{Frame, FrameBody, Lamport, MessageId, ParticipantId, RunningTime, millis};

use super::bucket::Bucket;
use super::session::FETCHED;
use super::{
    Act, CatchUp, MAX_FRAME, MAX_IDS, MAX_LACKING, MOST_TURNS, OTHER_RULES, OTHERS_TURN_MS, RULES, View, WELCOME, Why,
};

/// Frames answered a second, and at once.
const FRAMES: (u64, u64) = (16, 64);
/// Bytes of messages sent for catch-up a second, and at once: 8 MiB a minute.
const BYTES: (u64, u64) = ((8 << 20) / 60, 8 << 20);
/// Bytes of messages sent from the archive a second, and at once: it is there to give much.
const ARCHIVED_BYTES: (u64, u64) = ((64 << 20) / 60, 64 << 20);
/// A participant that cannot answer now is to be asked again after so long.
pub(super) const RETRY: Duration = Duration::from_secs(2);
/// What was found missing by somebody's question may come with its messages: so long it is waited for.
const LACKING_MS: u64 = 1_000;

/// What is left to spend on others.
#[derive(Debug)]
pub(super) struct Serve {
    frames: Bucket,
    pub(super) refusals: Bucket,
    bytes: Bucket,
    /// Bytes of messages sent from the archive, and questions to it that are not answered yet.
    pub(super) archived: Bucket,
    pub(super) reading: usize,
    pub(super) announcements: Bucket,
}

impl Serve {
    pub(super) fn new(now: RunningTime) -> Self {
        Self {
            frames: Bucket::new(FRAMES.0, FRAMES.1, now),
            refusals: Bucket::new(1, 1, now),
            bytes: Bucket::new(BYTES.0, BYTES.1, now),
            archived: Bucket::new(ARCHIVED_BYTES.0, ARCHIVED_BYTES.1, now),
            reading: 0,
            announcements: Bucket::new(1, 1, now),
        }
    }
}

impl CatchUp {
    /// Others are being helped with what we may lack too.
    pub(super) fn overhear(&mut self, view: &View<'_>, body: &FrameBody) {
        if let FrameBody::Reconcile { answer: true, .. } = body
            && let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.turns < MOST_TURNS)
        {
            let wait = Duration::from_millis(OTHERS_TURN_MS + view.random % OTHERS_TURN_MS);
            wanted.turns += 1;
            wanted.at = wanted.at.max(view.now.after(wait));
        }
    }

    /// Answers a question.
    pub(super) fn serve(&mut self, view: &View<'_>, by: &ParticipantId, frame: &Frame) {
        let ready = self.set.advance(view.channel, view.log, view.floor);
        if !self.serve.frames.take(view.now) || !ready {
            if self.serve.refusals.take(view.now) {
                self.reply(by, frame, FrameBody::Busy { retry_after_ms: millis(RETRY) });
            }
            return;
        }
        match &frame.body {
            FrameBody::Reconcile { rules: RULES, upper, push, message, .. } => {
                self.respond(view, by, frame, *upper, *push, message);
            }
            FrameBody::Reconcile { .. } => self.reply(by, frame, FrameBody::Cancel { reason: OTHER_RULES }),
            FrameBody::Fetch { rids } => self.send_fetched(view, by, frame, rids),
            FrameBody::FetchIds { ids } => self.send_named(view, by, frame, ids),
            _ => {}
        }
    }

    fn respond(
        &mut self,
        view: &View<'_>,
        by: &ParticipantId,
        frame: &Frame,
        upper: Lamport,
        push: u64,
        message: &[u8],
    ) {
        let options = self.options(self.set.floor(), frame.floor, upper);
        // What is no message of reconciliation is not answered.
        let Ok(answer) = reconcile::respond(self.set.index(), &options, message) else { return };
        let place = self.acts.len();
        let pushed = self.push(view, by, &answer.only_here, push);
        let (message, push) = (answer.message.into(), pushed);
        let body = FrameBody::Reconcile { rules: RULES, upper, answer: true, push, message };
        let said = Act::Say(Frame::new(frame.session, by.clone(), self.set.floor(), body));
        self.acts.insert(place, said);
        if pushed > 0 {
            self.reply(by, frame, FrameBody::End { sent: pushed, gone: Vec::new(), more: false, evicted: Vec::new() });
        }
        self.note_lacking(view, by, answer.only_there);
    }

    /// Somebody who asks holds what we lack. Where the last session with it brought nothing, neither would the next.
    fn note_lacking(&mut self, view: &View<'_>, by: &ParticipantId, mut rids: Vec<Rid>) {
        rids.truncate(MAX_LACKING);
        let lacks = rids.iter().any(|rid| !self.set.has(rid) && !self.refused.has(rid, view.now));
        if lacks && view.catches_up && !self.peers.rests(by, view.now) {
            self.want(Why::Lacking(by.clone(), rids), view.now, LACKING_MS + view.random % LACKING_MS);
        }
    }

    fn send_fetched(&mut self, view: &View<'_>, by: &ParticipantId, frame: &Frame, rids: &[[u8; 32]]) {
        let (mut sent, mut gone, mut more) = (0, Vec::new(), rids.len() > FETCHED);
        let mut archived = Vec::new();
        let mut left = self.serve.bytes.left(view.now).min(MAX_FRAME as u64);
        for rid in rids.iter().take(FETCHED) {
            let key = self.set.key(&Rid(*rid)).filter(|key| view.holds(key));
            match key.cloned() {
                None => match self.set.archived_item(&Rid(*rid)) {
                    Some(item) => archived.push(item),
                    None => gone.push(*rid),
                },
                Some(_) if left == 0 => more = true,
                Some(key) => {
                    left = left.saturating_sub(self.send_one(view, by, key));
                    sent += 1;
                }
            }
        }
        if archived.is_empty() {
            return self.reply(by, frame, FrameBody::End { sent, gone, more, evicted: Vec::new() });
        }
        self.read(view, ArchiveRead { items: archived, to: by.clone(), exchange: frame.session, sent, gone, more });
    }

    /// Sends what is in the log, and says what has left it.
    fn send_named(&mut self, view: &View<'_>, by: &ParticipantId, frame: &Frame, ids: &[MessageId]) {
        let (mut sent, mut more, mut evicted) = (0, ids.len() > MAX_IDS, Vec::new());
        let mut left = self.serve.bytes.left(view.now).min(MAX_FRAME as u64);
        for id in ids.iter().take(MAX_IDS) {
            match view.known.key(id).filter(|key| view.holds(key)) {
                Some(_) if left == 0 => more = true,
                Some(key) => {
                    left = left.saturating_sub(self.send_one(view, by, key));
                    sent += 1;
                }
                // What an archive may have is found by comparing with it, and what was erased here others may have.
                None if !view.is_erased(id)
                    && view.known.standing(id) == Standing::Delivered
                    && view.known.key(id).is_none_or(|key| !self.set.may_be_archived(&key)) =>
                {
                    evicted.push(id.clone());
                }
                None => {}
            }
        }
        self.reply(by, frame, FrameBody::End { sent, gone: Vec::new(), more, evicted });
    }

    /// Sends the lowest of what another was found to lack, so many bytes of it; says how many messages.
    pub(super) fn push(&mut self, view: &View<'_>, to: &ParticipantId, rids: &[Rid], most: u64) -> u64 {
        let mut left = self.serve.bytes.left(view.now).min(most).min(WELCOME);
        let mut sent = 0;
        let taken: Vec<Rid> = rids.iter().filter(|rid| !self.peers.lacks(to, rid)).copied().collect();
        for rid in &taken {
            let Some(key) = self.set.key(rid).filter(|key| view.log.get(key).is_some()).cloned() else { break };
            if !view.holds(&key) {
                continue;
            }
            if left == 0 {
                break;
            }
            left = left.saturating_sub(self.send_one(view, to, key));
            sent += 1;
        }
        sent
    }

    /// Sends a message; says what it costs.
    fn send_one(&mut self, view: &View<'_>, to: &ParticipantId, key: crate::state::LogKey) -> u64 {
        let cost = view.log.get(&key).map_or(0, |logged| super::super::log::cost(&logged.body)) as u64;
        self.serve.bytes.spend(cost);
        self.acts.push(Act::Send(key, to.clone()));
        cost
    }

    pub(super) fn reply(&mut self, by: &ParticipantId, frame: &Frame, body: FrameBody) {
        self.acts.push(Act::Say(Frame::new(frame.session, by.clone(), self.set.floor(), body)));
    }
}
