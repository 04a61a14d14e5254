//! What an open channel gives to its archive, and reads of it (docs/protocol.md section 13.6).
//!
//! One call at a time. Questions of others come first, then the list of what is there already, then what is to be kept.
//! How it moves: [`ask`](Archiving::ask) takes what a saved step asks for, [`next`](Archiving::next) names the next call,
//! [`ended`](Archiving::ended) takes its end in and says what the channel is told. A call that fails is made again after a
//! wait; nothing else waits for it, and what there is no room for is found when the log is compared with the archive anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::effect::{ArchiveAnswer, ArchiveCall};
use super::erasures::Erasures;
use super::memory::Memory;
use super::owed::Failing;
use super::step::ITEM_BYTES;
use crate::channel::{ArchiveRead, Erasure, ForArchive, Input, item_of};
use crate::reconcile::{Item, Rid};
use crate::state::{Body, LogKey};
use crate::store::PersistenceError;
use crate::types::{ChannelId, RunningTime};

/// Messages that one call keeps at most, and bytes of content after which it takes no further one: what is kept is hashed
/// in one step.
const PUT: usize = 256;
const PUT_BYTES: usize = 512 << 10;
/// What one call lists at most.
const LISTED: usize = 4_096;
/// Messages that may wait to be kept, and bytes of them.
const MAX_WAITING: usize = 8_192;
const MAX_WAITING_BYTES: usize = 8 << 20;
/// So long a question of others waits for an archive that does not come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// The archive of one opening of a channel.
#[derive(Debug)]
pub(super) struct Archiving {
    channel: ChannelId,
    memory: Arc<Memory>,
    /// Questions of others, and until when they wait.
    reads: VecDeque<(ArchiveRead, RunningTime)>,
    puts: VecDeque<Arc<Body>>,
    erasures: Erasures,
    bytes: usize,
    /// Something found no room: the log is to be compared with the archive again.
    dropped: bool,
    listing: Listing,
    running: Option<Running>,
    failing: Option<Failing>,
}

/// Messages to keep, each with what stands for it.
type Batch = Vec<(Rid, Arc<Body>)>;

/// How far the list of what is there already has come.
#[derive(Debug)]
enum Listing {
    After(Option<LogKey>),
    Done,
}

#[derive(Debug)]
enum Running {
    Put(Batch),
    List,
    Read(ArchiveRead, RunningTime),
    Erase(Erasure),
    /// A question that was answered without it.
    Late,
}

/// What the end of a call leads to.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// What the channel is told.
    pub(super) inputs: Vec<Input>,
    /// It failed, and did not before.
    pub(super) failed: Option<Arc<PersistenceError>>,
    /// It did before, and does no more.
    pub(super) recovered: bool,
}

impl Archiving {
    pub(super) fn new(channel: ChannelId, memory: Arc<Memory>) -> Self {
        Self {
            channel,
            memory,
            reads: VecDeque::new(),
            puts: VecDeque::new(),
            erasures: Erasures::default(),
            bytes: 0,
            dropped: false,
            listing: Listing::After(None),
            running: None,
            failing: None,
        }
    }

    /// What the channel is told first: that there is an archive.
    pub(super) fn first_word() -> Input {
        Input::Archived { items: Vec::new(), whole: false }
    }

    /// Takes what a step asks for, which is saved.
    pub(super) fn ask(&mut self, asked: Vec<ForArchive>, now: RunningTime) {
        for asked in asked {
            match asked {
                ForArchive::Read(read) => self.reads.push_back((read, now.after(PATIENCE))),
                ForArchive::Keep(body) => self.keep(body),
                ForArchive::Erase(erasure) => self.erasures.add(erasure),
            }
        }
    }

    fn keep(&mut self, body: Arc<Body>) {
        let bytes = cost(&body);
        let fits =
            self.puts.len() < MAX_WAITING && self.bytes + bytes <= MAX_WAITING_BYTES && !self.memory.is_archive_full();
        // One always waits: what is kept last has the log compared again.
        if !fits && !self.puts.is_empty() {
            self.dropped = true;
            return;
        }
        self.count(self.bytes + bytes);
        self.puts.push_back(body);
    }

    /// The next call, if one can be made now.
    pub(super) fn next(&mut self, now: RunningTime) -> Option<ArchiveCall> {
        if self.running.is_some() {
            return None;
        }
        let (call, running) = if let Some((read, until)) = self.reads.pop_front() {
            (ArchiveCall::Get(read.items.clone()), Running::Read(read, until))
        } else if self.failing.as_ref().is_some_and(|failing| now < failing.retry_at) {
            return None;
        } else if let Listing::After(after) = &self.listing {
            (ArchiveCall::List { after: after.clone(), limit: LISTED }, Running::List)
        } else {
            // What waits to be kept may be what is to be erased.
            let batch = self.take_batch();
            if batch.is_empty() {
                let erasure = self.erasures.next()?;
                (ArchiveCall::Erase(erasure.clone()), Running::Erase(erasure))
            } else {
                (ArchiveCall::Put(batch.clone()), Running::Put(batch))
            }
        };
        self.running = Some(running);
        Some(call)
    }

    fn take_batch(&mut self) -> Batch {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < PUT && bytes < PUT_BYTES {
            let Some(body) = self.puts.pop_front() else { break };
            bytes += body.content.len();
            batch.push((item_of(&self.channel, &body).rid, body));
        }
        batch
    }

    /// The call has ended.
    pub(super) fn ended(&mut self, result: Result<ArchiveAnswer, Arc<PersistenceError>>, now: RunningTime) -> Ended {
        let mut ended = Ended::default();
        let running = self.running.take();
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.not_made(running, &mut ended);
                let next = Failing::after(self.failing.as_ref(), error.clone(), now);
                ended.failed = self.failing.replace(next).is_none().then_some(error);
                return ended;
            }
        };
        // That something could be read says nothing of a call that is to be made again.
        let recovers = !matches!(running, Some(Running::Read(..) | Running::Late)) || !self.has_work();
        match (running, answer) {
            (Some(Running::Put(batch)), ArchiveAnswer::Put) => {
                self.count(self.bytes.saturating_sub(batch.iter().map(|(_, body)| cost(body)).sum()));
                let items = batch.iter().map(|(rid, body)| Item { lamport: body.key.lamport, rid: *rid }).collect();
                // What found no room is found where the log is compared with the archive again.
                let whole = self.puts.is_empty() && std::mem::take(&mut self.dropped);
                ended.inputs.push(Input::Archived { items, whole });
            }
            (Some(Running::List), ArchiveAnswer::Listed(listed)) => {
                let whole = listed.len() < LISTED;
                self.listing = match listed.last() {
                    Some((last, _)) if !whole => Listing::After(Some(last.clone())),
                    _ => Listing::Done,
                };
                let items = listed.into_iter().map(|(key, rid)| Item { lamport: key.lamport, rid }).collect();
                ended.inputs.push(Input::Archived { items, whole });
            }
            (Some(Running::Read(read, _)), ArchiveAnswer::Got { bodies, looked }) => {
                ended.inputs.push(Input::FromArchive { read, bodies, looked, failed: false });
            }
            (Some(Running::Erase(_)), ArchiveAnswer::Erased) | (Some(Running::Late) | None, _) => {}
            // The driver answers another call than it was given.
            (running, _) => self.not_made(running, &mut ended),
        }
        ended.recovered = recovers && self.failing.take().is_some();
        ended
    }

    /// The call was not made: questions are answered all the same, the rest is tried again.
    fn not_made(&mut self, running: Option<Running>, ended: &mut Ended) {
        match running {
            Some(Running::Put(batch)) => batch.into_iter().rev().for_each(|(_, body)| self.puts.push_front(body)),
            Some(Running::Read(read, _)) => ended.inputs.push(not_read(read)),
            Some(Running::Erase(erasure)) => self.erasures.add(erasure),
            Some(Running::List | Running::Late) | None => {}
        }
    }

    /// Answers the questions that have waited too long.
    pub(super) fn timeout(&mut self, now: RunningTime) -> Vec<Input> {
        let mut inputs = Vec::new();
        match self.running.take() {
            Some(Running::Read(read, until)) if until <= now => {
                inputs.push(not_read(read));
                self.running = Some(Running::Late);
            }
            running => self.running = running,
        }
        while self.reads.front().is_some_and(|(_, until)| *until <= now) {
            inputs.extend(self.reads.pop_front().map(|(read, _)| not_read(read)));
        }
        inputs
    }

    /// When to look at it again.
    pub(super) fn deadline(&self) -> Option<RunningTime> {
        let running = match &self.running {
            Some(Running::Read(_, until)) => Some(*until),
            _ => None,
        };
        let waiting = self.reads.front().map(|(_, until)| *until);
        let retry = self.failing.as_ref().filter(|_| self.running.is_none() && self.has_work());
        [running, waiting, retry.map(|failing| failing.retry_at)].into_iter().flatten().min()
    }

    /// The call that is under way.
    pub(super) fn calling(&self) -> Option<&'static str> {
        self.running.as_ref().map(|running| match running {
            Running::Put(_) | Running::Erase(_) => "put",
            Running::List => "list",
            Running::Read(..) | Running::Late => "get",
        })
    }

    /// Whether a channel that closes should wait: something is being kept, or can be.
    pub(super) fn is_keeping(&self) -> bool {
        let keeps = matches!(self.running, Some(Running::Put(_) | Running::Erase(_)));
        self.failing.is_none() && (keeps || !self.puts.is_empty() || !self.erasures.is_empty())
    }

    fn has_work(&self) -> bool {
        !self.puts.is_empty() || !self.erasures.is_empty() || matches!(self.listing, Listing::After(_))
    }

    fn count(&mut self, bytes: usize) {
        self.memory.archive_changes(self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for Archiving {
    fn drop(&mut self) {
        self.count(0);
    }
}

fn cost(body: &Body) -> usize {
    body.content.len() + ITEM_BYTES
}

fn not_read(read: ArchiveRead) -> Input {
    Input::FromArchive { read, bodies: Vec::new(), looked: 0, failed: true }
}
