//! The channel's side of members: what the application says, asks and hears (docs/protocol.md section 15).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::channel::{Channel, ChannelError, Config, Event, Outcome, config};
use crate::state::{LogKey, Member, Place, RowKey};
use crate::types::{CatchUpField, Lamport, Message, MessageId, ParticipantId, RunningTime};

use super::{Conclusion, MAX_MEMBERS, Members, user};

impl Channel {
    /// The application says who is in the channel.
    pub(in crate::channel) fn set_members(
        &mut self,
        epoch: u64,
        names: &BTreeSet<ParticipantId>,
    ) -> Result<Outcome, ChannelError> {
        let (len, max) = (names.len(), self.config.limits.max_id_bytes);
        if len > MAX_MEMBERS {
            return Err(ChannelError::TooLarge { what: "set of members", len, max: MAX_MEMBERS });
        }
        if names.iter().any(|name| !self.config.dialect.allows_id(name.as_bytes(), max)) {
            return Err(ChannelError::InvalidId { max });
        }
        if let Some(members) = &self.members {
            let current = members.set().epoch;
            let same = members.names().eq(names);
            if epoch < current || epoch == current && !same {
                return Err(ChannelError::EpochPassed { epoch, current });
            }
            if same && epoch == current {
                return Ok(Outcome::Done);
            }
        }
        let before = self.members.take();
        for gone in before.iter().flat_map(|before| before.names()).filter(|name| !names.contains(*name)) {
            self.effects.delete(RowKey::by_id(Place::Member, &MessageId::new(gone.as_bytes())));
        }
        let groups = self.config.response_groups;
        let clock = self.meta.lamport;
        let members = Members::new((epoch, names), &self.participant, clock, before.map(|before| *before), groups);
        self.use_members(members);
        self.owe_digest_of_all();
        self.conclude();
        Ok(Outcome::Done)
    }

    /// The members as they were saved.
    pub(in crate::channel) fn load_members(&mut self, rows: Vec<Member>) {
        let Some(set) = self.meta.members else {
            return rows.iter().for_each(|row| self.effects.delete(RowKey::by_id(Place::Member, &row.id)));
        };
        let own = self.log.iter().filter(|logged| self.was_sent_here(logged)).map(|logged| logged.body.key.clone());
        let own: Vec<LogKey> = own.collect();
        let names: Vec<MessageId> = rows.iter().map(|row| row.id.clone()).collect();
        let (me, groups) = ((&self.participant, self.meta.lamport), self.config.response_groups);
        match Members::restored(set, rows, me, own.into_iter(), groups) {
            Some(members) => self.use_members(members),
            None => {
                names.iter().for_each(|id| self.effects.delete(RowKey::by_id(Place::Member, id)));
                self.meta.members = None;
                self.mended(format!("of {} members {} were kept: the set is given up", set.members, names.len()));
            }
        }
        self.owe_digest_of_all();
    }

    /// Response groups follow the number of members.
    fn use_members(&mut self, members: Members) {
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let groups = if count == 0 { members.groups } else { config::response_groups_in(self.config.dialect, count) };
        if self.config.response_groups != groups {
            self.config = Arc::new(Config { response_groups: groups, ..(*self.config).clone() });
        }
        self.members = Some(Box::new(members)).filter(|_| count > 0);
    }

    /// Whether a digest proves something: else whoever holds the set can compute one in a member's name.
    fn knows_senders(&self) -> bool {
        self.config.authenticated_senders || self.config.authenticator.is_some()
    }

    /// Whether this sender is a member; everybody is where there is no set.
    pub(in crate::channel) fn is_member(&self, sender: &ParticipantId) -> bool {
        self.members.as_ref().is_none_or(|members| members.contains(sender))
    }

    /// A message has entered the log; `own` if it was sent here.
    pub(in crate::channel) fn member_logged(&mut self, key: &LogKey, own: bool) {
        let Some(members) = &mut self.members else { return };
        members.changed(key);
        if own {
            members.sent(key);
        }
        self.owe_digest_of(key.lamport);
    }

    /// The others have not heard that we hold what is here.
    fn owe_digest_of_all(&mut self) {
        let newest = self.log.newest().map(|newest| newest.lamport);
        if let Some(newest) = newest.filter(|newest| Some(*newest) > self.stable_up_to()) {
            self.owe_digest_of(newest);
        }
    }

    fn owe_digest_of(&mut self, lamport: Lamport) {
        let Some(members) = &mut self.members else { return };
        let count = members.len();
        members.owed.entered(lamport, count, self.now.running, self.now.random());
    }

    /// A message has left the log elsewhere than at its lower end.
    pub(in crate::channel) fn member_taken_out(&mut self, key: &LogKey) {
        if let Some(members) = &mut self.members {
            members.changed(key);
            members.withdrawn(key);
        }
    }

    /// Whether an own message cannot be taken back: a digest may have said that it is here, and be what others see as stable.
    pub(in crate::channel) fn member_told(&self, key: &LogKey) -> bool {
        self.members.as_ref().is_some_and(|members| key.lamport <= members.told)
    }

    /// A causal history of this sender names this message.
    pub(in crate::channel) fn member_named(&mut self, id: &MessageId, by: &ParticipantId) {
        let Some(members) = &mut self.members else { return };
        let Some(key) = self.known.key(id) else { return };
        if members.named(&key, by) && self.knows_senders() {
            let told = self.members.as_mut().and_then(|members| members.conclude_of(&key));
            self.tell_conclusions(told.into_iter().collect());
        }
    }

    /// A sync message was received, perhaps with a digest.
    pub(in crate::channel) fn member_said(&mut self, message: &Message) {
        let CatchUpField::Digest(digest) = &message.catch_up else { return };
        let (Some(members), Some(clock)) = (&mut self.members, message.lamport) else { return };
        members.heard(&message.sender, digest, clock);
        self.compare_members();
    }

    /// Compares members' last digests with our set, where one of the two has changed, and says what follows.
    fn compare_members(&mut self) {
        let Some(members) = &self.members else { return };
        for (name, digest) in members.to_compare() {
            let Some(above) = self.agreement(&digest) else { break };
            if let Some(members) = &mut self.members {
                members.compared(&name, above);
            }
        }
        self.conclude();
    }

    fn conclude(&mut self) {
        if !self.knows_senders() {
            return;
        }
        let (clock, newest) = (self.meta.lamport, self.log.newest().map_or(Lamport(0), |newest| newest.lamport));
        let Some(members) = &mut self.members else { return };
        let told = members.conclude(clock, newest, self.now.running);
        self.tell_conclusions(told);
    }

    fn tell_conclusions(&mut self, conclusions: Vec<Conclusion>) {
        if !conclusions.is_empty() {
            // What digests have shown and is told now is known after a restart too.
            self.save_members();
        }
        for conclusion in conclusions {
            self.effects.tell(match conclusion {
                Conclusion::DeliveredToAll(id) => Event::DeliveredToAll { id },
                Conclusion::Stable(up_to) => Event::Stable { up_to },
                Conclusion::Waits(member) => Event::StabilityWaits { member },
            });
        }
    }

    /// What time brings: members that stability waits for, and digests that could not be compared at once.
    pub(in crate::channel) fn members_in_time(&mut self) {
        if self.members.as_ref().is_some_and(|members| members.is_open()) {
            self.compare_members();
        }
        let Some(members) = &mut self.members else { return };
        let waited = members.waited_for(self.config.stability_timeout, self.now.running);
        self.tell_conclusions(waited);
    }

    /// Whether a sync message is due for the sake of its digest.
    pub(in crate::channel) fn member_digest_is_due(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.owed.is_due(self.now.running))
    }

    /// Where no digest could go out, there is another try.
    pub(in crate::channel) fn put_member_digest_off(&mut self) {
        if let Some(members) = &mut self.members {
            members.owed.put_off(self.now.running);
        }
    }

    /// When members have something to do.
    pub(in crate::channel) fn next_of_members(&self) -> Option<RunningTime> {
        let members = self.members.as_ref()?;
        let digest = members.owed.next_due().filter(|_| self.config.dialect.has_sync());
        digest.into_iter().chain(members.waits_until(self.config.stability_timeout)).min()
    }

    /// Whether the sync message that goes out now must have a digest.
    pub(in crate::channel) fn owes_digest(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.owed.is_owed())
    }

    /// A sync message goes out; with a digest up to this time, or without one.
    pub(in crate::channel) fn member_digest_sent(&mut self, upper: Option<Lamport>) {
        let newest = self.log.newest().map_or(Lamport(0), |newest| newest.lamport);
        let Some(members) = &mut self.members else { return };
        members.told = members.told.max(upper.unwrap_or(Lamport(0)));
        match upper {
            _ if members.is_settled(newest) => members.owed.end(),
            Some(upper) => {
                let count = members.len();
                members.owed.sent((upper, newest), count, self.now.running, self.now.random());
            }
            None => {}
        }
    }

    /// The epoch and the members that the application has said, in the order of their names; `None` where it has said none.
    #[must_use]
    pub fn members(&self) -> Option<(u64, Vec<ParticipantId>)> {
        let members = self.members.as_ref()?;
        Some((members.set().epoch, members.names().cloned().collect()))
    }

    /// Up to which Lamport time, this time included, the log will not change any more: every member of the set holds the same
    /// messages, and sends none with such a time (docs/protocol.md section 15.3). `None` where nothing is known to be stable:
    /// without members, and where senders are not authenticated, by [`Config::authenticator`] or outside
    /// ([`Config::authenticated_senders`]).
    #[must_use]
    pub fn stable_up_to(&self) -> Option<Lamport> {
        self.members.as_ref()?.stable()
    }

    /// Members to whom a message of the log is due and who were not seen to have it, by name: those that were members when
    /// it was sent, its sender and this participant excepted. Empty without a set, and for messages that the log does not
    /// have.
    #[must_use]
    pub fn missing_members(&self, id: &MessageId) -> Vec<ParticipantId> {
        let logged = self.known.key(id).and_then(|key| self.log.get(&key));
        let (Some(members), Some(logged)) = (&self.members, logged) else { return Vec::new() };
        members.missing(logged)
    }

    /// Users to whom a message of the log is due and who were not seen to have it on any device. A user is what comes before
    /// the first slash of a sender id.
    #[must_use]
    pub fn missing_users(&self, id: &MessageId) -> Vec<ParticipantId> {
        let sender = self.known.key(id).and_then(|key| self.log.get(&key)).map(|logged| logged.body.sender.clone());
        let Some(sender) = sender else { return Vec::new() };
        let having = self.members_having(id);
        let has = |one: &[u8]| having.iter().chain([&sender, &self.participant]).any(|name| user(name) == one);
        let missing = self.missing_members(id);
        let users: BTreeSet<&[u8]> = missing.iter().map(user).filter(|one| !has(one)).collect();
        users.into_iter().map(ParticipantId::from).collect()
    }

    /// Members that were seen to have a message of the log.
    pub(in crate::channel) fn members_having(&self, id: &MessageId) -> Vec<ParticipantId> {
        let logged = self.known.key(id).and_then(|key| self.log.get(&key));
        let (Some(members), Some(logged)) = (&self.members, logged) else { return Vec::new() };
        members.having(logged)
    }
}
