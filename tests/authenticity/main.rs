//! Signed messages: what strangers and impersonators can do (docs/authenticity.md), each attack first shown against a
//! channel that checks nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attacks;
mod copies;
mod covered;
mod harness;
#[cfg(feature = "manager")]
mod node;
mod sizes;
