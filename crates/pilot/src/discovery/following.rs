//! What the tests that follow changes share: changes drawn from a pool of objects, and what differs in the end.

use std::collections::BTreeMap;

use meltemi_config::Object;

use crate::snapshot::Change;

/// One to `most` of the objects come, each in the form that is drawn, or go.
pub(super) fn draw(dice: &mut fastrand::Rng, pool: &[&Object], most: usize) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for _ in 0..dice.usize(1..=most) {
        let object = pool[dice.usize(0..pool.len())];
        let change = (dice.u8(0..3) > 0).then(|| object.clone());
        changes.retain(|(id, _)| *id != object.id());
        changes.push((object.id(), change));
    }
    changes
}

/// The changes in words.
pub(super) fn words(changes: &[Change]) -> Vec<(String, bool)> {
    changes.iter().map(|(id, object)| (id.to_string(), object.is_some())).collect()
}

/// Names that only one of the two has, or each in another version.
pub(super) fn differing<'h>(
    one: &'h BTreeMap<String, u64>,
    other: &'h BTreeMap<String, u64>,
) -> Vec<&'h str> {
    let of_one = one.iter().filter(|(name, version)| other.get(*name) != Some(version));
    let of_other = other.keys().filter(|name| !one.contains_key(*name));
    of_one.map(|(name, _)| name).chain(of_other).map(String::as_str).collect()
}
