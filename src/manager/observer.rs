//! [`Observer`]: who hears what happens while it is carried out.
//!
//! What: one trait. Why besides streams and callbacks: a language binding has a queue of its own, and a stream's buffer, a
//! task and a thread for each manager would be its largest cost. How it moves: a cell calls it where it feeds the streams.

use super::events::{ManagerEvent, Transmission};

/// Hears events and transmissions in each channel's order, after what they speak of was saved, and before the call that
/// led to them is answered. It is called on whatever thread carries the step out, a caller's or the runtime's, under no
/// lock; channels call it at the same time. So it hands on and returns: whoever waits here delays that thread, and must
/// not wait for the manager. A panic in it is logged and goes no further.
///
/// One that holds the manager keeps it alive for ever. It may still be called by a step in flight after the last handle was
/// dropped, or after a shutdown that gave up. It confirms no delivery.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &ManagerEvent);

    /// A message must go out by itself.
    fn transmission(&self, transmission: &Transmission);
}
