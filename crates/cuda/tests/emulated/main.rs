//! The device on a card that is not there, held against the CPU: each operation, whole policies, failures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the lints except #[test] functions only

mod activations;
mod attention;
mod bf16_policies;
mod compare;
mod failures;
mod faults;
#[path = "../../../model/tests/golden/mod.rs"]
mod golden;
mod machine;
mod memory;
#[path = "../../../model/tests/models/mod.rs"]
mod models;
mod operations;
mod policies;
mod products;
mod sampling;
mod steps;
mod weights;
