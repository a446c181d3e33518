//! From a Topic Name to those who subscribed: all filters against one name.

mod exact;
mod subscribers;
mod trie;
mod walk;

use core::fmt;
use core::hash::{BuildHasher, Hash};

use crate::filter::TopicFilter;
use crate::hash::KeyedState;
use crate::index::exact::ExactFilters;
use crate::index::trie::Trie;
use crate::index::walk::Walk;

/// Who subscribed by which filter, to be asked who gets a message.
///
/// A subscriber is a key of the caller's, best a small number; with each filter it can leave a
/// value, such as the options of the subscription. There is one entry per filter and key.
///
/// A filter without wildcards is found by one probe of a hash table, with the whole name. The
/// others form a trie, of which a lookup sees only the nodes that the name can reach. Neither
/// grows with the number of filters, and no lookup allocates.
///
/// What a hostile filter can do: a name of `n` levels reaches at most 2ⁿ nodes, and no more than
/// there are. So whoever lets strangers subscribe should limit levels and filters per client.
///
/// ```
/// use dunlin_topics::{FilterIndex, TopicFilter};
///
/// let mut index = FilterIndex::new();
/// index.insert(&TopicFilter::try_from("sport/+/player1")?, 7, "at most once");
/// index.insert(&TopicFilter::try_from("sport/tennis/player1")?, 8, "exactly once");
///
/// let mut found = Vec::new();
/// index.matches(b"sport/tennis/player1", |key, value| found.push((*key, *value)));
/// found.sort_unstable();
/// assert_eq!(found, [(7, "at most once"), (8, "exactly once")]);
/// # Ok::<(), dunlin_topics::InvalidTopicFilter>(())
/// ```
pub struct FilterIndex<K, V, S = KeyedState> {
    exact: ExactFilters<K, V>,
    wildcards: Trie<K, V>,
    len: usize,
    wildcard_len: usize,
    state: S,
}

impl<K, V> FilterIndex<K, V> {
    /// An index without entries, which has allocated nothing, hashed as [`KeyedState`] says.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(KeyedState::default())
    }
}

impl<K, V, S> FilterIndex<K, V, S> {
    /// An index without entries, which has allocated nothing and hashes with `state`.
    #[must_use]
    pub fn with_hasher(state: S) -> Self {
        Self {
            exact: ExactFilters::default(),
            wildcards: Trie::default(),
            len: 0,
            wildcard_len: 0,
            state,
        }
    }

    /// How many entries there are, that is pairs of a filter and a key.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of the entries are of filters with wildcards.
    #[must_use]
    pub const fn wildcard_len(&self) -> usize {
        self.wildcard_len
    }
}

impl<K, V, S: BuildHasher> FilterIndex<K, V, S> {
    /// Visits each entry whose filter matches the Topic Name `name`.
    ///
    /// A key is visited once per matching filter, in no order that means anything. Bytes that are
    /// not a valid Topic Name match something or nothing, but do no harm.
    #[inline]
    pub fn matches<'a>(&'a self, name: &[u8], mut visit: impl FnMut(&'a K, &'a V)) {
        if let Some(subscribers) = self.exact.find(name, &self.state) {
            subscribers.visit(&mut visit);
        }
        if !self.wildcards.is_empty() {
            Walk::new(&self.wildcards, name, &self.state).visit(&mut visit);
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> FilterIndex<K, V, S> {
    /// The value that `key` left with `filter`.
    #[must_use]
    pub fn get(&self, filter: &TopicFilter, key: &K) -> Option<&V> {
        if filter.has_wildcards() {
            self.wildcards.get(filter.as_bytes(), key, &self.state)
        } else {
            self.exact.find(filter.as_bytes(), &self.state)?.get(key, &self.state)
        }
    }

    /// Adds an entry, or replaces its value and returns the old one.
    pub fn insert(&mut self, filter: &TopicFilter, key: K, value: V) -> Option<V> {
        let wild = filter.has_wildcards();
        let replaced = if wild {
            self.wildcards.insert(filter.as_bytes(), key, value, &self.state)
        } else {
            self.exact.insert(filter.as_bytes(), key, value, &self.state)
        };
        if replaced.is_none() {
            self.len += 1;
            self.wildcard_len += usize::from(wild);
        }
        replaced
    }

    /// Takes an entry out and returns its value.
    pub fn remove(&mut self, filter: &TopicFilter, key: &K) -> Option<V> {
        let wild = filter.has_wildcards();
        let removed = if wild {
            self.wildcards.remove(filter.as_bytes(), key, &self.state)?
        } else {
            self.exact.remove(filter.as_bytes(), key, &self.state)?
        };
        self.len -= 1;
        self.wildcard_len -= usize::from(wild);
        Some(removed)
    }
}

impl<K, V, S: Default> Default for FilterIndex<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

/// Counts only: an index of a million entries is nothing to print.
impl<K, V, S> fmt::Debug for FilterIndex<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterIndex")
            .field("len", &self.len)
            .field("wildcard_len", &self.wildcard_len)
            .finish_non_exhaustive()
    }
}
