//! Routes that a literal of the path leaves over; of many, those are passed over that ask for another value of some header.
//!
//! Used by the trie. Invariant: a route that is not among the collected cannot match the request.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::route::{
    RequestView,
    matcher::{Entry, HeaderMatch, HeaderName, ValueMatch},
    strings::StringMatch,
};

/// Lists of candidates, each ascending.
pub(super) type Lists<'a> = SmallVec<[&'a [u32]; 12]>;

/// From so many routes on it is worth while to look at a header first.
const MANY: usize = 12;

/// Routes, ascending.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// All, or those that do not ask for the value of the header.
    plain: Vec<u32>,
    by_header: Option<Box<ByHeader>>,
}

/// Routes that ask for one exact value of a header.
#[derive(Debug)]
struct ByHeader {
    name: HeaderName,
    values: FxHashMap<Box<str>, Vec<u32>>,
}

impl Candidates {
    /// Adds a route with a higher number than all before.
    pub(super) fn push(&mut self, at: u32) {
        self.plain.push(at);
    }

    /// When all are there: sorts them by the header that most of them ask for, if they are many.
    pub(super) fn finish(&mut self, entries: &[Entry]) {
        let exact = |at: u32, name: &str| wanted(&entries[at as usize]).find(|(of, _)| of.as_str() == name);
        if self.plain.len() >= MANY {
            let mut counts: FxHashMap<&str, usize> = FxHashMap::default();
            for (name, _) in self.plain.iter().flat_map(|at| wanted(&entries[*at as usize])) {
                *counts.entry(name.as_str()).or_default() += 1;
            }
            let most = counts.into_iter().max_by_key(|(name, count)| (*count, *name));
            if let Some((name, _)) = most.filter(|(_, count)| *count >= MANY) {
                let mut values: FxHashMap<Box<str>, Vec<u32>> = FxHashMap::default();
                self.plain.retain(|at| match exact(*at, name) {
                    Some((_, value)) => {
                        values.entry(value.into()).or_default().push(*at);
                        false
                    }
                    None => true,
                });
                self.by_header = Some(Box::new(ByHeader { name: HeaderName::new(name), values }));
            }
        }
        self.plain.shrink_to_fit();
    }

    /// Adds the lists of those that may match.
    #[inline]
    pub(super) fn collect<'a, V: RequestView>(&'a self, request: &V, lists: &mut Lists<'a>) {
        if !self.plain.is_empty() {
            lists.push(&self.plain);
        }
        if let Some(by_header) = &self.by_header {
            by_header.collect(request, lists);
        }
    }
}

impl ByHeader {
    fn collect<'a, V: RequestView>(&'a self, request: &V, lists: &mut Lists<'a>) {
        // Says no to each, so as to see every line of the header.
        let mut see = |value: &str| {
            lists.extend(self.values.get(value).map(Vec::as_slice));
            false
        };
        match &self.name {
            HeaderName::Path => see(request.path()),
            HeaderName::Method => see(request.method()),
            HeaderName::Authority => see(request.authority()),
            HeaderName::Scheme => see(request.scheme()),
            HeaderName::Field(name) => request.any_header(name, &mut see).unwrap_or(false),
        };
    }
}

/// The headers of which a route wants one exact value, which then must be there.
fn wanted(entry: &Entry) -> impl Iterator<Item = (&HeaderName, &str)> {
    let headers = entry.condition.also.iter().flat_map(|also| &also.headers);
    headers.filter_map(|header| match header {
        HeaderMatch { name, value: ValueMatch::String(StringMatch::Exact(value)), invert: false, .. }
            if !(header.missing_is_empty && value.is_empty()) =>
        {
            Some((name, &**value))
        }
        _ => None,
    })
}
