//! Rids of what is parked: it is here already, so no session fetches it.
//!
//! A rid hashes a whole message, so they are found in slices before a session begins, and kept until it ends; what is
//! parked meanwhile was hashed when it came.

use std::collections::BTreeSet;

use crate::channel::incoming::Incoming;
use crate::reconcile::Rid;
use crate::state::LogKey;
use crate::types::ChannelId;

use super::set::{SLICE_BYTES, hashed_bytes, item_of};

/// More parked messages are not looked at: those are fetched, though they are here.
const MAX_PARKED: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Parked {
    /// Two bodies of one message have two.
    rids: BTreeSet<(LogKey, Rid)>,
    /// Up to where they were looked at.
    after: Option<LogKey>,
    whole: bool,
}

impl Parked {
    /// Hashes a slice of them; says whether all are.
    pub(super) fn advance(&mut self, channel: &ChannelId, incoming: &Incoming) -> bool {
        let mut left = SLICE_BYTES;
        let after = self.after.clone();
        let mut waiting = incoming.after(after.as_ref());
        while !self.whole && left > 0 {
            let next = waiting.next().filter(|_| self.rids.len() < MAX_PARKED);
            let Some((key, waiting)) = next else {
                self.whole = true;
                break;
            };
            let body = &waiting.parked.body;
            left = left.saturating_sub(hashed_bytes(body));
            self.rids.insert((key.clone(), item_of(channel, body).rid));
            self.after = Some(key.clone());
        }
        self.whole
    }

    /// One more is parked, or another body of one that is, which is not taken in.
    pub(super) fn note(&mut self, key: &LogKey, rid: Rid) {
        if self.rids.len() < MAX_PARKED {
            self.rids.insert((key.clone(), rid));
        }
    }

    /// Those that still are.
    pub(super) fn rids(&self, incoming: &Incoming) -> BTreeSet<Rid> {
        self.rids.iter().filter(|(key, _)| incoming.get(key).is_some()).map(|(_, rid)| *rid).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::channel::known::Keyed;
    use crate::state::{self, Body};
    use crate::types::{Lamport, WallTime};

    #[test]
    fn large_parked_messages_are_hashed_in_slices_and_what_has_left_is_not_named() {
        let channel = ChannelId::from("c");
        let (mut incoming, mut parked) = (Incoming::new(Keyed::new(7)), Parked::default());
        let mut keys = Vec::new();
        for lamport in 1..=40 {
            let key = LogKey { lamport: Lamport(lamport), id: format!("m{lamport}").into() };
            let content = vec![b'x'; 64 << 10].into();
            let body = Arc::new(Body::new(key.clone(), "s".into(), content));
            let waiting = state::Parked { body, seen: WallTime::default(), parked_at_age_ms: 0 };
            incoming.park(waiting, BTreeSet::from(["unmet".into()]), u64::MAX);
            keys.push(key);
        }
        let slices = (1..99).find(|_| parked.advance(&channel, &incoming)).unwrap();
        assert!((5..=6).contains(&slices), "{slices} slices for forty times 65 KiB");
        assert_eq!(parked.rids(&incoming).len(), 40);
        incoming.remove(&keys[3]);
        assert_eq!(parked.rids(&incoming).len(), 39);
    }

    #[test]
    fn another_body_of_a_parked_message_does_not_make_the_one_here_lacking() {
        let channel = ChannelId::from("c");
        let (mut incoming, mut parked) = (Incoming::new(Keyed::new(7)), Parked::default());
        let key = LogKey { lamport: Lamport(1), id: "m".into() };
        let body = Arc::new(Body::new(key.clone(), "s".into(), "m".into()));
        let here = item_of(&channel, &body).rid;
        let waiting = state::Parked { body, seen: WallTime::default(), parked_at_age_ms: 0 };
        incoming.park(waiting, BTreeSet::from(["unmet".into()]), u64::MAX);
        assert!(parked.advance(&channel, &incoming));
        parked.note(&key, Rid([7; 32]));
        assert_eq!(parked.rids(&incoming), BTreeSet::from([here, Rid([7; 32])]));
    }
}
