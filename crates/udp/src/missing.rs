//! Messages of which nothing came.
//!
//! What: [`Missing`], holes in the numbers of each sender. Why: most messages are one datagram, and who lost that asks for
//! it within milliseconds here; above, it takes seconds. How it moves: each fragment says which number its sender is at;
//! what was left out is asked for, all of it, until something of it comes. The last message of a sender leaves no hole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::datagram::{MessageName, Nack};

/// Senders whose numbers are followed; who was silent longest is forgotten.
const MAX_SENDERS: usize = 1_024;
/// Messages of one hole that are asked for, the newest.
const MAX_HOLE: u64 = 1_024;
/// Messages that are asked for in all.
const MAX_MISSING: usize = 16_384;
/// NACKs in a second, and at once after a second of silence: whoever feigns a hole cannot have many sent to somebody else.
const NACKS_PER_SECOND: u32 = 4_096;
/// Until some NACKs more are allowed.
const TICK: Duration = Duration::from_millis(1);
/// Wait before the first NACK; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// NACKs without an answer before a message is given up.
const MAX_ASKED: u32 = 6;

type Key = (SocketAddr, MessageName);

#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// By address and boot id.
    senders: BTreeMap<(SocketAddr, u64), Sender>,
    asked: BTreeMap<Key, Asked>,
    due: BTreeSet<(Duration, Key)>,
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
}

impl Missing {
    /// Something of this message came. What a sender said before it was first heard is not asked for.
    pub(crate) fn heard(&mut self, now: Duration, from: SocketAddr, message: MessageName) {
        self.forget((from, message));
        let sender = (from, message.boot);
        if !self.senders.contains_key(&sender) && self.senders.len() >= MAX_SENDERS {
            let silent = self.senders.iter().min_by_key(|(_, sender)| sender.heard).map(|(sender, _)| *sender);
            silent.map(|silent| self.senders.remove(&silent));
        }
        let after = message.number.saturating_add(1);
        let found = self.senders.entry(sender).or_insert(Sender { next: after, heard: now });
        let hole = found.next.max(message.number.saturating_sub(MAX_HOLE))..message.number;
        (found.next, found.heard) = (found.next.max(after), now);
        for number in hole {
            if self.asked.len() < MAX_MISSING {
                self.ask((from, MessageName { number, ..message }), Asked { due: now + FIRST_WAIT, times: 0 });
            }
        }
    }

    /// When there is something to ask for.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let (due, _) = self.due.first()?;
        let allowed = self.filled.filter(|_| self.allowed == 0).map(|filled| filled + TICK);
        Some((*due).max(allowed.unwrap_or_default()))
    }

    /// The NACKs that are due, and to whom. What was asked for in vain is given up.
    pub(crate) fn timeout(&mut self, now: Duration) -> Vec<(SocketAddr, Nack)> {
        self.fill_up(now);
        let mut nacks = Vec::new();
        while let Some((due, key)) = self.due.first().copied()
            && due <= now
            && self.allowed > 0
        {
            let Some(asked) = self.forget(key) else { continue };
            if asked.times >= MAX_ASKED {
                continue;
            }
            self.allowed -= 1;
            nacks.push((key.0, Nack { message: key.1, missing: u64::MAX }));
            let times = asked.times + 1;
            self.ask(key, Asked { due: now + FIRST_WAIT * 2_u32.pow(times), times });
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
        let nacks = missing.timeout(now);
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
    fn strangers_bound_neither_memory_nor_what_is_asked() {
        let mut missing = Missing::default();
        for stranger in 0..100_000_u64 {
            let from = SocketAddr::from(([10, 0, 0, 1], 1 + (stranger % 60_000) as u16));
            missing.heard(MS, from, MessageName { boot: stranger % 1_500, number: 0 });
            missing.heard(MS, from, MessageName { boot: stranger % 1_500, number: u64::MAX });
        }
        assert!(missing.senders.len() <= MAX_SENDERS && missing.asked.len() <= MAX_MISSING);
        assert_eq!(missing.asked.len(), missing.due.len());
        assert_eq!(missing.timeout(100 * MS).len(), NACKS_PER_SECOND as usize);
        assert_eq!(missing.poll_timeout(), Some(101 * MS), "the others keep their place");
        assert_eq!(missing.timeout(101 * MS).len(), 4);
    }
}
