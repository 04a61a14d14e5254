//! Members: who of the group has what, and up to where all have the same (docs/protocol.md section 15).
//!
//! A machine of its own, which shares no field with the other parts. How it moves: messages enter and leave the log here;
//! digests and causal histories of members say what these hold; [`Members::conclude`] says what follows from it.

mod owed;
mod own;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::state::{LogKey, Logged, Member, MemberSet, Row};
use crate::types::{Digest, Lamport, MessageId, ParticipantId, RunningTime};

use owed::Owed;
use own::Own;

/// Members of a set at most.
pub(super) const MAX_MEMBERS: usize = 1_024;

/// A member, and what was heard of it.
#[derive(Debug)]
struct Known {
    row: Member,
    saved: Option<Member>,
    heard: Option<Heard>,
    /// Up to here it has said that all is stable.
    said: Option<Lamport>,
    /// Since when stability waits for it, and whether that was told.
    waits: Option<(RunningTime, bool)>,
}

/// Its last digest.
#[derive(Debug)]
struct Heard {
    digest: Digest,
    /// The time of its sync message.
    clock: Lamport,
    /// To be compared with our set as it is now.
    open: bool,
}

impl Heard {
    /// Where the longest range of it begins.
    fn longest(&self) -> Lamport {
        self.digest.long.as_ref().unwrap_or(&self.digest.short).lower
    }
}

/// What follows from what members hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// Each user has this message of ours.
    DeliveredToAll(MessageId),
    /// All at or below is stable.
    Stable(Lamport),
    /// Stability waits for this member.
    Waits(ParticipantId),
}

/// The members of one channel.
#[derive(Debug)]
pub(super) struct Members {
    set: MemberSet,
    me: ParticipantId,
    all: BTreeMap<ParticipantId, Known>,
    own: Own,
    pub(super) owed: Owed,
    /// What we hold up to here we may have told others of: it stays.
    pub(super) told: Lamport,
    /// Response groups as they were configured.
    pub(super) groups: u32,
}

impl Members {
    /// The first set, or the one after `before`.
    pub(super) fn new(
        (epoch, names): (u64, &BTreeSet<ParticipantId>),
        me: &ParticipantId,
        clock: Lamport,
        before: Option<Self>,
        groups: u32,
    ) -> Self {
        let mut all = BTreeMap::new();
        let (mut set, mut own, mut owed, mut kept) = (MemberSet::default(), Own::default(), Owed::default(), None);
        let (mut configured, mut told) = (groups, clock);
        if let Some(before) = before {
            (set, own, owed, configured) = (before.set, before.own, before.owed, before.groups);
            told = before.told;
            kept = Some(before.all);
        }
        for name in names {
            let known = kept.as_mut().and_then(|kept| kept.remove(name));
            let known = known.unwrap_or_else(|| Known::new(Member::new(name, clock), None));
            all.insert(name.clone(), known);
        }
        set = MemberSet { epoch, members: all.len() as u64, stable: set.stable };
        Self { set, me: me.clone(), all, own, owed, told, groups: configured }
    }

    /// The set as it was saved, with the own messages in the log; `None` where not all of it is there.
    pub(super) fn restored(
        set: MemberSet,
        rows: Vec<Member>,
        (me, clock): (&ParticipantId, Lamport),
        own: impl Iterator<Item = LogKey>,
        groups: u32,
    ) -> Option<Self> {
        let known = |row: Member| (row.name(), Known::new(row.clone(), Some(row)));
        let all: BTreeMap<_, _> = rows.into_iter().map(known).collect();
        if all.len() as u64 != set.members {
            return None;
        }
        let (own_sent, owed) = (Own::default(), Owed::default());
        let mut members = Self { set, me: me.clone(), all, own: own_sent, owed, told: clock, groups };
        for key in own {
            if members.others().any(|(_, known)| known.row.since < key.lamport) {
                members.own.sent(&key);
            }
        }
        // What was delivered to all before is not told once more, as far as that is still known.
        members.own.settle(&|key| members_all_have(&members.all, members.set.stable, &members.me, key, None));
        Some(members)
    }

    pub(super) fn set(&self) -> MemberSet {
        self.set
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ParticipantId> {
        self.all.keys()
    }

    pub(super) fn contains(&self, name: &ParticipantId) -> bool {
        self.all.contains_key(name)
    }

    fn others(&self) -> impl Iterator<Item = (&ParticipantId, &Known)> {
        self.all.iter().filter(|(name, _)| **name != self.me)
    }

    fn others_mut(&mut self) -> impl Iterator<Item = (&ParticipantId, &mut Known)> {
        let me = &self.me;
        self.all.iter_mut().filter(move |(name, _)| *name != me)
    }

    /// Members as they were saved last.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        self.all.values().filter_map(|known| known.saved.clone().map(Row::Member))
    }

    pub(super) fn is_unsaved(&self) -> bool {
        self.all.values().any(|known| known.saved.as_ref() != Some(&known.row))
    }

    /// Members that have changed since they were saved; they count as saved from now on.
    pub(super) fn take_unsaved(&mut self) -> Vec<Row> {
        let changed = self.all.values_mut().filter(|known| known.saved.as_ref() != Some(&known.row));
        changed.map(|known| Row::Member(known.saved.insert(known.row.clone()).clone())).collect()
    }

    /// An own message was sent.
    pub(super) fn sent(&mut self, key: &LogKey) {
        if self.others().next().is_some() {
            self.own.sent(key);
        }
    }

    /// A message has entered the log, or left it elsewhere than at its end: what members were seen to hold with us lies
    /// above it.
    pub(super) fn changed(&mut self, key: &LogKey) {
        let (own, me) = (&mut self.own, &self.me);
        for (name, known) in self.all.iter_mut().filter(|(name, _)| *name != me) {
            if let Some((lower, upper)) = known.row.agreed.filter(|(low, up)| key.lamport > *low && key.lamport <= *up)
            {
                own.prove(name, lower, key.lamport);
                known.row.agreed = (key.lamport < upper).then_some((key.lamport, upper));
            }
            if let Some(heard) = known.heard.as_mut().filter(|heard| heard.digest.upper >= key.lamport) {
                heard.open = true;
            }
        }
    }

    /// An own message is no more.
    pub(super) fn withdrawn(&mut self, key: &LogKey) {
        self.own.remove(key);
    }

    /// A causal history of this sender names this message.
    pub(super) fn named(&mut self, key: &LogKey, by: &ParticipantId) -> bool {
        *by != self.me && self.contains(by) && self.own.named(key, by)
    }

    /// A member has said a digest in a sync message of this time.
    pub(super) fn heard(&mut self, by: &ParticipantId, digest: &Digest, clock: Lamport) {
        let Some(known) = self.all.get_mut(by).filter(|_| *by != self.me) else { return };
        let heard = known.heard.insert(Heard { digest: digest.clone(), clock, open: true });
        known.row.base.get_or_insert(heard.longest());
        known.said = known.said.max(digest.stable);
    }

    /// Whether some member's last digest is to be compared with our set.
    pub(super) fn is_open(&self) -> bool {
        self.others().any(|(_, known)| known.heard.as_ref().is_some_and(|heard| heard.open))
    }

    /// Members whose last digest is to be compared with our set.
    pub(super) fn to_compare(&self) -> Vec<(ParticipantId, Digest)> {
        let open = |known: &Known| Some(known.heard.as_ref().filter(|heard| heard.open)?.digest.clone());
        self.others().filter_map(|(name, known)| Some((name.clone(), open(known)?))).collect()
    }

    /// A member's last digest was compared: it equals our set above this time, or nowhere.
    pub(super) fn compared(&mut self, name: &ParticipantId, above: Option<Lamport>) {
        let Some(known) = self.all.get_mut(name) else { return };
        let Some(heard) = &mut known.heard else { return };
        heard.open = false;
        // At or above its own time it may still send.
        let upper = heard.digest.upper.min(Lamport(heard.clock.0.saturating_sub(1)));
        let Some(lower) = above.filter(|lower| *lower < upper) else { return };
        known.row.agreed = Some(match known.row.agreed {
            Some((low, up)) if low <= upper && lower <= up => (low.min(lower), up.max(upper)),
            _ => (lower, upper),
        });
    }

    /// All at or below has been seen with every member.
    pub(super) fn stable(&self) -> Option<Lamport> {
        self.set.stable
    }

    /// Up to here all members have said that all is stable, and so do we.
    fn said_by_all(&self) -> Option<Lamport> {
        self.others().try_fold(self.set.stable?, |least, (_, known)| Some(least.min(known.said?)))
    }

    /// Where the two ranges of a digest of ours begin at the lowest.
    pub(super) fn digests_begin(&self) -> (Option<Lamport>, Option<Lamport>) {
        (self.said_by_all(), self.highest_beginning())
    }

    /// Where the digest of the member begins whose past is shortest: a longer range of ours says nothing to it.
    fn highest_beginning(&self) -> Option<Lamport> {
        self.others().filter_map(|(_, known)| Some(known.heard.as_ref()?.longest())).max()
    }

    /// Whether somebody may still need a digest of ours, or we one of somebody's, for what lies at or below this time.
    pub(super) fn is_settled(&self, newest: Lamport) -> bool {
        self.set.stable >= Some(newest) && self.others().all(|(_, known)| known.said >= Some(newest))
    }

    /// What follows from what members hold now. Our clock is at this time, and the log has messages up to `newest`.
    pub(super) fn conclude(&mut self, clock: Lamport, newest: Lamport, now: RunningTime) -> Vec<Conclusion> {
        let mut conclusions = Vec::new();
        if let Some(stable) = self.next_stable(clock, newest) {
            self.set.stable = Some(stable);
            for (_, known) in self.others_mut() {
                known.waits = None;
                // Of what lies below, its digests have never said anything.
                known.row.base = known.row.base.max(known.row.agreed.map(|(lower, _)| lower));
            }
            conclusions.push(Conclusion::Stable(stable));
        }
        let (all, stable, me) = (&self.all, self.set.stable, &self.me);
        let done = self.own.take_done(&|key, by| members_all_have(all, stable, me, key, Some(by)));
        conclusions.splice(0..0, done.into_iter().map(Conclusion::DeliveredToAll));
        let waits = newest > stable.unwrap_or(Lamport(0));
        // Before anything is stable, who was seen to hold nothing of what all others hold.
        let from = stable.or_else(|| self.others().filter_map(|(_, known)| known.row.agreed).map(|(low, _)| low).max());
        self.others_mut().for_each(|(_, known)| {
            let blocks = waits && (known.is_behind(stable) || known.ends_at(from));
            known.waits = if blocks { known.waits.or(Some((now, false))) } else { None };
        });
        conclusions
    }

    /// Whether this message of ours has come to all by now.
    pub(super) fn conclude_of(&mut self, key: &LogKey) -> Option<Conclusion> {
        let (all, stable, me) = (&self.all, self.set.stable, &self.me);
        let done = self.own.is_done(key, &|key, by| members_all_have(all, stable, me, key, Some(by)));
        done.then(|| Conclusion::DeliveredToAll(key.id.clone()))
    }

    /// Members for whom stability has waited for so long, each told once.
    pub(super) fn waited_for(&mut self, timeout: Duration, now: RunningTime) -> Vec<Conclusion> {
        let mut waited = Vec::new();
        for (name, known) in self.others_mut() {
            if let Some((since, told)) = &mut known.waits
                && !*told
                && now.since(*since) >= timeout
            {
                *told = true;
                waited.push(Conclusion::Waits(name.clone()));
            }
        }
        waited
    }

    /// When [`waited_for`](Self::waited_for) has somebody to name.
    pub(super) fn waits_until(&self, timeout: Duration) -> Option<RunningTime> {
        self.others()
            .filter_map(|(_, known)| known.waits)
            .filter(|(_, told)| !told)
            .map(|(at, _)| at.after(timeout))
            .min()
    }

    /// The highest time up to which each member holds what we hold, if that is news.
    fn next_stable(&self, clock: Lamport, newest: Lamport) -> Option<Lamport> {
        let (mut begins, mut ends) = (Lamport(0), clock);
        let mut alone = true;
        for (_, known) in self.others() {
            let (lower, upper) = known.row.agreed.filter(|_| !known.is_behind(self.set.stable))?;
            (begins, ends, alone) = (begins.max(lower), ends.min(upper), false);
        }
        if alone {
            ends = newest.min(clock);
        }
        let first = self.set.stable.is_none();
        (Some(ends) > self.set.stable && (!first || ends > begins)).then_some(ends)
    }

    /// Whether a member that is to have it was seen to have a message, which is stable where it came before that was said.
    fn has(&self, name: &ParticipantId, key: &LogKey, below_stable: bool) -> bool {
        let named = self.own.by(key).is_some_and(|by| by.contains(name));
        let stable = self.set.stable.filter(|_| !below_stable);
        named || self.all.get(name).is_some_and(|known| known.has(key, stable))
    }

    /// Members to whom a message of this sender is due, and who were not seen to have it.
    pub(super) fn missing(&self, logged: &Logged) -> Vec<ParticipantId> {
        let (key, sender) = (&logged.body.key, &logged.body.sender);
        let due = self.others().filter(|(name, known)| *name != sender && known.row.since < key.lamport);
        due.map(|(name, _)| name).filter(|name| !self.has(name, key, logged.below_stable)).cloned().collect()
    }

    /// Members that were seen to have a message of this sender.
    pub(super) fn having(&self, logged: &Logged) -> Vec<ParticipantId> {
        let (key, sender) = (&logged.body.key, &logged.body.sender);
        let others = self.others().map(|(name, _)| name).filter(|name| *name != sender);
        others.filter(|name| self.has(name, key, logged.below_stable)).cloned().collect()
    }

    /// Whether a message at or below what is stable comes of one who has vouched that there is none.
    pub(super) fn vouched(&self, key: &LogKey, sender: &ParticipantId) -> bool {
        let after = |known: &Known| known.row.base.is_some_and(|base| base.max(known.row.since) < key.lamport);
        self.all.get(sender).is_some_and(after)
    }
}

impl Known {
    fn new(row: Member, saved: Option<Member>) -> Self {
        Self { row, saved, heard: None, said: None, waits: None }
    }

    /// Whether what it was seen to hold begins above what is stable: it says nothing of what lies between. The first time
    /// it may begin where its last digest does.
    fn is_behind(&self, stable: Option<Lamport>) -> bool {
        let from = match stable {
            Some(stable) => self.row.base.max(Some(stable)),
            None => self.heard.as_ref().map(|heard| heard.digest.short.lower),
        };
        self.row.agreed.is_some_and(|(lower, _)| Some(lower) > from)
    }

    /// Whether it was seen to hold nothing above this time.
    fn ends_at(&self, time: Option<Lamport>) -> bool {
        self.row.agreed.is_none_or(|(_, upper)| Some(upper) <= time)
    }

    fn has(&self, key: &LogKey, stable: Option<Lamport>) -> bool {
        let agreed = self.row.agreed.is_some_and(|(lower, upper)| key.lamport > lower && key.lamport <= upper);
        let stable = stable >= Some(key.lamport) && self.row.base.is_some_and(|base| base < key.lamport);
        agreed || stable
    }
}

/// The user of a participant: what comes before the first slash of its name.
pub(super) fn user(name: &ParticipantId) -> &[u8] {
    name.as_bytes().split(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether each user to whom an own message is due has it on one device, as far as digests show and these have named it.
fn members_all_have(
    all: &BTreeMap<ParticipantId, Known>,
    stable: Option<Lamport>,
    me: &ParticipantId,
    key: &LogKey,
    by: Option<&BTreeSet<ParticipantId>>,
) -> bool {
    let has = |name: &ParticipantId, known: &Known| by.is_some_and(|by| by.contains(name)) || known.has(key, stable);
    let on_another = |one: &[u8]| {
        let devices = all.range(ParticipantId::from(one)..).take_while(|(name, _)| name.as_bytes().starts_with(one));
        devices.filter(|(name, _)| user(name) == one).any(|(name, known)| has(name, known))
    };
    let mut due = all.iter().filter(|(name, known)| user(name) != user(me) && known.row.since < key.lamport);
    due.all(|(name, known)| has(name, known) || on_another(user(name)))
}
