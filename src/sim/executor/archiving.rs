//! The archive of a participant: it is slow, fails, hangs and panics as a store does, and what must hold of it.
//!
//! - one call at a time for an opening, none after *closed*;
//! - with [`OnSaveFailure::Fail`] nothing is kept that was not saved;
//! - *failed* and *recovered* are told in turn, and *recovered* only once what failed was made;
//! - once nothing goes wrong any more it has every delivered message that is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::{load, now};
use super::storing::{End, error};
use super::{Bug, CHANNELS, Happening, Member, Random, World, ids};
use crate::executor::{ArchiveAnswer, ArchiveCall, Generation, Input, OnSaveFailure, Telling, Told};
use crate::state::{Body, Row};
use crate::store::{Archive, MemoryArchive};
use crate::types::ChannelId;

/// What waits in other channels, where that is to leave no room.
const NO_ROOM: usize = 65 << 20;

/// A participant's archive.
pub(super) struct Archiving {
    random: Random,
    pub(super) kept: MemoryArchive,
    /// Openings whose call has not come back.
    calling: BTreeSet<(ChannelId, Generation)>,
    /// Openings that have something to make that failed.
    failing: BTreeSet<(ChannelId, Generation)>,
    /// The last opening of each channel, and what was told last of it: that its archive failed.
    told_failed: BTreeMap<ChannelId, (Generation, bool)>,
    /// Other channels leave no room for what waits.
    crowded: bool,
}

impl Archiving {
    /// Half of all participants have one. Drawn apart, so that a world is otherwise as it is without.
    pub(super) fn draw(seed: u64) -> Option<Self> {
        let mut random = Random(seed ^ 0xA5C1);
        random.percent(50).then(|| Self {
            kept: MemoryArchive::new(),
            calling: BTreeSet::new(),
            failing: BTreeSet::new(),
            told_failed: BTreeMap::new(),
            crowded: random.percent(30),
            random,
        })
    }

    /// Another run begins.
    pub(super) fn restart(&mut self) {
        self.calling.clear();
        self.failing.clear();
        self.told_failed.clear();
    }
}

impl Member {
    /// Leaves no room where that was drawn.
    pub(super) fn crowd(&self) {
        if self.archiving.as_ref().is_some_and(|it| it.crowded) {
            self.executor.with_archives_of_others(NO_ROOM);
        }
    }
}

impl World {
    /// A call to the archive goes out.
    pub(super) fn archive(
        &mut self,
        member: usize,
        channel: ChannelId,
        generation: Generation,
        call: ArchiveCall,
    ) -> Result<(), String> {
        let (fails, hangs, panics, resting) = (self.fails, self.hangs, self.panics, self.resting);
        let who = &mut self.members[member];
        let it = who.archiving.as_mut().ok_or("nobody has an archive")?;
        if !it.calling.insert((channel.clone(), generation)) {
            return Err(format!("two calls to the archive for channel {channel}: {call:?}"));
        }
        if let ArchiveCall::Put(messages) = &call
            && who.options.on_save_failure == OnSaveFailure::Fail
        {
            let stored = ids(&load(&who.disk, &channel)?);
            if let Some((_, body)) = messages.iter().find(|(_, body)| !stored.contains(&body.key.id)) {
                return Err(format!("{} of channel {channel} is to be archived, and is not stored", body.key.id));
            }
        }
        if it.told_failed.get(&channel).is_none_or(|(opening, _)| *opening != generation) {
            it.told_failed.insert(channel.clone(), (generation, false));
        }
        let end = match resting {
            true => End::Well,
            false if it.random.percent(fails) => End::Fails,
            false if it.random.percent(panics) => End::Panics,
            false => End::Well,
        };
        let hangs = !resting && it.random.percent(hangs);
        let within = if it.random.percent(20) { 3_000 } else { 50 };
        let at = self.now + it.random.below(within);
        let happening = Happening::Archived { member, run: who.run, channel, generation, call, end };
        self.tally.archived += 1;
        if hangs {
            self.tally.hung += 1;
            who.hung.push(happening);
            self.later(20_000, Happening::Heal { member });
        } else {
            self.at(at, happening);
        }
        Ok(())
    }

    /// It comes back.
    pub(super) fn archived(
        &mut self,
        member: usize,
        channel: &ChannelId,
        generation: Generation,
        call: ArchiveCall,
        end: End,
    ) -> Result<(), String> {
        self.tally.failed += u64::from(end == End::Fails);
        self.tally.panics += u64::from(end == End::Panics);
        if end == End::Panics && self.bug == Some(Bug::PanickedArchiveIsLost) {
            return Ok(());
        }
        let Some(it) = &mut self.members[member].archiving else { return Ok(()) };
        let opening = (channel.clone(), generation);
        it.calling.remove(&opening);
        // Whoever reads shows nothing of what is to be made.
        let makes = !matches!(call, ArchiveCall::Get(_));
        let fails = end != End::Well;
        // One that fails may have happened all the same.
        let answer = (!fails || it.random.percent(30)).then(|| carry_out(&it.kept, channel, call));
        let fails = fails && self.bug != Some(Bug::ArchiveFailureIsSuccess);
        if makes && fails {
            it.failing.insert(opening);
        } else if makes {
            it.failing.remove(&opening);
        }
        let result = match answer.flatten() {
            _ if fails => Err(error("archive", Some(channel), end)),
            Some(answer) => Ok(answer),
            None => Ok(ArchiveAnswer::Put),
        };
        self.hand_in(member, channel, Input::Archived { generation, result })
    }

    /// What is told, of the archive too, and what goes out with it.
    pub(super) fn told(&mut self, member: usize, channel: &ChannelId, telling: &Telling) -> Result<(), String> {
        self.transmit(member, telling);
        let Some(it) = &mut self.members[member].archiving else { return Ok(()) };
        for told in &telling.told {
            let failed = match told {
                Told::ArchiveFailed(_) => true,
                Told::ArchiveRecovered => false,
                _ => continue,
            };
            let Some((opening, before)) = it.told_failed.get_mut(channel) else {
                return Err(format!("channel {channel} tells of an archive that it did not call"));
            };
            if std::mem::replace(before, failed) == failed {
                return Err(format!("channel {channel} tells of its archive twice that it failed: {failed}"));
            }
            if !failed && it.failing.contains(&(channel.clone(), *opening)) {
                return Err(format!("channel {channel} tells that its archive recovered, and what failed is not made"));
            }
        }
        Ok(())
    }
}

/// Nothing has gone wrong for long: of the channels that are open it has all.
pub(super) fn while_open(member: &Member) -> Result<(), String> {
    let channels = CHANNELS.iter().map(|channel| ChannelId::from(*channel));
    channels.filter(|channel| member.executor.channel(channel).is_some()).try_for_each(|it| has_all(member, &it))
}

/// All channels are closed: it has all, but where there was no room, which is found at the next opening.
pub(super) fn at_rest(member: &Member) -> Result<(), String> {
    if member.archiving.as_ref().is_some_and(|it| it.crowded) {
        return Ok(());
    }
    CHANNELS.iter().try_for_each(|channel| has_all(member, &(*channel).into()))
}

/// Whatever is stored, and was delivered, is there.
fn has_all(member: &Member, channel: &ChannelId) -> Result<(), String> {
    let Some(it) = &member.archiving else { return Ok(()) };
    let kept = now(it.kept.page(channel, None, usize::MAX)).unwrap_or_default();
    let kept: BTreeSet<_> = kept.iter().map(|body| &body.key).collect();
    let stored = load(&member.disk, channel)?;
    let delivered = |body: &Arc<Body>| body.sender != member.options.participant;
    for row in &stored.rows {
        if let Row::Message(logged) = row
            && delivered(&logged.body)
            && !kept.contains(&logged.body.key)
        {
            return Err(format!("{} of channel {channel} is stored, and not archived", logged.body.key.id));
        }
    }
    Ok(())
}

/// What a call that happens comes to.
fn carry_out(kept: &MemoryArchive, channel: &ChannelId, call: ArchiveCall) -> Option<ArchiveAnswer> {
    match call {
        ArchiveCall::Put(messages) => now(kept.put(channel, &messages)).map(|()| ArchiveAnswer::Put),
        ArchiveCall::List { after, limit } => now(kept.list(channel, after.as_ref(), limit)).map(ArchiveAnswer::Listed),
        ArchiveCall::Get(items) => {
            let looked = items.len();
            now(kept.get(channel, &items)).map(|bodies| ArchiveAnswer::Got { bodies, looked })
        }
        // Nobody erases in these worlds.
        ArchiveCall::Erase(_) => Some(ArchiveAnswer::Erased),
    }
}
