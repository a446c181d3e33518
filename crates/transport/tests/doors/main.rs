//! Doors from outside: what clients and proxies send over a socket, and what comes out.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod proxy;
mod support;
mod websocket;
