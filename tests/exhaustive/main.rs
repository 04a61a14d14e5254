//! Everything there is of something small: all delivery orders of all small causal graphs, and every point at
//! which a process may die in a scripted conversation.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

mod crashes;
mod orders;
