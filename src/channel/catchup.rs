//! Catch-up: whoever missed much finds all of it at once, and fetches it in order (docs/protocol.md section 13).
//!
//! A machine of its own: what it reads of the channel is a [`View`], what it wants done is an [`Act`], and it shares no
//! field with the other parts. How it moves: messages enter its set; digests of others are compared with it; a
//! difference leads to a [`Session`] with one who holds more; what others ask for is answered without remembering them.

mod apart;
mod archived;
mod ask;
mod bucket;
mod digests;
mod from_archive;
mod parked;
mod peers;
mod route;
mod serve;
mod session;
mod set;
mod settled;

use std::sync::Arc;
use std::time::Duration;

use crate::reconcile::{Options, Rid};
use crate::state::{Body, LogKey};
use crate::types::{ChannelId, Frame, FrameBody, Lamport, MessageId, ParticipantId, RunningTime};

use super::Config;
use super::archive::ArchiveRead;
use super::incoming::Incoming;
use super::known::{Keyed, Known};
use super::log::Log;
use super::repair::Requests;
use super::view::SyncStatus;
use peers::{Compared, Peers};
use session::{Asked, Due, Session};
pub(super) use set::item_of;

/// The rules that two sides of a session must share: rid, fingerprint, bounds.
const RULES: u32 = 1;
/// Why a session is refused: other rules.
const OTHER_RULES: u32 = 1;
/// Messages of the short range of a digest.
const SHORT: usize = 256;
/// Of the sync messages, one in so many has a digest.
const DIGEST_EVERY: u32 = 3;
/// Bytes of missing messages that are welcome unasked, in a session.
const WELCOME: u64 = 64 << 10;
/// A frame's message and ids around what it says.
const FRAME_HEAD: usize = 1_024;
/// The largest frame.
const MAX_FRAME: usize = 256 << 10;
/// Below this size of messages there are no frames: reconciliation needs 4 KiB.
const LEAST_FRAME: usize = 5 << 10;
/// The next slice of building the set.
const PAUSE: Duration = Duration::from_millis(1);
/// A session that somebody else is seen to have may bring what we lack: so long it is waited for, and so often.
const OTHERS_TURN_MS: u64 = 2_000;
const MOST_TURNS: u8 = 5;
/// Rids remembered of what another was seen to hold.
const MAX_LACKING: usize = 256;
/// Ids asked for in one frame.
const MAX_IDS: usize = 128;
/// Participants asked for what became of missing messages.
const MOST_WITNESSES: usize = 3;
/// Between two tellings of how far a session has come.
const TELL: Duration = Duration::from_secs(1);

/// What catch-up reads of its channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) channel: &'a ChannelId,
    pub(super) config: &'a Config,
    pub(super) log: &'a Log,
    pub(super) incoming: &'a Incoming,
    pub(super) known: &'a Known,
    pub(super) requests: &'a Requests,
    /// The set begins above this time.
    pub(super) floor: Lamport,
    /// All at or below is stable here; then, as all members say, and what the one of the shortest past cannot compare.
    pub(super) stable: Option<Lamport>,
    pub(super) from: (Option<Lamport>, Option<Lamport>),
    /// What was parked since this age may still be waited for.
    pub(super) parked_since: u64,
    /// Messages are missing in a way that repair takes long to mend.
    pub(super) has_gap: bool,
    /// Something of others was heard, so that sessions may begin here.
    pub(super) catches_up: bool,
    /// Fresh random bits.
    pub(super) random: u64,
    pub(super) now: RunningTime,
}

impl View<'_> {
    /// Whether this message is in the log, and others will believe a copy of it.
    fn holds(&self, key: &LogKey) -> bool {
        self.log.get(key).is_some_and(|logged| self.config.may_pass_on(logged))
    }

    /// Whether this message is in the log without its content.
    fn is_erased(&self, id: &MessageId) -> bool {
        self.known.key(id).and_then(|key| self.log.get(&key)).is_some_and(|logged| logged.body.is_erased())
    }
}

/// What catch-up wants done.
#[derive(Debug)]
pub(super) enum Act {
    /// A frame goes out.
    Say(Frame),
    /// A logged message goes out again, for this participant.
    Send(LogKey, ParticipantId),
    /// A sync message goes out now, with a digest.
    Announce,
    /// A message from the archive goes out again, for this participant.
    SendArchived(Arc<Body>, ParticipantId),
    /// Messages are to be read from the archive.
    Read(Box<ArchiveRead>),
    /// The archive lacks a logged message.
    Keep(LogKey),
    /// The application hears how far it is.
    Tell(SyncStatus),
    /// These are waited for no longer: nobody has them any more.
    GoAheadWithout(Vec<MessageId>),
}

/// Why a session is wanted.
#[derive(Debug)]
enum Why {
    /// Somebody asked for it.
    Asked,
    /// Messages are missing in a way that repair takes long to mend.
    Gap,
    /// A digest of this participant differs.
    Digest(ParticipantId),
    /// This participant was seen to hold these.
    Lacking(ParticipantId, Vec<Rid>),
}

#[derive(Debug)]
struct Wanted {
    at: RunningTime,
    why: Why,
    /// How often it was put off for a session of others.
    turns: u8,
}

/// Catch-up of one channel.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// The largest frame; 0 where there are none.
    max_frame: usize,
    set: set::Held,
    parked: parked::Parked,
    refused: apart::Refused,
    settled: settled::Settled,
    peers: Peers,
    session: Option<Session>,
    wanted: Option<Wanted>,
    serve: serve::Serve,
    /// The log is compared with the archive, from behind this message.
    sweep: Option<LogKey>,
    /// Sync messages since a digest, and whether the next one has a digest in any case.
    syncs: u32,
    owed: bool,
    /// When one went out.
    digest_sent: Option<RunningTime>,
    /// Number of the last question.
    exchange: u64,
    /// Sessions that failed since one did not.
    failures: u32,
    /// A gap that a session did not fill is left to repair until then.
    rests_until: RunningTime,
    status: SyncStatus,
    told: RunningTime,
    /// When a slice of the set may have been built last.
    built: RunningTime,
    acts: Vec<Act>,
    /// Number of the next one.
    done: u64,
}

impl CatchUp {
    pub(super) fn new(max_transmit: Option<usize>, keys: Keyed, entropy: u64, now: RunningTime) -> Self {
        let max_frame = max_transmit.unwrap_or(usize::MAX).min(MAX_FRAME);
        Self {
            max_frame: if max_frame < LEAST_FRAME { 0 } else { max_frame - FRAME_HEAD },
            set: set::Held::new(keys),
            parked: parked::Parked::default(),
            refused: apart::Refused::default(),
            settled: settled::Settled::new(now),
            peers: Peers::default(),
            session: None,
            wanted: None,
            serve: serve::Serve::new(now),
            sweep: None,
            syncs: 0,
            owed: true,
            digest_sent: None,
            exchange: entropy,
            failures: 0,
            rests_until: now,
            status: SyncStatus::InSync,
            told: now,
            built: now,
            acts: Vec::new(),
            done: entropy,
        }
    }

    pub(super) fn status(&self) -> SyncStatus {
        self.status
    }

    /// Messages of the log in the set, and some that have left it.
    pub(super) fn set_len(&self) -> usize {
        self.set.keys.len()
    }

    /// What is to be done, each with a number of its own.
    pub(super) fn take_acts(&mut self) -> Vec<(u64, Act)> {
        let first = self.done;
        self.done = first.wrapping_add(self.acts.len() as u64);
        std::mem::take(&mut self.acts).into_iter().zip(0..).map(|(act, n)| (first.wrapping_add(n), act)).collect()
    }

    /// The log was loaded, up to this time.
    pub(super) fn opened(&mut self, newest: Lamport, now: RunningTime, log_len: usize) {
        self.settled.enter(newest, now, log_len);
    }

    /// A message has entered the log, which has so many now.
    pub(super) fn entered(&mut self, key: &LogKey, now: RunningTime, log_len: usize) {
        self.set.note(key);
        self.settled.enter(key.lamport, now, log_len);
    }

    /// A message has left the log elsewhere than at its lower end.
    pub(super) fn taken_out(&mut self, channel: &ChannelId, body: &Body) {
        self.set.remove(channel, body);
    }

    /// Whether it must be told what arrives.
    pub(super) fn counts_arrivals(&self) -> bool {
        self.session.is_some()
    }

    /// A message was received, and taken in if it is `new`.
    pub(super) fn arrived(&mut self, view: &View<'_>, key: &LogKey, rid: &Rid, new: bool) {
        let Some(session) = &mut self.session else { return };
        if view.incoming.get(key).is_some() {
            self.parked.note(key, *rid);
        } else if !new && !self.set.has(rid) {
            self.refused.note(*rid, key.lamport, None, view.now);
        }
        let pause = self.peers.grace(&session.source).saturating_mul(2);
        if session.arrived(rid, new, pause, view.now) {
            self.show(view.now, false);
            if self.session.as_ref().is_some_and(Session::has_all_asked) {
                self.go_on(view);
            }
        }
    }

    /// A message was received that is never taken in, or only after so much time.
    pub(super) fn refused(&mut self, (key, rid): (LogKey, Rid), wait: Option<Duration>, now: RunningTime) {
        self.refused.note(rid, key.lamport, wait, now);
    }

    /// When a digest went out last.
    pub(super) fn digest_sent(&self) -> Option<RunningTime> {
        self.digest_sent
    }

    /// The next sync message must have a digest.
    pub(super) fn owe_digest(&mut self) {
        self.owed = true;
    }

    /// Something is missing that repair takes long to mend: a session begins so many milliseconds later.
    pub(super) fn want_for_gap(&mut self, now: RunningTime, wait_ms: u64) {
        if now >= self.rests_until {
            self.want(Why::Gap, now, wait_ms);
        }
    }

    /// A session is asked for, whether or not something is missing.
    pub(super) fn begin_now(&mut self, view: &View<'_>) {
        self.want(Why::Asked, view.now, 0);
        self.begin(view);
    }

    fn want(&mut self, why: Why, now: RunningTime, wait_ms: u64) {
        let at = now.after(Duration::from_millis(wait_ms));
        if self.session.is_none() && self.max_frame > 0 && self.wanted.as_ref().is_none_or(|wanted| at < wanted.at) {
            let turns = self.wanted.as_ref().map_or(0, |wanted| wanted.turns);
            self.wanted = Some(Wanted { at, why, turns });
        }
    }

    /// A frame was received.
    pub(super) fn take(&mut self, view: &View<'_>, by: &ParticipantId, own: &ParticipantId, frame: &Frame) {
        if self.max_frame == 0 {
            return;
        }
        if frame.to != *own {
            self.show_archive(view, &frame.body);
            return self.overhear(view, &frame.body);
        }
        match &frame.body {
            FrameBody::Reconcile { answer: false, .. } | FrameBody::Fetch { .. } | FrameBody::FetchIds { .. } => {
                self.serve(view, by, frame)
            }
            _ => self.take_answer(view, by, frame),
        }
    }

    /// What is compared above both of these floors.
    fn options(&self, floor: Lamport, their_floor: Lamport, upper: Lamport) -> Options {
        let floor = floor.max(their_floor);
        Options {
            range: floor.0.saturating_add(1)..=upper.0.min(u64::MAX - 1),
            max_message_bytes: Some(self.max_frame.max(LEAST_FRAME - FRAME_HEAD)),
            ..Options::default()
        }
    }

    /// Says of a rid whether it is worth fetching: neither here nor refused.
    fn lacking(&self, view: &View<'_>) -> impl Fn(&Rid) -> bool {
        let parked = self.parked.rids(view.incoming);
        let now = view.now;
        move |rid| !self.set.has(rid) && !parked.contains(rid) && !self.refused.has(rid, now)
    }

    /// A timeout has done all that was due.
    pub(super) fn rest(&mut self, now: RunningTime) {
        self.built = now;
    }

    pub(super) fn next_due(&self) -> Option<RunningTime> {
        let building = (self.set.is_behind() || self.sweep.is_some()).then(|| self.built.after(PAUSE));
        let session = self.session.as_ref().map(Session::deadline);
        [building, session, self.wanted.as_ref().map(|wanted| wanted.at)].into_iter().flatten().min()
    }

    /// Until when repair rests, for a session makes progress.
    pub(super) fn repair_rests_until(&self) -> Option<RunningTime> {
        self.session.as_ref().map(Session::rests_until)
    }

    /// Whether a gap would be noticed now.
    pub(super) fn is_idle(&self) -> bool {
        self.session.is_none() && self.wanted.is_none() && self.max_frame > 0
    }

    pub(super) fn timeout(&mut self, view: &View<'_>) {
        if self.set.is_behind() {
            self.set.advance(view.channel, view.log, view.floor);
        }
        self.sweep(view);
        let due = self.session.as_mut().and_then(|session| session.due(view.now));
        match (due, self.session.as_ref().map(|session| session.asked)) {
            (Some(Due::GoOn), Some(Asked::Ids)) => self.ask_for_ids(view),
            (Some(Due::GoOn), _) => self.go_on(view),
            (Some(Due::Again), Some(Asked::Ids)) => self.ask_for_ids(view),
            (Some(Due::Silent), Some(Asked::Ids)) => self.go_ahead(view),
            (Some(Due::Again), Some(Asked::Messages)) => self.go_on(view),
            (Some(Due::Again), _) => self.compare_anew(view),
            (Some(Due::Silent), _) => self.source_failed(view),
            (Some(Due::Over), _) => self.give_up(view),
            (None, _) => {}
        }
        if self.wanted.as_ref().is_some_and(|wanted| wanted.at <= view.now) {
            self.begin(view);
        }
    }

    /// Begins the session that was wanted, if it still is and somebody is there for it.
    fn begin(&mut self, view: &View<'_>) {
        if self.session.is_some() {
            self.wanted = None;
            return;
        }
        let ready = self.set.advance(view.channel, view.log, view.floor);
        if !ready || !self.parked.advance(view.channel, view.incoming) {
            if let Some(wanted) = &mut self.wanted {
                wanted.at = view.now.after(PAUSE);
            }
            return;
        }
        if let Some(wanted) = self.wanted.take() {
            self.begin_as(view, wanted);
        }
        if self.session.is_none() {
            self.parked = parked::Parked::default();
        }
    }

    fn begin_as(&mut self, view: &View<'_>, wanted: Wanted) {
        let source = match &wanted.why {
            Why::Gap if !view.has_gap => return,
            Why::Gap | Why::Asked => None,
            Why::Digest(by) => match self.peers.compare(by, &self.set, view.now) {
                Compared::Different(_) | Compared::Behind(_) => Some(by.clone()),
                Compared::Equal { .. } | Compared::Nothing => return,
            },
            Why::Lacking(by, rids) if rids.iter().any(self.lacking(view)) => Some(by.clone()),
            Why::Lacking(..) => return,
        };
        let sources = self.peers.sources(view.now);
        let source = source.filter(|source| sources.contains(source)).or_else(|| sources.into_iter().next());
        let Some(source) = source else {
            return self.try_later(view);
        };
        let welcome = if self.peers.has_refused(&source) { 0 } else { WELCOME };
        self.session = Some(Session::new(source, welcome, view.now));
        if matches!(wanted.why, Why::Asked) {
            self.show(view.now, true);
        }
        self.compare_anew(view);
    }

    /// Leaves a session that leads nowhere, and its source alone for a while.
    fn give_up(&mut self, view: &View<'_>) {
        self.leave_source(view);
        self.finish(view, false);
    }

    fn source_failed(&mut self, view: &View<'_>) {
        self.leave_source(view);
        self.turn_to_next(view);
    }

    fn leave_source(&mut self, view: &View<'_>) {
        if let Some(session) = &self.session {
            self.peers.failed(&session.source, view.now);
        }
    }

    /// Goes on with another source, or ends.
    fn turn_to_next(&mut self, view: &View<'_>) {
        let sources = self.peers.sources(view.now);
        let Some(session) = &mut self.session else { return };
        let next = sources.into_iter().find(|name| *name != session.source && !session.tried.contains(name));
        match next {
            Some(next) => {
                session.turn_to(next);
                self.compare_anew(view);
            }
            None => self.finish(view, false),
        }
    }

    /// Ends the session: all that was found was fetched, or nothing more is to be had now.
    fn finish(&mut self, view: &View<'_>, complete: bool) {
        let Some(session) = self.session.take() else { return };
        self.parked = parked::Parked::default();
        if complete {
            self.set.advance(view.channel, view.log, view.floor);
            let (found, here) = ((session.received == 0, &session.difference), (&self.set, &self.refused));
            self.peers.done(&session.compared, found, here, view.now);
            if session.received > 0 {
                self.failures = 0;
            } else {
                self.rests_until = view.now.after(peers::back_off(self.failures));
                self.failures = self.failures.saturating_add(1);
            }
        }
        let told = self.status != SyncStatus::InSync;
        self.status = if complete { SyncStatus::InSync } else { SyncStatus::Behind };
        if told || !complete && session.missing() > 0 {
            self.acts.push(Act::Tell(self.status));
        }
        if !complete {
            self.try_later(view);
        }
    }

    /// After a failure: another try, if there is still a gap.
    fn try_later(&mut self, view: &View<'_>) {
        let wait = peers::back_off(self.failures);
        self.failures = self.failures.saturating_add(1);
        if view.has_gap {
            let jitter = view.random % 1_000;
            self.want(Why::Gap, view.now.after(wait), jitter);
        }
    }

    /// Tells how far the session has come, at most once a second.
    fn show(&mut self, now: RunningTime, first: bool) {
        let Some(session) = &self.session else { return };
        let missing = session.missing() as u64;
        let quiet = matches!(self.status, SyncStatus::Syncing { .. }) && now.since(self.told) < TELL;
        if missing == 0 && !first || quiet {
            return;
        }
        (self.status, self.told) = (SyncStatus::Syncing { received: session.received, missing }, now);
        self.acts.push(Act::Tell(self.status));
    }
}
