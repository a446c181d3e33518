//! When a table that shrank gives its room back.

use hashbrown::HashTable;

/// Tables below this many entries keep their room: it is not worth the work.
const KEPT: usize = 64;

/// Moves the entries of a table to a smaller one once three quarters of its room are unused.
///
/// The smaller one has room for twice the entries, so that an insertion does not undo it: over any
/// run of insertions and removals each pays for a constant number of moves.
pub(crate) fn give_back<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if table.is_empty() {
        *table = HashTable::new();
    } else if table.capacity() > KEPT && table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2, hash);
    }
}
