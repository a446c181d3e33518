//! Filters of rules as a tree of levels, packed: which rules match a name, and what they cover together.

use std::collections::BTreeMap;

use dunlin_topics::TopicFilter;
use smallvec::SmallVec;

use crate::containment::{EMPTY_NAME, Level, levels};
use crate::rule::{Effect, RuleId};

/// A filter in the table, and the rule that it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) rule: RuleId,
    pub(crate) effect: Effect,
    /// Where in the table's text the filter is.
    start: u32,
    len: u16,
}

/// Filters, each with its rule. Built once; looking up allocates nothing and visits a node once at the most.
///
/// A node is a path of levels from the root. Its children are sorted, so that a level costs a binary search over few short
/// texts; a hash table per set of rights would cost more memory than most sets have rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterTable {
    nodes: Box<[Node]>,
    /// Of each node together, sorted by length and bytes.
    edges: Box<[Edge]>,
    /// Of each node together.
    entries: Box<[Entry]>,
    /// All filters, one after the other.
    text: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    edges: Span,
    /// The child behind `+`; the root is nobody's child, so 0 is none.
    single: u32,
    /// The filters that end here.
    ends: Span,
    /// The filters that end with a `#` behind this node, so that they match here and anywhere below.
    multi: Span,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    /// Where in the text the level is.
    start: u32,
    len: u16,
    node: u32,
}

const ROOT: u32 = 0;

impl FilterTable {
    /// Filters that are no rules, to be asked what they cover.
    pub(crate) fn of_filters<'a>(filters: impl IntoIterator<Item = &'a TopicFilter>) -> Self {
        let mut draft = Draft::default();
        for filter in filters {
            draft.insert(filter, RuleId::FIRST, Effect::Deny);
        }
        draft.finish()
    }

    /// All entries, in no particular order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The filter of an entry.
    pub(crate) fn filter(&self, entry: &Entry) -> &[u8] {
        self.text_at(entry.start, entry.len)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.nodes)
            + size_of_val(&*self.edges)
            + size_of_val(&*self.entries)
            + self.text.len()
    }

    /// Calls `found` with each entry whose filter matches the Topic Name `name`, in no particular order.
    pub(crate) fn matches(&self, name: &[u8], found: &mut impl FnMut(&Entry)) {
        let Some(root) = self.node(ROOT) else { return };
        // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
        if name.first() == Some(&b'$') {
            let (level, below) = split(name);
            if let Some(child) = self.literal(root, level) {
                self.matches_below(child, below, found);
            }
            return;
        }
        self.matches_below(root, Some(name), found);
    }

    /// The depth of the calls is that of the filters, which `RULE_LEVELS_MAX` bounds.
    fn matches_below<'a>(
        &'a self,
        mut node: &'a Node,
        mut rest: Option<&[u8]>,
        found: &mut impl FnMut(&Entry),
    ) {
        loop {
            self.entries_at(node.multi).iter().for_each(&mut *found);
            let Some(name) = rest else {
                self.entries_at(node.ends).iter().for_each(found);
                return;
            };
            let (level, below) = split(name);
            match (self.literal(node, level), self.single(node)) {
                (Some(literal), Some(single)) => {
                    self.matches_below(literal, below, found);
                    node = single;
                }
                (Some(child), None) | (None, Some(child)) => node = child,
                (None, None) => return,
            }
            rest = below;
        }
    }

    /// Whether each name that `filter` matches is matched by an entry that `admits` lets count.
    ///
    /// The filter is walked down all paths at once that may match it. A level that is a wildcard needs only the paths behind
    /// `+`: there are more names than the table has literals, and one that it does not know takes no other path. What
    /// matches that one matches all, since a known level has the paths behind its literal besides.
    pub(crate) fn covers(&self, filter: &[Level<'_>], admits: impl Fn(&Entry) -> bool) -> bool {
        let admitted = |span: Span| self.entries_at(span).iter().any(&admits);
        let Some(root) = self.node(ROOT) else { return false };
        // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
        let mut out_of_reach = filter.first().is_some_and(|level| level.is_reserved());
        let mut at: SmallVec<[&Node; 8]> = SmallVec::from_slice(&[root]);
        // What `#` stands for: levels that nobody knows, until the table has no deeper path.
        let endless = filter.last() == Some(&Level::Multi);
        let mut depth = 0_usize;
        loop {
            if !out_of_reach && at.iter().any(|node| admitted(node.multi)) {
                return true;
            }
            let level = filter.get(depth).copied();
            let may_end = depth > 0
                && matches!(level, None | Some(Level::Multi))
                && filter.get(..depth) != Some(EMPTY_NAME);
            if may_end && !at.iter().any(|node| admitted(node.ends)) {
                return false;
            }
            if level.is_none() && !endless {
                return true;
            }
            let mut next = SmallVec::new();
            for node in &at {
                if let Some(Level::Literal(text)) = level {
                    next.extend(self.literal(node, text));
                }
                if !out_of_reach {
                    next.extend(self.single(node));
                }
            }
            if next.is_empty() {
                return false;
            }
            at = next;
            out_of_reach = false;
            depth += 1;
        }
    }

    fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    fn single(&self, node: &Node) -> Option<&Node> {
        if node.single == ROOT { None } else { self.node(node.single) }
    }

    fn literal(&self, node: &Node, level: &[u8]) -> Option<&Node> {
        let edges = self.edges.get(node.edges.start as usize..node.edges.end as usize)?;
        let place = edges.binary_search_by(|edge| {
            let text = self.text_at(edge.start, edge.len);
            (text.len(), text).cmp(&(level.len(), level))
        });
        self.node(edges.get(place.ok()?)?.node)
    }

    fn entries_at(&self, span: Span) -> &[Entry] {
        self.entries.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn text_at(&self, start: u32, len: u16) -> &[u8] {
        self.text.get(start as usize..start as usize + usize::from(len)).unwrap_or_default()
    }
}

/// The first level of a name, and the levels behind it if there are any.
fn split(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    name.iter()
        .position(|&byte| byte == b'/')
        .and_then(|place| Some((name.get(..place)?, name.get(place + 1..))))
        .unwrap_or((name, None))
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    nodes: Vec<DraftNode>,
    text: Vec<u8>,
}

#[derive(Debug, Default)]
struct DraftNode {
    /// By length and text, which is the order of the finished edges.
    literals: BTreeMap<(usize, Vec<u8>), (DraftEdge, usize)>,
    single: Option<usize>,
    ends: Vec<Entry>,
    multi: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct DraftEdge {
    start: u32,
    len: u16,
}

impl Default for Draft {
    fn default() -> Self {
        Self { nodes: vec![DraftNode::default()], text: Vec::new() }
    }
}

impl Draft {
    /// Bytes of all filters so far.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Adds the filter of a rule. The caller bounds the text far below 4 GiB, so that all places fit their types.
    pub(crate) fn insert(&mut self, filter: &TopicFilter, rule: RuleId, effect: Effect) {
        let bytes = filter.as_bytes();
        let start = number(self.text.len());
        self.text.extend_from_slice(bytes);
        let entry = Entry { rule, effect, start, len: length(bytes) };
        let mut at = 0;
        let mut offset = start;
        for level in levels(bytes) {
            match level {
                Level::Multi => {
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.multi.push(entry);
                    }
                    return;
                }
                Level::Single => {
                    at = self.single_child(at);
                    offset += 2;
                }
                Level::Literal(text) => {
                    at = self.literal_child(at, text, offset);
                    offset += u32::from(length(text)) + 1;
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.ends.push(entry);
        }
    }

    fn single_child(&mut self, parent: usize) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(parent) else { return parent };
        let child = *node.single.get_or_insert(new);
        self.ensure(child);
        child
    }

    fn literal_child(&mut self, parent: usize, text: &[u8], start: u32) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(parent) else { return parent };
        let edge = DraftEdge { start, len: length(text) };
        let (_, child) = *node.literals.entry((text.len(), text.to_vec())).or_insert((edge, new));
        self.ensure(child);
        child
    }

    fn ensure(&mut self, child: usize) {
        if child == self.nodes.len() {
            self.nodes.push(DraftNode::default());
        }
    }

    /// Packs it.
    pub(crate) fn finish(self) -> FilterTable {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut edges = Vec::new();
        let mut entries = Vec::new();
        for node in self.nodes {
            let first_edge = number(edges.len());
            edges.extend(node.literals.into_values().map(|(edge, child)| Edge {
                start: edge.start,
                len: edge.len,
                node: number(child),
            }));
            nodes.push(Node {
                edges: Span { start: first_edge, end: number(edges.len()) },
                single: node.single.map_or(ROOT, number),
                ends: append(&mut entries, node.ends),
                multi: append(&mut entries, node.multi),
            });
        }
        FilterTable {
            nodes: nodes.into(),
            edges: edges.into(),
            entries: entries.into(),
            text: self.text.into(),
        }
    }
}

fn append(entries: &mut Vec<Entry>, more: Vec<Entry>) -> Span {
    let start = number(entries.len());
    entries.extend(more);
    Span { start, end: number(entries.len()) }
}

/// A filter has at most 65,535 bytes, and so has each of its levels.
fn length(text: &[u8]) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

/// There are not many more nodes, edges and entries than there are bytes of text.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
