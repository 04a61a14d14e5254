//! One test per sentence of PROTOCOL.md that says must, never, exactly or in order, named after it, a file per section.

mod harness;
mod section_03_clock;
