//! A radix trie over literal paths: which routes may match a path, in ascending order, without looking at the others.
//!
//! Used by [`super::RouteIndex`] only. Routes whose path condition is no case-sensitive literal are candidates always.
//! Invariant: every route that matches a path is among the path's candidates.

use smallvec::SmallVec;

use super::{Entry, PathMatch};

/// The index of one virtual host.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    nodes: Vec<Node>,
    /// Routes that no literal narrows down, ascending.
    others: Vec<u32>,
}

#[derive(Debug, Default)]
struct Node {
    /// Bytes between the parent and this node; empty at the root only.
    label: Box<[u8]>,
    /// Children, sorted by the first byte of their label.
    children: Vec<(u8, u32)>,
    /// Routes with a prefix that ends here, ascending.
    prefixes: Vec<u32>,
    /// Routes with an exact path that ends here, ascending.
    exacts: Vec<u32>,
}

impl PathIndex {
    /// Files every entry under its literal.
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut index = Self { nodes: vec![Node::default()], others: Vec::new() };
        for (at, entry) in entries.iter().enumerate() {
            let at = at as u32;
            match &entry.condition.path {
                PathMatch::Prefix(literal) | PathMatch::SeparatedPrefix(literal) => {
                    index.node(literal.as_bytes()).prefixes.push(at);
                }
                PathMatch::Exact(literal) => index.node(literal.as_bytes()).exacts.push(at),
                PathMatch::Regex(_) | PathMatch::Connect | PathMatch::IgnoreCase(_) => index.others.push(at),
            }
        }
        index.nodes.iter_mut().for_each(Node::shrink);
        index
    }

    /// The lowest candidate of `path` that `accept` takes.
    pub(super) fn first(&self, path: &str, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut lists: SmallVec<[&[u32]; 12]> = SmallVec::new();
        if !self.others.is_empty() {
            lists.push(&self.others);
        }
        self.collect(path.as_bytes(), &mut lists);
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

    /// The lists of all nodes on the way down along `path`.
    fn collect<'a>(&'a self, mut rest: &[u8], lists: &mut SmallVec<[&'a [u32]; 12]>) {
        let mut node = &self.nodes[0];
        loop {
            if !node.prefixes.is_empty() {
                lists.push(&node.prefixes);
            }
            let Some(byte) = rest.first() else {
                if !node.exacts.is_empty() {
                    lists.push(&node.exacts);
                }
                return;
            };
            let Some(child) = node.child(*byte) else { return };
            node = &self.nodes[child];
            let Some(below) = rest.strip_prefix(&*node.label) else { return };
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

    fn shrink(&mut self) {
        self.children.shrink_to_fit();
        self.prefixes.shrink_to_fit();
        self.exacts.shrink_to_fit();
    }
}
