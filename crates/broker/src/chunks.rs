//! A run of encoded bytes made of pieces: copied ones, and blocks shared by many receivers.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use dunlin_codec::{Hop, Message, Version, encode_publish_head};

use crate::buffers;

/// Up to this many bytes a block is copied behind what is there; from there on it is chained.
const COPY_BYTES_MAX: usize = 1024;
/// From this size a payload is chained behind its head instead of being copied: at 8 KiB both cost the same, at 32 KiB copying
/// costs 1.6 times as much, and memory for each receiver.
const CHAIN_BYTES_MIN: usize = 16 * 1024;
/// Pieces that there is room for when all were taken: those who have one of these are not idle.
const KEPT_PIECES: usize = 16;

/// One piece.
#[derive(Debug)]
enum Chunk {
    /// Bytes of this receiver alone.
    Own(Vec<u8>),
    /// A block that other receivers hold too.
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Bytes in pieces, first in, first out. Empty, it owns no more than the room for [`KEPT_PIECES`].
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    list: VecDeque<Chunk>,
    /// Bytes of the first piece that were consumed already; less than its length.
    consumed: usize,
    /// All bytes not consumed.
    bytes: usize,
}

impl Chunks {
    /// Bytes not consumed yet.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies `bytes` behind what is there.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.with_tail(bytes.len(), |tail| tail.extend_from_slice(bytes));
    }

    /// Lets `write` append at most `room` bytes or so behind what is there.
    pub(crate) fn with_tail<T>(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // As much room as is taken already, so that many small appends to one receiver do not make as many pieces.
        let held = self.bytes.min(buffers::BUFFER_BYTES / 2);
        self.with_tail_of(room, room.max(held), write)
    }

    /// Lets `write` append at most `room` bytes or so behind what is there, or to a new piece that has room for so many.
    fn with_tail_of<T>(
        &mut self,
        room: usize,
        new_piece: usize,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        let fits = matches!(self.list.back(), Some(Chunk::Own(tail)) if tail.capacity() - tail.len() >= room);
        if !fits {
            self.list.push_back(Chunk::Own(buffers::take(new_piece)));
        }
        let Some(Chunk::Own(tail)) = self.list.back_mut() else {
            unreachable!("the last piece is our own: it was checked or pushed above")
        };
        let before = tail.len();
        let result = write(tail);
        self.bytes += tail.len() - before;
        result
    }

    /// Appends a block: a small one is copied, a large one chained.
    pub(crate) fn push_shared(&mut self, block: &Bytes) {
        if block.len() <= COPY_BYTES_MAX {
            self.extend(block);
        } else {
            self.bytes += block.len();
            self.list.push_back(Chunk::Shared(block.clone()));
        }
    }

    /// Appends a PUBLISH, whose length the caller has worked out. A large payload is the one that the message has.
    pub(crate) fn publish(
        &mut self,
        message: &Message,
        hop: &Hop<'_>,
        version: Version,
        len: usize,
    ) {
        if message.payload.len() < CHAIN_BYTES_MIN {
            self.with_tail(len, |tail| {
                encode_publish_head(message, hop, version, tail);
                tail.extend_from_slice(&message.payload);
            });
        } else {
            // Nothing more goes into the piece of the head: the payload stands behind it.
            let head = len - message.payload.len();
            self.with_tail_of(head, head, |tail| encode_publish_head(message, hop, version, tail));
            self.push_shared(&message.payload);
        }
    }

    /// Moves all of `other` behind what is there.
    pub(crate) fn append(&mut self, other: &mut Self) {
        debug_assert_eq!(other.consumed, 0, "only whole pieces are moved");
        if self.list.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        for chunk in other.list.drain(..) {
            match chunk {
                Chunk::Own(bytes) if bytes.len() <= COPY_BYTES_MAX => {
                    self.extend(&bytes);
                    buffers::give(bytes);
                }
                chunk @ (Chunk::Own(_) | Chunk::Shared(_)) => {
                    self.bytes += chunk.as_slice().len();
                    self.list.push_back(chunk);
                }
            }
        }
        other.bytes = 0;
    }

    /// What there is, if it is in one piece.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        let chunk = self.list.front().filter(|_| self.list.len() == 1)?;
        chunk.as_slice().get(self.consumed..)
    }

    /// Fills `slices` with what comes next; returns how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut skip = self.consumed;
        for (slot, chunk) in slices.iter_mut().zip(&self.list) {
            *slot = IoSlice::new(chunk.as_slice().get(skip..).unwrap_or_default());
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// Forgets the first `count` bytes and gives their buffers back.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.bytes);
        self.bytes -= count;
        self.consumed += count;
        while let Some(front) = self.list.front() {
            let len = front.as_slice().len();
            if self.consumed < len {
                return;
            }
            self.consumed -= len;
            if let Some(Chunk::Own(buffer)) = self.list.pop_front() {
                buffers::give(buffer);
            }
        }
        if self.list.capacity() > KEPT_PIECES {
            self.list = VecDeque::new();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.consume(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use dunlin_codec::{Qos, TopicName, publish_len};

    use super::*;

    fn content(chunks: &Chunks) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = chunks.slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn pieces_come_out_in_order_and_empty_owns_little() {
        let block = Bytes::from(vec![7_u8; 3000]);
        let mut chunks = Chunks::default();
        chunks.extend(b"ab");
        assert_eq!(chunks.only(), Some(&b"ab"[..]));
        chunks.push_shared(&block);
        assert_eq!(chunks.only(), None);
        chunks.push_shared(&Bytes::from_static(b"small"));
        let mut other = Chunks::default();
        other.extend(b"cd");
        chunks.append(&mut other);
        assert_eq!((chunks.len(), other.len()), (2 + 3000 + 5 + 2, 0));
        let mut expected = b"ab".to_vec();
        expected.extend_from_slice(&block);
        expected.extend_from_slice(b"smallcd");
        assert_eq!(content(&chunks), expected);
        chunks.consume(1);
        assert_eq!(content(&chunks), expected[1..]);
        chunks.consume(2000);
        assert_eq!(content(&chunks), expected[2001..]);
        chunks.consume(1002);
        assert_eq!(chunks.only(), Some(&expected[3003..]));
        chunks.clear();
        assert_eq!((chunks.len(), content(&chunks)), (0, Vec::new()));
        assert!(chunks.list.capacity() <= KEPT_PIECES);
        for _ in 0..=KEPT_PIECES {
            chunks.push_shared(&block);
        }
        chunks.clear();
        assert_eq!(chunks.list.capacity(), 0);
    }

    #[test]
    fn a_large_payload_is_shared_and_its_head_takes_little_room() {
        let payload = Bytes::from(vec![7_u8; CHAIN_BYTES_MIN]);
        let message = Message {
            topic: TopicName::copy_from("a/b").expect("a name"),
            payload: payload.clone(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: None,
        };
        let hop = Hop {
            qos: Qos::AtMostOnce,
            packet_id: None,
            dup: false,
            retain: false,
            topic_alias: None,
            subscription_ids: &[],
            message_expiry_interval: None,
        };
        let mut chunks = Chunks::default();
        for _ in 0..20 {
            chunks.publish(
                &message,
                &hop,
                Version::V3_1_1,
                publish_len(&message, &hop, Version::V3_1_1),
            );
        }
        assert_eq!(
            content(&chunks),
            [b"\x30\x85\x80\x01\x00\x03a/b", &payload[..]].concat().repeat(20)
        );
        for piece in &chunks.list {
            match piece {
                Chunk::Own(head) => assert!(head.capacity() <= 256, "{}", head.capacity()),
                Chunk::Shared(block) => assert_eq!(block.as_ptr(), payload.as_ptr()),
            }
        }
    }

    #[test]
    fn a_swap_moves_everything_into_an_empty_one() {
        let mut from = Chunks::default();
        from.extend(b"xyz");
        let mut to = Chunks::default();
        to.append(&mut from);
        assert_eq!((content(&to), from.is_empty()), (b"xyz".to_vec(), true));
    }
}
