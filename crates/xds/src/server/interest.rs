//! What a client wants of one type.

use std::sync::Arc;

use rustc_hash::FxHashSet;

/// What a client wants of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// Everything there is for this client.
    pub wildcard: bool,
    /// These by name.
    pub names: FxHashSet<Arc<str>>,
}

impl Interest {
    /// Whether a resource of that name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}
