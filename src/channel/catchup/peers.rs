//! What others' digests have shown, and how they answered (docs/protocol.md section 13).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::reconcile::Rid;
use crate::state::LogKey;
use crate::types::{Digest, Lamport, ParticipantId, RunningTime};

use super::apart::{Apart, Difference, Refused};
use super::set::Held;

/// Participants remembered; of more, the one heard longest ago is forgotten.
const MAX_PEERS: usize = 64;
/// Two digests of one sender that differ from ours this far apart are no accident of timing.
const CONFIRMED: Duration = Duration::from_secs(20);
/// So many more messages than ours in a range are none either.
const BEHIND: u64 = 4;
/// The first wait after a failure; it doubles with each further one.
const BACK_OFF: Duration = Duration::from_secs(5);
const MAX_BACK_OFF: Duration = Duration::from_secs(300);

/// How long an answer may take at least and at most, and as long as nothing is known.
pub(super) const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// How long what was sent may still be on its way, at least and at most.
const GRACE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Fingerprints of one range, theirs and ours.
pub(super) type Pair = ([u8; 16], [u8; 16]);

#[derive(Debug)]
struct Peer {
    heard: RunningTime,
    digest: Digest,
    /// Since when its digests differ.
    different: Option<RunningTime>,
    /// A session found nothing more to exchange while these differed.
    fruitless: Option<Pair>,
    /// So many sessions in a row did, and the next one waits.
    in_vain: u32,
    rests_until: RunningTime,
    /// How long it took to answer.
    answers_in: Option<Duration>,
    failures: u32,
    not_before: RunningTime,
    /// What is known to stay different.
    apart: Apart,
}

/// What a digest says beside our set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// Nothing: none of its ranges can be compared.
    Nothing,
    /// Equal up to its upper end, above the lower one here; or as different as is `known`.
    Equal { lower: Lamport, known: bool },
    /// Different: nothing is known yet of why.
    Different(Pair),
    /// Different, and so many are missing here that there is no doubt.
    Behind(Pair),
}

/// Others, by name.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<ParticipantId, Peer>);

impl Peers {
    /// It answered after so long.
    pub(super) fn answered(&mut self, name: &ParticipantId, took: Duration) {
        if let Some(peer) = self.0.get_mut(name) {
            peer.answers_in = Some(took);
        }
    }

    /// How long an answer of it is waited for.
    pub(super) fn wait_for(&self, name: &ParticipantId) -> Duration {
        self.answers_in(name).map_or(FIRST_WAIT, |took| took.saturating_mul(3).clamp(WAITS.0, WAITS.1))
    }

    /// How long what it has sent may still be on its way.
    pub(super) fn grace(&self, name: &ParticipantId) -> Duration {
        self.answers_in(name).map_or(GRACE.1, |took| took.clamp(GRACE.0, GRACE.1))
    }

    fn answers_in(&self, name: &ParticipantId) -> Option<Duration> {
        self.0.get(name)?.answers_in
    }

    /// Those that answer frames and may be asked now: archives, then the others, heard last first.
    pub(super) fn sources(&self, now: RunningTime) -> Vec<ParticipantId> {
        let may = |peer: &Peer| peer.digest.frames && peer.not_before <= now;
        let mut sources: Vec<_> = self.0.iter().filter(|(_, peer)| may(peer)).collect();
        sources.sort_by_key(|(_, peer)| std::cmp::Reverse((peer.digest.archive, peer.heard)));
        sources.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether it serves from an archive.
    pub(super) fn is_archive(&self, name: &ParticipantId) -> bool {
        self.0.get(name).is_some_and(|peer| peer.digest.archive)
    }

    /// Takes a digest in; says whether it is reason to compare further.
    pub(super) fn hear(
        &mut self,
        name: &ParticipantId,
        digest: &Digest,
        compared: Compared,
        settled: Option<Lamport>,
        now: RunningTime,
    ) -> bool {
        let peer = self.0.entry(name.clone()).or_insert_with(|| Peer {
            heard: now,
            digest: digest.clone(),
            different: None,
            fruitless: None,
            in_vain: 0,
            rests_until: now,
            answers_in: None,
            failures: 0,
            not_before: now,
            apart: Apart::default(),
        });
        peer.heard = now;
        peer.digest = digest.clone();
        let reason = match compared {
            Compared::Nothing => false,
            Compared::Equal { .. } => {
                (peer.different, peer.fruitless, peer.in_vain, peer.rests_until) = (None, None, 0, now);
                false
            }
            Compared::Different(pair) | Compared::Behind(pair) if peer.fruitless == Some(pair) => false,
            _ if now < peer.rests_until => false,
            Compared::Behind(_) => true,
            Compared::Different(_) => {
                let since = *peer.different.get_or_insert(now);
                now.since(since) >= CONFIRMED && settled.is_some_and(|settled| settled >= digest.upper)
            }
        };
        if self.0.len() > MAX_PEERS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, peer)| peer.heard).map(|(name, _)| name.clone())
        {
            self.0.remove(&oldest);
        }
        reason
    }

    /// What its last digest says beside our set now.
    pub(super) fn compare(&self, name: &ParticipantId, set: &Held, now: RunningTime) -> Compared {
        self.0.get(name).map_or(Compared::Nothing, |peer| compare(&peer.digest, set, &peer.apart, now))
    }

    /// What a digest of this participant says beside our set now.
    pub(super) fn compare_with(&self, name: &ParticipantId, digest: &Digest, set: &Held, now: RunningTime) -> Compared {
        let nothing = Apart::default();
        compare(digest, set, self.0.get(name).map_or(&nothing, |peer| &peer.apart), now)
    }

    /// Whether it holds messages that are refused here.
    pub(super) fn has_refused(&self, name: &ParticipantId) -> bool {
        self.0.get(name).is_some_and(|peer| peer.apart.has_refused())
    }

    /// Whether it did not take this message of ours.
    pub(super) fn lacks(&self, name: &ParticipantId, rid: &Rid) -> bool {
        self.0.get(name).is_some_and(|peer| peer.apart.lacks(rid))
    }

    /// What of ours it did not take.
    pub(super) fn lacking(&self, name: &ParticipantId, set: &Held) -> BTreeSet<LogKey> {
        let rids = self.0.get(name).into_iter().flat_map(|peer| peer.apart.lacking());
        rids.filter_map(|rid| set.key(rid).cloned()).collect()
    }

    /// A session with it ended; with nothing new, where nothing more will come of the same difference.
    pub(super) fn done(
        &mut self,
        name: &ParticipantId,
        (fruitless, difference): (bool, &Difference),
        (set, refused): (&Held, &Refused),
        now: RunningTime,
    ) {
        let Some(peer) = self.0.get_mut(name) else { return };
        peer.apart = difference.that_stays(set, refused, now);
        let compared = compare(&peer.digest, set, &peer.apart, now);
        (peer.failures, peer.different) = (0, None);
        if !fruitless {
            peer.in_vain = 0;
        } else if !matches!(compared, Compared::Equal { .. }) {
            if let Compared::Different(pair) | Compared::Behind(pair) = compared {
                peer.fruitless = Some(pair);
            }
            peer.rests_until = now.after(back_off(peer.in_vain));
            peer.in_vain = peer.in_vain.saturating_add(1);
        }
    }

    /// Whether a session with it brought nothing lately.
    pub(super) fn rests(&self, name: &ParticipantId, now: RunningTime) -> bool {
        self.0.get(name).is_some_and(|peer| now < peer.rests_until)
    }

    /// It did not answer.
    pub(super) fn failed(&mut self, name: &ParticipantId, now: RunningTime) {
        if let Some(peer) = self.0.get_mut(name) {
            peer.not_before = now.after(back_off(peer.failures));
            peer.failures = peer.failures.saturating_add(1);
        }
    }

    /// It asked not to be asked for a while.
    pub(super) fn busy(&mut self, name: &ParticipantId, now: RunningTime, wait: Duration) {
        if let Some(peer) = self.0.get_mut(name) {
            peer.not_before = now.after(wait);
        }
    }
}

/// How long after so many failures there is another try.
pub(super) fn back_off(failures: u32) -> Duration {
    BACK_OFF.saturating_mul(1 << failures.min(16)).min(MAX_BACK_OFF)
}

/// The long range that both hold decides, for it says most; else the short one. What reaches below our floor says nothing.
fn compare(digest: &Digest, set: &Held, apart: &Apart, now: RunningTime) -> Compared {
    let ranges = [digest.long.as_ref(), Some(&digest.short)].into_iter().flatten();
    let mut comparable = ranges.filter(|range| range.lower >= set.log_floor());
    let Some(theirs) = comparable.next() else { return Compared::Nothing };
    let ours = set.summary(theirs.lower, digest.upper);
    let fingerprint = ours.fingerprint();
    if (ours.count, fingerprint) == (theirs.count, theirs.fingerprint) {
        return Compared::Equal { lower: theirs.lower, known: false };
    }
    let apart = apart.seen_from_there(&ours, (theirs.lower, digest.upper), set, now);
    if apart.is_some_and(|apart| (apart.count, apart.fingerprint()) == (theirs.count, theirs.fingerprint)) {
        return Compared::Equal { lower: theirs.lower, known: true };
    }
    let pair = (theirs.fingerprint, fingerprint);
    let behind = theirs.count >= ours.count.saturating_add(BEHIND);
    if behind { Compared::Behind(pair) } else { Compared::Different(pair) }
}
