//! Numbers that every turn of every connection adds to, in several copies: a cache line that many cores write to passes
//! from one to the other, and each waits for it.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Copies at the most, however many cores there are.
const STRIPES_MAX: usize = 64;

/// A `T` for each of some threads. It stands for that of the calling thread; what is true of all is their sum.
#[derive(Debug)]
pub(crate) struct Striped<T> {
    /// Never empty; as many as a power of two.
    stripes: Box<[Stripe<T>]>,
}

/// Two cache lines, since some processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe<T>(T);

impl<T: Default> Striped<T> {
    /// One for each core, but no more than `max`.
    pub(crate) fn up_to(max: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = cores.min(max).clamp(1, STRIPES_MAX).next_power_of_two();
        Self { stripes: (0..count).map(|_| Stripe::default()).collect() }
    }

    /// One for each core.
    pub(crate) fn by_core() -> Self {
        Self::up_to(STRIPES_MAX)
    }
}

impl<T> Striped<T> {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.stripes.iter().map(|Stripe(value)| value)
    }

    pub(crate) const fn len(&self) -> usize {
        self.stripes.len()
    }
}

impl<T> Deref for Striped<T> {
    type Target = T;

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the mask is below the number of stripes")]
    fn deref(&self) -> &T {
        &self.stripes[number_of_thread() & (self.stripes.len() - 1)].0
    }
}

/// Threads are numbered as they come here first: the workers of a runtime have numbers in a row, and so different stripes.
#[inline]
fn number_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(new));
            new
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn threads_in_a_row_have_stripes_of_their_own_and_the_sum_has_all() {
        let stripes = (0..4).map(|_| Stripe::default()).collect();
        let striped: Striped<AtomicU64> = Striped { stripes };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| striped.fetch_add(3, Ordering::Relaxed));
            }
        });
        assert_eq!(striped.iter().map(|cell| cell.load(Ordering::Relaxed)).sum::<u64>(), 24);
        let first: &AtomicU64 = &striped;
        assert!(std::ptr::eq(first, &raw const *striped), "a thread stays with its own");
    }

    #[test]
    fn there_is_a_power_of_two_of_them() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for max in [1, 3, 4, 64, 1000] {
            let striped: Striped<AtomicU64> = Striped::up_to(max);
            assert!(striped.len().is_power_of_two());
            assert_eq!(striped.len(), cores.min(max).min(STRIPES_MAX).next_power_of_two());
        }
    }
}
