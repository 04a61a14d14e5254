//! Whole messages come out whatever is lost, and nobody can make it grow.

use super::*;
use crate::datagram::{Datagram, PIECE};
use crate::ring::Ring;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const MS: Duration = Duration::from_millis(1);

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 5_000))
}

fn fragment(datagram: &Bytes) -> Fragment {
    match Datagram::decode(datagram).unwrap() {
        Datagram::Fragment(fragment) => fragment,
        Datagram::Nack(nack) => panic!("{nack:?}"),
    }
}

fn message(len: usize) -> Bytes {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn a_message_is_whole_in_any_order_and_once() {
    for len in [0, 1, PIECE, PIECE + 1, 2 * PIECE, 65_536] {
        let mut datagrams = Ring::new(1).cut(1, message(len));
        datagrams.reverse();
        let mut parts = Reassembly::default();
        let (last, first) = datagrams.split_last().unwrap();
        for datagram in first.iter().chain(first) {
            assert_eq!(parts.take(MS, addr(1), fragment(datagram)), None);
        }
        assert_eq!(parts.take(MS, addr(1), fragment(last)), Some(message(len)));
        if len > PIECE {
            assert_eq!(parts.take(MS, addr(1), fragment(last)), None, "a late fragment begins nothing");
        }
        assert_eq!((parts.begun.len(), parts.bytes, parts.poll_timeout()), (0, 0, None));
    }
}

#[test]
fn a_hole_is_asked_for_after_20_ms_and_given_up_after_seven_waits() {
    let datagrams = Ring::new(1).cut(1, message(3 * PIECE));
    let mut parts = Reassembly::default();
    parts.take(5 * MS, addr(1), fragment(&datagrams[0]));
    parts.take(9 * MS, addr(1), fragment(&datagrams[2]));
    assert_eq!(parts.poll_timeout(), Some(29 * MS));
    assert_eq!(parts.timeout(28 * MS), []);
    let mut asked = Vec::new();
    while let Some(due) = parts.poll_timeout() {
        asked.extend(parts.timeout(due).into_iter().map(|(to, nack)| (due.as_millis(), to, nack.missing)));
    }
    let expected = [29, 69, 149, 309, 629, 1_269].map(|at| (at, addr(1), 0b010));
    assert_eq!(asked, expected);
    assert_eq!((parts.begun.len(), parts.bytes), (0, 0), "given up at 2,549");
}

/// A sender, a receiver and between them a way that loses a tenth or more in both directions.
#[test]
fn lost_fragments_are_repaired() {
    for (seed, loss) in [(1, 10), (2, 10), (3, 30), (4, 30)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut lost = move || rng.next_u32() % 100 < loss;
        let (mut ring, mut parts) = (Ring::new(1), Reassembly::default());
        let mut now = Duration::ZERO;
        let (mut whole, mut sent) = (0, 0);
        for _ in 0..100 {
            let mut arriving = ring.cut(1, message(60_000));
            loop {
                sent += arriving.len();
                for datagram in arriving.drain(..).filter(|_| !lost()) {
                    if let Some(bytes) = parts.take(now, addr(1), fragment(&datagram)) {
                        assert_eq!(bytes, message(60_000));
                        whole += 1;
                    }
                }
                let Some(due) = parts.poll_timeout() else { break };
                now = due;
                for (_, nack) in parts.timeout(now) {
                    if !lost() {
                        arriving.extend(ring.answer(now, &nack));
                    }
                }
            }
        }
        // A message whose last fragment is lost seven times in a row is left to the layer above.
        assert!(whole >= if loss == 10 { 100 } else { 90 }, "seed {seed}: {whole}");
        let needed = 100 * 60_000_usize.div_ceil(PIECE);
        assert!(sent * 100 < needed * (100 + 2 * loss as usize), "{sent} datagrams instead of {needed}");
    }
}

#[test]
fn memory_is_bounded_and_who_floods_pays_for_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut parts = Reassembly::default();
    let honest = Ring::new(1).cut(1, message(2 * PIECE));
    parts.take(MS, addr(1), fragment(&honest[0]));
    for number in 0..60_000 {
        let message = MessageName { boot: rng.next_u64(), number };
        let count = 2 + (rng.next_u32() % 56) as u16;
        let piece = Bytes::from(vec![0; PIECE]);
        parts.take(2 * MS, addr(2), Fragment { message, topic: 1, index: 0, count, piece });
        assert!(parts.bytes <= MAX_BYTES, "{}", parts.bytes);
    }
    assert!(parts.bytes > MAX_BYTES - 10_000, "the flood reached the limit");
    assert_eq!(parts.take(3 * MS, addr(1), fragment(&honest[1])), Some(message(2 * PIECE)));
    while let Some(due) = parts.poll_timeout() {
        parts.timeout(due);
    }
    assert_eq!((parts.bytes, parts.begun.len(), parts.sources.len(), parts.heaviest.len()), (0, 0, 0, 0));
}

#[test]
fn whatever_arrives_the_bookkeeping_adds_up() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut parts = Reassembly::default();
    let mut now = Duration::ZERO;
    for _ in 0..200_000 {
        now += MS * (rng.next_u32() % 3);
        let message = MessageName { boot: u64::from(rng.next_u32() % 3), number: u64::from(rng.next_u32() % 40) };
        let count = 1 + (rng.next_u32() % 57) as u16;
        let index = (rng.next_u32() % u32::from(count)) as u16;
        let piece = vec![0; if index + 1 < count { PIECE } else { 1 }].into();
        let fragment = Fragment { message, topic: u64::from(rng.next_u32() % 2), index, count, piece };
        parts.take(now, addr((rng.next_u32() % 3) as u8), fragment);
        if rng.next_u32() % 10 == 0 {
            parts.timeout(now);
        }
        let held: usize = parts.begun.values().map(|begun| begun.bytes).sum();
        if rng.next_u32() % 1_000 == 0 {
            assert_eq!(parts.bytes, held);
            assert_eq!(parts.sources.values().map(|source| source.bytes).sum::<usize>(), held);
            assert_eq!((parts.due.len(), parts.heaviest.len()), (parts.begun.len(), parts.sources.len()));
        }
    }
    assert!(!parts.done.is_empty() && parts.done.len() == parts.done_order.len());
}
