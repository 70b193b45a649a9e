//! Host to virtual host: exact, longest suffix wildcard, longest prefix wildcard, `*`.
//!
//! Built by `xds::route`, asked once per request through [`super::RouteTable::virtual_host`].
//! Invariant: lookups never allocate for a host that is already in lower case.

use std::{borrow::Cow, hash::Hasher};

use rustc_hash::FxHasher;

/// The domains of a route table; values are indices into its virtual hosts. One text and two tables of numbers: a mesh has
/// six domains per service and port, and hardly any is ever asked for.
#[derive(Debug, Default, Clone)]
pub struct HostIndex {
    /// All literals, one after the other.
    text: String,
    entries: Vec<Entry>,
    /// Open addressing: an entry's number plus one, 0 where there is none. A power of two in size.
    slots: Vec<u32>,
    /// Which lengths of `*.foo` without the star occur, longest first.
    suffixes: Vec<u32>,
    /// Likewise of `foo.*`.
    prefixes: Vec<u32>,
    any: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    len: u32,
    kind: Kind,
    host: u32,
}

/// Which part of a host a literal must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Suffix,
    Prefix,
}

impl HostIndex {
    /// Adds a domain of virtual host `at`. An error is the domain that another one (or the same) already has.
    pub fn add(&mut self, domain: &str, at: u32) -> Result<(), DuplicateDomain> {
        let domain = domain.to_ascii_lowercase();
        let duplicate = || DuplicateDomain(domain.clone());
        if domain == "*" {
            return match self.any.replace(at) {
                None => Ok(()),
                Some(other) => {
                    self.any = Some(other);
                    Err(duplicate())
                }
            };
        }
        let (kind, literal) = if let Some(suffix) = domain.strip_prefix('*') {
            (Kind::Suffix, suffix)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (Kind::Prefix, prefix)
        } else {
            (Kind::Exact, domain.as_str())
        };
        if self.insert(kind, literal, at) { Ok(()) } else { Err(duplicate()) }
    }

    /// The virtual host of `host`, which may carry a port: a port is part of the name unless it was stripped before.
    #[inline]
    pub fn find(&self, host: &str) -> Option<u32> {
        if self.entries.is_empty() {
            return self.any;
        }
        let host: Cow<'_, str> = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        let host = host.as_ref();
        self.get(Kind::Exact, host)
            .or_else(|| self.longest(Kind::Suffix, host, |len| host.get(host.len() - len..)))
            .or_else(|| self.longest(Kind::Prefix, host, |len| host.get(..len)))
            .or(self.any)
    }

    /// Gives back what growing took too much.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// A star stands for at least one character, as in Envoy.
    fn longest<'h>(&self, kind: Kind, host: &str, part: impl Fn(usize) -> Option<&'h str>) -> Option<u32> {
        let lengths = if kind == Kind::Suffix { &self.suffixes } else { &self.prefixes };
        let shorter = lengths.iter().map(|len| *len as usize).filter(|len| *len < host.len());
        shorter.filter_map(part).find_map(|literal| self.get(kind, literal))
    }

    fn get(&self, kind: Kind, literal: &str) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = hash(kind, literal) & mask;
        loop {
            let entry = self.entries[self.slots[slot].checked_sub(1)? as usize];
            if entry.kind == kind && self.literal(entry) == literal {
                return Some(entry.host);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn insert(&mut self, kind: Kind, literal: &str, host: u32) -> bool {
        if self.get(kind, literal).is_some() {
            return false;
        }
        let lengths = match kind {
            Kind::Exact => None,
            Kind::Suffix => Some(&mut self.suffixes),
            Kind::Prefix => Some(&mut self.prefixes),
        };
        let len = literal.len() as u32;
        if let Some(lengths) = lengths
            && let Err(place) = lengths.binary_search_by(|known| len.cmp(known))
        {
            lengths.insert(place, len);
        }
        self.entries.push(Entry { start: self.text.len() as u32, len, kind, host });
        self.text.push_str(literal);
        // At most two thirds full.
        if self.entries.len() * 3 > self.slots.len() * 2 {
            self.rehash();
        } else {
            self.place(self.entries.len() - 1);
        }
        true
    }

    fn rehash(&mut self) {
        let size = (self.entries.len() * 2).next_power_of_two().max(8);
        self.slots.clear();
        self.slots.shrink_to(size);
        self.slots.resize(size, 0);
        (0..self.entries.len()).for_each(|entry| self.place(entry));
    }

    fn place(&mut self, at: usize) {
        let entry = self.entries[at];
        let mask = self.slots.len() - 1;
        let mut slot = hash(entry.kind, self.literal(entry)) & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = at as u32 + 1;
    }

    fn literal(&self, entry: Entry) -> &str {
        let start = entry.start as usize;
        &self.text[start..start + entry.len as usize]
    }
}

fn hash(kind: Kind, literal: &str) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(literal.as_bytes());
    hasher.write_u8(kind as u8);
    hasher.finish() as usize
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

/// What domains are compared with where ports do not count: all before the last colon outside of brackets, whether a port
/// follows or something else, as in Envoy.
pub fn compared(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
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
        assert_eq!(index.find("elsewhere"), Some(3), "who came first stays");
    }

    #[test]
    fn thousands_are_found_again() {
        let domains: Vec<_> = (0..5_000)
            .flat_map(|n| {
                [format!("svc-{n}.ns.svc.cluster.local"), format!("svc-{n}"), format!("*.w{n}.org")]
            })
            .collect();
        let mut index = HostIndex::default();
        for (at, domain) in domains.iter().enumerate() {
            index.add(domain, at as u32).unwrap();
        }
        index.shrink();
        for (at, domain) in domains.iter().enumerate() {
            assert_eq!(index.find(&domain.replace('*', "x")), Some(at as u32), "{domain}");
        }
        assert_eq!(index.find("svc-5000"), None);
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
        for (host, bare) in
            [("a:80", "a"), ("a:b", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a", "a")]
        {
            assert_eq!(compared(host), bare);
        }
    }
}
