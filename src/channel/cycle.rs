//! Messages that wait for each other (docs/protocol.md section 10): "a cycle ends the same way".
//!
//! How it moves: a message that waited for `lost_timeout` is looked at. What it waits for falls into knots, the strongly
//! connected components of "waits for"; knots come out dependencies first, so that letting each go in turn keeps
//! causal order everywhere but within a knot, where there is none. Each look is linear in messages and dependencies,
//! however many messages are due, and looks are a second apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::state::LogKey;
use crate::types::{MessageId, millis};

use super::Channel;

/// Between looks at what has waited too long: what came in at a thousand moments is not walked a thousand times.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Messages that wait for each other; most often a single one.
#[derive(Debug)]
struct Knot {
    members: BTreeSet<LogKey>,
    /// Some of what it waits for may still come.
    hopeful: bool,
}

/// A message on the walk of Tarjan's algorithm, by the order of its first visit.
#[derive(Debug)]
struct Visit {
    key: LogKey,
    /// The lowest visit that this one reaches within its knot.
    low: usize,
    /// Its knot is not complete.
    open: bool,
    hopeful: bool,
}

impl Channel {
    /// Messages that wait for each other, and for nothing else, wait in vain: they go ahead, the lowest first.
    pub(super) fn break_cycles(&mut self) {
        if self.now.running < self.cycles_allowed {
            return;
        }
        let mut judged = BTreeMap::new();
        while let Some((age, key)) = self.incoming.next_expiry().cloned() {
            if age > self.meta.age_ms {
                return;
            }
            self.cycles_allowed = self.now.running.after(LOOK_PAUSE);
            let knots = self.knots(&key, &mut judged);
            // What may still come decides over all that was looked at: none is looked at again before then.
            let again = self.meta.age_ms.saturating_add(millis(self.config.t_max)).saturating_add(1);
            knots.iter().flat_map(|knot| &knot.members).for_each(|key| self.incoming.set_expiry(key, again));
            for key in knots.iter().filter(|knot| !knot.hopeful).flat_map(|knot| &knot.members) {
                let unmet: Vec<MessageId> =
                    self.incoming.get(key).into_iter().flat_map(|waiting| waiting.unmet.iter().cloned()).collect();
                unmet.iter().for_each(|id| self.incoming.met_for(key, id));
                self.settle();
            }
        }
    }

    /// The knots of the parked messages that this one waits for, itself included, dependencies first; but for those
    /// `judged` already, hopeful or not.
    fn knots(&mut self, root: &LogKey, judged: &mut BTreeMap<LogKey, bool>) -> Vec<Knot> {
        let mut knots = Vec::new();
        let mut numbers = BTreeMap::from([(root.clone(), 0)]);
        let mut visits = vec![Visit { key: root.clone(), low: 0, open: true, hopeful: false }];
        let mut open = vec![0];
        // In place of recursion: where the walk is, and which dependency it took last.
        let mut path: Vec<(usize, Option<MessageId>)> = vec![(0, None)];
        while let Some((at, last)) = path.last_mut() {
            let at = *at;
            if let Some(id) = self.next_unmet(&visits[at].key, last.as_ref()) {
                self.stats.work += 1;
                *last = Some(id.clone());
                let Some(key) = self.known.key(&id) else {
                    visits[at].hopeful = true;
                    continue;
                };
                if let Some(hopeful) = judged.get(&key) {
                    visits[at].hopeful |= hopeful;
                    continue;
                }
                match numbers.get(&key) {
                    Some(&to) if visits[to].open => visits[at].low = visits[at].low.min(to),
                    Some(&to) => visits[at].hopeful |= visits[to].hopeful,
                    None => {
                        let number = visits.len();
                        numbers.insert(key.clone(), number);
                        visits.push(Visit { key, low: number, open: true, hopeful: false });
                        open.push(number);
                        path.push((number, None));
                    }
                }
                continue;
            }
            path.pop();
            if visits[at].low == at {
                // Opened after `at` and still open: all of this knot.
                let members = open.split_off(open.partition_point(|number| *number < at));
                let hopeful = members.iter().any(|number| visits[*number].hopeful);
                for number in &members {
                    (visits[*number].open, visits[*number].hopeful) = (false, hopeful);
                }
                let members: BTreeSet<_> = members.into_iter().map(|number| visits[number].key.clone()).collect();
                judged.extend(members.iter().map(|key| (key.clone(), hopeful)));
                knots.push(Knot { members, hopeful });
            }
            if let Some((parent, _)) = path.last() {
                let (low, hopeful) = (visits[at].low, visits[at].hopeful);
                visits[*parent].low = visits[*parent].low.min(low);
                visits[*parent].hopeful |= hopeful;
            }
        }
        knots
    }

    /// The dependency after `last` that a parked message waits for.
    fn next_unmet(&self, key: &LogKey, last: Option<&MessageId>) -> Option<MessageId> {
        let after = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.incoming.get(key)?.unmet.range::<MessageId, _>(after).next().cloned()
    }
}
