//! Where each part of an object was written, small enough to keep for every object: sixteen bytes a node, keys as hashes.
//! Made by the loader, read when a finding needs a place.

use std::hash::{BuildHasher, BuildHasherDefault};

use rustc_hash::FxHasher;

use crate::path::Seg;
use crate::tree::{Mark, Node, Value};

/// The places of a document's nodes, in the order of the text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans {
    nodes: std::sync::Arc<[Span]>,
}

/// One node.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Hash of its key, or its index.
    seg: u32,
    /// How many nodes it has below.
    below: u32,
    /// Line of the value (of the key, for what is below a key), from 1.
    line: u32,
    /// Column.
    column: u32,
}

impl Spans {
    /// The places of a document.
    pub(crate) fn of(root: &Node<'_>) -> Spans {
        let mut nodes = Vec::new();
        add(&mut nodes, 0, root.mark, root);
        Spans { nodes: nodes.into() }
    }

    /// The place of a path, or of the closest part around it that is there.
    pub(crate) fn find(&self, path: &[Seg<'_>]) -> Option<Mark> {
        let mut at = 0;
        for seg in path {
            let wanted = match seg {
                Seg::Key(key) => hash(key),
                Seg::Index(index) => u32::try_from(*index).ok()?,
            };
            match self.child(at, wanted) {
                Some(child) => at = child,
                None => break,
            }
        }
        self.nodes.get(at).map(|span| Mark { line: span.line, column: span.column })
    }

    /// Whether a path is there.
    pub(crate) fn has(&self, path: &[Seg<'_>]) -> bool {
        self.position(path).is_some()
    }

    /// How many nodes are below a path.
    pub(crate) fn below(&self, path: &[Seg<'_>]) -> u32 {
        self.position(path).and_then(|at| self.nodes.get(at)).map_or(0, |span| span.below)
    }

    fn position(&self, path: &[Seg<'_>]) -> Option<usize> {
        path.iter().try_fold(0, |at, seg| {
            let wanted = match seg {
                Seg::Key(key) => hash(key),
                Seg::Index(index) => u32::try_from(*index).ok()?,
            };
            self.child(at, wanted)
        })
    }

    fn child(&self, parent: usize, seg: u32) -> Option<usize> {
        let end = parent + self.nodes.get(parent)?.below as usize;
        let mut at = parent + 1;
        while at <= end {
            let span = self.nodes.get(at)?;
            if span.seg == seg {
                return Some(at);
            }
            at += 1 + span.below as usize;
        }
        None
    }
}

/// Collections are shown at their key, single values at the value.
fn add(nodes: &mut Vec<Span>, seg: u32, key: Mark, node: &Node<'_>) {
    let position = nodes.len();
    let mark = match node.value {
        Value::Scalar(_) => node.mark,
        _ => key,
    };
    nodes.push(Span { seg, below: 0, line: mark.line, column: mark.column });
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                add(nodes, hash(&entry.key), entry.mark, &entry.value);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                add(nodes, index as u32, item.mark, item);
            }
        }
        Value::Null | Value::Scalar(_) => {}
    }
    nodes[position].below = (nodes.len() - position - 1) as u32;
}

fn hash(key: &str) -> u32 {
    BuildHasherDefault::<FxHasher>::default().hash_one(key) as u32
}
