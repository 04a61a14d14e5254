//! Taking a message in and making the next one.

use std::collections::BTreeSet;
use std::ops::Range;

use super::codec::{Bound, Claim, Reader, Writer};
use super::{Options, ReconcileError, Rid, SetIndex, Split, split};

/// Messages of ours looked at one by one for one message of a peer.
const MAX_WALK: usize = 100_000;

/// What an answer told the side that began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What the other side lacks, oldest first.
    pub only_here: Vec<Rid>,
    /// What this side lacks, in the order in which it was named.
    pub only_there: Vec<Rid>,
    /// The next message; none when everything was found.
    pub next: Option<Vec<u8>>,
    /// There is more than was looked at: when what was found is exchanged, begin again.
    pub more: bool,
}

/// What the other side answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The answer; one that says nothing ends the exchange.
    pub message: Vec<u8>,
    /// What this side already knows the asking side to lack, oldest first.
    pub only_here: Vec<Rid>,
    /// What this side already knows itself to lack.
    pub only_there: Vec<Rid>,
}

/// The first message: the whole of what `options` compares.
#[must_use]
pub fn initiate(index: &SetIndex, options: &Options) -> Vec<u8> {
    let scope = Scope::of(index, options);
    let mut writer = Writer::new();
    let divide = match options.split {
        Split::ByAge => split::by_age,
        Split::Uniform => split::uniform,
    };
    divide(index, scope.places, &scope.from, &scope.to, &mut writer);
    writer.finish()
}

/// Answers a message of the side that began.
///
/// # Errors
/// [`ReconcileError`], where the message is not valid or over a limit.
pub fn respond(index: &SetIndex, options: &Options, message: &[u8]) -> Result<Answer, ReconcileError> {
    let mut walk = Walk::new(index, options, false);
    walk.take(message)?;
    let Walk { writer, only_here, only_there, .. } = walk;
    Ok(Answer { message: writer.finish(), only_here, only_there })
}

/// Takes an answer in, on the side that began.
///
/// # Errors
/// [`ReconcileError`], where the message is not valid or over a limit.
pub fn refine(index: &SetIndex, options: &Options, message: &[u8]) -> Result<Found, ReconcileError> {
    let mut walk = Walk::new(index, options, true);
    walk.take(message)?;
    let Walk { writer, only_here, only_there, more, .. } = walk;
    let next = (!writer.is_empty()).then(|| writer.finish());
    Ok(Found { only_here, only_there, next, more })
}

/// What is compared of a set.
struct Scope {
    from: Bound,
    to: Bound,
    places: Range<usize>,
}

impl Scope {
    fn of(index: &SetIndex, options: &Options) -> Self {
        let from = Bound::at(*options.range.start());
        let to = Bound::at(options.range.end().saturating_add(1));
        let start = index.rank_of(&from);
        let end = index.rank_of(&to).max(start);
        Self { from, to, places: start..end }
    }
}

struct Walk<'a> {
    index: &'a SetIndex,
    options: &'a Options,
    began: bool,
    scope: Scope,
    writer: Writer,
    only_here: Vec<Rid>,
    only_there: Vec<Rid>,
    /// How many more messages of ours may be looked at.
    budget: usize,
    more: bool,
}

impl<'a> Walk<'a> {
    fn new(index: &'a SetIndex, options: &'a Options, began: bool) -> Self {
        Self {
            index,
            options,
            began,
            scope: Scope::of(index, options),
            writer: Writer::new(),
            only_here: Vec::new(),
            only_there: Vec::new(),
            budget: MAX_WALK,
            more: false,
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), ReconcileError> {
        let mut reader = Reader::new(message)?;
        let mut full = false;
        // The rest of a message that cannot be answered any more is still read: it may be none.
        while let Some((from, to, claim)) = reader.range(self.options)? {
            if !full && !self.take_range(&from, &to, &claim) {
                full = true;
                self.leave_rest();
            }
        }
        Ok(())
    }

    /// False where there was no room for the answer.
    fn take_range(&mut self, from: &Bound, to: &Bound, claim: &Claim<'_>) -> bool {
        // Of what lies outside of what we compare we know nothing: it is skipped, and the inside asked for anew.
        let inside = !from.is_before(&self.scope.from) && !self.scope.to.is_before(to);
        let from = if from.is_before(&self.scope.from) { self.scope.from } else { *from };
        let to = if self.scope.to.is_before(to) { self.scope.to } else { *to };
        if !from.is_before(&to) {
            return true;
        }
        let places = self.index.rank_of(&from)..self.index.rank_of(&to);
        match claim {
            Claim::Skip => true,
            Claim::Fingerprint(theirs) => {
                inside && self.index.summary(places.clone()).fingerprint() == *theirs
                    || self.divide(&places, &from, &to)
            }
            Claim::Ids(theirs) => {
                let known = self.only_here.len() + self.only_there.len();
                let (ours, whole) = self.compare(&places, theirs, inside);
                let equal = inside && whole && self.only_here.len() + self.only_there.len() == known;
                if self.began {
                    self.more |= !whole;
                    inside || self.divide(&places, &from, &to)
                } else {
                    equal && !self.options.answer_equal_lists || self.list(&places, &from, &to, &ours)
                }
            }
        }
    }

    fn divide(&mut self, places: &Range<usize>, from: &Bound, to: &Bound) -> bool {
        let index = self.index;
        self.writer.attempt(self.options, |writer| split::uniform(index, places.clone(), from, to, writer))
    }

    /// Notes what only one side has; gives back our ids, and whether those are all.
    fn compare(&mut self, places: &Range<usize>, theirs: &[[u8; 32]], inside: bool) -> (Vec<Rid>, bool) {
        let mut unseen: BTreeSet<&[u8; 32]> = theirs.iter().collect();
        let looked = places.len().min(self.budget);
        self.budget -= looked;
        let mut ours = Vec::new();
        for item in self.index.range(places.start..places.start + looked) {
            if !unseen.remove(&item.rid.0) {
                self.only_here.push(item.rid);
            }
            if !self.began {
                ours.push(item.rid);
            }
        }
        let whole = looked == places.len();
        if inside && whole {
            // Named twice is missing once.
            let mut named = |rid: &&[u8; 32]| unseen.remove(*rid);
            self.only_there.extend(theirs.iter().filter(|rid| named(rid)).map(|rid| Rid(*rid)));
        }
        (ours, whole)
    }

    /// Lists as many of our ids as there is room for.
    fn list(&mut self, places: &Range<usize>, from: &Bound, to: &Bound, ours: &[Rid]) -> bool {
        let has_room = |more: &usize| self.writer.has_room(self.options, more + 1, more * 32);
        let fit = (0..ours.len()).take_while(has_room).count();
        let end = match self.index.get(places.start + fit) {
            Some(item) if fit < places.len() => Bound::before(&item),
            _ => *to,
        };
        if from.is_before(&end) || ours.is_empty() {
            self.writer.ids(from, &end, &ours[..fit]);
        }
        fit == places.len() && self.writer.has_room(self.options, 0, 0)
    }

    /// What there was no room for is left to the next message: one fingerprint over all of it.
    fn leave_rest(&mut self) {
        let end = self.writer.end();
        let from = if end.is_before(&self.scope.from) { self.scope.from } else { end };
        let places = self.index.rank_of(&from)..self.scope.places.end;
        let (to, fingerprint) = (self.scope.to, self.index.summary(places).fingerprint());
        self.writer.fingerprint(&from, &to, fingerprint);
    }
}
