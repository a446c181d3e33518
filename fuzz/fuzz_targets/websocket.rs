//! A client's frames, cut anywhere, against a reader that has the whole stream at once.
//!
//! The first byte is the length of the pieces, the rest is the stream. What is answered is written after each piece.

#![no_main]

use dunlin_transport::websocket::{End, Framer, Outgoing};
use libfuzzer_sys::fuzz_target;

// It is written from the rules and not from the code.
#[path = "../../crates/transport/src/websocket/tests/oracle.rs"]
mod oracle;

fuzz_target!(|input: &[u8]| {
    let [len, stream @ ..] = input else { return };
    let told = oracle::read(stream);
    for len in [usize::from(*len).max(1), 1, stream.len().max(1)] {
        let mut framer = Framer::default();
        let (mut plain, mut answers, mut ends, mut end) =
            (Vec::new(), Vec::new(), Vec::new(), None);
        let mut at = 0;
        for piece in stream.chunks(len) {
            let mut bytes = piece.to_vec();
            let received = framer.receive(&mut bytes);
            plain.extend_from_slice(&bytes[..received.plain]);
            end = received.end;
            while let Some(Outgoing::Control(frame)) = framer.outgoing(0) {
                answers.extend_from_slice(frame);
                let written = frame.len();
                assert_eq!(framer.wrote(written), 0);
            }
            at += piece.len();
            ends.push(at);
        }
        let code = end.map(|end| match end {
            End::Closed(code) => code,
            End::Violated(violation) => Some(violation.close_code().get()),
        });
        assert_eq!(plain, told.plain);
        assert_eq!(answers, told.answers(&ends));
        assert_eq!(code, told.end.map(|(_, code)| code));
    }
});
