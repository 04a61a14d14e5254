//! What was sent and may be asked for again.
//!
//! What: [`Ring`], the newest messages. Why bounded in answers too: a request is 28 bytes and
//! its answer up to a whole message, so whoever asks must not be able to make a flood of it. How it moves:
//! [`Ring::cut`] numbers a message and cuts it into datagrams; [`Ring::answer`] gives again those that a NACK names.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::datagram::{Fragment, MAX_COUNT, MessageName, Nack, PIECE};

/// Bytes of messages kept, with what is kept beside each.
const MAX_BYTES: usize = 16 << 20;
const MESSAGE_BYTES: usize = 128;
/// Every fragment of a message is sent again so many times on average, for all who ask together.
const ANSWERS_PER_FRAGMENT: u32 = 32;
/// Datagrams sent again in a second, and at once after a second of silence.
const ANSWERS_PER_SECOND: u32 = 4_096;

/// The newest messages sent.
#[derive(Debug)]
pub(crate) struct Ring {
    boot: u64,
    next: u64,
    /// By number, the oldest first.
    sent: VecDeque<Sent>,
    bytes: usize,
    /// Answers that may go out now.
    allowed: u32,
    /// When `allowed` was last filled up.
    filled: Duration,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    topic: u64,
    bytes: Bytes,
    answers_left: u32,
}

impl Ring {
    pub(crate) fn new(boot: u64) -> Self {
        Self { boot, next: 0, sent: VecDeque::new(), bytes: 0, allowed: ANSWERS_PER_SECOND, filled: Duration::ZERO }
    }

    /// The datagrams of a message of at most [`MAX_MESSAGE`](crate::datagram::MAX_MESSAGE) bytes.
    pub(crate) fn cut(&mut self, topic: u64, bytes: Bytes) -> Vec<Bytes> {
        let number = self.next;
        self.next += 1;
        let count = count(&bytes);
        let sent = Sent { number, topic, bytes, answers_left: u32::from(count) * ANSWERS_PER_FRAGMENT };
        let datagrams = (0..count).map(|index| sent.datagram(self.boot, index)).collect();
        self.bytes += sent.bytes.len() + MESSAGE_BYTES;
        self.sent.push_back(sent);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.sent.pop_front()
        {
            self.bytes -= oldest.bytes.len() + MESSAGE_BYTES;
        }
        datagrams
    }

    /// What a NACK asks for, as far as it is still here and may be sent.
    pub(crate) fn answer(&mut self, now: Duration, nack: &Nack) -> Vec<Bytes> {
        self.fill_up(now);
        if nack.message.boot != self.boot {
            return Vec::new();
        }
        let Ok(at) = self.sent.binary_search_by_key(&nack.message.number, |sent| sent.number) else {
            return Vec::new();
        };
        let sent = &mut self.sent[at];
        let asked = (0..count(&sent.bytes)).filter(|index| nack.missing >> index & 1 == 1);
        let asked: Vec<u16> = asked.take(sent.answers_left.min(self.allowed) as usize).collect();
        let answers = asked.len() as u32;
        sent.answers_left -= answers;
        self.allowed -= answers;
        asked.into_iter().map(|index| sent.datagram(self.boot, index)).collect()
    }

    fn fill_up(&mut self, now: Duration) {
        let since = now.saturating_sub(self.filled).as_millis().min(1_000) as u32;
        let more = since * ANSWERS_PER_SECOND / 1_000;
        if more > 0 {
            self.allowed = self.allowed.saturating_add(more).min(ANSWERS_PER_SECOND);
            self.filled = now;
        }
    }
}

impl Sent {
    fn datagram(&self, boot: u64, index: u16) -> Bytes {
        let from = usize::from(index) * PIECE;
        let piece = self.bytes.slice(from..self.bytes.len().min(from + PIECE));
        let message = MessageName { boot, number: self.number };
        Fragment { message, topic: self.topic, index, count: count(&self.bytes), piece }.encode()
    }
}

/// Fragments of a message; an empty one has one, too.
fn count(bytes: &Bytes) -> u16 {
    u16::try_from(bytes.len().div_ceil(PIECE)).unwrap_or(MAX_COUNT).clamp(1, MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = u64::MAX;

    fn nack(number: u64, missing: u64) -> Nack {
        Nack { message: MessageName { boot: 7, number }, missing }
    }

    #[test]
    fn what_a_nack_names_is_sent_again_and_nothing_else() {
        let mut ring = Ring::new(7);
        let datagrams = ring.cut(1, vec![3; 4 * PIECE + 1].into());
        assert_eq!(datagrams.len(), 5);
        assert_eq!(ring.answer(Duration::ZERO, &nack(0, 0b10010)), [datagrams[1].clone(), datagrams[4].clone()]);
        assert_eq!(ring.answer(Duration::ZERO, &nack(0, ALL)), datagrams);
        assert!(ring.answer(Duration::ZERO, &nack(1, ALL)).is_empty());
        let other = Nack { message: MessageName { boot: 8, number: 0 }, missing: ALL };
        assert!(ring.answer(Duration::ZERO, &other).is_empty());
    }

    #[test]
    fn the_oldest_messages_give_way_above_16_mib() {
        let mut ring = Ring::new(7);
        for _ in 0..300 {
            ring.cut(1, vec![3; 65_536].into());
            ring.cut(1, vec![3; PIECE].into());
        }
        assert!(ring.bytes <= 16 << 20 && ring.sent.len() == 501, "{} {}", ring.bytes, ring.sent.len());
        assert!(ring.answer(Duration::ZERO, &nack(0, 1)).is_empty());
        assert_eq!(ring.answer(Duration::ZERO, &nack(598, 1)).len(), 1);
        assert_eq!(ring.answer(Duration::ZERO, &nack(599, ALL)).len(), 1);
    }

    #[test]
    fn who_asks_without_end_is_answered_within_limits() {
        let mut ring = Ring::new(7);
        ring.cut(1, vec![3; 2 * PIECE].into());
        let answers: usize = (0..1_000).map(|ms| ring.answer(Duration::from_secs(ms), &nack(0, ALL)).len()).sum();
        assert_eq!(answers, 64, "one message");
        for _ in 0..200 {
            ring.cut(1, vec![3; 65_536].into());
        }
        let now = Duration::from_secs(2_000);
        let mut ask = |now| (1..=200).map(|number| ring.answer(now, &nack(number, ALL)).len()).sum::<usize>();
        assert_eq!(ask(now), 4_096, "all messages at once");
        assert_eq!(ask(now + Duration::from_millis(500)), 2_048, "half a second later");
    }
}
