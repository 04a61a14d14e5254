//! docs/protocol.md section 13: a digest says what was saved, what is here is not fetched, and each session ends.

use crate::channel::SyncStatus;
use crate::reconcile::{Item, Rid, SetIndex, rid_of};
use crate::state::{Body, Row};
use crate::types::{CatchUpField, Digest, FrameBody, Lamport};

use sha2::Digest as _;

use super::super::Node;
use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Sessions;

impl Invariant for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Transmitted { node, transmission } => match transmission.message.as_ref().map(|it| &it.catch_up) {
                Some(CatchUpField::Digest(digest)) => is_saved(&scene.nodes[*node], digest),
                Some(CatchUpField::Frame(frame)) => match &frame.body {
                    FrameBody::Fetch { rids } => is_lacking(&scene.nodes[*node], rids),
                    _ => Ok(()),
                },
                _ => Ok(()),
            }
            .map_err(|what| format!("p{node} {what}")),
            Seen::Ended => {
                let endless =
                    scene.there().find(|(_, node)| matches!(node.channel().sync_status(), SyncStatus::Syncing { .. }));
                endless.map_or(Ok(()), |(name, _)| Err(format!("p{name} has not ended a session")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a digest is that of what its sender has saved.
fn is_saved(node: &Node, digest: &Digest) -> Result<(), String> {
    let rows = node.medium.load().rows;
    let logged = rows.iter().filter_map(|row| match row {
        Row::Message(logged) if !logged.below_floor => Some(&logged.body),
        _ => None,
    });
    let saved: Vec<Item> = logged.map(|body| item_of(node, body)).collect();
    for range in digest.ranges() {
        let within = |item: &&Item| item.lamport > range.lower && item.lamport <= digest.upper;
        let set: SetIndex = saved.iter().filter(within).copied().collect();
        if set.summary(0..set.len()).fingerprint() != range.fingerprint {
            return Err(format!("says that it holds {} messages, {} are saved", range.count, set.len()));
        }
    }
    Ok(())
}

/// Whether none of these is here.
fn is_lacking(node: &Node, rids: &[[u8; 32]]) -> Result<(), String> {
    for row in node.medium.load().rows {
        let body = match &row {
            Row::Message(logged) => &logged.body,
            Row::Parked(parked) => &parked.body,
            _ => continue,
        };
        if rids.contains(&item_of(node, body).rid.0) {
            return Err(format!("fetches {}, which is here", body.key.id));
        }
    }
    Ok(())
}

fn item_of(node: &Node, body: &Body) -> Item {
    let content = body.erased.as_ref().map_or_else(|| sha2::Sha256::digest(&body.content).into(), |hash| **hash);
    let causal = body.causal_history.iter().map(|entry| &entry.id);
    let rid: Rid = rid_of(node.channel().id(), &body.key.id, &body.sender, body.key.lamport, causal, &content);
    Item { lamport: Lamport(body.key.lamport.0), rid }
}
