//! Who got what: every number of every stream once and in order.

/// What is not to come.
const UNWANTED: u32 = u32::MAX;

/// The deliveries to one subscriber.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    first: u32,
    /// For each stream from `first` on, the number that is to come next.
    next: Vec<u32>,
    pub(crate) received: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicates: u64,
    pub(crate) misrouted: u64,
}

impl Ledger {
    /// One that gets these streams.
    pub(crate) fn new(streams: impl IntoIterator<Item = u32>) -> Self {
        let mut ledger = Self::default();
        for stream in streams {
            if ledger.next.is_empty() {
                ledger.first = stream;
            }
            let index = usize::try_from(stream - ledger.first).unwrap_or(usize::MAX);
            ledger.next.resize(index, UNWANTED);
            ledger.next.push(0);
        }
        ledger
    }

    #[inline]
    pub(crate) fn take(&mut self, stream: u32, number: u32) {
        let index = usize::try_from(stream.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let Some(next) = self.next.get_mut(index).filter(|next| **next != UNWANTED) else {
            self.misrouted += 1;
            return;
        };
        if number < *next {
            self.duplicates += 1;
            return;
        }
        self.gaps += u64::from(number - *next);
        *next = number + 1;
        self.received += 1;
    }

    /// The streams that are to come.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = u32> {
        (self.first..)
            .zip(&self.next)
            .filter(|(_, next)| **next != UNWANTED)
            .map(|(stream, _)| stream)
    }
}

/// The deliveries to a shared group: each number to one member, in any order.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Of each stream, which numbers came.
    seen: Vec<Vec<u64>>,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) misrouted: u64,
}

impl Group {
    pub(crate) fn new(streams: usize) -> Self {
        Self { seen: vec![Vec::new(); streams], ..Self::default() }
    }

    #[inline]
    pub(crate) fn take(&mut self, stream: u32, number: u32) {
        let (word, bit) = (number / 64, 1 << (number % 64));
        let stream = usize::try_from(stream).ok().and_then(|stream| self.seen.get_mut(stream));
        let (Some(seen), Ok(word)) = (stream, usize::try_from(word)) else {
            self.misrouted += 1;
            return;
        };
        if seen.len() <= word {
            seen.resize(word + 1, 0);
        }
        let Some(word) = seen.get_mut(word) else { return };
        if *word & bit == 0 {
            *word |= bit;
            self.received += 1;
        } else {
            self.duplicates += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ledger: &Ledger) -> [u64; 4] {
        [ledger.received, ledger.gaps, ledger.duplicates, ledger.misrouted]
    }

    #[test]
    fn what_is_missing_repeated_or_somebody_elses_is_counted() {
        let mut ledger = Ledger::new([5, 7]);
        assert_eq!(ledger.wanted().collect::<Vec<_>>(), [5, 7]);
        for (stream, number, expected) in [
            (5, 0, [1, 0, 0, 0]),
            (5, 1, [2, 0, 0, 0]),
            (7, 0, [3, 0, 0, 0]),
            (5, 1, [3, 0, 1, 0]),
            (5, 4, [4, 2, 1, 0]),
            (5, 3, [4, 2, 2, 0]),
            (6, 0, [4, 2, 2, 1]),
            (4, 0, [4, 2, 2, 2]),
            (8, 0, [4, 2, 2, 3]),
        ] {
            ledger.take(stream, number);
            assert_eq!(counts(&ledger), expected, "{stream} {number}");
        }
    }

    #[test]
    fn a_group_gets_each_number_once() {
        let mut group = Group::new(2);
        for (stream, number) in [(0, 0), (1, 200), (0, 1), (1, 200), (0, 0), (2, 0)] {
            group.take(stream, number);
        }
        assert_eq!([group.received, group.duplicates, group.misrouted], [3, 2, 1]);
    }
}
