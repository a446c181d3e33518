//! The way of one Topic Name through the trie.

use core::hash::BuildHasher;

use crate::hash::hash_bytes;
use crate::index::trie::{Edge, Node, NodeId, Trie};
use crate::levels::{self, SEPARATOR};

/// How many levels are hashed only once per walk. Names with more are rare; their later levels are
/// hashed at each node.
const HASHES_KEPT: usize = 16;

/// A depth-first walk over the nodes that the name can reach, literal children before `+`.
///
/// It needs no stack, so that a name of 65,535 levels costs no more memory than one of two: a node
/// knows its parent and on which edge it hangs, hence also whether its sibling is still to come.
pub(super) struct Walk<'a, 'n, K, V, S> {
    trie: &'a Trie<K, V>,
    state: &'a S,
    name: &'n [u8],
    /// The number of levels above `node`.
    depth: usize,
    /// The depth from which on a wildcard may stand for what is below a node.
    wild_from: usize,
    /// Where in `name` the level below `node` begins: behind the end if there is none.
    start: usize,
    node: NodeId,
    /// How many nodes above have a `+` child that was skipped for the literal one.
    skipped: usize,
    /// The hashes of the first levels; 0 for those that were not needed yet.
    hashes: [u64; HASHES_KEPT],
}

impl<'a, 'n, K, V, S: BuildHasher> Walk<'a, 'n, K, V, S> {
    /// Stands at the root of a trie that is not empty.
    pub(super) fn new(trie: &'a Trie<K, V>, name: &'n [u8], state: &'a S) -> Self {
        Self {
            trie,
            state,
            name,
            depth: 0,
            // In the place of a first level with `$` no wildcard may stand.
            // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
            wild_from: usize::from(name.first() == Some(&b'$')),
            start: 0,
            node: NodeId::ROOT,
            skipped: 0,
            hashes: [0; HASHES_KEPT],
        }
    }

    /// Goes all the way, and visits the subscribers of each filter that matches.
    pub(super) fn visit(mut self, visit: &mut impl FnMut(&'a K, &'a V)) {
        loop {
            let node = self.trie.node(self.node);
            if self.may_be_wild() {
                node.below.visit(visit);
            }
            if self.start > self.name.len() {
                node.here.visit(visit);
            } else {
                let level = self.level_below();
                let below = self.start + level.len() + 1;
                let single = self.single_child();
                if let Some(literal) = self.literal_child(node, level) {
                    self.skipped += usize::from(single.is_some());
                    self.descend(literal, below);
                    continue;
                } else if let Some(single) = single {
                    self.descend(single, below);
                    continue;
                }
            }
            if self.skipped == 0 {
                return;
            }
            self.climb_to_skipped();
        }
    }

    fn may_be_wild(&self) -> bool {
        self.depth >= self.wild_from
    }

    fn level_below(&self) -> &'n [u8] {
        let rest = self.name.get(self.start..).unwrap_or_default();
        rest.get(..levels::first_len(rest)).unwrap_or_default()
    }

    fn literal_child(&mut self, node: &Node<K, V>, level: &[u8]) -> Option<NodeId> {
        if node.literals == 0 {
            return None;
        }
        let mut spare = 0;
        let hash = self.hashes.get_mut(self.depth).unwrap_or(&mut spare);
        if *hash == 0 {
            *hash = hash_bytes(self.state, level);
        }
        self.trie.literal(self.node, level, *hash)
    }

    // [MQTT-4.7.1-2]
    fn single_child(&self) -> Option<NodeId> {
        let single = self.trie.node(self.node).single;
        (!single.is_none() && self.may_be_wild()).then_some(single)
    }

    /// Goes down to a child of this node, below which the name goes on at `start`.
    fn descend(&mut self, child: NodeId, start: usize) {
        self.node = child;
        self.depth += 1;
        self.start = start;
    }

    /// Goes up to the nearest node whose `+` child was skipped, and down to that child.
    fn climb_to_skipped(&mut self) {
        while self.node != NodeId::ROOT {
            let node = self.trie.node(self.node);
            let start = self.start;
            self.ascend(node.parent);
            if node.edge != Edge::Single
                && let Some(single) = self.single_child()
            {
                self.skipped -= 1;
                return self.descend(single, start);
            }
        }
    }

    fn ascend(&mut self, parent: NodeId) {
        let above = self.name.get(..self.start - 1).unwrap_or_default();
        self.node = parent;
        self.depth -= 1;
        self.start = above.iter().rposition(|&byte| byte == SEPARATOR).map_or(0, |slash| slash + 1);
    }
}
