//! How a range that differs, or a whole set, is divided.

use std::ops::Range;

use super::SetIndex;
use super::codec::{Bound, Writer};

/// Ranges that a range is divided into.
const PARTS: usize = 16;
/// Where there are fewer messages than this, they are listed.
const LISTED: usize = 2 * PARTS;
/// Messages listed at the end of a set divided by age.
const NEWEST: usize = 8;

/// Lists a short range; divides a longer one into parts of the same number of messages.
pub(super) fn uniform(index: &SetIndex, places: Range<usize>, from: &Bound, to: &Bound, writer: &mut Writer) {
    let len = places.len();
    if len < LISTED {
        return list(index, places, from, to, writer);
    }
    let sizes = (0..PARTS).map(|part| len / PARTS + usize::from(part < len % PARTS));
    fingerprints(index, places.start, sizes, from, to, writer);
}

/// Lists the newest messages; before them each range has as many as all that are newer.
pub(super) fn by_age(index: &SetIndex, places: Range<usize>, from: &Bound, to: &Bound, writer: &mut Writer) {
    let len = places.len();
    if len < LISTED {
        return list(index, places, from, to, writer);
    }
    let mut sizes = Vec::new();
    let (mut newer, mut rest) = (NEWEST, len - NEWEST);
    while rest > 0 {
        let size = newer.min(rest);
        sizes.push(size);
        (newer, rest) = (newer + size, rest - size);
    }
    let newest = places.end - NEWEST;
    let middle = bound_at(index, newest);
    fingerprints(index, places.start, sizes.into_iter().rev(), from, &middle, writer);
    list(index, newest..places.end, &middle, to, writer);
}

fn list(index: &SetIndex, places: Range<usize>, from: &Bound, to: &Bound, writer: &mut Writer) {
    let ids: Vec<_> = index.range(places).map(|item| item.rid).collect();
    writer.ids(from, to, &ids);
}

fn fingerprints(
    index: &SetIndex,
    start: usize,
    sizes: impl ExactSizeIterator<Item = usize>,
    from: &Bound,
    to: &Bound,
    writer: &mut Writer,
) {
    let (mut place, mut from, last) = (start, *from, sizes.len().saturating_sub(1));
    for (part, size) in sizes.enumerate() {
        let end = place + size;
        let until = if part == last { *to } else { bound_at(index, end) };
        writer.fingerprint(&from, &until, index.summary(place..end).fingerprint());
        (place, from) = (end, until);
    }
}

/// The bound before the message at this place.
fn bound_at(index: &SetIndex, place: usize) -> Bound {
    match (place.checked_sub(1).and_then(|before| index.get(before)), index.get(place)) {
        (Some(left), Some(right)) => Bound::between(&left, &right),
        (None, Some(first)) => Bound::before(&first),
        (_, None) => Bound::at(u64::MAX),
    }
}
