//! What is missing is fetched from an archive, where the network has one (LIP-173, "Incoming message processing").
//!
//! What: [`Wanted`], hints of what is missing, and [`retrieve`], the task that fetches them. Why beside repair and not instead:
//! an archive may have forgotten it, and members may not be there. How it moves: a message that misses others names hints for
//! them; each is fetched once, and what comes is taken in like anything that arrives.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::debug;

use super::link::Link;
use crate::manager::ReliabilityManager;
use crate::transport::{Hint, Topic, Transport, TransportError};
use crate::types::{ChannelId, HistoryEntry};

/// Hints that wait; what comes beyond is left to repair.
const MAX_WAITING: usize = 1_024;
/// Hints that are not asked for again.
const MAX_ASKED: usize = 4_096;
/// Hints of one call.
const BATCH: usize = 64;

#[derive(Default)]
pub(super) struct Wanted {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    hints: VecDeque<Hint>,
    asked: BTreeSet<Hint>,
}

impl Wanted {
    /// Wants what these entries have hints for.
    pub(super) fn add(&self, missing: &[HistoryEntry]) {
        let mut waiting = self.lock();
        for hint in missing.iter().filter_map(|entry| entry.hint.clone()).map(Hint::new) {
            if waiting.hints.len() >= MAX_WAITING {
                break;
            }
            if waiting.asked.len() >= MAX_ASKED {
                waiting.asked.clear();
            }
            if waiting.asked.insert(hint.clone()) {
                waiting.hints.push_back(hint);
            }
        }
        drop(waiting);
        self.changed.notify_one();
    }

    async fn next(&self) -> Vec<Hint> {
        loop {
            let hints: Vec<Hint> = {
                let mut waiting = self.lock();
                let some = waiting.hints.len().min(BATCH);
                waiting.hints.drain(..some).collect()
            };
            if !hints.is_empty() {
                return hints;
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock panics halfway.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches what is wanted, until it is aborted or the network has no archive.
pub(super) async fn retrieve(
    link: Arc<Link>,
    transport: Arc<dyn Transport>,
    topic: Topic,
    manager: ReliabilityManager,
    channel: ChannelId,
) {
    loop {
        let hints = link.wanted.next().await;
        let fetched = match transport.fetch(&topic, &hints).await {
            Ok(fetched) => fetched,
            Err(TransportError::Unsupported) => return,
            Err(error) => {
                debug!(%channel, %error, "nothing was fetched");
                continue;
            }
        };
        for bytes in fetched {
            let Ok(bytes) = link.keys.open(&channel, bytes) else { continue };
            if let Err(error) = manager.unwrap_in(&channel, bytes).await {
                debug!(%channel, %error, "what was fetched was refused");
            }
        }
    }
}
