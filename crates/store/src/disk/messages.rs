//! Which messages are in the table, and how many places still wait for each: two bytes and a bit a message.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::MessageId;

/// Messages that are counted, and removed, together.
pub(super) const BLOCK: u64 = PLACES as u64;
const PLACES: usize = 1024;
const WORDS: usize = PLACES / 64;
/// From this count on it stands beside the block.
const WIDE: u16 = u16::MAX;

/// The counts. A message without a place that waits for it is dead; its row stays until it is worth a commit.
#[derive(Debug, Default)]
pub(super) struct Messages {
    blocks: BTreeMap<u64, Box<Block>>,
    wide: HashMap<u64, u32>,
    /// Blocks with dead messages.
    with_dead: BTreeSet<u64>,
    /// Rows in the table, dead ones included.
    rows: u64,
}

#[derive(Debug)]
struct Block {
    /// Places that wait, by message.
    waiting: [u16; PLACES],
    /// Which messages have a row.
    present: [u64; WORDS],
    rows: u16,
    live: u16,
    /// The dead must not go before all cursors dirtied up to this ticket are written.
    ticket: u64,
}

impl Default for Block {
    fn default() -> Self {
        Self { waiting: [0; PLACES], present: [0; WORDS], rows: 0, live: 0, ticket: 0 }
    }
}

/// Dead messages to be removed, in runs of ids.
pub(super) type Runs = Vec<(u64, u64)>;

fn place(id: u64) -> (u64, usize) {
    (id / BLOCK, usize::try_from(id % BLOCK).unwrap_or(0))
}

impl Block {
    fn has(&self, at: usize) -> bool {
        self.present.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn mark(&mut self, at: usize, present: bool) {
        if let Some(word) = self.present.get_mut(at / 64) {
            let bit = 1 << (at % 64);
            *word = if present { *word | bit } else { *word & !bit };
        }
    }
}

impl Messages {
    /// A row with so many places that wait for it.
    pub(super) fn insert(&mut self, id: MessageId, waiting: u32) {
        let (number, at) = place(id.0);
        let block = self.blocks.entry(number).or_default();
        if !block.has(at) {
            block.mark(at, true);
            block.rows += 1;
            self.rows += 1;
            block.live += u16::from(waiting > 0);
        }
        let narrow = u16::try_from(waiting).unwrap_or(WIDE);
        if narrow == WIDE {
            self.wide.insert(id.0, waiting);
        }
        if let Some(count) = block.waiting.get_mut(at) {
            *count = narrow;
        }
        if waiting == 0 {
            self.with_dead.insert(number);
        }
    }

    /// The row was not written after all.
    pub(super) fn remove(&mut self, id: MessageId) {
        let (number, at) = place(id.0);
        let Some(block) = self.blocks.get_mut(&number).filter(|block| block.has(at)) else {
            return;
        };
        block.mark(at, false);
        block.rows -= 1;
        self.rows -= 1;
        if let Some(count) = block.waiting.get_mut(at) {
            block.live -= u16::from(*count > 0);
            *count = 0;
        }
        self.wide.remove(&id.0);
        if block.rows == 0 {
            self.blocks.remove(&number);
            self.with_dead.remove(&number);
        } else if block.rows == block.live {
            self.with_dead.remove(&number);
        }
    }

    /// One place fewer waits.
    pub(super) fn release(&mut self, id: u64, ticket: u64) {
        let (number, at) = place(id);
        let Some(block) = self.blocks.get_mut(&number) else { return };
        block.ticket = block.ticket.max(ticket);
        let Some(count) = block.waiting.get_mut(at) else { return };
        if *count == WIDE
            && let Some(wide) = self.wide.get_mut(&id)
        {
            *wide -= 1;
            if *wide < u32::from(WIDE) {
                *count = WIDE - 1;
                self.wide.remove(&id);
            }
            return;
        }
        debug_assert!(*count > 0, "message {id} is waited for by nobody");
        *count = count.saturating_sub(1);
        if *count == 0 {
            block.live -= 1;
            self.with_dead.insert(number);
        }
    }

    /// The release is taken back.
    pub(super) fn keep(&mut self, id: u64) {
        let (number, at) = place(id);
        let Some(block) = self.blocks.get_mut(&number) else { return };
        let Some(count) = block.waiting.get_mut(at) else { return };
        if let Some(wide) = self.wide.get_mut(&id) {
            *wide += 1;
            return;
        }
        *count += 1;
        if *count == WIDE {
            self.wide.insert(id, u32::from(WIDE));
        }
        if *count == 1 {
            block.live += 1;
            if block.live == block.rows {
                self.with_dead.remove(&number);
            }
        }
    }

    /// Rows in the table, dead ones included.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn has_dead(&self) -> bool {
        !self.with_dead.is_empty()
    }

    /// The dead of some blocks, at most about `max` rows, whose releases are all written. A block from `open` on is still
    /// being filled, and one in which few are dead is left alone: each page is then written a few times at the most,
    /// however the readers of its messages come and go. With `all` every block will do.
    pub(super) fn dead(&self, max: usize, written_below: u64, open: u64, all: bool) -> Runs {
        let mut runs = Runs::new();
        let mut rows = 0;
        for &number in &self.with_dead {
            let Some(block) = self.blocks.get(&number) else { continue };
            let dead = block.rows - block.live;
            let worth = all || (number < open / BLOCK && dead >= block.live);
            if !worth || block.ticket >= written_below {
                continue;
            }
            rows += usize::from(dead);
            block.dead_runs(number, &mut runs);
            if rows >= max {
                break;
            }
        }
        runs
    }

    /// The rows of these runs are gone.
    pub(super) fn removed(&mut self, runs: &Runs) {
        for id in runs.iter().flat_map(|&(first, last)| first..=last) {
            self.remove(MessageId(id));
        }
    }

    /// Whether the message is in the table and nobody waits for it.
    pub(super) fn is_dead(&self, id: u64) -> bool {
        let (number, at) = place(id);
        self.blocks.get(&number).is_some_and(|block| {
            block.has(at) && block.waiting.get(at).is_some_and(|count| *count == 0)
        })
    }
}

impl Block {
    /// Runs hold dead rows and gaps, never a live row.
    fn dead_runs(&self, number: u64, runs: &mut Runs) {
        let mut run = None;
        for (at, id) in (0..PLACES).zip(number * BLOCK..) {
            let live = self.waiting.get(at).is_some_and(|count| *count > 0);
            if live {
                runs.extend(run.take());
            } else if self.has(at) {
                let (first, _) = run.unwrap_or((id, id));
                run = Some((first, id));
            }
        }
        runs.extend(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> MessageId {
        MessageId(id)
    }

    #[test]
    fn the_dead_come_out_in_runs_without_the_living() {
        let mut messages = Messages::default();
        for number in 1..=10 {
            messages.insert(id(number), 1);
        }
        messages.remove(id(4));
        for number in [2, 3, 5, 9, 10] {
            messages.release(number, 7);
        }
        assert_eq!(messages.dead(100, 8, 0, true), [(2, 5), (9, 10)]);
        assert_eq!(messages.dead(100, 7, 0, true), [], "a cursor is not written");
        assert_eq!(messages.dead(100, 8, 1, false), [], "the block is still filled");
        assert_eq!(messages.dead(100, 8, BLOCK, false), [(2, 5), (9, 10)]);
        messages.removed(&vec![(2, 5), (9, 10)]);
        assert_eq!((messages.rows(), messages.has_dead()), (4, false));
    }

    #[test]
    fn a_release_can_be_taken_back() {
        let mut messages = Messages::default();
        messages.insert(id(1), 2);
        messages.release(1, 0);
        messages.release(1, 0);
        assert!(messages.is_dead(1) && messages.has_dead());
        messages.keep(1);
        messages.keep(1);
        assert!(!messages.is_dead(1) && !messages.has_dead());
    }

    #[test]
    fn a_message_for_very_many_is_counted_too() {
        let mut messages = Messages::default();
        let many = u32::from(u16::MAX) + 2;
        messages.insert(id(5), many);
        for _ in 0..many - 1 {
            messages.release(5, 0);
        }
        assert!(!messages.is_dead(5));
        messages.release(5, 0);
        assert!(messages.is_dead(5));
        for _ in 0..many {
            messages.keep(5);
        }
        for _ in 0..many {
            assert!(!messages.is_dead(5));
            messages.release(5, 0);
        }
        assert!(messages.is_dead(5));
        assert!(messages.wide.is_empty());
    }
}
