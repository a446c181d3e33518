//! What a server writes, whatever the socket takes and whatever arrives meanwhile, as its client reads it.
//!
//! The input is a list of steps of two bytes: so many plain bytes more are to be sent, and so many bytes are taken by the
//! socket. Some numbers stand for what else can happen: a ping, a close of our side.

#![no_main]

use dunlin_transport::websocket::{CloseCode, Framer, Outgoing};
use libfuzzer_sys::fuzz_target;

/// A ping with the payload "ping", masked with 0.
const PING: [u8; 10] = *b"\x89\x84\0\0\0\0ping";

fuzz_target!(|input: &[u8]| {
    let mut framer = Framer::default();
    let (mut waiting, mut plain, mut wire) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pings, mut next) = (0_usize, 0_u8);
    for step in input.chunks_exact(2) {
        match step[0] {
            255 => {
                framer.receive(&mut PING.clone());
                pings += 1;
            }
            254 => framer.close(CloseCode::GoingAway),
            more => {
                // Now and then more than a short length can say.
                let more = usize::from(more) * if more % 16 == 15 { 700 } else { 1 };
                waiting.extend((0..more).map(|_| {
                    next = next.wrapping_add(1);
                    next
                }));
            }
        }
        let offered = match framer.outgoing(waiting.len()) {
            Some(Outgoing::Control(frame)) => frame.to_vec(),
            Some(Outgoing::Data { head, plain }) => [head, &waiting[..plain]].concat(),
            None => continue,
        };
        assert!(!offered.is_empty());
        let room = usize::from(step[1]) * if step[1] % 8 == 7 { 300 } else { 1 };
        let taken = &offered[..offered.len().min(room)];
        wire.extend_from_slice(taken);
        let sent = framer.wrote(taken.len());
        plain.extend(waiting.drain(..sent));
    }
    let (mut read, mut pongs, mut closed) = (Vec::new(), 0, false);
    let mut rest = &wire[..];
    while let Some((first, len, payload)) = frame(rest) {
        assert!(!closed, "something behind a close frame");
        let there = &payload[..len.min(payload.len())];
        match first {
            0x82 => read.extend_from_slice(there),
            0x8A => {
                assert!(len == 4 && b"ping".starts_with(there));
                pongs += 1;
            }
            0x88 => {
                assert!(len == 2 && [3, 0xE9].starts_with(there));
                closed = there.len() == 2;
            }
            first => panic!("{first}"),
        }
        rest = &payload[there.len()..];
    }
    assert_eq!(read, plain);
    assert!(pongs <= pings);
});

/// First byte, length and what is behind the head, if all of the head is there.
fn frame(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first()?;
    Some(match short {
        126 => (*first, usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        127 => (*first, u64::from_be_bytes(*rest.first_chunk()?) as usize, &rest[8..]),
        short => (*first, usize::from(*short), rest),
    })
}
