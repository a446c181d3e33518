//! The machine in simulated time: each rule of the protocol, as inputs and the outputs they lead to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that is wrong about its own data has failed"
)]

mod acknowledgements;
mod aliases;
mod authentication;
mod delivery;
mod handshake;
mod harness;
mod publish;
mod resume;
mod runs;
mod sizes;
mod subscriptions;
mod timers;
mod transitions;
mod wills;
