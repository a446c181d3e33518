//! The codec seen from outside.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod accepted;
mod refused;
mod round_trip;
mod runs;
mod split;
mod support;
mod tables;
mod template;
mod values;
mod vectors;
