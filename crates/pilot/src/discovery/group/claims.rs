//! Who gets a domain that several virtual hosts of one table would like: Envoy refuses a table in which one is there twice.
//!
//! Invariant: the owner of a domain is the first of its claimants in the order of [`Claimant`], whatever came first.

use std::hash::{BuildHasher, Hash, Hasher};

use meltemi_config::Host;
use rustc_hash::{FxBuildHasher, FxHashMap};

/// A host that would like a domain: services first, then hosts that only VirtualServices know, then the catch-all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claimant {
    Service(Host),
    Unknown(Host),
    CatchAll,
}

/// A domain of a table, as a hash.
pub(super) type Domain = u64;

/// The key of a domain of a table.
pub(super) fn domain(table: &str, domain: &str) -> Domain {
    let mut hasher = FxBuildHasher.build_hasher();
    table.hash(&mut hasher);
    domain.bytes().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
    hasher.finish()
}

/// All domains with those that would like them.
#[derive(Debug, Default)]
pub(super) struct Claims(FxHashMap<Domain, Claimants>);

/// Nearly all domains have one.
#[derive(Debug)]
enum Claimants {
    One(Claimant),
    /// Sorted.
    Several(Vec<Claimant>),
}

impl Claims {
    /// Whether the domain is this claimant's.
    pub(super) fn owns(&self, domain: Domain, claimant: &Claimant) -> bool {
        match self.0.get(&domain) {
            Some(Claimants::One(owner)) => owner == claimant,
            Some(Claimants::Several(all)) => all.first() == Some(claimant),
            None => false,
        }
    }

    /// Adds a claim; who loses the domain by it.
    pub(super) fn add(&mut self, domain: Domain, claimant: &Claimant) -> Option<Claimant> {
        let Some(known) = self.0.get_mut(&domain) else {
            self.0.insert(domain, Claimants::One(claimant.clone()));
            return None;
        };
        let mut all = match std::mem::replace(known, Claimants::Several(Vec::new())) {
            Claimants::One(owner) => vec![owner],
            Claimants::Several(all) => all,
        };
        let first = all.first().cloned();
        if let Err(at) = all.binary_search(claimant) {
            all.insert(at, claimant.clone());
        }
        let lost = first.filter(|first| all.first() != Some(first));
        *known = Claimants::Several(all);
        lost
    }

    /// Takes a claim back; who gets the domain by it.
    pub(super) fn remove(&mut self, domain: Domain, claimant: &Claimant) -> Option<Claimant> {
        match self.0.get_mut(&domain)? {
            Claimants::One(owner) => {
                if owner == claimant {
                    self.0.remove(&domain);
                }
                None
            }
            Claimants::Several(all) => {
                let owned = all.first() == Some(claimant);
                all.retain(|other| other != claimant);
                let next = all.first().cloned();
                if all.is_empty() {
                    self.0.remove(&domain);
                }
                next.filter(|_| owned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_order_owns_whatever_came_first() {
        let (a, b) = (Claimant::Service(Host::new("a")), Claimant::Unknown(Host::new("a")));
        let key = domain("80", "A");
        assert_eq!(key, domain("80", "a"));
        let mut claims = Claims::default();
        assert_eq!(claims.add(key, &b), None);
        assert_eq!(claims.add(key, &a), Some(b.clone()));
        assert!(claims.owns(key, &a) && !claims.owns(key, &b));
        assert_eq!(claims.add(key, &Claimant::CatchAll), None);
        assert_eq!(claims.remove(key, &a), Some(b.clone()));
        assert_eq!(claims.remove(key, &Claimant::CatchAll), None);
        assert!(claims.owns(key, &b));
    }
}
