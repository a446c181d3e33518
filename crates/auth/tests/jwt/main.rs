//! Tokens of another library against keys of every kind, forged ones, and the step of a chain that takes them.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

mod claims;
mod fixtures;
mod keys;
#[path = "../http/log.rs"]
mod log;
mod signatures;
mod step;
