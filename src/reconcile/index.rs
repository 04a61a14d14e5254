//! The set of one side, kept in order so that any range of it is counted and summed in logarithmic time.
//!
//! A B+ tree: leaves hold items, branches hold what lies below each child: its first item, its count and its sum. There
//! are at most [`WIDTH`] entries in a node; a node that ran empty goes, and others are not merged, since a log grows at one
//! end and shrinks at the other.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::codec::{Bound, push_number};
use super::{Item, Rid};
use crate::types::Lamport;

/// Entries in a node.
const WIDTH: usize = 64;

/// How many messages, and the sum of their ids modulo 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// The sum, lowest 64 bits first.
    sum: [u64; 4],
}

impl Summary {
    pub(crate) fn of(rid: &Rid) -> Self {
        let mut sum = [0; 4];
        for (limb, bytes) in sum.iter_mut().zip(rid.0.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        Self { count: 1, sum }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        let mut carry = false;
        for (ours, theirs) in self.sum.iter_mut().zip(other.sum) {
            let (sum, over) = ours.overflowing_add(theirs);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*ours, carry) = (sum, over || again);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.count = self.count.wrapping_sub(other.count);
        let mut borrow = false;
        for (ours, theirs) in self.sum.iter_mut().zip(other.sum) {
            let (rest, under) = ours.overflowing_sub(theirs);
            let (rest, again) = rest.overflowing_sub(u64::from(borrow));
            (*ours, borrow) = (rest, under || again);
        }
    }

    /// Negentropy's fingerprint: the first 16 bytes of SHA-256 of sum and count.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut bytes = Vec::with_capacity(42);
        self.sum.iter().for_each(|limb| bytes.extend(limb.to_le_bytes()));
        push_number(&mut bytes, self.count);
        let hash = Sha256::digest(&bytes);
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        first
    }
}

/// A set of messages in order of (Lamport time, [`Rid`]).
#[derive(Clone, Debug)]
pub struct SetIndex {
    root: Node,
    all: Summary,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Item>),
    Branch(Vec<Child>),
}

/// A node and what lies in it: at least one item.
#[derive(Clone, Debug)]
struct Child {
    first: Item,
    summary: Summary,
    node: Node,
}

impl Default for SetIndex {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), all: Summary::default() }
    }
}

impl SetIndex {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message; false if it was there. One at Lamport time `u64::MAX`, which no message on the wire can name, is
    /// never added.
    pub fn insert(&mut self, item: Item) -> bool {
        if item.lamport == Lamport(u64::MAX) {
            return false;
        }
        let summary = Summary::of(&item.rid);
        match self.root.insert(item, &summary) {
            Inserted::Known => return false,
            Inserted::Done => {}
            Inserted::Split(right) => {
                let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
                self.root = Node::Branch(vec![Child::new(left), Child::new(right)]);
            }
        }
        self.all.add(&summary);
        true
    }

    /// Takes a message out; false if it was not there.
    pub fn remove(&mut self, item: &Item) -> bool {
        let summary = Summary::of(&item.rid);
        if !self.root.remove(item, &summary) {
            return false;
        }
        self.all.subtract(&summary);
        while let Node::Branch(children) = &mut self.root
            && children.len() < 2
        {
            self.root = children.pop().map_or_else(|| Node::Leaf(Vec::new()), |child| child.node);
        }
        true
    }

    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.all.count).unwrap_or(usize::MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.count == 0
    }

    /// Whether the message is there.
    #[must_use]
    pub fn contains(&self, item: &Item) -> bool {
        self.get(self.rank(item)).as_ref() == Some(item)
    }

    /// The message at this place, counted from the oldest.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Item> {
        self.slice_at(place).first().copied()
    }

    /// The oldest message.
    #[must_use]
    pub fn first(&self) -> Option<Item> {
        self.get(0)
    }

    /// The newest message.
    #[must_use]
    pub fn last(&self) -> Option<Item> {
        self.get(self.len().checked_sub(1)?)
    }

    /// How many messages lie before this one.
    #[must_use]
    pub fn rank(&self, item: &Item) -> usize {
        let mut node = &self.root;
        let mut before = 0;
        loop {
            match node {
                Node::Leaf(items) => return before + items.partition_point(|other| other < item),
                Node::Branch(children) => {
                    let place = children.partition_point(|child| child.first <= *item).saturating_sub(1);
                    before += children[..place].iter().map(Child::len).sum::<usize>();
                    node = &children[place].node;
                }
            }
        }
    }

    /// Count and sum of the messages at these places.
    #[must_use]
    pub fn summary(&self, places: Range<usize>) -> Summary {
        let mut summary = self.before(places.end);
        summary.subtract(&self.before(places.start.min(places.end)));
        summary
    }

    /// The messages at these places, in order.
    pub fn range(&self, places: Range<usize>) -> impl Iterator<Item = Item> {
        let mut rest = places;
        let mut slice: &[Item] = &[];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            if slice.is_empty() {
                slice = self.slice_at(rest.start);
            }
            let (item, tail) = slice.split_first()?;
            slice = tail;
            rest.start += 1;
            Some(*item)
        })
    }

    /// How many messages lie before a bound.
    pub(super) fn rank_of(&self, bound: &Bound) -> usize {
        self.rank(&bound.item())
    }

    /// Count and sum of as many of the oldest messages.
    fn before(&self, mut count: usize) -> Summary {
        if count >= self.len() {
            return self.all;
        }
        let mut summary = Summary::default();
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(items) => {
                    items.iter().take(count).for_each(|item| summary.add(&Summary::of(&item.rid)));
                    return summary;
                }
                Node::Branch(children) => {
                    let mut children = children.iter();
                    let Some(next) = children.find(|child| {
                        let inside = count < child.len();
                        if !inside {
                            count -= child.len();
                            summary.add(&child.summary);
                        }
                        inside
                    }) else {
                        return summary;
                    };
                    node = &next.node;
                }
            }
        }
    }

    /// The rest of the leaf from this place on; empty behind the end.
    fn slice_at(&self, mut place: usize) -> &[Item] {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(items) => return items.get(place..).unwrap_or_default(),
                Node::Branch(children) => {
                    let Some(next) = children.iter().find(|child| {
                        let inside = place < child.len();
                        if !inside {
                            place -= child.len();
                        }
                        inside
                    }) else {
                        return &[];
                    };
                    node = &next.node;
                }
            }
        }
    }
}

impl FromIterator<Item> for SetIndex {
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        let mut index = Self::new();
        for item in items {
            index.insert(item);
        }
        index
    }
}

enum Inserted {
    Known,
    Done,
    /// There was no room: this half belongs to the right of the node.
    Split(Node),
}

impl Node {
    /// The depth is that of the tree, which grows with the logarithm of its size.
    fn insert(&mut self, item: Item, summary: &Summary) -> Inserted {
        match self {
            Self::Leaf(items) => {
                let place = match items.last() {
                    Some(last) if *last < item => items.len(),
                    _ => match items.binary_search(&item) {
                        Ok(_) => return Inserted::Known,
                        Err(place) => place,
                    },
                };
                if items.len() < WIDTH {
                    items.insert(place, item);
                    return Inserted::Done;
                }
                let mut right = split(items, place);
                match place.checked_sub(items.len()) {
                    Some(place) => right.insert(place, item),
                    None => items.insert(place, item),
                }
                Inserted::Split(Self::Leaf(right))
            }
            Self::Branch(children) => {
                let place = children.partition_point(|child| child.first <= item).saturating_sub(1);
                let child = &mut children[place];
                let right = match child.node.insert(item, summary) {
                    Inserted::Known => return Inserted::Known,
                    Inserted::Done => {
                        child.first = child.first.min(item);
                        child.summary.add(summary);
                        return Inserted::Done;
                    }
                    Inserted::Split(right) => right,
                };
                child.measure();
                let right = Child::new(right);
                if children.len() < WIDTH {
                    children.insert(place + 1, right);
                    return Inserted::Done;
                }
                let mut half = split(children, place + 1);
                match (place + 1).checked_sub(children.len()) {
                    Some(place) => half.insert(place, right),
                    None => children.insert(place + 1, right),
                }
                Inserted::Split(Self::Branch(half))
            }
        }
    }

    fn remove(&mut self, item: &Item, summary: &Summary) -> bool {
        match self {
            Self::Leaf(items) => items.binary_search(item).map(|place| items.remove(place)).is_ok(),
            Self::Branch(children) => {
                let Some(place) = children.partition_point(|child| child.first <= *item).checked_sub(1) else {
                    return false;
                };
                let child = &mut children[place];
                if !child.node.remove(item, summary) {
                    return false;
                }
                child.summary.subtract(summary);
                if child.summary.count == 0 {
                    children.remove(place);
                } else if child.first == *item {
                    child.first = child.node.first().unwrap_or(*item);
                }
                true
            }
        }
    }

    fn first(&self) -> Option<Item> {
        match self {
            Self::Leaf(items) => items.first().copied(),
            Self::Branch(children) => children.first().map(|child| child.first),
        }
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        match self {
            Self::Leaf(items) => items.iter().for_each(|item| summary.add(&Summary::of(&item.rid))),
            Self::Branch(children) => children.iter().for_each(|child| summary.add(&child.summary)),
        }
        summary
    }
}

impl Child {
    fn new(node: Node) -> Self {
        let zero = Item { lamport: Lamport(0), rid: Rid([0; 32]) };
        let mut child = Self { first: zero, summary: Summary::default(), node };
        child.measure();
        child
    }

    fn measure(&mut self) {
        self.summary = self.node.summary();
        self.first = self.node.first().unwrap_or(self.first);
    }

    fn len(&self) -> usize {
        usize::try_from(self.summary.count).unwrap_or(usize::MAX)
    }
}

/// Divides a full node in two; where something is to be added at its end, so that the left one stays full.
fn split<T>(entries: &mut Vec<T>, place: usize) -> Vec<T> {
    let at = if place >= WIDTH { WIDTH } else { WIDTH / 2 };
    let mut right = Vec::with_capacity(WIDTH);
    right.extend(entries.drain(at..));
    right
}
