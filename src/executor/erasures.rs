//! What the archive is to erase: asked for one by one, done together.

use crate::channel::Erasure;

/// At most two: of what was named, and of what is too old. A wider range in the archive is looked through instead of two.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    named: Option<Erasure>,
    aged: Option<Erasure>,
}

impl Erasures {
    pub(super) fn add(&mut self, erasure: Erasure) {
        let place = if erasure.ids.is_some() { &mut self.named } else { &mut self.aged };
        *place = Some(match place.take() {
            Some(before) => both(before, erasure),
            None => erasure,
        });
    }

    pub(super) fn next(&mut self) -> Option<Erasure> {
        self.named.take().or_else(|| self.aged.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.named.is_none() && self.aged.is_none()
    }
}

fn both(mut one: Erasure, next: Erasure) -> Erasure {
    if let (Some(ids), Some(more)) = (&mut one.ids, next.ids) {
        ids.extend(more);
    }
    // None is before all places, as it is in this order.
    one.after = one.after.min(next.after);
    one.up_to = one.up_to.max(next.up_to);
    one
}
