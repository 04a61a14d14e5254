//! A session's questions, and what their answers lead to (docs/protocol.md section 13).
//!
//! How it moves: compare until all differences are known, fetch what is missing, ask by id what nobody's set has. Each
//! answer leads to the next question, and the last one to the end.

use std::time::Duration;

use crate::reconcile::{self, Found, Rid};
use crate::types::{Frame, FrameBody, Lamport, ParticipantId};

use super::apart::Difference;
use super::peers::WAITS;
use super::session::{Asked, Session};
use super::{Act, CatchUp, MAX_IDS, MOST_WITNESSES, PAUSE, RULES, View, WELCOME};

/// So long whoever is busy is left alone at least.
const LEAST_REST: Duration = Duration::from_secs(1);

impl CatchUp {
    pub(super) fn take_answer(&mut self, view: &View<'_>, by: &ParticipantId, frame: &Frame) {
        let Some(session) = &mut self.session else { return };
        let Some(asked_at) = session.asked_as(frame.session).filter(|_| session.source == *by) else { return };
        let is_last = session.asked_last_as(frame.session);
        match &frame.body {
            FrameBody::Reconcile { rules: RULES, answer: true, push, message, .. }
                if session.asked == Asked::Reconcile =>
            {
                // An answer to an earlier try is as good, and shows that it takes longer than was thought.
                self.peers.answered(by, view.now.since(asked_at));
                session.answered(frame.session);
                self.refine(view, frame.floor, *push, message);
            }
            FrameBody::End { gone, .. } if session.asked == Asked::Messages && is_last => {
                gone.iter().for_each(|rid| session.gone(&Rid(*rid)));
                // It took as long as all that it sent.
                self.peers.answered(by, view.now.since(asked_at));
                session.end(self.peers.grace(by), view.now);
                if session.has_all_asked() || session.has_more() {
                    self.go_on(view);
                }
            }
            FrameBody::End { evicted, .. } if session.asked == Asked::Ids && is_last => {
                session.evicted(evicted);
                // A message that comes in its place may still be on its way.
                session.end(self.peers.grace(by), view.now);
            }
            FrameBody::Busy { retry_after_ms } => {
                let wait = Duration::from_millis(*retry_after_ms).clamp(LEAST_REST, 2 * WAITS.1);
                self.peers.busy(by, view.now, wait);
                self.turn_to_next(view);
            }
            FrameBody::Cancel { .. } => {
                self.peers.failed(by, view.now);
                self.turn_to_next(view);
            }
            _ => {}
        }
    }

    /// An answer to a message of reconciliation.
    fn refine(&mut self, view: &View<'_>, their_floor: Lamport, push: u64, message: &[u8]) {
        self.set.advance(view.channel, view.log, view.floor);
        let options = self.options(self.set.log_floor(), their_floor, Lamport(u64::MAX - 1));
        let Ok(found) = reconcile::refine(self.set.index(), &options, message) else {
            return self.source_failed(view);
        };
        let Found { only_here, only_there, next, more, .. } = found;
        let is_lacking = self.lacking(view);
        let lacking: Vec<Rid> = only_there.iter().filter(|rid| is_lacking(rid)).copied().collect();
        drop(is_lacking);
        let pushed = usize::try_from(push).unwrap_or(usize::MAX).min(lacking.len());
        let Some(session) = &mut self.session else { return };
        session.more |= more;
        session.difference.extend(&only_here, &only_there);
        lacking.iter().for_each(|rid| session.needs(*rid));
        let source = session.source.clone();
        self.push(view, &source, &only_here, WELCOME);
        let Some(session) = &mut self.session else { return };
        if pushed > 0 {
            session.welcome = 0;
        }
        if let Some(next) = next {
            return self.reconcile_with(view, next);
        }
        if pushed > 0 {
            let wait = self.peers.wait_for(&source);
            session.expect(lacking[..pushed].iter().copied(), wait, view.now);
            if !session.has_all_asked() {
                return self.show(view.now, true);
            }
        }
        self.go_on(view);
    }

    /// Asks for what is needed, compares anew if there was more, or ends.
    pub(super) fn go_on(&mut self, view: &View<'_>) {
        let max = self.max_frame / 32;
        let Some(session) = &mut self.session else { return };
        session.drop_if(|rid| self.refused.has(rid, view.now));
        let rids: Vec<[u8; 32]> = session.next(max).into_iter().map(|rid| rid.0).collect();
        if !rids.is_empty() {
            self.ask(view, Asked::Messages, FrameBody::Fetch { rids });
            return self.show(view.now, false);
        }
        if std::mem::take(&mut session.more) {
            return self.compare_anew(view);
        }
        self.ask_for_ids(view);
    }

    /// What is missing and in nobody's set that was compared is asked for by its id: it may have left all logs.
    pub(super) fn ask_for_ids(&mut self, view: &View<'_>) {
        let sources = self.peers.sources(view.now);
        let Some(session) = &mut self.session else { return };
        if session.has_witness(&session.source) {
            let next = sources.into_iter().find(|name| !session.has_witness(name) && !session.tried.contains(name));
            match next.filter(|_| session.witnesses() < MOST_WITNESSES) {
                // What it has is found by comparing with it.
                Some(next) if self.peers.is_archive(&next) => {
                    session.turn_to(next);
                    return self.compare_anew(view);
                }
                Some(next) => session.ask_also(next),
                None => return self.go_ahead(view),
            }
        }
        let missing = view.requests.awaited_since(u64::MAX).take(MAX_IDS);
        let ids = session.ask_ids(missing.map(|missing| missing.request.entry.id.clone()).collect());
        if ids.is_empty() {
            return self.finish(view, true);
        }
        self.ask(view, Asked::Ids, FrameBody::FetchIds { ids });
    }

    /// What all of those asked had, and have no more, is not waited for.
    pub(super) fn go_ahead(&mut self, view: &View<'_>) {
        let gone = self.session.as_ref().map(Session::evicted_everywhere).unwrap_or_default();
        if !gone.is_empty() {
            self.acts.push(Act::GoAheadWithout(gone));
        }
        self.finish(view, true);
    }

    /// Begins to compare, when our set is ready.
    pub(super) fn compare_anew(&mut self, view: &View<'_>) {
        if !self.set.advance(view.channel, view.log, view.floor) {
            if let Some(session) = &mut self.session {
                session.hold(view.now.after(PAUSE));
            }
            return;
        }
        if let Some(session) = &mut self.session {
            session.difference = Difference::default();
        }
        let message = {
            let options = self.options(self.set.log_floor(), Lamport(0), Lamport(u64::MAX - 1));
            reconcile::initiate(self.set.index(), &options)
        };
        self.reconcile_with(view, message);
    }

    fn reconcile_with(&mut self, view: &View<'_>, message: Vec<u8>) {
        let push = self.session.as_ref().map_or(0, |session| session.welcome);
        let (upper, message) = (Lamport(u64::MAX - 1), message.into());
        let body = FrameBody::Reconcile { rules: RULES, upper, answer: false, push, message };
        self.ask(view, Asked::Reconcile, body);
    }

    fn ask(&mut self, view: &View<'_>, asked: Asked, body: FrameBody) {
        self.exchange = self.exchange.wrapping_add(1);
        let Some(session) = &mut self.session else { return };
        if session.is_over(view.now) {
            return self.give_up(view);
        }
        let wait = self.peers.wait_for(&session.source);
        session.ask(self.exchange, asked, wait, view.now);
        let to = session.source.clone();
        self.acts.push(Act::Say(Frame::new(self.exchange, to, self.set.log_floor(), body)));
    }
}
