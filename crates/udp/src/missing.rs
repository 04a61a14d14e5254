//! Messages of which nothing is here.
//!
//! What: [`Missing`], holes in the numbers of each sender. Why: most messages are one datagram, and who lost that asks for
//! it within milliseconds here; above, it takes seconds. How it moves: each fragment says which number its sender is at;
//! what was left out is asked for, all of it, until something of it comes. The last message of a sender leaves no hole.
//! Only so many are asked for at a time, and what came while its reader had no room when there is some ([`Later`]): so what a
//! burst lost comes at the pace at which it can be taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::datagram::{MessageName, Nack};
use crate::later::Later;

/// Senders whose numbers are followed; who was silent longest is forgotten.
const MAX_SENDERS: usize = 1_024;
/// Messages of one hole that are asked for, the newest.
const MAX_HOLE: u64 = 16_384;
/// Messages asked for at a time; the others wait for these.
const IN_FLIGHT: usize = 512;
/// NACKs in a second, and at once after a second of silence: whoever feigns a hole cannot have many sent to somebody else.
const NACKS_PER_SECOND: u32 = 4_096;
/// Until some NACKs more are allowed.
const TICK: Duration = Duration::from_millis(1);
/// Wait before the first NACK, and after it at least; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Wait after the first NACK where more is missing than is asked for at a time: then somebody is busy.
const BUSY_WAIT: Duration = Duration::from_millis(100);
/// NACKs without an answer before a message is given up.
const MAX_ASKED: u32 = 6;
/// How often is looked for what can be asked for now.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) type Key = (SocketAddr, MessageName);

#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// By address and boot id.
    senders: BTreeMap<(SocketAddr, u64), Sender>,
    asked: BTreeMap<Key, Asked>,
    due: BTreeSet<(Duration, Key)>,
    later: Later,
    /// When is looked next for what of these can be asked for.
    look: Duration,
    allowed: u32,
    /// When `allowed` was last filled up.
    filled: Option<Duration>,
}

#[derive(Debug)]
struct Sender {
    /// The number after the highest heard.
    next: u64,
    heard: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    due: Duration,
    times: u32,
    /// Wait after the next NACK.
    wait: Duration,
    since: Duration,
}

impl Missing {
    /// Something of this message came. What a sender said before it was first heard is not asked for.
    pub(crate) fn heard(&mut self, now: Duration, from: SocketAddr, message: MessageName) {
        self.forget((from, message));
        self.later.remove(from, message);
        let sender = (from, message.boot);
        if !self.senders.contains_key(&sender) && self.senders.len() >= MAX_SENDERS {
            let silent = self.senders.iter().min_by_key(|(_, sender)| sender.heard).map(|(sender, _)| *sender);
            silent.map(|silent| self.senders.remove(&silent));
        }
        let after = message.number.saturating_add(1);
        let found = self.senders.entry(sender).or_insert(Sender { next: after, heard: now });
        let hole = found.next.max(message.number.saturating_sub(MAX_HOLE))..message.number;
        (found.next, found.heard) = (found.next.max(after), now);
        // The first of it at once, the others after those.
        let room = IN_FLIGHT.saturating_sub(self.asked.len()) as u64;
        let now_asked =
            if self.later.is_empty() { hole.start..hole.end.min(hole.start.saturating_add(room)) } else { 0..0 };
        self.later.put_range(from, message.boot, hole.start.max(now_asked.end)..hole.end);
        for number in now_asked {
            let asked = Asked { due: now + FIRST_WAIT, times: 0, wait: 2 * FIRST_WAIT, since: now };
            self.ask((from, MessageName { number, ..message }), asked);
        }
    }

    /// Something of this message came, and was not taken in because readers of this topic had no room.
    pub(crate) fn no_room(&mut self, topic: u64, from: SocketAddr, message: MessageName) {
        self.later.put(topic, from, message);
    }

    /// When there is something to ask for, or to look at.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let allowed = self.filled.filter(|_| self.allowed == 0).map(|filled| filled + TICK);
        let due = self.due.first().map(|(due, _)| (*due).max(allowed.unwrap_or_default()));
        let look = (!self.later.is_empty()).then_some(self.look);
        due.into_iter().chain(look).min()
    }

    /// The NACKs that are due, and to whom. What was asked for in vain is given up. `has_room` says it of a topic.
    pub(crate) fn timeout(&mut self, now: Duration, has_room: impl Fn(u64) -> bool) -> Vec<(SocketAddr, Nack)> {
        if self.look <= now {
            self.look = now + LOOK;
            for key in self.later.take(IN_FLIGHT.saturating_sub(self.asked.len()), has_room) {
                self.forget(key);
                self.ask(key, Asked { due: now, times: 0, wait: BUSY_WAIT, since: now });
            }
        }
        self.fill_up(now);
        let mut nacks = Vec::new();
        while let Some((due, key)) = self.due.first().copied()
            && due <= now
            && self.allowed > 0
        {
            let Some(asked) = self.forget(key) else { continue };
            if asked.times >= MAX_ASKED {
                let sender = (key.0, key.1.boot);
                if self.senders.get(&sender).is_none_or(|sender| sender.heard < asked.since) {
                    self.later.forget(sender.0, sender.1);
                }
                continue;
            }
            self.allowed -= 1;
            nacks.push((key.0, Nack { message: key.1, missing: u64::MAX }));
            let Asked { times, wait, .. } = asked;
            self.ask(key, Asked { due: now + wait, times: times + 1, wait: wait * 2, ..asked });
        }
        nacks
    }

    fn ask(&mut self, key: Key, asked: Asked) {
        self.asked.insert(key, asked);
        self.due.insert((asked.due, key));
    }

    fn forget(&mut self, key: Key) -> Option<Asked> {
        let asked = self.asked.remove(&key)?;
        self.due.remove(&(asked.due, key));
        Some(asked)
    }

    fn fill_up(&mut self, now: Duration) {
        let since = now.saturating_sub(self.filled.unwrap_or_default()).as_millis().min(1_000) as u32;
        let more = since * NACKS_PER_SECOND / 1_000;
        if more > 0 || self.filled.is_none() {
            self.allowed = if self.filled.is_none() { NACKS_PER_SECOND } else { self.allowed.saturating_add(more) };
            self.allowed = self.allowed.min(NACKS_PER_SECOND);
            self.filled = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 5_000))
    }

    fn name(number: u64) -> MessageName {
        MessageName { boot: 7, number }
    }

    fn asks(missing: &mut Missing, now: Duration) -> Vec<u64> {
        let nacks = missing.timeout(now, |_| true);
        assert!(nacks.iter().all(|(to, nack)| *to == addr(1) && nack.missing == u64::MAX));
        nacks.into_iter().map(|(_, nack)| nack.message.number).collect()
    }

    #[test]
    fn what_a_sender_left_out_is_asked_for_until_it_comes_or_six_times() {
        let mut missing = Missing::default();
        missing.heard(MS, addr(1), name(10));
        missing.heard(MS, addr(1), name(11));
        assert_eq!(missing.poll_timeout(), None, "what was before is not missed");
        missing.heard(2 * MS, addr(1), name(14));
        assert_eq!(missing.poll_timeout(), Some(22 * MS));
        assert_eq!(asks(&mut missing, 22 * MS), [12, 13]);
        missing.heard(30 * MS, addr(1), name(12));
        let mut times = Vec::new();
        while let Some(due) = missing.poll_timeout() {
            times.extend(asks(&mut missing, due).into_iter().map(|number| (number, due.as_millis())));
        }
        assert_eq!(times, [62, 142, 302, 622, 1_262].map(|at| (13, at)));
        missing.heard(9_000 * MS, addr(1), name(13));
        missing.heard(9_000 * MS, addr(1), name(15));
        assert_eq!(missing.poll_timeout(), None, "a late one opens no hole");
    }

    #[test]
    fn each_run_of_each_sender_counts_for_itself() {
        let mut missing = Missing::default();
        missing.heard(MS, addr(1), name(1));
        missing.heard(MS, addr(2), name(100));
        missing.heard(MS, addr(1), MessageName { boot: 8, number: 50 });
        assert_eq!(missing.poll_timeout(), None);
    }

    #[test]
    fn what_came_too_early_is_asked_for_in_order_when_there_is_room_and_never_given_up_before() {
        let mut missing = Missing::default();
        for number in 0..1_000 {
            missing.heard(MS, addr(1), name(number));
            missing.no_room(5, addr(1), name(number));
        }
        for minute in 0..10 {
            let now = Duration::from_secs(60 * minute);
            assert!(missing.timeout(now, |_| false).is_empty());
            assert!(missing.poll_timeout().unwrap() > now);
        }
        let hour = Duration::from_secs(3_600);
        assert_eq!(asks(&mut missing, hour), (0..512).collect::<Vec<_>>());
        (0..100).for_each(|number| missing.heard(hour, addr(1), name(number)));
        // No room again for some.
        (50..100).for_each(|number| missing.no_room(5, addr(1), name(number)));
        let next: Vec<_> = (50..100).chain(512..562).collect();
        assert_eq!(asks(&mut missing, hour + LOOK), next);
    }

    #[test]
    fn of_many_that_are_lost_so_many_are_asked_for_as_come_and_all_of_them() {
        let mut missing = Missing::default();
        missing.heard(MS, addr(1), name(0));
        missing.heard(MS, addr(1), name(10_001));
        let mut asked = Vec::new();
        let mut now = MS;
        while let Some(due) = missing.poll_timeout() {
            now = due;
            let next = asks(&mut missing, now);
            assert!(next.len() <= IN_FLIGHT);
            next.iter().for_each(|number| missing.heard(now, addr(1), name(*number)));
            asked.extend(next);
        }
        assert_eq!(asked, (1..=10_000).collect::<Vec<_>>());
        assert!(now < Duration::from_secs(3), "{now:?}");
    }

    #[test]
    fn strangers_bound_neither_memory_nor_what_is_asked() {
        let mut missing = Missing::default();
        for stranger in 0..100_000_u64 {
            let from = SocketAddr::from(([10, 0, 0, 1], 1 + (stranger % 60_000) as u16));
            missing.heard(MS, from, MessageName { boot: stranger % 1_500, number: 0 });
            missing.heard(MS, from, MessageName { boot: stranger % 1_500, number: u64::MAX });
        }
        assert!(missing.senders.len() <= MAX_SENDERS && missing.asked.len() <= IN_FLIGHT);
        assert_eq!(missing.asked.len(), missing.due.len());
        let mut nacks = 0;
        for ms in (0..100_000).step_by(10) {
            let at_once = missing.timeout((100 + ms) * MS, |_| true).len();
            assert!(at_once <= NACKS_PER_SECOND as usize);
            nacks += at_once;
        }
        assert!(nacks <= 101 * NACKS_PER_SECOND as usize, "{nacks}");
        assert!(missing.later.is_empty() && missing.asked.is_empty(), "nobody is there who could answer");
    }
}
