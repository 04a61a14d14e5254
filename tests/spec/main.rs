//! One test per sentence of PROTOCOL.md that says must, never, exactly or in order, named after it, a file per section.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;
mod hostile;
mod restart;
mod section_03_clock;
mod section_10_loss;
mod section_10_repair;
mod section_11_limits;
mod section_12_events;
