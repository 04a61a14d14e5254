//! What a sync message says of our set, and what others say of theirs (docs/protocol.md section 13).

use std::collections::BTreeSet;

use super::peers::Compared;
use super::{CatchUp, DIGEST_EVERY, SHORT, View, Why};
use crate::channel::incoming::Waiting;
use crate::state::LogKey;
use crate::types::{Digest, Lamport, ParticipantId};

impl CatchUp {
    /// The digest of a sync message that goes out now, if it has one.
    pub(in crate::channel) fn digest(&mut self, view: &View<'_>) -> Option<Digest> {
        self.syncs += 1;
        if !self.owed && !self.set.has_archive() && self.syncs < DIGEST_EVERY {
            return None;
        }
        if !self.set.advance(view.channel, view.log, view.floor) {
            return None;
        }
        let upper = self.settled_upper(view)?;
        // What only the archive has is left out: it lies below where others can compare. What is stable with all members
        // need not be compared again.
        let floor = self.set.log_floor().max(view.from.0.unwrap_or(Lamport(0))).min(upper);
        let places = self.set.places(floor, upper);
        let below = places.len().checked_sub(SHORT + 1).and_then(|more| self.set.index().get(places.start + more));
        let begin = view.from.1.filter(|begin| *begin < upper).unwrap_or(floor);
        let lower = below.map_or(floor, |item| item.lamport).max(begin);
        let long = (lower > floor).then(|| self.set.range(floor, upper));
        (self.syncs, self.owed, self.digest_sent) = (0, false, Some(view.now));
        let mut digest = Digest::new(upper, self.set.range(lower, upper), long, self.max_frame > 0);
        digest.archive = self.set.has_archive();
        digest.stable = view.stable;
        Some(digest)
    }

    /// The Lamport time up to which a digest speaks: not of what came just now, nor above what was parked lately.
    pub(super) fn settled_upper(&self, view: &View<'_>) -> Option<Lamport> {
        let upper = self.settled.upper(view.now, view.log.len())?;
        let lately = |waiting: &&Waiting| waiting.parked.parked_at_age_ms >= view.parked_since;
        let lowest = view.incoming.iter().take(SHORT).find(lately).map(|waiting| waiting.parked.body.key.lamport);
        let upper = lowest.map_or(upper, |lowest| upper.min(Lamport(lowest.0.saturating_sub(1))));
        (upper > self.set.log_floor()).then_some(upper)
    }

    /// Above which time a digest equals our set exactly; `None` inside where it does not, and outside where our set is not
    /// ready yet.
    pub(in crate::channel) fn agreement(&mut self, view: &View<'_>, digest: &Digest) -> Option<Option<Lamport>> {
        if !self.set.advance(view.channel, view.log, view.floor) {
            return None;
        }
        let ranges = [digest.long.as_ref(), Some(&digest.short)].into_iter().flatten();
        let mut comparable = ranges.filter(|range| range.lower >= self.set.log_floor());
        let equal = comparable.find(|range| self.set.range(range.lower, digest.upper) == **range);
        Some(equal.map(|range| range.lower))
    }

    /// A digest was received. Where it equals our set, its sender holds all of ours above this time, up to the digest's,
    /// but for these.
    pub(in crate::channel) fn hear_digest(
        &mut self,
        view: &View<'_>,
        by: &ParticipantId,
        digest: &Digest,
    ) -> Option<(Lamport, BTreeSet<LogKey>)> {
        let compared = match self.set.advance(view.channel, view.log, view.floor) {
            true => self.peers.compare_with(by, digest, &self.set, view.now),
            false => Compared::Nothing,
        };
        let settled = self.settled_upper(view);
        if self.peers.hear(by, digest, compared, settled, view.now) {
            let jitter = if matches!(compared, Compared::Behind(_)) { 500 } else { 3_000 };
            self.want(Why::Digest(by.clone()), view.now, view.random % jitter);
        }
        match compared {
            Compared::Equal { lower, known: false } => Some((lower, BTreeSet::new())),
            Compared::Equal { lower, known: true } => Some((lower, self.peers.lacking(by, &self.set))),
            _ => None,
        }
    }
}
