//! The `reliable-channel` program.

fn main() {}
