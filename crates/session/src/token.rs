//! Names for the answers that a session waits for.

use std::num::NonZeroU64;

use dunlin_codec::PacketId;

/// Set in the tokens of the outbound direction, whose Packet Identifiers are others than those of the inbound one.
const OUTBOUND: u64 = 1 << 16;

/// Names one answer that was asked for by an output. The answer, an input, carries it back.
///
/// Unique in the life of a session, in one process. It holds a running number, the direction and the Packet Identifier
/// concerned.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(NonZeroU64);

impl Token {
    /// The Packet Identifier that the answer is about.
    pub(crate) fn packet_id(self) -> Option<PacketId> {
        let [low, high, ..] = self.0.get().to_le_bytes();
        PacketId::new(u16::from_le_bytes([low, high]))
    }

    /// Whether the answer is about a message to the client.
    pub(crate) const fn is_outbound(self) -> bool {
        self.0.get() & OUTBOUND != 0
    }
}

/// Makes the tokens of one session.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// Forty-seven bits of running number: a hundred years at 40,000 tokens a second.
    last: u64,
}

impl Tokens {
    /// A token about a packet from the client.
    #[inline]
    pub(crate) fn next(&mut self, packet_id: PacketId) -> Token {
        self.last += 1;
        let number = self.last << 17 | u64::from(packet_id.get());
        Token(NonZeroU64::new(number).expect("a Packet Identifier is not 0"))
    }

    /// A token about a message to the client.
    pub(crate) fn next_outbound(&mut self, packet_id: PacketId) -> Token {
        Token(self.next(packet_id).0 | OUTBOUND)
    }
}
