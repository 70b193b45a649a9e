//! Things by label: which workloads a selector means, and which selectors mean a workload, without asking each. Used by the
//! view.
//!
//! Invariant: what is found is a superset of what is meant, in the order of files; callers compare all labels.

use rustc_hash::FxHashMap;

use crate::{Labels, Str};

/// Positions by namespace and by label. Of a selector's labels the one that fewest have is looked up.
#[derive(Default)]
pub(super) struct Index {
    by_namespace: FxHashMap<Str, Vec<usize>>,
    by_label: FxHashMap<(Str, Str), Vec<usize>>,
    by_both: FxHashMap<(Str, Str, Str), Vec<usize>>,
}

impl Index {
    /// Notes what is at a position.
    pub(super) fn add(&mut self, position: usize, namespace: &Str, labels: &Labels) {
        self.by_namespace.entry(namespace.clone()).or_default().push(position);
        for (key, value) in labels {
            self.by_label.entry((key.clone(), value.clone())).or_default().push(position);
            let both = (namespace.clone(), key.clone(), value.clone());
            self.by_both.entry(both).or_default().push(position);
        }
    }

    /// Positions among which those are that have the labels, in a namespace or anywhere; None: all positions.
    pub(super) fn candidates(&self, wanted: &Labels, namespace: Option<&Str>) -> Option<&[usize]> {
        let of_label = |(key, value): (&Str, &Str)| match namespace {
            Some(namespace) => self.by_both.get(&(namespace.clone(), key.clone(), value.clone())),
            None => self.by_label.get(&(key.clone(), value.clone())),
        };
        let fewest = wanted.iter().map(|pair| of_label(pair).map_or(&[][..], Vec::as_slice));
        let fewest = fewest.min_by_key(|list| list.len());
        let whole = || namespace.map(|name| self.by_namespace.get(name).map_or(&[][..], Vec::as_slice));
        fewest.or_else(whole)
    }
}

/// Selectors by the first of their labels, which is `app` where names are usual.
#[derive(Default)]
pub(super) struct Selectors(FxHashMap<(Str, Str, Str), Vec<usize>>);

impl Selectors {
    /// Notes the selector at a position; an empty one selects nothing.
    pub(super) fn add(&mut self, position: usize, namespace: &Str, selector: &Labels) {
        if let Some((key, value)) = selector.first_key_value() {
            let both = (namespace.clone(), key.clone(), value.clone());
            self.0.entry(both).or_default().push(position);
        }
    }

    /// Positions among which those are that select such labels.
    pub(super) fn candidates(&self, namespace: &Str, labels: &Labels) -> Vec<usize> {
        let of_label = |(key, value): (&Str, &Str)| {
            self.0.get(&(namespace.clone(), key.clone(), value.clone())).into_iter().flatten().copied()
        };
        let mut found: Vec<usize> = labels.iter().flat_map(of_label).collect();
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (Str::from(*key), Str::from(*value))).collect()
    }

    #[test]
    fn the_rarest_label_is_looked_up() {
        let mut index = Index::default();
        for position in 0..100_usize {
            let name = format!("a{}", position / 2);
            index.add(position, &"ns".into(), &labels(&[("app", &name), ("mesh", "yes")]));
        }
        let wanted = labels(&[("app", "a7"), ("mesh", "yes")]);
        assert_eq!(index.candidates(&wanted, Some(&"ns".into())), Some(&[14, 15][..]));
        assert_eq!(index.candidates(&wanted, None), Some(&[14, 15][..]));
        assert_eq!(index.candidates(&wanted, Some(&"other".into())), Some(&[][..]));
        assert_eq!(index.candidates(&labels(&[]), Some(&"ns".into())).map(<[usize]>::len), Some(100));
        assert_eq!(index.candidates(&labels(&[]), None), None);
    }

    #[test]
    fn selectors_are_found_by_what_they_select() {
        let mut selectors = Selectors::default();
        selectors.add(0, &"ns".into(), &labels(&[("app", "a"), ("version", "v1")]));
        selectors.add(1, &"ns".into(), &labels(&[("app", "a")]));
        selectors.add(2, &"ns".into(), &labels(&[("app", "b")]));
        selectors.add(3, &"ns".into(), &labels(&[]));
        assert_eq!(selectors.candidates(&"ns".into(), &labels(&[("app", "a"), ("x", "y")])), [0, 1]);
        assert_eq!(selectors.candidates(&"other".into(), &labels(&[("app", "a")])), [0_usize; 0]);
    }
}
