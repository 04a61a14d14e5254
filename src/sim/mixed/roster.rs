//! Who is a member, and applications that hear of it sooner or later.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;

use crate::channel::Input;
use crate::types::ParticipantId;

use super::super::World;
use super::super::net::chance;
use super::Mix;

/// The members of a mixed world, in worlds that have some.
#[derive(Debug)]
pub(super) struct Roster {
    rng: ChaCha8Rng,
    epoch: u64,
    names: BTreeSet<ParticipantId>,
    /// Participants looked at, and those of them that never become members.
    seen: usize,
    outsiders: BTreeSet<ParticipantId>,
}

impl Roster {
    pub(super) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, epoch: 0, names: BTreeSet::new(), seen: 0, outsiders: BTreeSet::new() }
    }

    /// The sender id of a participant: one of a user with two devices, or a user.
    pub(super) fn name(mix: &Mix, index: usize) -> String {
        if mix.devices { format!("u{}/{}", index / 2, index % 2) } else { format!("p{index}") }
    }

    /// Applications hear who the members are, each with this chance. Among them may be some that are gone for good.
    pub(super) fn tell(&mut self, world: &mut World, mix: &Mix, hears: f64, ghosts: bool) {
        if !mix.members {
            return;
        }
        for (index, node) in world.nodes().iter().enumerate().skip(self.seen) {
            let name = node.channel().participant();
            let first = !world.nodes()[..index].iter().any(|other| other.channel().participant() == name);
            if first && index >= 2 && chance(&mut self.rng, mix.outsiders) {
                self.outsiders.insert(name.clone());
            }
        }
        self.seen = world.nodes().len();
        let there = world.nodes().iter().filter(|node| !node.has_left());
        let there = there.map(|node| node.channel().participant()).filter(|name| !self.outsiders.contains(*name));
        let mut names: BTreeSet<ParticipantId> = there.cloned().collect();
        if ghosts {
            names.extend(self.names.iter().cloned());
        }
        if self.names != names {
            (self.names, self.epoch) = (names, self.epoch + 1);
        }
        for node in 0..self.seen {
            let known = world.node(node).channel().members().map(|(epoch, _)| epoch);
            if chance(&mut self.rng, hears) && known != Some(self.epoch) && !self.names.is_empty() {
                let input = Input::SetMembers { epoch: self.epoch, members: self.names.clone() };
                // Who is down hears of it when it is opened again.
                let _done = world.input(node, input);
            }
        }
    }
}
