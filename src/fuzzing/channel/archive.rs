//! An archive that keeps, forgets, lies and fails, and others who ask for what it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CHANNEL, OWN, Op, Run};
use crate::channel::{ForArchive, Input, erased, item_of};
use crate::reconcile::{Item, Rid};
use crate::state::Body;
use crate::types::{CatchUpField, Frame, FrameBody, Lamport, Message};

/// Questions that may wait for an archive, as `ForArchive::Read` says.
const MAX_READS: usize = 16;

/// What it keeps, and what it was asked.
#[derive(Debug, Default)]
pub(super) struct Archive {
    kept: BTreeMap<Rid, (Item, Arc<Body>)>,
    asked: Vec<ForArchive>,
}

impl Archive {
    pub(super) fn asked(&mut self, asked: Vec<ForArchive>) {
        self.asked.extend(asked);
        let reads = self.asked.iter().filter_map(|asked| match asked {
            ForArchive::Read(read) => Some(read.items.len()),
            ForArchive::Keep(_) | ForArchive::Erase(_) => None,
        });
        let sizes: Vec<usize> = reads.collect();
        assert!(sizes.len() <= MAX_READS && sizes.iter().all(|size| *size <= 256), "{sizes:?}");
    }

    /// What was not done is forgotten with the process.
    pub(super) fn restart(&mut self) {
        self.asked.clear();
    }

    fn nth(&self, n: usize) -> Option<Rid> {
        self.kept.keys().nth(n % self.kept.len().max(1)).copied()
    }
}

impl Run {
    /// The archive does something, or somebody asks for what it may have.
    pub(super) fn archive(&mut self, op: Op) {
        match op.who % 8 {
            0 => {
                let items = self.archive.kept.values().skip(usize::from(op.id)).map(|(item, _)| *item).collect();
                self.input(Input::Archived { items, whole: op.bit(0) });
            }
            1..=4 if !self.archive.asked.is_empty() => {
                let place = if op.bit(1) { usize::from(op.id) % self.archive.asked.len() } else { 0 };
                let input = match self.archive.asked.remove(place) {
                    ForArchive::Erase(erasure) => {
                        let kept = self.archive.kept.values_mut().filter(|(_, body)| erasure.covers(&body.key));
                        kept.for_each(|(_, body)| *body = Arc::new(erased(body)));
                        return;
                    }
                    ForArchive::Keep(body) => self.keep(op, body),
                    ForArchive::Read(read) => {
                        let looked = if op.bit(2) { usize::from(op.names) } else { read.items.len() };
                        let found = read.items.iter().take(looked).filter_map(|item| self.archive.kept.get(&item.rid));
                        let mut bodies: Vec<Arc<Body>> = found.map(|(_, body)| body.clone()).collect();
                        if op.bit(3) {
                            bodies.extend(self.archive.kept.values().next().map(|(_, body)| body.clone()));
                        }
                        Input::FromArchive { read, bodies, looked, failed: op.bit(4) }
                    }
                };
                self.input(input);
            }
            5 => {
                if let Some(rid) = self.archive.nth(op.id.into()) {
                    self.archive.kept.remove(&rid);
                }
            }
            _ => self.ask_for(op),
        }
    }

    /// One that fails keeps nothing, and one that lies names what it does not have.
    fn keep(&mut self, op: Op, body: Arc<Body>) -> Input {
        let item = item_of(&CHANNEL.into(), &body);
        if op.bit(3) {
            return Input::Archived { items: Vec::new(), whole: false };
        }
        if !op.bit(4) {
            self.archive.kept.insert(item.rid, (item, body));
        }
        let lie = Item { lamport: Lamport(u64::from(op.names) << (op.time % 64)), rid: Rid([op.names; 32]) };
        Input::Archived { items: if op.bit(5) { vec![item, lie] } else { vec![item] }, whole: op.bit(6) }
    }

    fn ask_for(&mut self, op: Op) {
        let many = usize::from(op.names % 8);
        let rids = (0..many).filter_map(|n| self.archive.nth(usize::from(op.id) + n)).map(|rid| rid.0);
        let rids: Vec<[u8; 32]> = rids.chain(op.bit(0).then_some([op.names; 32])).collect();
        let body = match op.time % 3 {
            0 => FrameBody::FetchIds { ids: (0..op.names % 8).map(super::messages::id).collect() },
            1 => FrameBody::Reconcile {
                rules: 1,
                upper: Lamport(u64::MAX),
                answer: false,
                push: u64::from(op.names) << 8,
                message: b"\x61\0\0\x02\0".as_slice().into(),
            },
            _ => FrameBody::Fetch { rids },
        };
        let frame = Frame::new(u64::from(op.id), OWN.into(), Lamport(0), body);
        let mut message = Message::new(format!("frame {}", op.id).into(), "bob".into(), CHANNEL.into());
        message.catch_up = CatchUpField::Frame(Box::new(frame));
        self.receive(message);
    }
}
