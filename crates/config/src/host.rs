//! Host names of services: short names, wildcards, which pattern is closest (SEM-001, SEM-002, SEM-003).
//!
//! A host is kept in lower case; a wildcard is `*` as the first character and nowhere else.

use std::fmt;

use crate::Str;
use crate::decode::{Decode, Decoder, Shape};
use crate::path::Path;
use crate::tree::Node;

/// A host name or a wildcard (`*`, `*.example.com`), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Host(Str);

impl Host {
    /// From text, lower-cased.
    pub fn new(text: &str) -> Host {
        match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Host(text.to_ascii_lowercase().into()),
            false => Host(text.into()),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text.
    pub fn as_shared(&self) -> &Str {
        &self.0
    }

    /// Whether it begins with `*`.
    pub fn is_wildcard(&self) -> bool {
        is_wildcard(&self.0)
    }

    /// The full name: a short name belongs to the namespace of the object that says it; names with a dot, addresses and
    /// wildcards are left alone (SEM-001).
    pub fn resolve(&self, namespace: &str, domain: &str) -> Host {
        if self.is_short() {
            Host(format!("{}.{namespace}.svc.{domain}", self.0).into())
        } else {
            self.clone()
        }
    }

    /// Whether [`Host::resolve`] would complete it.
    pub fn is_short(&self) -> bool {
        !self.0.is_empty() && !self.0.contains(['.', ':']) && !self.is_wildcard()
    }

    /// Whether some name is meant by both (either may be a wildcard).
    pub fn matches(&self, other: &Host) -> bool {
        matches(&self.0, &other.0)
    }

    /// Whether every name meant by this one is meant by `other` too.
    pub fn subset_of(&self, other: &Host) -> bool {
        subset_of(&self.0, &other.0)
    }
}

/// Whether a pattern begins with `*`.
pub fn is_wildcard(pattern: &str) -> bool {
    pattern.starts_with('*')
}

/// Whether some name is meant by both patterns. `*.foo.com` means `a.foo.com` and `a.b.foo.com`, not `foo.com`.
pub fn matches(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(a), None) => b.ends_with(a),
        (None, Some(b)) => a.ends_with(b),
        (None, None) => a == b,
    }
}

/// Whether every name meant by `a` is meant by `b`.
pub fn subset_of(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b),
        (Some(_), None) => false,
        (None, Some(b)) => a.ends_with(b),
        (None, None) => a == b,
    }
}

/// The wildcards that cover `host`, the narrowest first, `host` itself left out: of `a.io` `*a.io`, `*.io`, … and `*`.
pub fn wider(host: &str) -> impl Iterator<Item = String> + '_ {
    let rest = host.strip_prefix('*');
    let ends = rest.unwrap_or(host).char_indices().map(|(at, _)| at);
    let text = rest.unwrap_or(host);
    let all = ends.chain([text.len()]).map(move |at| format!("*{}", &text[at..]));
    all.skip(usize::from(rest.is_some()))
}

/// The most specific of the patterns that cover `host`: itself, else the longest wildcard (SEM-003).
pub fn most_specific<'a>(host: &str, patterns: impl IntoIterator<Item = &'a Host>) -> Option<&'a Host> {
    let covering = patterns.into_iter().filter(|pattern| subset_of(host, &pattern.0));
    covering.max_by(|a, b| {
        let rank = |pattern: &Host| (!pattern.is_wildcard(), pattern.0.len());
        rank(a).cmp(&rank(b)).then_with(|| b.cmp(a))
    })
}

impl std::ops::Deref for Host {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Host {
    fn from(text: &str) -> Host {
        Host::new(text)
    }
}

impl Decode for Host {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let text = Str::decode(node, cx, path)?;
        match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Some(Host(cx.intern(&text.to_ascii_lowercase()))),
            false => Some(Host(text)),
        }
    }

    fn is_unset(&self) -> bool {
        self.0.is_empty()
    }

    fn shape() -> Shape {
        Shape::Text
    }
}

#[cfg(test)]
mod tests;
