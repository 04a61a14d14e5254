//! docs/protocol.md section 13.6: an archive is given what was saved and nothing else, and has in the end all of the log that
//! may not be taken back.

use std::collections::BTreeSet;

use crate::types::MessageId;

use super::super::Node;
use super::{Invariant, Scene, Seen};

#[derive(Debug)]
pub(super) struct Archives;

impl Invariant for Archives {
    fn name(&self) -> &'static str {
        "archives"
    }

    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Stepped { node } => {
                let wrong = scene.nodes[*node].medium.archive.as_ref().and_then(|archive| archive.wrong.first());
                wrong.map_or(Ok(()), |wrong| Err(format!("p{node}: {wrong}")))
            }
            Seen::Ended => {
                scene.there().try_for_each(|(name, node)| has_the_log(node).map_err(|what| format!("p{name}: {what}")))
            }
            _ => Ok(()),
        }
    }
}

fn has_the_log(node: &Node) -> Result<(), String> {
    let Some(archive) = node.medium.archive.as_ref().filter(|archive| !archive.lossy) else { return Ok(()) };
    if !node.channel().config().catch_up {
        return if archive.kept.is_empty() { Ok(()) } else { Err("keeps without catch-up".into()) };
    }
    let open: BTreeSet<MessageId> = node.channel().outgoing().into_iter().map(|view| view.id).collect();
    for logged in node.channel().log().filter(|logged| !open.contains(&logged.body.key.id)) {
        match archive.kept.get(&logged.body.key) {
            Some((_, body)) if body.content == logged.body.content => {}
            Some(_) => return Err(format!("another message than {:?} is kept", logged.body.key)),
            None => return Err(format!("{:?} is not kept", logged.body.key)),
        }
    }
    Ok(())
}
