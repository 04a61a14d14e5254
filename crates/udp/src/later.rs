//! Messages to be asked for later.
//!
//! What: [`Later`], their numbers. Why: they are at their sender still, who can send them again when they can be taken in:
//! when those asked for before have come, and when their readers have room. How it moves: numbers go in as ranges, for a burst
//! loses thousands in a row; they come out the lowest first, of all senders in turns, since what a message refers to was mostly
//! said at the same time by others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use crate::datagram::MessageName;
use crate::missing::Key;

/// Ranges kept in all; what comes beyond is left to whoever repairs above.
const MAX_RANGES: usize = 4_096;

/// Whose messages, and under which topic, if that is known.
type Of = (SocketAddr, u64, Option<u64>);

/// Messages to be asked for later.
#[derive(Debug, Default)]
pub(crate) struct Later {
    /// The first number of each range, and the one after its last.
    ranges: BTreeMap<Of, BTreeMap<u64, u64>>,
    count: usize,
}

impl Later {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A range above all that are there of this sender and topic.
    pub(crate) fn put_range(&mut self, from: SocketAddr, boot: u64, numbers: Range<u64>) {
        if numbers.is_empty() || self.count >= MAX_RANGES {
            return;
        }
        let before = self.ranges.entry((from, boot, None)).or_default().insert(numbers.start, numbers.end);
        self.count += usize::from(before.is_none());
    }

    /// One that came while the readers of its topic had no room.
    pub(crate) fn put(&mut self, topic: u64, from: SocketAddr, message: MessageName) {
        let number = message.number;
        let Some(after) = number.checked_add(1) else { return };
        let of = (from, message.boot, Some(topic));
        let below = self.ranges.get(&of).and_then(|own| own.range(..=number).next_back()).map(|(at, end)| (*at, *end));
        if below.is_some_and(|(_, end)| end > number) {
            return;
        }
        let joins = below.filter(|(_, end)| *end == number);
        if joins.is_none() && self.count >= MAX_RANGES {
            return;
        }
        let own = self.ranges.entry(of).or_default();
        let begins = joins.map_or(number, |(at, _)| at);
        let above = own.remove(&after);
        own.insert(begins, above.unwrap_or(after));
        self.count += usize::from(joins.is_none());
        self.count -= usize::from(above.is_some());
    }

    /// It came by itself.
    pub(crate) fn remove(&mut self, from: SocketAddr, message: MessageName) {
        let (of, number) = ((from, message.boot, None), message.number);
        let Some(own) = self.ranges.get_mut(&of) else { return };
        let Some((at, end)) = own.range(..=number).next_back().map(|(at, end)| (*at, *end)) else { return };
        if end <= number {
            return;
        }
        own.remove(&at);
        self.count -= 1;
        for (at, end) in [(at, number), (number + 1, end)] {
            // Where there is no room for both halves, the lower one stays.
            if at < end && self.count < MAX_RANGES {
                own.insert(at, end);
                self.count += 1;
            }
        }
        if own.is_empty() {
            self.ranges.remove(&of);
        }
    }

    /// This sender has gone.
    pub(crate) fn forget(&mut self, from: SocketAddr, boot: u64) {
        let all = (from, boot, None)..=(from, boot, Some(u64::MAX));
        let gone: Vec<Of> = self.ranges.range(all).map(|(of, _)| *of).collect();
        for of in gone {
            self.count -= self.ranges.remove(&of).map_or(0, |own| own.len());
        }
    }

    /// Takes so many out whose topics have room, as far as they are known.
    pub(crate) fn take(&mut self, most: usize, has_room: impl Fn(u64) -> bool) -> Vec<Key> {
        let mut taken = Vec::new();
        if most == 0 {
            return taken;
        }
        let mut open: Vec<Of> = self.ranges.keys().copied().filter(|(.., topic)| topic.is_none_or(&has_room)).collect();
        while taken.len() < most && !open.is_empty() {
            open.retain(|of| {
                let next = if taken.len() < most { self.take_from(of) } else { None };
                taken.extend(next);
                next.is_some()
            });
        }
        taken
    }

    fn take_from(&mut self, of: &Of) -> Option<Key> {
        let own = self.ranges.get_mut(of)?;
        let (number, end) = own.pop_first()?;
        if number + 1 < end {
            own.insert(number + 1, end);
        } else {
            self.count -= 1;
        }
        if own.is_empty() {
            self.ranges.remove(of);
        }
        Some((of.0, MessageName { boot: of.1, number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn name(number: u64) -> MessageName {
        MessageName { boot: 7, number }
    }

    fn put(later: &mut Later, topic: u64, port: u16, number: u64) {
        later.put(topic, addr(port), name(number));
    }

    fn take(later: &mut Later, most: usize, room: u64) -> Vec<(u16, u64)> {
        let taken = later.take(most, |topic| topic == room);
        taken.into_iter().map(|(from, message)| (from.port(), message.number)).collect()
    }

    #[test]
    fn the_lowest_come_first_of_all_senders_in_turns_and_each_once() {
        let mut later = Later::default();
        for number in [5, 3, 4, 4, 9, 3] {
            put(&mut later, 1, 1, number);
        }
        put(&mut later, 1, 2, 100);
        put(&mut later, 2, 3, 50);
        assert_eq!(later.count, 4, "{later:?}");
        assert_eq!(take(&mut later, 3, 1), [(1, 3), (2, 100), (1, 4)]);
        assert_eq!(take(&mut later, 9, 1), [(1, 5), (1, 9)]);
        assert_eq!(take(&mut later, 9, 1), []);
        assert!(!later.is_empty());
        assert_eq!(take(&mut later, 9, 2), [(3, 50)]);
        assert!(later.is_empty() && later.ranges.is_empty());
    }

    #[test]
    fn what_comes_by_itself_is_not_asked_for_and_nothing_of_who_has_gone() {
        let mut later = Later::default();
        later.put_range(addr(1), 7, 10..14);
        [3, 10, 12, 14].into_iter().for_each(|number| later.remove(addr(1), name(number)));
        put(&mut later, 1, 2, 5);
        later.put_range(addr(2), 7, 8..9);
        assert_eq!(later.count, 4);
        later.forget(addr(2), 7);
        assert_eq!(take(&mut later, 9, 1), [(1, 11), (1, 13)]);
        assert!(later.is_empty() && later.ranges.is_empty());
    }

    #[test]
    fn a_burst_is_one_range_and_holes_are_bounded() {
        let mut later = Later::default();
        (0..1_000_000).for_each(|number| put(&mut later, 1, 1, number));
        assert_eq!(later.count, 1);
        (0..10_000).for_each(|number| put(&mut later, 1, 2, 2 * number));
        put(&mut later, 1, 3, u64::MAX);
        later.put_range(addr(4), 7, 0..9);
        assert_eq!(later.count, MAX_RANGES);
        put(&mut later, 1, 2, 1);
        assert_eq!(later.count, MAX_RANGES - 1, "what joins two is taken");
        later.put_range(addr(4), 7, 0..9);
        later.remove(addr(4), name(4));
        let counted: usize = later.ranges.values().map(BTreeMap::len).sum();
        assert_eq!((later.count, counted), (MAX_RANGES, MAX_RANGES));
    }
}
