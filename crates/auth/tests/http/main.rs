//! Services on this machine that are slow, broken, huge or malformed, and those that answer as they should.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

mod callout;
mod fetched_keys;
mod log;
mod service;
