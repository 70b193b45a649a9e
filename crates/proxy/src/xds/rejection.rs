//! Why a resource is not taken: the path of the offending field and what is wrong there. Its text is the NACK's.
//!
//! Every function under [`crate::xds`] returns it; callers add their part of the path on the way out.

use std::fmt;

/// A resource that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Rejection {
    /// From the resource to the field, as `filter_chains[0].filters[1].typed_config`; empty for the whole resource.
    pub path: String,
    /// What is wrong, naming the thing.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.reason),
            path => write!(f, "{path}: {}", self.reason),
        }
    }
}

impl Rejection {
    /// A rejection at the place where it is noticed.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    /// The same, found below `field`.
    pub fn within(self, field: &str) -> Self {
        self.below(field)
    }

    fn below(mut self, field: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = [field, dot, &self.path].concat();
        self
    }
}

/// Shorthand for `Err(Rejection::new(…))`.
pub fn refuse<T>(reason: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(reason))
}

/// Says where a result was computed.
pub trait At<T> {
    /// Below a field.
    fn at(self, field: &str) -> Result<T, Rejection>;
    /// Below an element of a repeated field.
    fn at_index(self, field: &str, index: usize) -> Result<T, Rejection>;
}

impl<T, E: Into<Rejection>> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, Rejection> {
        self.map_err(|error| error.into().below(field))
    }

    fn at_index(self, field: &str, index: usize) -> Result<T, Rejection> {
        self.map_err(|error| error.into().below(&format!("{field}[{index}]")))
    }
}

impl From<String> for Rejection {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_grow_outwards() {
        let inner: Result<(), _> = refuse("unknown filter 'x'");
        let outer = inner.at("typed_config").at_index("filters", 1).at_index("filter_chains", 0).unwrap_err();
        assert_eq!(outer.to_string(), "filter_chains[0].filters[1].typed_config: unknown filter 'x'");
        assert_eq!(Rejection::new("whole").to_string(), "whole");
    }
}
