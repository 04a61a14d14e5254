//! What is in a datagram, as README.md lays it out.
//!
//! What: [`Datagram`], decoded and encoded. Why so strict: a datagram comes from anybody, so all that follows may rely on
//! what passed here: an index below its count, pieces of the one right length. How it moves: [`Datagram::decode`] on what
//! arrived; [`Fragment::encode`] and [`Nack::encode`] on what goes out.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the largest datagram: what crosses the networks there are in one piece.
pub(crate) const MAX_DATAGRAM: usize = 1_200;
/// Bytes of the largest message.
pub(crate) const MAX_MESSAGE: usize = 65_536;
/// Bytes before a fragment's piece of the message.
pub(crate) const HEADER: usize = 32;
/// Bytes of a message in each fragment but the last.
pub(crate) const PIECE: usize = MAX_DATAGRAM - HEADER;
/// Fragments of the largest message. A set of them fits into 64 bits.
pub(crate) const MAX_COUNT: u16 = MAX_MESSAGE.div_ceil(PIECE) as u16;

const MAGIC: u16 = u16::from_be_bytes(*b"rc");
const VERSION: u8 = 1;
const FRAGMENT: u8 = 0;
const NACK: u8 = 1;
/// Magic, version, kind, boot id and number.
const COMMON: usize = 20;

/// Which message of which run of which sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageName {
    /// Drawn at random when the sender joined; its lowest bit says whether the message is for all.
    pub(crate) boot: u64,
    /// Counts the sender's messages.
    pub(crate) number: u64,
}

/// The boot id of what is sent to all.
pub(crate) fn for_all(boot: u64) -> u64 {
    boot & !1
}

/// The boot id of what is sent to one address.
pub(crate) fn for_one(boot: u64) -> u64 {
    boot | 1
}

pub(crate) fn is_for_all(boot: u64) -> bool {
    boot & 1 == 0
}

/// A datagram of this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// A piece of a message.
    Fragment(Fragment),
    /// What somebody lacks of a message.
    Nack(Nack),
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) message: MessageName,
    /// The hash of the topic.
    pub(crate) topic: u64,
    /// Which piece this is, below `count`.
    pub(crate) index: u16,
    /// How many there are, from 1 to [`MAX_COUNT`].
    pub(crate) count: u16,
    /// [`PIECE`] bytes, in the last fragment what is left.
    pub(crate) piece: Bytes,
}

/// What somebody lacks of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nack {
    pub(crate) message: MessageName,
    /// One bit for each fragment that is missing, the first being the lowest.
    pub(crate) missing: u64,
}

/// Bytes that are no datagram of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no datagram of this protocol: {0}")]
pub(crate) struct Malformed(&'static str);

impl Datagram {
    /// Reads a datagram.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut rest = datagram;
        if rest.len() < COMMON || rest.get_u16() != MAGIC || rest.get_u8() != VERSION {
            return Err(Malformed("another beginning"));
        }
        let kind = rest.get_u8();
        let message = MessageName { boot: rest.get_u64(), number: rest.get_u64() };
        match kind {
            FRAGMENT if datagram.len() >= HEADER => {
                let (topic, index, count) = (rest.get_u64(), rest.get_u16(), rest.get_u16());
                let fragment = Fragment { message, topic, index, count, piece: Bytes::copy_from_slice(rest) };
                fragment.is_sound().then_some(Self::Fragment(fragment)).ok_or(Malformed("an impossible fragment"))
            }
            NACK if rest.len() == 8 => Ok(Self::Nack(Nack { message, missing: rest.get_u64() })),
            _ => Err(Malformed("another kind or length")),
        }
    }
}

impl Fragment {
    fn is_sound(&self) -> bool {
        let Self { index, count, .. } = *self;
        let len = self.piece.len();
        if !(1..=MAX_COUNT).contains(&count) || index >= count {
            return false;
        }
        if index + 1 < count {
            return len == PIECE;
        }
        len <= PIECE && (len > 0 || count == 1) && usize::from(index) * PIECE + len <= MAX_MESSAGE
    }

    /// The datagram.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = begin(FRAGMENT, self.message, HEADER + self.piece.len());
        out.put_u64(self.topic);
        out.put_u16(self.index);
        out.put_u16(self.count);
        out.put_slice(&self.piece);
        out.freeze()
    }
}

impl Nack {
    /// The datagram.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = begin(NACK, self.message, COMMON + 8);
        out.put_u64(self.missing);
        out.freeze()
    }
}

fn begin(kind: u8, message: MessageName, len: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(len);
    out.put_u16(MAGIC);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u64(message.boot);
    out.put_u64(message.number);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn fragment(index: u16, count: u16, len: usize) -> Fragment {
        let message = MessageName { boot: 0x0102_0304_0506_0708, number: 9 };
        Fragment { message, topic: 0xA0A1_A2A3_A4A5_A6A7, index, count, piece: vec![0x55; len].into() }
    }

    #[test]
    fn the_layout_is_that_of_the_readme() {
        let encoded = fragment(1, 2, 3).encode();
        let expected = [
            &b"rc\x01\x00"[..],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 0, 0, 0, 0, 0, 0, 9],
            &[0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7],
            &[0, 1, 0, 2, 0x55, 0x55, 0x55],
        ];
        assert_eq!(encoded, expected.concat());
        assert_eq!(Datagram::decode(&encoded), Ok(Datagram::Fragment(fragment(1, 2, 3))));
        let nack = Nack { message: MessageName { boot: 1, number: 2 }, missing: 0b101 };
        let expected = [&b"rc\x01\x01"[..], &1_u64.to_be_bytes(), &2_u64.to_be_bytes(), &5_u64.to_be_bytes()];
        assert_eq!(nack.encode(), expected.concat());
        assert_eq!(Datagram::decode(&nack.encode()), Ok(Datagram::Nack(nack)));
    }

    #[test]
    fn a_fragment_that_cannot_be_is_refused() {
        for (index, count, len) in [(0, 1, 0), (0, 1, PIECE), (0, 2, PIECE), (56, 57, 128), (55, 57, PIECE)] {
            assert!(Datagram::decode(&fragment(index, count, len).encode()).is_ok(), "{index} of {count}: {len}");
        }
        let wrong = [(0, 0, 0), (1, 1, 5), (0, 2, 5), (1, 2, 0), (0, 1, PIECE + 1), (56, 57, 129), (0, 58, PIECE)];
        for (index, count, len) in wrong {
            assert!(Datagram::decode(&fragment(index, count, len).encode()).is_err(), "{index} of {count}: {len}");
        }
        assert!(Datagram::decode(&fragment(u16::MAX, u16::MAX, 5).encode()).is_err());
    }

    #[test]
    fn whatever_is_cut_or_random_is_refused_or_reads_as_it_writes() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let whole = fragment(0, 1, 40).encode();
        for len in 0..HEADER {
            assert!(Datagram::decode(&whole[..len]).is_err(), "{len}");
        }
        for _ in 0..100_000 {
            let mut bytes = vec![0; (rng.next_u32() % 64) as usize];
            rng.fill_bytes(&mut bytes);
            let mut begun = whole[..4].to_vec();
            begun[3] = (rng.next_u32() % 3) as u8;
            begun.extend(&bytes);
            if begun.len() >= HEADER {
                // Counts as they are, or nothing would pass.
                begun[28..32].copy_from_slice(&[0, 0, 0, 1]);
            }
            assert!(Datagram::decode(&bytes).is_err());
            match Datagram::decode(&begun) {
                Ok(Datagram::Fragment(fragment)) => assert_eq!(fragment.encode(), begun),
                Ok(Datagram::Nack(nack)) => assert_eq!(nack.encode(), begun),
                Err(_) => {}
            }
        }
    }
}
