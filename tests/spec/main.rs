//! One test per sentence of docs/protocol.md that says must, never, exactly or in order, named after it. Files begin with the
//! number of the section; a long section has several. The table at the end of docs/protocol.md says which test proves which
//! rule, and `proofs` holds it true.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod dialects;
mod harness;
mod hostile;
mod proofs;
mod restart;
mod section_01_wire;
mod section_02_filters;
mod section_03_clock;
mod section_04_send;
mod section_05_cursors;
mod section_05_dependencies;
mod section_05_joining;
mod section_05_own_name;
mod section_05_receive;
mod section_06_deliveries;
mod section_06_order;
mod section_06_retention;
mod section_07_acknowledgement;
mod section_07_budget;
mod section_07_deadline;
mod section_07_fixed_hashes;
mod section_08_pending;
mod section_08_resend;
mod section_09_laggards;
mod section_09_sync;
mod section_10_batch;
mod section_10_groups;
mod section_10_loss;
mod section_10_overdue;
mod section_10_repair;
mod section_11_counted;
mod section_11_limits;
mod section_12_events;
mod section_13_archive;
mod section_13_catch_up;
mod section_15_members;
mod section_15_stability;
mod section_16_erasing;
