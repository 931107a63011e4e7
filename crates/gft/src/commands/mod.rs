//! One file per command: its arguments and what it does with them.

pub mod bench;
pub mod chat;
pub mod data;
pub mod demo;
pub mod diagnose;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod group;
pub mod init;
pub mod init_model;
pub mod logprobs;
pub mod merge;
pub mod objective;
pub mod plan;
pub mod report;
pub mod study;
pub mod train;
pub mod verify;
