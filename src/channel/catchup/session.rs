//! One session of a participant that may lack messages: with whom, what it needs, and what it asked for last
//! (docs/protocol.md section 13).
//!
//! How it moves: a question (reconcile or fetch) goes out under a number of its own, which its answers repeat. Messages
//! that arrive are struck off, whoever sent them. Each question has a deadline; what is over ends or is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::reconcile::Rid;
use crate::types::{MessageId, ParticipantId, RunningTime};

use super::apart::Difference;

/// Messages asked for at once, and looked at in one question of others.
pub(super) const FETCHED: usize = 256;
/// Messages that one session may need.
const MAX_NEED: usize = 100_000;
/// Questions without a new message before it ends.
const MAX_ROUNDS: u32 = 16;
/// Time without a new message before it ends.
const PATIENCE: Duration = Duration::from_secs(120);
/// Tries of one question after the first; the last one is waited for twice as long. Where three packets in ten are lost,
/// half of all questions have no answer, and to wait longer each time would wait for nothing.
const RETRIES: u32 = 3;
/// Tries of which an answer is taken.
const MAX_EXCHANGES: usize = 8;
/// While a message came so lately, repair rests.
const PROGRESS: Duration = Duration::from_secs(3);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing was asked yet: our set was not ready.
    Nothing,
    /// What both hold.
    Reconcile,
    /// Messages: those asked for, or those that follow an answer.
    Messages,
    /// Messages of which the id alone is known.
    Ids,
}

/// What a deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask for what is still missing: the other side has sent what it had.
    GoOn,
    /// Ask again.
    Again,
    /// The source does not answer.
    Silent,
    /// It leads nowhere.
    Over,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) source: ParticipantId,
    /// Whose set was compared last.
    pub(super) compared: ParticipantId,
    /// Sources that did not answer.
    pub(super) tried: BTreeSet<ParticipantId>,
    /// Numbers under which the present question went out, and when; the last one is that of its last try.
    exchanges: Vec<(u64, RunningTime)>,
    pub(super) asked: Asked,
    /// By order of arrival in the need, which is that of time.
    need: BTreeMap<u64, Rid>,
    places: BTreeMap<Rid, u64>,
    next_place: u64,
    /// Of the messages asked for last, those that have not come.
    outstanding: BTreeSet<Rid>,
    /// New messages that it brought.
    pub(super) received: u64,
    /// What was found to differ from the set that was compared last.
    pub(super) difference: Difference,
    /// There is more to compare when what is needed is here.
    pub(super) more: bool,
    /// Bytes that are still welcome unasked.
    pub(super) welcome: u64,
    /// What is asked for by its id, and how many of those asked had it once.
    unmet: BTreeMap<MessageId, u32>,
    /// Who said what became of it.
    witnesses: BTreeSet<ParticipantId>,
    /// All that will come of the present question was sent.
    ended: bool,
    /// Something came since the present question.
    moved: bool,
    tries: u32,
    rounds: u32,
    deadline: RunningTime,
    progress_at: RunningTime,
}

impl Session {
    pub(super) fn new(source: ParticipantId, welcome: u64, now: RunningTime) -> Self {
        Self {
            compared: source.clone(),
            source,
            tried: BTreeSet::new(),
            exchanges: Vec::new(),
            asked: Asked::Nothing,
            need: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
            outstanding: BTreeSet::new(),
            received: 0,
            difference: Difference::default(),
            more: false,
            welcome,
            unmet: BTreeMap::new(),
            witnesses: BTreeSet::new(),
            ended: false,
            moved: false,
            tries: 0,
            rounds: 0,
            deadline: now,
            progress_at: now,
        }
    }

    pub(super) fn missing(&self) -> usize {
        self.need.len()
    }

    pub(super) fn deadline(&self) -> RunningTime {
        self.deadline
    }

    /// Until when repair rests.
    pub(super) fn rests_until(&self) -> RunningTime {
        self.progress_at.after(PROGRESS)
    }

    /// A question goes out; it is waited for as long as its source takes.
    pub(super) fn ask(&mut self, exchange: u64, asked: Asked, wait: Duration, now: RunningTime) {
        if self.tries == 0 || self.asked != asked {
            self.exchanges.clear();
        }
        if self.exchanges.len() == MAX_EXCHANGES {
            self.exchanges.remove(0);
        }
        self.exchanges.push((exchange, now));
        (self.asked, self.ended, self.moved) = (asked, false, false);
        self.rounds += 1;
        self.deadline = now.after(wait.saturating_mul(if self.tries < RETRIES { 1 } else { 2 }));
    }

    /// Our set is not ready: to be looked at again in a moment.
    pub(super) fn hold(&mut self, until: RunningTime) {
        (self.asked, self.deadline) = (Asked::Nothing, until);
    }

    /// When the present question went out under this number.
    pub(super) fn asked_as(&self, exchange: u64) -> Option<RunningTime> {
        self.exchanges.iter().find(|(number, _)| *number == exchange).map(|(_, at)| *at)
    }

    /// Whether its last try had this number.
    pub(super) fn asked_last_as(&self, exchange: u64) -> bool {
        self.exchanges.last().is_some_and(|(number, _)| *number == exchange)
    }

    /// The present question was answered under this number; what follows the answer has it, too.
    pub(super) fn answered(&mut self, exchange: u64) {
        self.exchanges.retain(|(number, _)| *number == exchange);
        self.tries = 0;
    }

    /// Another source begins anew: it may lack what the last one had.
    pub(super) fn turn_to(&mut self, source: ParticipantId) {
        self.compared = source.clone();
        let last = std::mem::replace(&mut self.source, source);
        self.tried.insert(last);
        self.need.clear();
        self.places.clear();
        self.outstanding.clear();
        self.exchanges.clear();
        (self.asked, self.tries, self.more) = (Asked::Nothing, 0, false);
    }

    /// A message that is needed, the lowest first.
    pub(super) fn needs(&mut self, rid: Rid) {
        if self.need.len() >= MAX_NEED {
            self.more = true;
            return;
        }
        if !self.places.contains_key(&rid) {
            self.need.insert(self.next_place, rid);
            self.places.insert(rid, self.next_place);
            self.next_place += 1;
        }
    }

    /// These are on their way, after an answer.
    pub(super) fn expect(&mut self, rids: impl Iterator<Item = Rid>, wait: Duration, now: RunningTime) {
        self.outstanding = rids.filter(|rid| self.places.contains_key(rid)).collect();
        (self.asked, self.ended, self.moved) = (Asked::Messages, false, false);
        self.deadline = now.after(wait);
    }

    /// These are needed no longer.
    pub(super) fn drop_if(&mut self, refused: impl Fn(&Rid) -> bool) {
        for rid in self.outstanding.iter().copied().filter(|rid| refused(rid)).collect::<Vec<_>>() {
            self.gone(&rid);
        }
    }

    /// What to ask for next, `max` at most; empty when nothing is needed. What the source has just sent and may still be on
    /// its way is left to the question after it, if there is anything else.
    pub(super) fn next(&mut self, max: usize) -> Vec<Rid> {
        let max = max.min(FETCHED);
        let sent = if self.has_more() { std::mem::take(&mut self.outstanding) } else { BTreeSet::new() };
        let rids: Vec<Rid> = self.need.values().filter(|rid| !sent.contains(rid)).take(max).copied().collect();
        self.outstanding = rids.iter().copied().collect();
        rids
    }

    /// Whether the source has sent what was asked for, and something else is needed.
    pub(super) fn has_more(&self) -> bool {
        self.ended && self.need.len() > self.outstanding.len()
    }

    /// A message is here; says whether it was needed. One that could not be taken is needed no longer, and is no progress.
    /// The next one of those that were asked for may take so long: what comes otherwise, as by repair, says nothing of
    /// whether the source still sends.
    pub(super) fn arrived(&mut self, rid: &Rid, new: bool, pause: Duration, now: RunningTime) -> bool {
        let Some(place) = self.places.remove(rid) else { return false };
        self.need.remove(&place);
        if new {
            self.received += 1;
            (self.rounds, self.progress_at) = (0, now);
        }
        if self.outstanding.remove(rid) {
            (self.moved, self.tries) = (true, if new { 0 } else { self.tries });
            if !self.ended {
                self.deadline = now.after(pause);
            }
        }
        true
    }

    /// The source does not have it.
    pub(super) fn gone(&mut self, rid: &Rid) {
        if let Some(place) = self.places.remove(rid) {
            self.need.remove(&place);
            self.outstanding.remove(rid);
        }
    }

    /// These are still missing, and their ids are all that is known of them; empty when nothing is.
    pub(super) fn ask_ids(&mut self, ids: Vec<MessageId>) -> Vec<MessageId> {
        let before = std::mem::take(&mut self.unmet);
        let said = |id: &MessageId| before.get(id).copied().unwrap_or(0);
        // What has come to be missing since the first answer is left to another session.
        let ids = ids.into_iter().filter(|id| self.witnesses.is_empty() || before.contains_key(id));
        self.unmet = ids.map(|id| (id.clone(), said(&id))).collect();
        self.unmet.keys().cloned().collect()
    }

    /// Its source had these once.
    pub(super) fn evicted(&mut self, ids: &[MessageId]) {
        self.witnesses.insert(self.source.clone());
        for id in ids {
            if let Some(said) = self.unmet.get_mut(id) {
                *said += 1;
            }
        }
    }

    /// Whether its source has said what became of the missing.
    pub(super) fn has_witness(&self, name: &ParticipantId) -> bool {
        self.witnesses.contains(name)
    }

    /// How many have said so.
    pub(super) fn witnesses(&self) -> usize {
        self.witnesses.len()
    }

    /// Another one is asked for the same ids.
    pub(super) fn ask_also(&mut self, source: ParticipantId) {
        (self.source, self.tries) = (source, 0);
    }

    /// What all of those asked had once.
    pub(super) fn evicted_everywhere(&self) -> Vec<MessageId> {
        let all = u32::try_from(self.witnesses.len()).unwrap_or(u32::MAX);
        let everywhere = self.unmet.iter().filter(|(_, said)| all > 0 && **said >= all);
        everywhere.map(|(id, _)| id.clone()).collect()
    }

    /// Whether all that was asked for has come.
    pub(super) fn has_all_asked(&self) -> bool {
        self.asked == Asked::Messages && self.outstanding.is_empty()
    }

    /// The source has sent what it had; what is still on its way has a moment.
    pub(super) fn end(&mut self, grace: Duration, now: RunningTime) {
        self.ended = true;
        self.deadline = self.deadline.min(now.after(grace));
    }

    /// Whether it leads nowhere, however its source answers.
    pub(super) fn is_over(&self, now: RunningTime) -> bool {
        self.rounds >= MAX_ROUNDS || now.since(self.progress_at) >= PATIENCE
    }

    /// What the time means that has come.
    pub(super) fn due(&mut self, now: RunningTime) -> Option<Due> {
        if now < self.deadline {
            return None;
        }
        if self.is_over(now) {
            return Some(Due::Over);
        }
        if self.asked == Asked::Nothing {
            return Some(Due::Again);
        }
        if self.moved || self.ended && self.asked == Asked::Ids {
            return Some(Due::GoOn);
        }
        self.tries += 1;
        Some(if self.tries > RETRIES { Due::Silent } else { Due::Again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> RunningTime {
        RunningTime::from_millis(ms)
    }

    fn rid(n: u8) -> Rid {
        Rid([n; 32])
    }

    fn session(needs: u8) -> Session {
        let mut session = Session::new("bob".into(), 0, at(0));
        (0..needs).for_each(|n| session.needs(rid(n)));
        session
    }

    /// Seen in a demo: 346 messages took 99 s, for what came by repair kept a session waiting whose `End` was lost.
    #[test]
    fn what_comes_by_repair_does_not_keep_a_session_waiting() {
        let mut session = session(9);
        assert_eq!(session.next(3), [rid(0), rid(1), rid(2)]);
        session.ask(1, Asked::Messages, SECOND * 8, at(0));
        assert!(session.arrived(&rid(0), true, SECOND, at(500)));
        // The second is lost, and nothing says that it was the last one.
        for n in 4..8 {
            assert!(session.arrived(&rid(n), true, SECOND, at(u64::from(n) * 300)), "it is needed");
        }
        assert_eq!((session.due(at(1_499)), session.due(at(1_500))), (None, Some(Due::GoOn)));
        assert_eq!(session.next(9), [rid(1), rid(2), rid(3), rid(8)]);
    }

    /// A source that is gone is left, though others send what is needed.
    #[test]
    fn what_others_send_does_not_speak_for_the_source() {
        let mut session = session(9);
        session.next(3);
        session.ask(1, Asked::Messages, SECOND, at(0));
        for (n, due) in [(4, Due::Again), (5, Due::Again), (6, Due::Again), (7, Due::Silent)] {
            let now = session.deadline();
            session.arrived(&rid(n), true, SECOND, now);
            assert_eq!(session.due(now), Some(due));
            session.ask(2, Asked::Messages, SECOND, now);
        }
    }

    #[test]
    fn what_did_not_come_is_asked_for_again_when_the_source_has_sent_all() {
        let mut session = session(3);
        assert_eq!(session.next(9), [rid(0), rid(1), rid(2)]);
        session.ask(1, Asked::Messages, SECOND, at(0));
        assert!(session.arrived(&rid(0), true, SECOND, at(100)));
        assert!(!session.arrived(&rid(0), true, SECOND, at(101)), "it is needed once");
        assert!(session.arrived(&rid(2), true, SECOND, at(102)));
        assert!(!session.has_all_asked());
        session.end(SECOND / 10, at(103));
        assert_eq!(session.due(at(202)), None, "it may still be on its way");
        assert_eq!(session.due(at(203)), Some(Due::GoOn));
        assert_eq!(session.next(9), [rid(1)]);
    }

    #[test]
    fn what_is_still_on_its_way_holds_up_no_question() {
        let mut session = session(5);
        assert_eq!(session.next(3), [rid(0), rid(1), rid(2)]);
        session.ask(1, Asked::Messages, SECOND, at(0));
        session.arrived(&rid(0), true, SECOND, at(100));
        assert!(!session.has_more(), "it may still send");
        session.end(SECOND / 10, at(103));
        assert!(session.has_more());
        assert_eq!(session.next(3), [rid(3), rid(4)]);
        session.ask(2, Asked::Messages, SECOND, at(103));
        session.arrived(&rid(2), true, SECOND, at(104));
        session.arrived(&rid(3), true, SECOND, at(200));
        session.end(SECOND / 10, at(201));
        assert_eq!(session.next(3), [rid(1)], "what has not come since is asked for again");
    }

    #[test]
    fn a_silent_source_is_asked_four_times_and_the_last_time_longer() {
        let mut session = session(1);
        session.ask(1, Asked::Messages, SECOND, at(0));
        assert_eq!((session.due(at(999)), session.due(at(1_000))), (None, Some(Due::Again)));
        session.ask(2, Asked::Messages, SECOND, at(1_000));
        assert_eq!((session.due(at(1_999)), session.due(at(2_000))), (None, Some(Due::Again)));
        session.ask(3, Asked::Messages, SECOND, at(2_000));
        assert_eq!((session.due(at(2_999)), session.due(at(3_000))), (None, Some(Due::Again)));
        session.ask(4, Asked::Messages, SECOND, at(3_000));
        assert_eq!((session.due(at(4_999)), session.due(at(5_000))), (None, Some(Due::Silent)));
    }

    #[test]
    fn an_answer_to_an_earlier_try_is_as_good_until_another_question_goes_out() {
        let mut session = session(1);
        session.ask(1, Asked::Reconcile, SECOND, at(0));
        session.due(at(1_000));
        session.ask(2, Asked::Reconcile, SECOND, at(1_000));
        assert_eq!(
            (session.asked_as(1), session.asked_as(2), session.asked_as(3)),
            (Some(at(0)), Some(at(1_000)), None)
        );
        session.answered(1);
        assert!(session.asked_last_as(1) && session.asked_as(2).is_none(), "what follows the answer has its number");
        session.ask(3, Asked::Reconcile, SECOND, at(1_500));
        assert_eq!((session.asked_as(1), session.asked_as(3)), (None, Some(at(1_500))));
        session.turn_to("carol".into());
        assert_eq!(session.asked_as(3), None);
        for number in 0..100 {
            session.tries = 1;
            session.ask(number, Asked::Reconcile, SECOND, at(2_000));
        }
        assert_eq!(session.exchanges.len(), MAX_EXCHANGES);
    }

    #[test]
    fn a_session_ends_after_16_questions_or_two_minutes_without_a_new_message() {
        let mut rounds = session(1);
        for round in 0..16 {
            assert_ne!(rounds.due(at(0)), Some(Due::Over), "{round}");
            rounds.answered(round);
            rounds.ask(round, Asked::Reconcile, Duration::ZERO, at(0));
        }
        assert_eq!(rounds.due(at(0)), Some(Due::Over));
        let mut time = session(2);
        time.ask(1, Asked::Messages, SECOND, at(0));
        time.arrived(&rid(0), true, SECOND, at(50_000));
        assert_ne!(time.due(at(169_999)), Some(Due::Over));
        assert_eq!(time.due(at(170_000)), Some(Due::Over));
    }

    #[test]
    fn what_one_of_those_asked_may_still_have_is_not_evicted_everywhere() {
        let ids = || vec![MessageId::from("a"), "b".into(), "c".into()];
        let mut session = session(0);
        assert_eq!(session.evicted_everywhere(), []);
        session.ask_ids(ids());
        session.evicted(&["a".into(), "b".into(), "x".into()]);
        session.ask_also("carol".into());
        assert_eq!(session.ask_ids(vec!["a".into(), "b".into(), "new".into()]), ["a".into(), "b".into()]);
        session.evicted(&["b".into()]);
        assert_eq!(session.evicted_everywhere(), ["b".into()]);
    }

    #[test]
    fn another_source_is_asked_what_it_has() {
        let mut session = session(2);
        session.turn_to("carol".into());
        assert_eq!((session.missing(), session.tried.len()), (0, 1));
        assert_eq!(session.due(at(0)), Some(Due::Again));
    }

    #[test]
    fn what_a_session_needs_is_bounded() {
        let mut session = session(0);
        for n in 0..=100_000_u32 {
            let mut rid = [0; 32];
            rid[..4].copy_from_slice(&n.to_be_bytes());
            session.needs(Rid(rid));
        }
        assert_eq!((session.missing(), session.more), (100_000, true));
    }
}
