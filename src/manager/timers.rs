//! One task that wakes every channel when it is due.
//!
//! What: [`Timers`]. Why one task for all: 10,000 idle channels then cost 10,000 entries of a map and one sleep. How it
//! moves: a channel whose next deadline moved earlier says so; the task keeps one deadline a channel and calls
//! [`Cell::fire`] when it has come. It holds the manager weakly and ends with it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use super::cell::Cell;
use super::shared::Shared;
use crate::types::RunningTime;

/// Channels woken before others may run.
const FIRED_PER_TURN: u32 = 32;
/// Orders taken in before what is due gets its turn.
const ORDERS_PER_TURN: usize = 256;

/// The way to the timer task.
#[derive(Debug, Default)]
pub(super) struct Timers(OnceLock<mpsc::UnboundedSender<Order>>);

#[derive(Debug)]
enum Order {
    /// Wake this cell at `deadline` instead of `before`.
    Arm {
        number: u64,
        cell: Weak<Cell>,
        before: Option<RunningTime>,
        deadline: RunningTime,
    },
    /// Do not wake this cell: its channel is closed.
    Disarm {
        number: u64,
        before: RunningTime,
    },
    Stop,
}

impl Timers {
    /// Starts the task, unless it was started before.
    pub(super) fn start(&self, shared: &Arc<Shared>) {
        let (sender, orders) = mpsc::unbounded_channel();
        if self.0.set(sender).is_ok() {
            shared.runtime.spawn(run(orders, Arc::downgrade(shared)));
            for cell in shared.directory.cells() {
                cell.arm(shared);
            }
        }
    }

    pub(super) fn stop(&self) {
        self.send(Order::Stop);
    }

    pub(super) fn are_running(&self) -> bool {
        self.0.get().is_some()
    }

    pub(super) fn arm(&self, cell: &Arc<Cell>, number: u64, before: Option<RunningTime>, deadline: RunningTime) {
        self.send(Order::Arm { number, cell: Arc::downgrade(cell), before, deadline });
    }

    pub(super) fn disarm(&self, number: u64, before: RunningTime) {
        self.send(Order::Disarm { number, before });
    }

    fn send(&self, order: Order) {
        if let Some(sender) = self.0.get() {
            // After the task has ended there is nothing left to wake.
            let _ = sender.send(order);
        }
    }
}

async fn run(mut orders: mpsc::UnboundedReceiver<Order>, shared: Weak<Shared>) {
    let mut due: BTreeMap<(RunningTime, u64), Weak<Cell>> = BTreeMap::new();
    let mut batch = Vec::new();
    loop {
        let wait = match due.first_key_value() {
            None => None,
            Some(((deadline, _), _)) => match shared.upgrade() {
                Some(shared) => Some(shared.clock.until(*deadline)),
                None => return,
            },
        };
        tokio::select! {
            biased;
            taken = orders.recv_many(&mut batch, ORDERS_PER_TURN) => if taken == 0 { return },
            () = pause(wait) => {}
        }
        for order in batch.drain(..) {
            match order {
                Order::Arm { number, cell, before, deadline } => {
                    if let Some(before) = before {
                        due.remove(&(before, number));
                    }
                    due.insert((deadline, number), cell);
                }
                Order::Disarm { number, before } => drop(due.remove(&(before, number))),
                Order::Stop => return,
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        fire(&shared, &mut due);
        drop(shared);
        tokio::task::yield_now().await;
    }
}

/// Wakes channels that are due, a few at a time.
fn fire(shared: &Arc<Shared>, due: &mut BTreeMap<(RunningTime, u64), Weak<Cell>>) {
    let now = shared.clock.running();
    for _ in 0..FIRED_PER_TURN {
        let Some(first) = due.first_entry().filter(|first| first.key().0 <= now) else { return };
        let ((deadline, number), cell) = first.remove_entry();
        if let Some(again) = cell.upgrade().and_then(|cell| cell.fire(shared, deadline)) {
            due.insert((again, number), cell);
        }
    }
}

async fn pause(wait: Option<Duration>) {
    match wait {
        None => std::future::pending().await,
        Some(Duration::ZERO) => {}
        Some(wait) => tokio::time::sleep(wait).await,
    }
}
