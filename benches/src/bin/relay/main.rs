//! What this machine can carry when a broker does nothing: CONNECT, SUBSCRIBE and PINGREQ get the shortest answers, and
//! each read of PUBLISH packets goes as it came, by one write for each, to those who subscribed to exactly the topic of the
//! publisher's first message. Acknowledgements go back to the client whose messages came last, so that QoS 1 and 2 work
//! between pairs. Nothing is dropped: a publisher is not read while a subscriber has not taken what came before. One
//! thread. Linux only.
//!
//! ```text
//! relay [--port PORT]     on 127.0.0.1; port 0 takes a free one, which the line `listening on ...` tells
//! ```

#![expect(clippy::print_stdout, reason = "where it listens")]

mod answers;
mod connection;
mod relay;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use lexopt::{Arg, Parser, ValueExt};

use crate::relay::Relay;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut port = 0;
    let mut arguments = Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("port") => port = arguments.value()?.parse()?,
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => {
                return Err(argument.unexpected().into());
            }
        }
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut relay = Relay::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    println!("listening on {}", relay.address()?);
    loop {
        relay.turn()?;
    }
}
