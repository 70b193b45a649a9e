//! Host to virtual host: exact, longest suffix wildcard, longest prefix wildcard, `*`.
//!
//! Built by `xds::route`, asked once per request through [`super::RouteTable::virtual_host`].
//! Invariant: lookups never allocate for a host that is already in lower case.

use std::{borrow::Cow, collections::hash_map::Entry, sync::Arc};

use rustc_hash::FxHashMap;

/// The domains of a route table; values are indices into its virtual hosts.
#[derive(Debug, Default)]
pub struct HostIndex {
    exact: FxHashMap<Arc<str>, u32>,
    /// `*.foo` without the star.
    suffixes: Wildcards,
    /// `foo.*` without the star.
    prefixes: Wildcards,
    any: Option<u32>,
}

/// Wildcards of one side: literal to virtual host, and which literal lengths occur, longest first.
#[derive(Debug, Default)]
struct Wildcards {
    literals: FxHashMap<Arc<str>, u32>,
    lengths: Vec<usize>,
}

impl HostIndex {
    /// Adds a domain of virtual host `at`. An error is the domain that another one (or the same) already has.
    pub fn add(&mut self, domain: &str, at: u32) -> Result<(), DuplicateDomain> {
        let domain = domain.to_ascii_lowercase();
        let duplicate = || DuplicateDomain(domain.clone());
        if domain == "*" {
            return match self.any.replace(at) {
                None => Ok(()),
                Some(_) => Err(duplicate()),
            };
        }
        let added = if let Some(suffix) = domain.strip_prefix('*') {
            self.suffixes.add(suffix, at)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            self.prefixes.add(prefix, at)
        } else {
            insert(&mut self.exact, &domain, at)
        };
        if added { Ok(()) } else { Err(duplicate()) }
    }

    /// The virtual host of `host`, which may carry a port: a port is part of the name unless it was stripped before.
    #[inline]
    pub fn find(&self, host: &str) -> Option<u32> {
        if self.exact.is_empty() && self.suffixes.lengths.is_empty() && self.prefixes.lengths.is_empty() {
            return self.any;
        }
        let host: Cow<'_, str> = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        let host = host.as_ref();
        self.exact
            .get(host)
            .copied()
            .or_else(|| self.suffixes.find(host, |host, len| host.get(host.len() - len..)))
            .or_else(|| self.prefixes.find(host, |host, len| host.get(..len)))
            .or(self.any)
    }
}

impl Wildcards {
    fn add(&mut self, literal: &str, at: u32) -> bool {
        if let Err(place) = self.lengths.binary_search_by(|len| literal.len().cmp(len)) {
            self.lengths.insert(place, literal.len());
        }
        insert(&mut self.literals, literal, at)
    }

    /// A star stands for at least one character, as in Envoy.
    fn find<'a>(&self, host: &'a str, part: impl Fn(&'a str, usize) -> Option<&'a str>) -> Option<u32> {
        let shorter = self.lengths.iter().filter(|len| **len < host.len());
        shorter.filter_map(|len| part(host, *len)).find_map(|literal| self.literals.get(literal).copied())
    }
}

fn insert(map: &mut FxHashMap<Arc<str>, u32>, key: &str, at: u32) -> bool {
    match map.entry(key.into()) {
        Entry::Occupied(_) => false,
        Entry::Vacant(vacant) => {
            vacant.insert(at);
            true
        }
    }
}

/// A domain that occurs twice in a route configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Only unique values for domains are permitted. Duplicate entry of domain {0}")]
pub struct DuplicateDomain(pub String);

/// `host` without its port, if it has one; `[::1]:80` becomes `[::1]`.
pub fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon)
            if host.ends_with(|c: char| c.is_ascii_digit()) && !host[..colon].contains(':')
                || host[..colon].ends_with(']') =>
        {
            &host[..colon]
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(domains: &[&str]) -> HostIndex {
        let mut index = HostIndex::default();
        for (at, domain) in domains.iter().enumerate() {
            index.add(domain, at as u32).unwrap();
        }
        index
    }

    #[test]
    fn exact_then_longest_suffix_then_longest_prefix_then_any() {
        let hosts = ["foo.com", "*.foo.com", "*-bar.foo.com", "foo.*", "foo.co.*", "*"];
        let index = index(&hosts);
        for (host, wanted) in [
            ("foo.com", "foo.com"),
            ("FOO.com", "foo.com"),
            ("a.foo.com", "*.foo.com"),
            ("a.b.foo.com", "*.foo.com"),
            ("a-bar.foo.com", "*-bar.foo.com"),
            ("-bar.foo.com", "*.foo.com"),
            ("foo.org", "foo.*"),
            ("foo.co.uk", "foo.co.*"),
            ("foo.co.", "foo.*"),
            (".foo.com", "*"),
            ("foo.com:80", "foo.*"),
            ("elsewhere", "*"),
            ("", "*"),
        ] {
            assert_eq!(index.find(host).map(|at| hosts[at as usize]), Some(wanted), "{host}");
        }
    }

    #[test]
    fn none_without_any() {
        assert_eq!(index(&["a", "*.b"]).find("c"), None);
        assert_eq!(index(&[]).find("c"), None);
    }

    #[test]
    fn duplicates_are_refused() {
        let mut index = index(&["a", "*.a", "a.*", "*"]);
        for domain in ["A", "*.A", "a.*", "*"] {
            assert_eq!(index.add(domain, 9), Err(DuplicateDomain(domain.to_ascii_lowercase())));
        }
    }

    #[test]
    fn ports() {
        for (host, bare) in [
            ("a:80", "a"),
            ("a", "a"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("a:", "a:"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(without_port(host), bare);
        }
    }
}
