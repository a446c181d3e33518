//! The same stream whole and in pieces: the same packets, and the same error.
//!
//! The first byte chooses the version and who receives, the second the length of the pieces, the rest is a stream.

#![no_main]

use bytes::{Bytes, BytesMut};
use dunlin_codec::{DecodeError, DecodeLimits, Decoder, Packet, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [choice, len, stream @ ..] = input else { return };
    let limits = DecodeLimits {
        packet_size_max: if choice & 0b100 == 0 { u32::MAX } else { 64 },
        ..DecodeLimits::default()
    };
    let decoder = match Version::ALL.get(usize::from(choice & 0b11)) {
        Some(version) => Decoder::client(*version, limits),
        None => Decoder::server(limits),
    };
    let whole = decode_all(decoder.clone(), [stream]);
    assert_eq!(whole, decode_all(decoder.clone(), stream.chunks(usize::from(*len).max(1))));
    assert_eq!(whole, decode_all(decoder, stream.chunks(1)));
});

/// All packets of a stream that arrives in these pieces, the version that was told, and how it ended.
fn decode_all<'p>(
    mut decoder: Decoder,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Packet<Bytes>>, Option<Version>, Result<(), DecodeError>) {
    let (mut input, mut packets, mut end) = (BytesMut::new(), Vec::new(), Ok(()));
    for piece in pieces {
        input.extend_from_slice(piece);
        end = loop {
            match decoder.next_packet(&mut input) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
    }
    (packets, decoder.version(), end)
}
