//! Ragstone.
fn main() {}
