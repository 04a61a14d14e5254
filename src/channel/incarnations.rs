//! To which opening the numbers of deliveries belong (docs/protocol.md section 5).
//!
//! An older copy of the store, and a crash that takes what was told and not saved yet, give numbers anew. An application
//! that went on from its last number would miss what has them now. So each opening that delivers has a random number of
//! its own, and a cursor without a place in what the store knows is told to be [`Renumbered`].

use std::collections::VecDeque;

use crate::state::{Incarnation, Place, Row, RowKey};
use crate::types::MessageId;

use super::{Channel, Context, Cursor, Renumbered};

/// Openings remembered.
const REMEMBERED: usize = 64;

/// The openings that delivered, oldest first.
#[derive(Debug)]
pub(super) struct Incarnations {
    /// Each with the number of its first delivery.
    known: VecDeque<(u64, u64)>,
    /// That of this opening, once it has delivered.
    own: u64,
    begun: bool,
}

impl Incarnations {
    pub(super) fn new(context: &Context) -> Self {
        let mut random = context.entropy ^ context.wall.as_nanos();
        Self { known: VecDeque::new(), own: crate::types::split_mix(&mut random).max(1), begun: false }
    }

    /// Takes in a saved one; says whether it makes sense.
    pub(super) fn load(&mut self, row: &Incarnation) -> bool {
        let id = <[u8; 8]>::try_from(row.id.as_bytes()).map(u64::from_be_bytes);
        let sound = id.is_ok_and(|id| id != 0);
        if let Some(id) = id.ok().filter(|_| sound) {
            let at = self.known.partition_point(|(_, first)| *first <= row.first);
            self.known.insert(at, (id, row.first));
        }
        sound
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        self.known.iter().map(|(id, first)| row(*id, *first))
    }

    /// Which one a delivery belongs to: the last that began with it or before it; 0 for those before all that is known.
    pub(super) fn of(&self, number: u64) -> u64 {
        let after = self.known.partition_point(|(_, first)| *first <= number);
        after.checked_sub(1).and_then(|at| self.known.get(at)).map_or(0, |(id, _)| *id)
    }

    /// Whether a cursor still means what it meant; `next` is the number of the next delivery.
    fn check(&self, cursor: Cursor, next: u64) -> Result<(), Renumbered> {
        let first = |at: usize| self.known.get(at).map_or(next, |(_, first)| *first);
        let end = match self.known.iter().position(|(id, _)| *id == cursor.incarnation) {
            Some(at) => first(at + 1),
            // What was delivered before all that is known, or by an opening that is not known any more, or not here.
            None => first(0),
        };
        let last = end.saturating_sub(1);
        if cursor.number <= last {
            return Ok(());
        }
        Err(Renumbered { valid_to: Cursor { incarnation: self.of(last), number: last } })
    }
}

impl Channel {
    /// The number of a delivery made now, which begins an incarnation if it is the first since the opening.
    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.meta.next_delivery;
        self.meta.next_delivery += 1;
        if !self.incarnations.begun {
            self.incarnations.begun = true;
            self.begin_incarnation(number);
        }
        number
    }

    fn begin_incarnation(&mut self, number: u64) {
        let Incarnations { known, own, .. } = &mut self.incarnations;
        while known.iter().any(|(id, _)| id == own) {
            *own = own.wrapping_add(1).max(1);
        }
        known.push_back((*own, number));
        self.effects.put(row(*own, number));
        while known.len() > REMEMBERED
            && let Some((oldest, _)) = known.pop_front()
        {
            self.effects.delete(RowKey::by_id(Place::Incarnation, &name(oldest)));
        }
    }

    /// Whether a cursor still means what it meant.
    pub(super) fn check_cursor(&self, cursor: Cursor) -> Result<(), Renumbered> {
        self.incarnations.check(cursor, self.meta.next_delivery)
    }
}

fn name(id: u64) -> MessageId {
    MessageId::new(id.to_be_bytes())
}

fn row(id: u64, first: u64) -> Row {
    Row::Incarnation(Incarnation { id: name(id), first })
}
