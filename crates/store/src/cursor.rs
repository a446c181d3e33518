//! How far a session has come with its queue.

use std::collections::{BTreeMap, BTreeSet};

/// Which places of a session's queue are acknowledged, and at which of the others a PUBREL is out.
///
/// Mixed QoS 1 and 2 completes out of order, and an overflow or an expiry removes from the middle, so beside the mark
/// there are ranges beyond it. They melt into the mark as the gap before them closes.
///
/// ```
/// let mut cursor = dunlin_store::Cursor::default();
/// cursor.acknowledge(1, 2);
/// cursor.acknowledge(5, 5);
/// assert!(cursor.is_acknowledged(5) && !cursor.is_acknowledged(4));
/// assert_eq!((cursor.acknowledged_through(), cursor.next_seq()), (2, 6));
/// assert!(cursor.covers(1, 2) && !cursor.covers(2, 5));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    /// Every place up to here is acknowledged.
    through: u64,
    /// First place -> last place. Disjoint, not adjacent, and each first > through + 1.
    beyond: BTreeMap<u64, u64>,
    /// Places in which a PUBREC came in, so that PUBREL is what goes out on resume. None is acknowledged.
    released: BTreeSet<u64>,
}

impl Cursor {
    /// Acknowledges the places `first..=last`; nothing where `last < first`.
    pub fn acknowledge(&mut self, first: u64, last: u64) {
        let first = first.max(1);
        if last < first {
            return;
        }
        let (mut first, mut last) = (first, last);
        // A range that begins before ours and reaches it, then all that begin in ours or right behind it.
        if let Some((&start, &end)) = self.beyond.range(..first).next_back()
            && end.saturating_add(1) >= first
        {
            self.beyond.remove(&start);
            (first, last) = (start, last.max(end));
        }
        while let Some((&start, &end)) = self.beyond.range(first..=last.saturating_add(1)).next() {
            self.beyond.remove(&start);
            last = last.max(end);
        }
        if first <= self.through.saturating_add(1) {
            self.through = self.through.max(last);
        } else {
            self.beyond.insert(first, last);
        }
        self.forget_released(first, last);
    }

    /// Notes that PUBREC came in for `seq`. An acknowledged place stays acknowledged.
    pub fn release(&mut self, seq: u64) {
        if !self.is_acknowledged(seq) {
            self.released.insert(seq);
        }
    }

    /// Whether the place `seq` is done with.
    #[must_use]
    pub fn is_acknowledged(&self, seq: u64) -> bool {
        seq <= self.through
            || self.beyond.range(..=seq).next_back().is_some_and(|(_, &last)| seq <= last)
    }

    /// Whether all places `first..=last` are done with.
    #[must_use]
    pub fn covers(&self, first: u64, last: u64) -> bool {
        last <= self.through
            || self.beyond.range(..=first).next_back().is_some_and(|(_, &end)| last <= end)
    }

    /// Whether PUBREC came in for `seq`, and PUBCOMP not yet.
    #[must_use]
    pub fn is_released(&self, seq: u64) -> bool {
        self.released.contains(&seq)
    }

    /// The place up to which everything is acknowledged.
    #[must_use]
    pub const fn acknowledged_through(&self) -> u64 {
        self.through
    }

    /// The acknowledged ranges beyond [`Cursor::acknowledged_through`], as (first, last), rising.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.beyond.iter().map(|(&first, &last)| (first, last))
    }

    /// The places at which a PUBREL is out, rising.
    pub fn released(&self) -> impl Iterator<Item = u64> {
        self.released.iter().copied()
    }

    /// The lowest place that this cursor leaves free for a new message. Messages still queued may hold it: the next
    /// number of a session is the higher of this and one more than its last queued place.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        let acknowledged = self.beyond.last_key_value().map_or(self.through, |(_, &last)| last);
        let released = self.released.last().copied().unwrap_or(0);
        acknowledged.max(released).saturating_add(1)
    }

    fn forget_released(&mut self, first: u64, last: u64) {
        while let Some(&seq) = self.released.range(first..=last).next() {
            self.released.remove(&seq);
        }
    }
}
