//! The way of one Topic Name through the trie.

use core::hash::BuildHasher;

use crate::index::trie::{Edge, NodeId, Trie};
use crate::intern::LevelId;
use crate::levels::SEPARATOR;

/// How many levels are looked up only once per walk. Names with more are rare; their later levels
/// are looked up at each node.
const REMEMBERED: usize = 16;

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
    /// Where in `name` the level below `node` begins: behind the end if there is none.
    start: usize,
    node: NodeId,
    remembered: [Remembered; REMEMBERED],
}

#[derive(Clone, Copy)]
enum Remembered {
    Nothing,
    /// No filter has such a level.
    Unknown,
    Level(LevelId),
}

impl<'a, 'n, K, V, S: BuildHasher> Walk<'a, 'n, K, V, S> {
    /// Stands at the root of a trie that is not empty.
    pub(super) fn new(trie: &'a Trie<K, V>, name: &'n [u8], state: &'a S) -> Self {
        Self {
            trie,
            state,
            name,
            depth: 0,
            start: 0,
            node: NodeId::ROOT,
            remembered: [Remembered::Nothing; REMEMBERED],
        }
    }

    /// Goes all the way, and visits the subscribers of each filter that matches.
    pub(super) fn visit(mut self, visit: &mut impl FnMut(&'a K, &'a V)) {
        loop {
            let node = self.trie.node(self.node);
            if self.may_be_wild() {
                node.below.visit(visit);
            }
            let next = if self.start > self.name.len() {
                node.here.visit(visit);
                None
            } else {
                self.literal_child().or_else(|| self.single_child(self.node))
            };
            match next {
                Some(child) => self.descend(child),
                None if self.climb_to_sibling() => {}
                None => return,
            }
        }
    }

    /// Whether a wildcard may stand at this level: not in the place of a first level with `$`.
    // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
    fn may_be_wild(&self) -> bool {
        self.depth > 0 || self.name.first() != Some(&b'$')
    }

    fn literal_child(&mut self) -> Option<NodeId> {
        if self.trie.node(self.node).literals == 0 {
            return None;
        }
        let level = self.level_id()?;
        self.trie.literal(self.node, level, self.state)
    }

    // [MQTT-4.7.1-2]
    fn single_child(&self, parent: NodeId) -> Option<NodeId> {
        Some(self.trie.node(parent).single).filter(|child| !child.is_none() && self.may_be_wild())
    }

    fn level_id(&mut self) -> Option<LevelId> {
        match self.remembered.get(self.depth) {
            Some(Remembered::Level(level)) => return Some(*level),
            Some(Remembered::Unknown) => return None,
            Some(Remembered::Nothing) | None => {}
        }
        let text = self.name.get(self.start..self.level_end())?;
        let level = self.trie.level(text, self.state);
        if let Some(place) = self.remembered.get_mut(self.depth) {
            *place = level.map_or(Remembered::Unknown, Remembered::Level);
        }
        level
    }

    fn level_end(&self) -> usize {
        let rest = self.name.get(self.start..).unwrap_or_default();
        let len = rest.iter().position(|&byte| byte == SEPARATOR).unwrap_or(rest.len());
        self.start + len
    }

    fn descend(&mut self, child: NodeId) {
        self.start = self.level_end() + 1;
        self.depth += 1;
        self.node = child;
    }

    /// Goes up to the next node whose `+` child has not been visited, and down to that child.
    /// Says whether there was one.
    fn climb_to_sibling(&mut self) -> bool {
        while self.node != NodeId::ROOT {
            let node = self.trie.node(self.node);
            self.ascend(node.parent);
            if node.edge != Edge::SINGLE_LEVEL
                && let Some(sibling) = self.single_child(self.node)
            {
                self.descend(sibling);
                return true;
            }
        }
        false
    }

    fn ascend(&mut self, parent: NodeId) {
        let above = self.name.get(..self.start - 1).unwrap_or_default();
        self.start = above.iter().rposition(|&byte| byte == SEPARATOR).map_or(0, |slash| slash + 1);
        self.depth -= 1;
        self.node = parent;
    }
}
