//! The filters with wildcards: a tree with a level of the filter on each edge.
//!
//! Nodes lie in one array, and know their parent and the level that leads to them; the edges lie in
//! one hash table, keyed by these two. So a node costs the same whether it has two children or a
//! million, and a step down is one probe. `+` is not in the table: each node names that child
//! itself.
//!
//! Levels are not interned. A table of levels is one more place to look at for each step, and with
//! a million different levels it took half the time of a lookup to wait for it.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::filter::{MULTI_LEVEL, SINGLE_LEVEL};
use crate::hash::hash_bytes;
use crate::index::subscribers::Subscribers;
use crate::levels::SEPARATOR;
use crate::room::give_back;

/// Below this many nodes the array is not compacted.
const NODES_KEPT: usize = 64;

/// The place of a node in the array.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// The node that every filter begins at. It is there as soon as there is a filter.
    pub(super) const ROOT: Self = Self(0);
    /// Stands for no node.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// What leads from its parent to a node.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Edge {
    /// A level as it stands. Few are longer than what fits in the node, where no further place in
    /// memory must be looked at to compare them.
    Literal(SmallVec<[u8; 16]>),
    /// `+`: any one level.
    Single,
    /// Nothing: this is the root.
    Root,
    /// Nothing: this node is free.
    Free,
}

#[derive(Debug)]
pub(super) struct Node<K, V> {
    /// The parent; of a free node the next free one.
    pub(super) parent: NodeId,
    /// The child for any one level.
    pub(super) single: NodeId,
    /// How many children are in the table of edges.
    pub(super) literals: u32,
    pub(super) edge: Edge,
    /// Those whose filter ends here.
    pub(super) here: Subscribers<K, V>,
    /// Those whose filter goes on with `#`.
    pub(super) below: Subscribers<K, V>,
}

impl<K, V> Node<K, V> {
    fn new(parent: NodeId, edge: Edge) -> Self {
        Self {
            parent,
            single: NodeId::NONE,
            literals: 0,
            edge,
            here: Subscribers::None,
            below: Subscribers::None,
        }
    }

    /// Whether the node hangs on `parent` by the literal `level`.
    #[inline]
    fn is_literal(&self, parent: NodeId, level: &[u8]) -> bool {
        self.parent == parent
            && matches!(&self.edge, Edge::Literal(text) if text.as_slice() == level)
    }

    fn is_unused(&self) -> bool {
        self.here.is_empty() && self.below.is_empty() && self.literals == 0 && self.single.is_none()
    }

    fn subscribers_mut(&mut self, end: End) -> &mut Subscribers<K, V> {
        match end {
            End::Here => &mut self.here,
            End::Below => &mut self.below,
        }
    }
}

/// Where at its last node a filter ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Here,
    Below,
}

/// Cuts a filter into the levels that lead to its node, and what it ends with there.
fn cut(filter: &[u8]) -> (Option<&[u8]>, End) {
    match filter {
        [MULTI_LEVEL] => (None, End::Below),
        [path @ .., SEPARATOR, MULTI_LEVEL] => (Some(path), End::Below),
        path => (Some(path), End::Here),
    }
}

fn levels(path: Option<&[u8]>) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.into_iter().flat_map(|path| path.split(|&byte| byte == SEPARATOR))
}

/// Filters with wildcards, and who subscribed by them.
#[derive(Debug)]
pub(super) struct Trie<K, V> {
    nodes: Vec<Node<K, V>>,
    /// The first of the chain of free nodes.
    free: NodeId,
    free_len: usize,
    /// The children by literal level, found by parent and level, which they know themselves.
    edges: HashTable<NodeId>,
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: NodeId::NONE, free_len: 0, edges: HashTable::new() }
    }
}

impl<K, V> Trie<K, V> {
    pub(super) const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    #[inline]
    pub(super) fn node(&self, id: NodeId) -> &Node<K, V> {
        self.nodes.get(id.0 as usize).expect("ids of nodes are only kept while the node lives")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<K, V> {
        self.nodes.get_mut(id.0 as usize).expect("ids of nodes are only kept while the node lives")
    }

    /// The child of `parent` for exactly `level`, whose hash is `level_hash`.
    #[inline]
    pub(super) fn literal(&self, parent: NodeId, level: &[u8], level_hash: u64) -> Option<NodeId> {
        let hash = edge_hash(parent, level_hash);
        self.edges.find(hash, |&id| self.node(id).is_literal(parent, level)).copied()
    }
}

impl<K: Eq + Hash, V> Trie<K, V> {
    pub(super) fn get(&self, filter: &[u8], key: &K, state: &impl BuildHasher) -> Option<&V> {
        let (path, end) = cut(filter);
        let node = self.node(self.find(path, state)?);
        match end {
            End::Here => node.here.get(key, state),
            End::Below => node.below.get(key, state),
        }
    }

    pub(super) fn insert(
        &mut self,
        filter: &[u8],
        key: K,
        value: V,
        state: &impl BuildHasher,
    ) -> Option<V> {
        let (path, end) = cut(filter);
        if self.is_empty() {
            self.nodes.push(Node::new(NodeId::NONE, Edge::Root));
        }
        let mut id = NodeId::ROOT;
        for level in levels(path) {
            id = match self.child(id, level, state) {
                Some(child) => child,
                None => self.add_child(id, level, state),
            };
        }
        self.node_mut(id).subscribers_mut(end).insert(key, value, state)
    }

    pub(super) fn remove(&mut self, filter: &[u8], key: &K, state: &impl BuildHasher) -> Option<V> {
        let (path, end) = cut(filter);
        let id = self.find(path, state)?;
        let removed = self.node_mut(id).subscribers_mut(end).remove(key, state)?;
        self.prune(id, path, state);
        Some(removed)
    }

    fn find(&self, path: Option<&[u8]>, state: &impl BuildHasher) -> Option<NodeId> {
        if self.is_empty() {
            return None;
        }
        levels(path).try_fold(NodeId::ROOT, |id, level| self.child(id, level, state))
    }

    fn child(&self, parent: NodeId, level: &[u8], state: &impl BuildHasher) -> Option<NodeId> {
        if level == [SINGLE_LEVEL] {
            Some(self.node(parent).single).filter(|child| !child.is_none())
        } else {
            self.literal(parent, level, hash_bytes(state, level))
        }
    }

    fn add_child(&mut self, parent: NodeId, level: &[u8], state: &impl BuildHasher) -> NodeId {
        if level == [SINGLE_LEVEL] {
            let child = self.add_node(Node::new(parent, Edge::Single));
            self.node_mut(parent).single = child;
            return child;
        }
        let child = self.add_node(Node::new(parent, Edge::Literal(SmallVec::from_slice(level))));
        self.node_mut(parent).literals += 1;
        let hash = edge_hash(parent, hash_bytes(state, level));
        let nodes = &self.nodes;
        self.edges.insert_unique(hash, child, |&id| node_edge_hash(nodes, id, state));
        child
    }

    fn add_node(&mut self, node: Node<K, V>) -> NodeId {
        if self.free.is_none() {
            let id = u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes fit in memory");
            self.nodes.push(node);
            return NodeId(id);
        }
        let id = self.free;
        let place = self.node_mut(id);
        let next = place.parent;
        *place = node;
        self.free = next;
        self.free_len -= 1;
        id
    }

    /// Frees the node at the end of `path` if nothing is left there, and so on towards the root.
    fn prune(&mut self, id: NodeId, path: Option<&[u8]>, state: &impl BuildHasher) {
        let mut id = id;
        for level in levels(path).rev() {
            if !self.node(id).is_unused() {
                break;
            }
            let parent = self.node(id).parent;
            self.remove_child(parent, id, level, state);
            id = parent;
        }
        if id == NodeId::ROOT && self.node(id).is_unused() {
            *self = Self::default();
        } else if self.nodes.len() > NODES_KEPT && self.free_len > self.nodes.len() / 4 * 3 {
            self.compact(state);
        }
    }

    fn remove_child(&mut self, parent: NodeId, id: NodeId, level: &[u8], state: &impl BuildHasher) {
        if level == [SINGLE_LEVEL] {
            self.node_mut(parent).single = NodeId::NONE;
        } else {
            let hash = edge_hash(parent, hash_bytes(state, level));
            if let Ok(edge) = self.edges.find_entry(hash, |&child| child == id) {
                edge.remove();
            }
            self.node_mut(parent).literals -= 1;
            let nodes = &self.nodes;
            give_back(&mut self.edges, |&id| node_edge_hash(nodes, id, state));
        }
        let free = self.free;
        *self.node_mut(id) = Node::new(free, Edge::Free);
        self.free = id;
        self.free_len += 1;
    }

    /// Moves the nodes that live to an array without gaps. They keep their order, so that the root
    /// stays first.
    fn compact(&mut self, state: &impl BuildHasher) {
        let mut places = vec![NodeId::NONE; self.nodes.len()];
        let live = self.nodes.iter().zip(&mut places).filter(|(node, _)| node.edge != Edge::Free);
        for (number, (_, place)) in (0..).zip(live) {
            *place = NodeId(number);
        }
        let moved = |id: NodeId| places.get(id.0 as usize).copied().unwrap_or(NodeId::NONE);

        self.nodes.retain(|node| node.edge != Edge::Free);
        self.nodes.shrink_to_fit();
        for node in &mut self.nodes {
            node.parent = moved(node.parent);
            node.single = moved(node.single);
        }
        let nodes = &self.nodes;
        let mut edges = HashTable::with_capacity(self.edges.len());
        for &id in &self.edges {
            let rehash = |&id: &NodeId| node_edge_hash(nodes, id, state);
            edges.insert_unique(rehash(&moved(id)), moved(id), rehash);
        }
        self.edges = edges;
        self.free = NodeId::NONE;
        self.free_len = 0;
    }
}

/// The hash of an edge. That of its level was made with secret keys, so that no more is needed
/// than to bring the children of different parents apart: by the golden ratio, which spreads
/// numbers that follow each other evenly.
#[inline]
fn edge_hash(parent: NodeId, level_hash: u64) -> u64 {
    level_hash ^ u64::from(parent.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The hash of the edge that leads to a node.
fn node_edge_hash<K, V>(nodes: &[Node<K, V>], id: NodeId, state: &impl BuildHasher) -> u64 {
    match nodes.get(id.0 as usize) {
        Some(Node { parent, edge: Edge::Literal(level), .. }) => {
            edge_hash(*parent, hash_bytes(state, level))
        }
        _ => unreachable!("the table has the nodes on literal edges, as long as they live"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeyedState;

    /// How many nodes live, how many are free, and how many edges are in the table.
    fn census(trie: &Trie<u32, u32>) -> (usize, usize, usize) {
        let live = trie.nodes.len() - trie.free_len;
        (live, trie.free_len, trie.edges.len())
    }

    #[test]
    fn removing_frees_nodes_and_edges() {
        let state = KeyedState::default();
        let mut trie = Trie::default();
        trie.insert(b"a/+/b", 1, 0, &state);
        trie.insert(b"a/#", 1, 0, &state);
        // The root, `a`, `a/+`, `a/+/b`; edges to `a` and `b`.
        assert_eq!(census(&trie), (4, 0, 2));

        assert_eq!(trie.remove(b"a/+/b", &2, &state), None);
        assert_eq!(trie.remove(b"a/+/b", &1, &state), Some(0));
        assert_eq!(census(&trie), (2, 2, 1));

        trie.insert(b"+/c", 1, 0, &state);
        assert_eq!(census(&trie), (4, 0, 2));

        trie.remove(b"a/#", &1, &state);
        trie.remove(b"+/c", &1, &state);
        assert!(trie.is_empty());
        assert_eq!(census(&trie), (0, 0, 0));
    }

    #[test]
    fn the_few_that_stay_of_many_are_moved_together() {
        let state = KeyedState::default();
        let mut trie = Trie::default();
        let filters: Vec<_> = (0..1000).map(|number| alloc::format!("{number}/+/x/#")).collect();
        for filter in &filters {
            trie.insert(filter.as_bytes(), 1, 0, &state);
        }
        for (number, filter) in filters.iter().enumerate() {
            if number % 100 != 50 {
                assert_eq!(trie.remove(filter.as_bytes(), &1, &state), Some(0), "{filter}");
            }
        }
        assert!(trie.nodes.capacity() < 300, "{} places for nodes", trie.nodes.capacity());
        for (number, filter) in filters.iter().enumerate() {
            let kept = (number % 100 == 50).then_some(&0);
            assert_eq!(trie.get(filter.as_bytes(), &1, &state), kept, "{filter}");
        }
    }
}
