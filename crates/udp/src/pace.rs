//! [`Pace`]: how fast datagrams go out.
//!
//! A network and its readers take only so much, and what is over is lost and asked for again. So a sender that is asked
//! for much of what it just sent slows down, and else becomes faster again. What few datagrams a bad link loses does not
//! slow it: a window counts as lost above a quarter, by the reader that asks for most.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Datagrams a second: at first, at least and at most.
const FIRST: u32 = 20_000;
const LEAST: u32 = 1_000;
const MOST: u32 = 200_000;
/// What was sent and what was asked for are compared once in so long: longer than the wait before a NACK.
const WINDOW: Duration = Duration::from_millis(50);
/// Datagrams that a window must have to say anything.
const SAMPLE: u32 = 20;
/// Readers that are told apart in a window.
const MAX_READERS: usize = 256;
/// Datagrams that may go at once.
const AT_ONCE: u32 = 64;
/// A datagram, in what is counted.
const DATAGRAM: i64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Pace {
    /// Datagrams a second.
    rate: u32,
    /// Millionths of a datagram that may go; less than nothing is owed.
    allowed: i64,
    filled: Duration,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    sent: u32,
    /// Whether something had to wait.
    was_full: bool,
    /// Datagrams asked for, by who asked.
    asked: BTreeMap<SocketAddr, u32>,
}

impl Default for Pace {
    fn default() -> Self {
        let allowed = i64::from(AT_ONCE) * DATAGRAM;
        Self { rate: FIRST, allowed, filled: Duration::ZERO, window: Window::default() }
    }
}

impl Pace {
    /// Takes so many datagrams, and gives how long to wait before they go.
    pub(crate) fn take(&mut self, now: Duration, datagrams: u32) -> Duration {
        self.turn(now);
        let most = i64::from(AT_ONCE.max(self.rate / 500)) * DATAGRAM;
        let passed = i64::try_from(now.saturating_sub(self.filled).as_micros()).unwrap_or(i64::MAX);
        self.allowed = self.allowed.saturating_add(passed.saturating_mul(i64::from(self.rate))).min(most);
        self.filled = now;
        self.allowed -= i64::from(datagrams) * DATAGRAM;
        self.window.sent = self.window.sent.saturating_add(datagrams);
        if self.allowed >= 0 {
            return Duration::ZERO;
        }
        self.window.was_full = true;
        Duration::from_micros(self.allowed.unsigned_abs() / u64::from(self.rate))
    }

    /// Somebody asks for something again, and gets so many datagrams. Of what is not there any more, one was lost.
    pub(crate) fn asked(&mut self, now: Duration, by: SocketAddr, datagrams: usize) {
        self.turn(now);
        let asked = &mut self.window.asked;
        if asked.len() < MAX_READERS || asked.contains_key(&by) {
            let count = asked.entry(by).or_default();
            *count = count.saturating_add(u32::try_from(datagrams).unwrap_or(u32::MAX).max(1));
        }
    }

    #[cfg(test)]
    pub(crate) fn asked_by(&self, reader: SocketAddr) -> u32 {
        self.window.asked.get(&reader).copied().unwrap_or_default()
    }

    fn turn(&mut self, now: Duration) {
        if now.saturating_sub(self.window.began) < WINDOW {
            return;
        }
        let Window { sent, was_full, asked, .. } =
            std::mem::replace(&mut self.window, Window { began: now, ..Window::default() });
        let most = asked.into_values().max().unwrap_or_default();
        if sent >= SAMPLE && most > sent / 4 {
            self.rate = (self.rate / 4 * 3).max(LEAST);
        } else if was_full {
            self.rate = (self.rate / 16 * 17).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Some of them share a machine.
    fn reader(port: u16) -> SocketAddr {
        (Ipv4Addr::new(10, 0, 0, 1), port).into()
    }

    /// Sends as fast as it may for so long; every reader asks for this share, in hundredths. How many went.
    fn send(pace: &mut Pace, from: u64, time: u64, readers: u16, share: u32) -> u32 {
        let (mut now, mut sent) = (ms(from), 0);
        while now < ms(from + time) {
            now += pace.take(now, 1).max(Duration::from_micros(1));
            sent += 1;
            for last in 0..readers {
                if sent % 100 < share {
                    pace.asked(now, reader(last), 1);
                }
            }
        }
        sent
    }

    #[test]
    fn who_is_asked_for_nothing_becomes_faster_and_stops_at_the_most() {
        let mut pace = Pace::default();
        let first = send(&mut pace, 0, 50, 0, 0);
        assert!((1_000..1_200).contains(&first), "{first}");
        send(&mut pace, 50, 10_000, 0, 0);
        assert_eq!(pace.rate, MOST);
    }

    #[test]
    fn a_flood_is_slowed_to_the_least_and_a_bad_link_is_not() {
        let mut pace = Pace::default();
        send(&mut pace, 0, 5_000, 19, 20);
        assert!(pace.rate > FIRST, "{}", pace.rate);
        send(&mut pace, 5_000, 5_000, 1, 60);
        assert_eq!(pace.rate, LEAST);
        let sent = send(&mut pace, 10_000, 1_000, 1, 60);
        assert!((900..1_200).contains(&sent), "{sent}");
    }

    #[test]
    fn who_says_little_is_never_slowed_and_who_was_silent_may_not_flood() {
        let mut pace = Pace::default();
        for at in 0..200 {
            assert_eq!(pace.take(ms(at * 10), 3), Duration::ZERO);
            pace.asked(ms(at * 10), reader(1), 64);
        }
        assert_eq!(pace.rate, FIRST);
        assert_eq!(pace.take(ms(9_000_000), AT_ONCE), Duration::ZERO);
        assert!(pace.take(ms(9_000_000), 1) > Duration::ZERO);
    }

    #[test]
    fn strangers_take_bounded_memory() {
        let mut pace = Pace::default();
        for stranger in 0..100_000_u32 {
            pace.asked(ms(1), (Ipv4Addr::from(stranger), 9).into(), usize::MAX);
        }
        assert_eq!(pace.window.asked.len(), MAX_READERS);
    }
}
