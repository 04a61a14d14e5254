//! Where all channels together take too much memory although none that grows has more than its share, takes from those
//! that have, until there is room again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::Shared;
use crate::executor::{Input, Order};

/// Between passes over all channels that free too little.
const FRUITLESS_WAIT: Duration = Duration::from_secs(1);

/// Returns at once; the passes are a task of their own.
pub(super) fn relieve(shared: &Arc<Shared>) {
    if !shared.common.memory.is_over() || shared.relieving.swap(true, Ordering::Relaxed) {
        return;
    }
    let weak = Arc::downgrade(shared);
    shared.runtime.spawn(async move {
        while let Some(shared) = weak.upgrade() {
            pass(&shared).await;
            if !shared.common.memory.is_over() {
                shared.relieving.store(false, Ordering::Relaxed);
                break;
            }
            drop(shared);
            // What is left cannot be given up yet, such as messages still to be acknowledged.
            tokio::time::sleep(FRUITLESS_WAIT).await;
        }
    });
}

async fn pass(shared: &Arc<Shared>) {
    for cell in shared.directory.cells() {
        if shared.common.memory.is_relieved() {
            return;
        }
        if let Some(input) = shared.common.memory.relief(cell.footprint()) {
            let order = Order::Enter { input, heard: None };
            cell.hand_in(shared, Input::Order { caller: None, order });
            tokio::task::yield_now().await;
        }
    }
}
