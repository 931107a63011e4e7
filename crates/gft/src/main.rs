//! The `gft` binary.
fn main() {}
