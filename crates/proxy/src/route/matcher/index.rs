//! A radix trie over literal paths: which routes may match a path, in ascending order, without looking at the others.
//!
//! Used by [`super::RouteIndex`] only. A regular expression is filed under the literal that it begins with; many routes of one
//! literal are told apart by a header's value, if they ask for one ([`candidates`]).
//! Invariant: every route that matches a path is among the path's candidates.

mod candidates;

use candidates::{Candidates, Lists};

use super::{Entry, PathMatch, RequestView};

/// The index of one virtual host.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    literals: Trie,
    /// Of literals without regard to case, in lower case.
    folded: Option<Trie>,
    /// Routes that no literal narrows down.
    others: Candidates,
}

/// Literals, and the routes that begin or are filed there.
#[derive(Debug)]
struct Trie {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Bytes between the parent and this node; empty at the root only.
    label: Box<[u8]>,
    /// Children, sorted by the first byte of their label.
    children: Vec<(u8, u32)>,
    /// Routes with a prefix that ends here.
    prefixes: Candidates,
    /// Routes with an exact path that ends here.
    exacts: Candidates,
}

impl PathIndex {
    /// Files every entry under its literal.
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut index = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            let at = at as u32;
            match &entry.condition.path {
                PathMatch::IgnoreCase(inner) => {
                    index.folded.get_or_insert_default().file(inner, at, &mut index.others);
                }
                condition => index.literals.file(condition, at, &mut index.others),
            }
        }
        let tries = std::iter::once(&mut index.literals).chain(&mut index.folded);
        tries.flat_map(|trie| &mut trie.nodes).for_each(|node| node.finish(entries));
        index.others.finish(entries);
        index
    }

    /// The lowest candidate of `path` that `accept` takes.
    pub(super) fn first<V: RequestView>(
        &self,
        path: &str,
        request: &V,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut lists = Lists::new();
        self.others.collect(request, &mut lists);
        self.literals.collect(path.as_bytes(), request, &mut lists, |path, label| path == label);
        if let Some(folded) = &self.folded {
            folded.collect(path.as_bytes(), request, &mut lists, |path, label| {
                path.eq_ignore_ascii_case(label)
            });
        }
        if let [only] = lists.as_slice() {
            return only.iter().copied().find(|at| accept(*at));
        }
        // A merge of a few short lists: deeper nodes are fewer than the path has segments, in practice.
        while let Some(list) = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0]) {
            let at = list[0];
            *list = &list[1..];
            if accept(at) {
                return Some(at);
            }
        }
        None
    }
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Trie {
    /// Files a route under the literal of its condition, or among those without one.
    fn file(&mut self, condition: &PathMatch, at: u32, others: &mut Candidates) {
        match condition {
            PathMatch::Prefix(literal) | PathMatch::SeparatedPrefix(literal) => {
                self.node(literal.as_bytes()).prefixes.push(at);
            }
            PathMatch::Exact(literal) => self.node(literal.as_bytes()).exacts.push(at),
            PathMatch::Regex(pattern) => self.node(&beginning(pattern)).prefixes.push(at),
            PathMatch::Connect | PathMatch::IgnoreCase(_) => others.push(at),
        }
    }

    /// The lists of all nodes on the way down along `path`.
    fn collect<'a, V: RequestView>(
        &'a self,
        mut rest: &[u8],
        request: &V,
        lists: &mut Lists<'a>,
        same: impl Fn(&[u8], &[u8]) -> bool,
    ) {
        let mut node = &self.nodes[0];
        loop {
            node.prefixes.collect(request, lists);
            let Some(byte) = rest.first() else { return node.exacts.collect(request, lists) };
            // In a trie without regard to case a child's byte is in lower case.
            let lower = byte.to_ascii_lowercase();
            let child = node.child(*byte).or_else(|| node.child(lower).filter(|_| same(&[*byte], &[lower])));
            let Some(child) = child else { return };
            node = &self.nodes[child];
            let Some((head, below)) = rest.split_at_checked(node.label.len()) else { return };
            if !same(head, &node.label) {
                return;
            }
            rest = below;
        }
    }

    /// The node of a literal, made if need be.
    fn node(&mut self, mut rest: &[u8]) -> &mut Node {
        let mut at = 0;
        loop {
            let Some(byte) = rest.first() else { return &mut self.nodes[at] };
            let Some(child) = self.nodes[at].child(*byte) else {
                let new = self.push(rest);
                self.nodes[at].attach(*byte, new);
                return &mut self.nodes[new];
            };
            let label = &self.nodes[child].label;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < label.len() {
                self.split(child, common);
            }
            rest = &rest[common..];
            at = child;
        }
    }

    fn push(&mut self, label: &[u8]) -> usize {
        self.nodes.push(Node { label: label.into(), ..Node::default() });
        self.nodes.len() - 1
    }

    /// Cuts a node's label after `keep` bytes; what it held moves to a new child.
    fn split(&mut self, at: usize, keep: usize) {
        let (head, tail): (Box<[u8]>, Box<[u8]>) = {
            let label = &self.nodes[at].label;
            (label[..keep].into(), label[keep..].into())
        };
        let byte = tail[0];
        let moved = std::mem::replace(&mut self.nodes[at], Node { label: head, ..Node::default() });
        self.nodes.push(Node { label: tail, ..moved });
        let new = self.nodes.len() - 1;
        self.nodes[at].attach(byte, new);
    }
}

impl Node {
    fn child(&self, byte: u8) -> Option<usize> {
        let found = self.children.binary_search_by_key(&byte, |(first, _)| *first);
        found.ok().map(|place| self.children[place].1 as usize)
    }

    fn attach(&mut self, byte: u8, child: usize) {
        let place = self.children.partition_point(|(first, _)| *first < byte);
        self.children.insert(place, (byte, child as u32));
    }

    fn finish(&mut self, entries: &[Entry]) {
        self.children.shrink_to_fit();
        self.prefixes.finish(entries);
        self.exacts.finish(entries);
    }
}

/// The literal that every match of a pattern begins with; empty if there is none.
fn beginning(pattern: &regex::Regex) -> Vec<u8> {
    let Ok(pattern) = regex_syntax::parse(pattern.as_str()) else { return Vec::new() };
    let literals = regex_syntax::hir::literal::Extractor::new().extract(&pattern);
    literals.longest_common_prefix().unwrap_or_default().to_vec()
}
