//! What a channel must hold after its n-th operation: the oracle of all campaigns.
//!
//! What: [`Model`], a channel under a workload that its seed alone decides. Why: with the state after every prefix of
//! operations known, one comparison shows what is lost, torn or out of order. How it moves: the child asks for the next
//! operation and carries it out in a store; the verifier makes the same model and compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::state::{
    Body, ChannelData, ChannelMeta, Commit, HistoryUpdate, LogKey, Logged, Outgoing, Place, Row, RowCounts, RowKey,
    Stub,
};
use reliable_channel::types::{ChannelId, Lamport, MessageId, WallTime};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Stubs kept of messages evicted.
const STUBS: usize = 10;

/// What decides a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub seed: u64,
    pub channels: usize,
    /// Bytes of content at most.
    pub max_value: usize,
}

impl Workload {
    /// Messages a channel keeps: fewer, the larger they are.
    fn window(&self) -> usize {
        match self.max_value {
            0..=4_000 => 20,
            4_001..=64_000 => 10,
            _ => 4,
        }
    }
}

/// What to do with the store.
pub enum Operation {
    Commit(Box<Commit>),
    Drop,
}

/// A channel after some operations.
#[derive(Clone)]
pub struct Model {
    workload: Workload,
    channel: usize,
    /// Operations done.
    pub done: u64,
    meta: Option<ChannelMeta>,
    rows: BTreeMap<RowKey, Row>,
    hints: BTreeMap<MessageId, Bytes>,
}

impl Model {
    pub fn new(workload: Workload, channel: usize) -> Self {
        Self { workload, channel, done: 0, meta: None, rows: BTreeMap::new(), hints: BTreeMap::new() }
    }

    /// The channel after its first `done` operations.
    pub fn at(workload: Workload, channel: usize, done: u64) -> Self {
        let mut model = Self::new(workload, channel);
        while model.done < done {
            model.step();
        }
        model
    }

    pub fn id(&self) -> ChannelId {
        ChannelId::from(format!("channel-{}", self.channel))
    }

    pub fn data(&self) -> ChannelData {
        ChannelData {
            meta: self.meta.clone(),
            rows: self.rows.values().cloned().collect(),
            hints: self.hints.iter().map(|(id, hint)| (id.clone(), hint.clone())).collect(),
        }
    }

    /// Does the next operation.
    pub fn step(&mut self) -> Operation {
        self.done += 1;
        let mut random = Random::new(&[self.workload.seed, self.channel as u64, self.done]);
        if random.one_in(60) {
            (self.meta, self.rows, self.hints) = (None, BTreeMap::new(), BTreeMap::new());
            return Operation::Drop;
        }
        let mut history = HistoryUpdate::default();
        let key = LogKey { lamport: Lamport(self.done), id: format!("{:016x}", random.next()).into() };
        let max = if random.one_in(3) { self.workload.max_value } else { self.workload.max_value.min(300) };
        let len = 1 + random.below(max);
        let content = Bytes::from(random.bytes(len));
        history.put.push(message(&key, content));
        if random.one_in(2) {
            history.put.push(outgoing(&key));
        }
        self.acknowledge(&mut random, &mut history);
        self.evict(&mut history);
        let hints = if random.one_in(4) { vec![(key.id, Bytes::from(random.bytes(20)))] } else { Vec::new() };
        self.apply(&history, &hints);
        let meta = self.meta_now();
        self.meta = Some(meta.clone());
        Operation::Commit(Box::new(Commit { meta: Some(meta), history, hints }))
    }

    /// Some outgoing entry goes.
    fn acknowledge(&self, random: &mut Random, history: &mut HistoryUpdate) {
        let open: Vec<&RowKey> = self.rows.keys().filter(|key| key.place == Place::Outgoing).collect();
        if open.len() > 3 {
            history.delete.push(open[random.below(open.len())].clone());
        }
    }

    /// The oldest message becomes a stub, the oldest stub goes.
    fn evict(&self, history: &mut HistoryUpdate) {
        let messages = self.rows.values().filter(|row| matches!(row, Row::Message(_))).count();
        let mut bodies = self.rows.values().filter_map(|row| match row {
            Row::Message(logged) => Some((&logged.body.key, false)),
            Row::Stub(stub) => Some((&stub.key, true)),
            _ => None,
        });
        if messages >= self.workload.window()
            && let Some((key, _)) = bodies.clone().find(|(_, is_stub)| !is_stub)
        {
            history.put.push(Row::Stub(Stub::new(key.clone(), "alice".into())));
        }
        if bodies.clone().filter(|(_, is_stub)| *is_stub).count() >= STUBS
            && let Some((key, _)) = bodies.find(|(_, is_stub)| *is_stub)
        {
            history.delete.push(RowKey::body(key));
        }
    }

    fn apply(&mut self, history: &HistoryUpdate, hints: &[(MessageId, Bytes)]) {
        for key in &history.delete {
            self.rows.remove(key);
            if key.place == Place::Body {
                self.hints.remove(&key.id);
            }
        }
        self.rows.extend(history.put.iter().map(|row| (row.key(), row.clone())));
        self.hints.extend(hints.iter().cloned());
    }

    fn meta_now(&self) -> ChannelMeta {
        let mut counts = RowCounts::default();
        counts.hints = Some(self.hints.len() as u64);
        let mut log = Vec::new();
        for row in self.rows.values() {
            match row {
                Row::Message(logged) => {
                    counts.messages += 1;
                    log.push(&logged.body.key);
                }
                Row::Stub(_) => counts.stubs += 1,
                _ => counts.outgoing += 1,
            }
        }
        let mut meta = ChannelMeta::default();
        meta.lamport = Lamport(self.done);
        meta.next_delivery = self.done;
        meta.counts = counts;
        meta.oldest = log.first().map(|key| (*key).clone());
        meta.newest = log.last().map(|key| (*key).clone());
        meta
    }
}

fn message(key: &LogKey, content: Bytes) -> Row {
    let body = Arc::new(Body::new(key.clone(), "alice".into(), content));
    let seen = WallTime::from_nanos(key.lamport.0);
    Row::Message(Logged::new(body, seen))
}

fn outgoing(key: &LogKey) -> Row {
    let at = WallTime::from_nanos(key.lamport.0);
    Row::Outgoing(Outgoing::new(key.clone(), at))
}
