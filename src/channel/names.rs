//! One copy of each participant's name.
//!
//! What: [`Names`] remembers names heard lately. Why: every received message brings its sender's name, and that of each
//! message it names, in memory of their own; logs and stubs would keep all of them. How it moves: [`Channel::receive`]
//! lets a message share the names known; forgetting some costs nothing but memory.
//!
//! [`Channel::receive`]: super::Channel::receive

use std::collections::HashSet;

use crate::types::ParticipantId;

use super::known::Keyed;

/// Names remembered at most; then all are forgotten.
const MAX_NAMES: usize = 1_024;

#[derive(Debug)]
pub(super) struct Names(HashSet<ParticipantId, Keyed>);

impl Names {
    pub(super) fn new(keys: Keyed) -> Self {
        Self(HashSet::with_hasher(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A known name comes to share the memory of the one known.
    pub(super) fn share(&mut self, name: &mut ParticipantId) {
        if let Some(known) = self.0.get(name) {
            name.clone_from(known);
            return;
        }
        if self.0.len() >= MAX_NAMES {
            self.0.clear();
        }
        self.0.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_names_are_bounded() {
        let mut names = Names::new(Keyed::new(1));
        let address = |name: &ParticipantId| name.as_bytes().as_ptr();
        let mut first = ParticipantId::from("alice");
        names.share(&mut first);
        let mut second = ParticipantId::from("alice");
        assert_ne!(address(&first), address(&second));
        names.share(&mut second);
        assert_eq!(address(&first), address(&second));
        for n in 0..10 * MAX_NAMES {
            names.share(&mut ParticipantId::new(n.to_string()));
            assert!(names.0.len() <= MAX_NAMES);
        }
    }
}
