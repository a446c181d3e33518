//! What waits to be written to one Network Connection.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{Packet, Version, encode_ack, encode_publish_head, publish_len};
use dunlin_session::{Acknowledgement, Outgoing};
use dunlin_transport::Stream;

use crate::chunks::Chunks;
use crate::lane::Tally;
use crate::metrics::{Counters, add};

/// Pieces given to the kernel in one call.
const SLICES_MAX: usize = 64;
/// From this size a payload is chained behind its head instead of being copied.
const CHAIN_BYTES_MIN: usize = 4 * 1024;

/// Encoded packets that the socket has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Writer {
    chunks: Chunks,
    /// When the socket last took something, or bytes began to wait for it.
    waiting_since: Option<Instant>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    unreported: Unreported,
}

/// What the broker's counters do not have yet: that of one turn, which is far below 4 GiB.
#[derive(Debug, Default)]
struct Unreported {
    packets: u32,
    bytes: u32,
    publishes: u32,
    payload: u32,
}

impl Writer {
    pub(super) const fn len(&self) -> usize {
        self.chunks.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Since when bytes wait of which the peer took none.
    pub(super) const fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Moves encoded PUBLISHes behind what is there.
    pub(super) fn append(&mut self, lane: &mut Chunks, tally: Tally) {
        self.chunks.append(lane);
        self.sent(tally);
    }

    pub(super) fn packet(&mut self, packet: &Packet<Bytes>, version: Version) {
        let Ok(len) = packet.encoded_len(version) else { return };
        self.chunks.with_tail(len, |tail| {
            // What has a length can be encoded.
            let _ = packet.encode(version, tail);
        });
        self.sent_one();
    }

    pub(super) fn acknowledgement(&mut self, ack: Acknowledgement, version: Version) {
        // Four bytes, or five with a reason code.
        self.chunks
            .with_tail(5, |tail| encode_ack(ack.kind, ack.packet_id, ack.reason, version, tail));
        self.sent_one();
    }

    pub(super) fn ping_response(&mut self) {
        self.chunks.extend(&[0xD0, 0]);
        self.sent_one();
    }

    pub(super) fn publish(&mut self, outgoing: &Outgoing, version: Version) {
        let hop = outgoing.hop();
        let message = &*outgoing.message;
        let len = publish_len(message, &hop, version);
        if message.payload.len() < CHAIN_BYTES_MIN {
            self.chunks.with_tail(len, |tail| {
                encode_publish_head(message, &hop, version, tail);
                tail.extend_from_slice(&message.payload);
            });
        } else {
            let head = len - message.payload.len();
            self.chunks.with_tail(head, |tail| encode_publish_head(message, &hop, version, tail));
            self.chunks.push_shared(&message.payload);
        }
        self.sent(Tally { publishes: 1, payload: message.payload.len() as u64 });
    }

    /// Writes as much as the socket takes. Ready when nothing is left.
    pub(super) fn poll_flush(
        &mut self,
        socket: &mut Stream,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.chunks.is_empty() {
            self.waiting_since.get_or_insert(now);
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.chunks.slices(&mut slices);
            let written = socket.try_write_vectored(slices.get(..filled).unwrap_or_default());
            match written {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.chunks.consume(count);
                    self.bytes += count as u64;
                    self.unreported.bytes =
                        self.unreported.bytes.saturating_add(small(count as u64));
                    self.waiting_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Registers for the moment when there is room again.
                    match socket.poll_write_ready(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let flushed = socket.poll_flush(cx);
        // What a layer below has taken and cannot get rid of waits like everything else.
        self.waiting_since =
            if flushed.is_pending() { self.waiting_since.or(Some(now)) } else { None };
        flushed
    }

    /// Adds what was written since this was called last.
    pub(super) fn report(&mut self, counters: &Counters) {
        let Unreported { packets, bytes, publishes, payload } =
            std::mem::take(&mut self.unreported);
        if packets == 0 && bytes == 0 {
            return;
        }
        add(&counters.packets_sent, packets.into());
        add(&counters.bytes_sent, bytes.into());
        add(&counters.publish_sent, publishes.into());
        add(&counters.publish_bytes_sent, payload.into());
    }

    /// Counts PUBLISHes.
    fn sent(&mut self, tally: Tally) {
        self.packets += tally.publishes;
        self.unreported.packets += small(tally.publishes);
        self.unreported.publishes += small(tally.publishes);
        self.unreported.payload = self.unreported.payload.saturating_add(small(tally.payload));
    }

    /// Counts a packet of another kind.
    fn sent_one(&mut self) {
        self.packets += 1;
        self.unreported.packets += 1;
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.waiting_since = None;
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
