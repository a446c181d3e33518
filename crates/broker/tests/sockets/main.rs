//! Black-box tests of the broker, through real sockets: one file per feature, one test per behaviour.
//!
//! Each behaviour cites the statements of the standard that it proves, and runs in every version that it applies to. See
//! `support` for the client and the broker that they use.
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail, and a panic says where"
)]

mod aliases;
mod authentication;
mod back_pressure;
mod bans;
mod braking;
mod doors;
mod drops;
mod durability;
mod expiring_proof;
mod expiry;
mod fan_out;
mod flow;
mod full_store;
mod handshake;
mod hooks;
mod in_process;
mod keep_alive;
mod levels;
mod limits;
mod listeners;
mod login_guards;
mod overflow;
mod paging;
mod progress;
mod qos;
mod quic;
mod quotas;
mod regressions;
mod reload;
mod restart;
mod resumption;
mod retained;
mod runs;
mod session;
mod shared;
mod shared_runs;
mod shutdown;
mod sizes;
mod soak;
mod subscribe;
mod subscriptions;
mod support;
mod sys;
mod takeover_and_will;
mod topics;
mod wills;
