//! Messages that wait for each other (docs/protocol.md section 10): "a cycle ends the same way".
//!
//! How it moves: a message that waited for `lost_timeout` is looked at. What it waits for falls into knots, the strongly
//! connected components of "waits for"; knots come out dependencies first, so that letting each go in turn keeps
//! causal order everywhere but within a knot, where there is none. Each look is linear in messages and dependencies,
//! however many messages are due, and looks are a second apart. A look takes as many steps as it needs: what changes
//! between them can only make a message wait that might go, because each is looked at once more when it is let go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use crate::state::LogKey;
use crate::types::{MessageId, millis};

use super::Channel;

/// Between looks at what has waited too long: what came in at a thousand moments is not walked a thousand times.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// A message on the walk of Tarjan's algorithm, by the order of its first visit.
#[derive(Debug)]
struct Visit {
    key: LogKey,
    /// The lowest visit that this one reaches within its knot.
    low: usize,
    /// Its knot is not complete.
    open: bool,
    /// Some of what its knot waits for may still come.
    hopeful: bool,
}

/// A look at all that one message waits for: Tarjan's algorithm, which may stop at any dependency.
#[derive(Debug)]
struct Walk {
    numbers: BTreeMap<LogKey, usize>,
    visits: Vec<Visit>,
    /// Visits whose knot is not complete.
    open: Vec<usize>,
    /// In place of recursion: where the walk is, and which dependency it took last.
    path: Vec<(usize, Option<MessageId>)>,
}

/// What is being looked at, over as many steps as it takes.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Knots found since the search began, hopeful or not.
    judged: BTreeMap<LogKey, bool>,
    walk: Option<Walk>,
    /// Knots without hope, to be let go in this order.
    hopeless: VecDeque<BTreeSet<LogKey>>,
}

impl Channel {
    /// Messages that wait for each other, and for nothing else, wait in vain: they go ahead, the lowest first.
    pub(super) fn break_cycles(&mut self) {
        loop {
            self.settle();
            let is_searching = self.cycles.walk.is_some() || !self.cycles.hopeless.is_empty();
            if self.incoming.is_ready() || is_searching && !self.slice.is_open() {
                return self.slice.leave(self.now.running);
            }
            if let Some(walk) = self.cycles.walk.take() {
                self.cycles.walk = self.go_on_walking(walk);
            } else if let Some(knot) = self.cycles.hopeless.pop_front() {
                self.let_lowest_go(knot);
            } else if !self.begin_walk() {
                return;
            }
        }
    }

    /// Begins to look at the next message whose time has come.
    fn begin_walk(&mut self) -> bool {
        let begun = !self.cycles.judged.is_empty();
        let due = self.incoming.next_expiry().filter(|(age, _)| *age <= self.meta.age_ms).cloned();
        let Some((_, root)) = due.filter(|_| begun || self.now.running >= self.cycles_allowed) else {
            self.cycles.judged.clear();
            return false;
        };
        self.cycles_allowed = self.now.running.after(LOOK_PAUSE);
        self.cycles.walk = Some(Walk {
            numbers: BTreeMap::from([(root.clone(), 0)]),
            visits: vec![Visit { key: root, low: 0, open: true, hopeful: false }],
            open: vec![0],
            path: vec![(0, None)],
        });
        true
    }

    /// Finds the knots of the parked messages that the walk's first one waits for, itself included, dependencies first; but
    /// for those judged already. Returns the walk where this step may do no more.
    fn go_on_walking(&mut self, mut walk: Walk) -> Option<Walk> {
        while let Some((at, last)) = walk.path.last_mut() {
            if !self.slice.is_open() {
                return Some(walk);
            }
            self.slice.spend(1);
            let at = *at;
            if let Some(id) = self.next_unmet(&walk.visits[at].key, last.as_ref()) {
                self.stats.work += 1;
                *last = Some(id.clone());
                let Some(key) = self.known.key(&id) else {
                    walk.visits[at].hopeful = true;
                    continue;
                };
                if let Some(hopeful) = self.cycles.judged.get(&key) {
                    walk.visits[at].hopeful |= hopeful;
                    continue;
                }
                match walk.numbers.get(&key) {
                    Some(&to) if walk.visits[to].open => walk.visits[at].low = walk.visits[at].low.min(to),
                    Some(&to) => walk.visits[at].hopeful |= walk.visits[to].hopeful,
                    None => {
                        let number = walk.visits.len();
                        walk.numbers.insert(key.clone(), number);
                        walk.visits.push(Visit { key, low: number, open: true, hopeful: false });
                        walk.open.push(number);
                        walk.path.push((number, None));
                    }
                }
                continue;
            }
            walk.path.pop();
            if walk.visits[at].low == at {
                self.judge(&mut walk, at);
            }
            if let Some((parent, _)) = walk.path.last() {
                let (low, hopeful) = (walk.visits[at].low, walk.visits[at].hopeful);
                walk.visits[*parent].low = walk.visits[*parent].low.min(low);
                walk.visits[*parent].hopeful |= hopeful;
            }
        }
        None
    }

    /// The knot that this visit was the first of is complete.
    fn judge(&mut self, walk: &mut Walk, first: usize) {
        // Opened after `first` and still open: all of this knot.
        let members = walk.open.split_off(walk.open.partition_point(|number| *number < first));
        let hopeful = members.iter().any(|number| walk.visits[*number].hopeful);
        // What may still come decides over all that was looked at: none is looked at again before then.
        let again = self.meta.age_ms.saturating_add(millis(self.config.t_max)).saturating_add(1);
        let mut knot = BTreeSet::new();
        for number in members {
            let visit = &mut walk.visits[number];
            (visit.open, visit.hopeful) = (false, hopeful);
            self.incoming.set_expiry(&visit.key, again);
            self.cycles.judged.insert(visit.key.clone(), hopeful);
            knot.insert(visit.key.clone());
        }
        self.slice.spend(knot.len() as u64);
        if !hopeful {
            self.cycles.hopeless.push_back(knot);
        }
    }

    /// Lets the lowest message of a knot go, if what it waits for is still in that knot alone, and puts the rest back.
    fn let_lowest_go(&mut self, mut knot: BTreeSet<LogKey>) {
        let Some(key) = knot.first().cloned() else { return };
        let waiting = self.incoming.get(&key);
        let unmet: Vec<MessageId> = waiting.into_iter().flat_map(|waiting| waiting.unmet.iter().cloned()).collect();
        let in_vain = unmet.iter().all(|id| self.known.key(id).is_some_and(|key| knot.contains(&key)));
        self.slice.spend(1 + 2 * unmet.len() as u64);
        self.stats.work += unmet.len() as u64;
        if in_vain {
            unmet.iter().for_each(|id| self.incoming.met_for(&key, id));
        }
        knot.remove(&key);
        self.cycles.hopeless.push_front(knot);
    }

    /// The dependency after `last` that a parked message waits for.
    fn next_unmet(&self, key: &LogKey, last: Option<&MessageId>) -> Option<MessageId> {
        let after = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.incoming.get(key)?.unmet.range::<MessageId, _>(after).next().cloned()
    }
}
