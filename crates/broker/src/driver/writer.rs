//! What waits to be written to one Network Connection.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dunlin_codec::{
    AckKind, Packet, PacketId, ReasonCode, Version, encode_ack, publish_len, renumber_run,
};
use dunlin_session::{Acknowledgement, Outgoing, Run};
use dunlin_transport::Stream;

use crate::chunks::Chunks;
use crate::lane::Tally;
use crate::metrics::{Counters, add};

/// Pieces given to the kernel in one call.
const SLICES_MAX: usize = 64;

/// Lent to writers and given back that one thread keeps. Few writers have anything between two turns.
const KEPT_MAX: usize = 16;

thread_local! {
    #[expect(clippy::vec_box, reason = "they are lent and given back in their boxes")]
    static KEPT: RefCell<Vec<Box<Work>>> = const { RefCell::new(Vec::new()) };
}

/// Encoded packets that the socket has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Lent by the worker thread from the first byte of a turn to [`Writer::report`]: most connections are idle.
    work: Option<Box<Work>>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What a writer needs as long as something waits, and until it is counted.
#[derive(Debug, Default)]
struct Work {
    chunks: Chunks,
    /// When the socket last took something, or bytes began to wait for it.
    waiting_since: Option<Instant>,
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
    pub(super) fn len(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.chunks.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.work.as_ref().is_none_or(|work| work.chunks.is_empty())
    }

    /// Since when bytes wait of which the peer took none.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.work.as_ref()?.waiting_since
    }

    #[inline]
    fn work(&mut self) -> &mut Work {
        self.work
            .get_or_insert_with(|| KEPT.with(|kept| kept.borrow_mut().pop()).unwrap_or_default())
    }

    /// Moves encoded PUBLISHes behind what is there.
    pub(super) fn append(&mut self, lane: &mut Chunks, tally: Tally) {
        if !lane.is_empty() {
            self.work().chunks.append(lane);
        }
        if tally.publishes > 0 {
            self.sent(tally);
        }
    }

    pub(super) fn packet(&mut self, packet: &Packet<Bytes>, version: Version) {
        let Ok(len) = packet.encoded_len(version) else { return };
        self.work().chunks.with_tail(len, |tail| {
            // What has a length can be encoded.
            let _ = packet.encode(version, tail);
        });
        self.sent_one();
    }

    pub(super) fn acknowledgement(&mut self, ack: Acknowledgement, version: Version) {
        // Four bytes, or five with a reason code.
        self.work()
            .chunks
            .with_tail(5, |tail| encode_ack(ack.kind, ack.packet_id, ack.reason, version, tail));
        self.sent_one();
    }

    /// Writes a run with the Packet Identifiers that it has here.
    pub(super) fn run(&mut self, run: &Run) {
        let bytes = run.bytes();
        self.work().chunks.with_tail(bytes.len(), |tail| {
            let before = tail.len();
            tail.extend_from_slice(bytes);
            renumber_run(tail.get_mut(before..).unwrap_or_default(), run.packet_ids());
        });
        self.sent(Tally { publishes: run.len() as u64, payload: run.payload_len() as u64 });
    }

    /// Writes one acknowledgement after the other, each without a reason.
    pub(super) fn short_acks(
        &mut self,
        kind: AckKind,
        ids: impl Iterator<Item = PacketId> + Clone,
        version: Version,
    ) {
        let count = ids.clone().count();
        self.work().chunks.with_tail(4 * count, |tail| {
            for packet_id in ids {
                encode_ack(kind, packet_id, ReasonCode::Success, version, tail);
            }
        });
        self.packets += count as u64;
        self.work().unreported.packets += small(count as u64);
    }

    pub(super) fn ping_response(&mut self) {
        self.work().chunks.extend(&[0xD0, 0]);
        self.sent_one();
    }

    pub(super) fn publish(&mut self, outgoing: &Outgoing, version: Version) {
        let hop = outgoing.hop();
        let message = &*outgoing.message;
        let len = publish_len(message, &hop, version);
        self.work().chunks.publish(message, &hop, version, len);
        self.sent(Tally { publishes: 1, payload: message.payload.len() as u64 });
    }

    /// Writes as much as the socket takes. Ready when nothing is left.
    pub(super) fn poll_flush(
        &mut self,
        socket: &mut Stream,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(work) = self.work.as_mut().filter(|work| !work.chunks.is_empty()) {
            work.waiting_since.get_or_insert(now);
            let written = if let Some(only) = work.chunks.only() {
                socket.try_write_vectored(&[IoSlice::new(only)])
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let filled = work.chunks.slices(&mut slices);
                socket.try_write_vectored(slices.get(..filled).unwrap_or_default())
            };
            match written {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    work.chunks.consume(count);
                    work.unreported.bytes =
                        work.unreported.bytes.saturating_add(small(count as u64));
                    work.waiting_since = None;
                    self.bytes += count as u64;
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
        if flushed.is_pending() {
            self.work().waiting_since.get_or_insert(now);
        } else if let Some(work) = &mut self.work {
            work.waiting_since = None;
        }
        flushed
    }

    /// Adds what was written since this was called last, at the end of each turn.
    pub(super) fn report(&mut self, counters: &Counters) {
        let Some(work) = &mut self.work else { return };
        let Unreported { packets, bytes, publishes, payload } =
            std::mem::take(&mut work.unreported);
        if work.chunks.is_empty() && work.waiting_since.is_none() {
            give_back(self.work.take());
        }
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
        let unreported = &mut self.work().unreported;
        unreported.packets += small(tally.publishes);
        unreported.publishes += small(tally.publishes);
        unreported.payload = unreported.payload.saturating_add(small(tally.payload));
    }

    /// Counts a packet of another kind.
    fn sent_one(&mut self) {
        self.packets += 1;
        self.work().unreported.packets += 1;
    }

    pub(super) fn clear(&mut self) {
        if let Some(work) = &mut self.work {
            work.chunks.clear();
            work.waiting_since = None;
        }
    }
}

fn give_back(work: Option<Box<Work>>) {
    KEPT.with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.extend(work);
        }
    });
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
