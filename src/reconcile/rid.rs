//! The hash that stands for a message in a set.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::types::{ChannelId, Lamport, MessageId, ParticipantId};

/// 32 bytes that stand for one message: its id, sender, place, dependencies and content, but not what differs from one
/// transmission to the next (filter, requests, hints).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub [u8; 32]);

impl fmt::Debug for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..")
    }
}

const TAG: &[u8] = b"reliable-channel/rid/1";

/// The [`Rid`] of a message: SHA-256 over a tag, channel, id, sender, Lamport time, the ids of its causal history in
/// order, and the SHA-256 of its content, each preceded by its length as eight big-endian bytes.
#[must_use]
pub fn rid_of<'a>(
    channel: &ChannelId,
    id: &MessageId,
    sender: &ParticipantId,
    lamport: Lamport,
    causal_history: impl Iterator<Item = &'a MessageId>,
    content_hash: &[u8; 32],
) -> Rid {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(TAG);
    part(channel.as_bytes());
    part(id.as_bytes());
    part(sender.as_bytes());
    part(&lamport.0.to_be_bytes());
    causal_history.for_each(|id| part(id.as_bytes()));
    part(content_hash);
    Rid(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rid(id: &str, sender: &str, causal: &[&str], content: u8) -> Rid {
        let causal: Vec<MessageId> = causal.iter().map(|id| MessageId::from(*id)).collect();
        let (channel, id, sender) = (ChannelId::from("c"), MessageId::from(id), ParticipantId::from(sender));
        rid_of(&channel, &id, &sender, Lamport(7), causal.iter(), &[content; 32])
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let all = [
            rid("ab", "c", &[], 0),
            rid("a", "bc", &[], 0),
            rid("ab", "c", &["d"], 0),
            rid("ab", "c", &["d", "e"], 0),
            rid("ab", "c", &["e", "d"], 0),
            rid("ab", "c", &["de"], 0),
            rid("ab", "c", &[], 1),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(all[place + 1..].iter().all(|other| other != one), "{place}");
        }
    }

    #[test]
    fn the_rid_of_a_message_never_changes() {
        assert_eq!(
            hex::encode(rid("ab", "c", &["d"], 0).0),
            "ec8aaae447f84652c215c628746e157a350d09fc3547ea990a16fee26ed579d5"
        );
    }
}
