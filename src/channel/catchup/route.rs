//! The channel's side of catch-up: what it shows, what it passes on, and what it carries out (docs/protocol.md section 13).

use std::time::Duration;

use bytes::Bytes;

use crate::channel::{Channel, Event, Fate, ForArchive, SyncStatus, TransmitKind, clock};
use crate::reconcile::Rid;
use crate::state::{Body, LogKey};
use crate::types::{CatchUpField, Digest, Lamport, Message, MessageKind, RunningTime, millis};

use super::{Act, CatchUp, View, set};

/// More missing messages than repair asks for in one message are a gap.
const MANY: usize = 3;
/// So much newer than all that is here shows that we were away.
const AWAY_MS: u64 = 60_000;
/// What was parked so lately may still be waited for.
const PARKED_LATELY_MS: u64 = 60_000;

impl Channel {
    /// How far this participant is with what it missed, as far as it knows: see [`Config::catch_up`](crate::channel::Config::catch_up).
    #[must_use]
    pub fn sync_status(&self) -> SyncStatus {
        self.catch_up.as_ref().map_or(SyncStatus::InSync, |it| it.status())
    }

    /// Whoever has heard nothing of others catches nothing up: it does not know yet where its part of the past begins.
    fn catches_up(&self) -> bool {
        self.catch_up.is_some() && !self.begins_here()
    }

    /// Others catch up with whoever has a log, if it has heard nobody yet, too: it may be the only one who speaks.
    pub(in crate::channel) fn serves(&self) -> bool {
        self.catch_up.is_some() && !self.is_newcomer()
    }

    /// The set begins above this time. What others said before our own first message is no matter of ours until we have
    /// heard something.
    fn set_floor(&self) -> Lamport {
        if self.begins_here() {
            return self.log.oldest().map_or(Lamport(0), |oldest| Lamport(oldest.lamport.0.saturating_sub(1)));
        }
        self.meta.floor.as_ref().map(|floor| floor.lamport).max(self.meta.horizon).unwrap_or(Lamport(0))
    }

    /// Catch-up and what it reads; nothing where it is off.
    pub(in crate::channel) fn catching_up(&mut self) -> Option<(&mut CatchUp, View<'_>)> {
        self.catch_up.as_ref()?;
        let view = View {
            channel: &self.id,
            config: &self.config,
            log: &self.log,
            incoming: &self.incoming,
            known: &self.known,
            requests: &self.requests,
            floor: self.set_floor(),
            stable: self.members.as_ref().and_then(|members| members.stable()),
            from: self.members.as_ref().map_or((None, None), |members| members.digests_begin()),
            parked_since: self.meta.age_ms.saturating_sub(PARKED_LATELY_MS),
            has_gap: self.gap_to_catch_up(),
            catches_up: self.catches_up(),
            random: self.now.random(),
            now: self.now.running,
        };
        Some((self.catch_up.as_mut()?, view))
    }

    /// Whether messages are missing in a way that repair takes long to mend; `None` where there is nothing, else whether it
    /// is plain.
    fn seen_gap(&self) -> Option<bool> {
        let bound = self.old_up_to();
        let (lowest, _) = self.incoming.after(bound.as_ref()).next()?;
        let newest = self.log.newest().map_or(0, |newest| newest.lamport.0);
        let away = lowest.lamport.0 > newest.saturating_add(AWAY_MS);
        let oldest = self.requests.awaited_since(u64::MAX).next()?;
        let waited = self.meta.age_ms.saturating_sub(oldest.request.since_age_ms);
        let old = waited >= millis(self.answers.waits().t_max);
        (away || old || self.requests.len() > MANY).then_some(away || old)
    }

    /// A message was parked, or time has passed: perhaps there is a gap.
    pub(in crate::channel) fn look_for_gap(&mut self) {
        if self.catch_up.as_ref().is_some_and(|it| it.is_idle()) && self.catches_up() {
            let Some(plain) = self.seen_gap() else { return };
            let wait = if plain { self.now.random() % 500 } else { 1_000 + self.now.random() % 1_000 };
            if let Some(catch_up) = &mut self.catch_up {
                catch_up.want_for_gap(self.now.running, wait);
            }
        }
    }

    /// The application asks for a session.
    pub(in crate::channel) fn catch_up_now(&mut self) {
        if self.catches_up()
            && let Some((catch_up, view)) = self.catching_up()
        {
            catch_up.begin_now(&view);
            self.carry_out();
        }
    }

    /// A message has entered the log; `own` if it was sent here.
    pub(in crate::channel) fn note_logged(&mut self, key: &LogKey, own: bool) {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.entered(key, self.now.running, self.log.len());
        }
        if self.members.is_some() {
            self.member_logged(key, own);
        }
    }

    /// A message has left the log elsewhere than at its lower end.
    pub(in crate::channel) fn note_taken_out(&mut self, body: &Body) {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.taken_out(&self.id, body);
        }
        self.member_taken_out(&body.key);
    }

    /// Above which time a digest equals our set, or that it does not; nothing where that cannot be said now.
    pub(in crate::channel) fn agreement(&mut self, digest: &Digest) -> Option<Option<Lamport>> {
        let (catch_up, view) = self.catching_up()?;
        catch_up.agreement(&view, digest)
    }

    /// A sync message takes its digest along, where there is one and room for it.
    pub(in crate::channel) fn add_digest(&mut self, message: &mut Message) {
        if !self.serves() {
            return;
        }
        let max = self.config.max_transmit_bytes.unwrap_or(usize::MAX).min(self.config.limits.max_message_bytes);
        let owed = self.owes_digest();
        let digest = self.catching_up().and_then(|(catch_up, view)| {
            if owed {
                catch_up.owe_digest();
            }
            catch_up.digest(&view)
        });
        let Some(digest) = digest else { return self.member_digest_sent(None) };
        let upper = digest.upper;
        message.catch_up = CatchUpField::Digest(Box::new(digest));
        if message.encoded_len(self.config.dialect) > max {
            // It will not fit soon: the next try is due as if it had been heard.
            message.catch_up = CatchUpField::Absent;
        }
        self.member_digest_sent(Some(upper));
    }

    /// Takes a digest in: an equal one acknowledges what it covers.
    pub(in crate::channel) fn take_digest(&mut self, message: &Message) {
        let CatchUpField::Digest(digest) = &message.catch_up else { return };
        if !self.catches_up() || self.is_own(&message.sender) {
            return;
        }
        let heard =
            self.catching_up().and_then(|(catch_up, view)| catch_up.hear_digest(&view, &message.sender, digest));
        let Some((lower, lacking)) = heard else { return };
        let covered = |key: &LogKey| key.lamport > lower && key.lamport <= digest.upper && !lacking.contains(key);
        let open = self.outgoing.iter().map(|open| &open.entry.key).filter(|key| covered(key));
        let held: Vec<LogKey> = open.filter(|key| self.log.get(key).is_some()).cloned().collect();
        held.iter().for_each(|key| self.acknowledged(key, &message.sender));
    }

    /// Takes a frame in, which nothing else of the channel looks at.
    pub(in crate::channel) fn take_frame(&mut self, message: &Message) {
        self.stats.received += 1;
        if let CatchUpField::Frame(frame) = &message.catch_up
            && self.serves()
            && !self.is_own(&message.sender)
        {
            let own = self.participant.clone();
            if let Some((catch_up, view)) = self.catching_up() {
                catch_up.take(&view, &message.sender, &own, frame);
            }
            self.carry_out();
        }
    }

    /// What a message received stands for, while a session counts such.
    pub(in crate::channel) fn counted(&self, message: &Message) -> Option<(LogKey, Rid)> {
        let counts = self.catch_up.as_ref().is_some_and(|it| it.counts_arrivals());
        if message.kind() != Some(MessageKind::Content) || !counts {
            return None;
        }
        let key = LogKey { lamport: message.lamport?, id: message.id.clone() };
        let mut body = Body::new(key, message.sender.clone(), message.content.clone());
        body.causal_history.clone_from(&message.causal_history);
        let rid = set::item_of(&self.id, &body).rid;
        Some((body.key, rid))
    }

    /// A message that is counted was received.
    pub(in crate::channel) fn note_arrival(&mut self, (key, rid): &(LogKey, Rid), fate: &Fate) {
        let new = matches!(fate, Fate::Delivered | Fate::Erased | Fate::Parked { .. });
        if let Some((catch_up, view)) = self.catching_up() {
            catch_up.arrived(&view, key, rid, new);
        }
        self.carry_out();
    }

    /// A message was refused; one that is counted is not asked for again.
    pub(in crate::channel) fn note_refused(&mut self, message: &Message) {
        self.stats.refused += 1;
        if let Some(counted) = self.counted(message)
            && let Some(catch_up) = &mut self.catch_up
        {
            let latest = clock::limit(self.now.wall, self.config.max_clock_drift);
            let ahead = counted.0.lamport.0.checked_sub(latest.0).map(Duration::from_millis);
            catch_up.refused(counted, ahead, self.now.running);
        }
    }

    pub(in crate::channel) fn catch_up_in_time(&mut self) {
        if self.serves() {
            self.look_for_gap();
            if let Some((catch_up, view)) = self.catching_up() {
                catch_up.timeout(&view);
            }
            self.carry_out();
        }
    }

    /// When catch-up has something to do.
    pub(in crate::channel) fn next_catch_up(&self) -> Option<RunningTime> {
        self.catch_up.as_ref()?.next_due().filter(|_| self.serves())
    }

    /// The lowest T_req, or when repair goes on that rests for a session.
    pub(in crate::channel) fn next_request(&self) -> Option<RunningTime> {
        let due = self.requests.next_due()?;
        let rests = self.catch_up.as_ref().and_then(|it| it.repair_rests_until());
        Some(rests.map_or(due, |until| due.max(until)))
    }

    /// Whether our requests wait for a session that makes progress.
    pub(in crate::channel) fn repair_rests(&self) -> bool {
        let until = self.catch_up.as_ref().and_then(|it| it.repair_rests_until());
        until.is_some_and(|until| self.now.running < until)
    }

    pub(in crate::channel) fn carry_out(&mut self) {
        let acts = self.catch_up.as_mut().map(|it| it.take_acts()).unwrap_or_default();
        for (number, act) in acts {
            match act {
                Act::GoAheadWithout(ids) => self.go_ahead_without(&ids),
                Act::Tell(status) => self.effects.tell(Event::SyncStatus(status)),
                Act::Say(frame) => {
                    let id = self.new_id(self.meta.lamport, &number.to_be_bytes());
                    let to = frame.to.clone();
                    let mut message = self.bare_message(id, None, Bytes::new());
                    message.catch_up = CatchUpField::Frame(Box::new(frame));
                    self.effects.transmit_to(TransmitKind::CatchUp, message, Some(to));
                }
                Act::Announce => self.send_sync(),
                Act::SendArchived(body, to) => {
                    let Some(message) = self.copy_of(&body) else { continue };
                    self.effects.transmit_to(TransmitKind::CatchUp, message, Some(to));
                }
                Act::Read(read) => self.effects.archive.push(ForArchive::Read(*read)),
                Act::Keep(key) => self.keep_in_archive(&key),
                Act::Send(key, to) => {
                    let Some(body) = self.log.get(&key).map(|logged| logged.body.clone()) else { continue };
                    let Some(message) = self.copy_of(&body) else { continue };
                    self.end_response(&key.id);
                    self.effects.transmit_to(TransmitKind::CatchUp, message, Some(to));
                }
            }
        }
    }

    fn gap_to_catch_up(&self) -> bool {
        self.seen_gap().is_some()
    }
}
