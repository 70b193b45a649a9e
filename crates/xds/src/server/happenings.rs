//! What tests of both forms of the protocol share: a mesh that changes as it is drawn, and what a client of it is to have.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;

use super::{Client, Collection, Event, Resource};
use crate::pb::google::protobuf::Any;
use crate::type_url::{CLUSTER, ENDPOINT, LISTENER};

pub(super) const TYPES: [&str; 3] = [CLUSTER, ENDPOINT, LISTENER];
pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A change of one of the collections of a type.
#[derive(Debug, Clone)]
pub(super) struct Change {
    kind: usize,
    layer: usize,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Put {
        name: usize,
        version: u64,
    },
    Gone {
        name: usize,
    },
    /// Another collection takes its place: a proxy changes its group.
    Other {
        names: BTreeSet<usize>,
        version: u64,
    },
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let (name, version) = (0..NAMES.len(), 1..4_u64);
    let names = prop::collection::btree_set(name.clone(), 0..4);
    let what = prop_oneof![
        6 => (name.clone(), version.clone()).prop_map(|(name, version)| What::Put { name, version }),
        4 => name.prop_map(|name| What::Gone { name }),
        1 => (names, version).prop_map(|(names, version)| What::Other { names, version }),
    ];
    (0..TYPES.len(), 0..2_usize, what).prop_map(|(kind, layer, what)| Change { kind, layer, what })
}

/// Two collections for each type, of which the first holds.
#[derive(Default)]
pub(super) struct Mesh([[Arc<Collection>; 2]; 3]);

impl Mesh {
    pub(super) fn change(&mut self, change: &Change) {
        let collection = &mut self.0[change.kind][change.layer];
        match &change.what {
            What::Put { name, version } => {
                let name = NAMES[*name];
                collection.update([(name.into(), Some(resource(name, *version)))]);
            }
            What::Gone { name } => {
                collection.update([(NAMES[*name].into(), None)]);
            }
            What::Other { names, version } => {
                let resources = names.iter().map(|name| resource(NAMES[*name], *version));
                *collection = Arc::new(Collection::of(resources));
            }
        }
    }

    /// What there is of a type for who wants these names.
    pub(super) fn wanted(&self, kind: usize, wants: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
        let [first, second] = &self.0[kind];
        let all = second.all().into_iter().chain(first.all());
        let wanted = all.filter(|resource| wants(resource.name()));
        wanted.map(|resource| (resource.name().to_string(), resource.version())).collect()
    }
}

impl Client for Mesh {
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>> {
        self.0[kind(type_url)].to_vec()
    }

    fn event(&mut self, _: Event<'_>) {}
}

pub(super) fn kind(type_url: &str) -> usize {
    TYPES.iter().position(|url| *url == type_url).unwrap()
}

/// A resource whose message says its name and version, which only one form of the protocol says for itself.
fn resource(name: &str, version: u64) -> Resource {
    let message = Any { type_url: name.to_owned(), value: version.to_string().into() };
    Resource::new(name, version, "t", &message)
}

/// Name and version of such a resource.
pub(super) fn read(message: &[u8]) -> (String, u64) {
    let message = Any::decode(message).unwrap();
    (message.type_url, std::str::from_utf8(&message.value).unwrap().parse().unwrap())
}

/// Lets peers go on until they have nothing more to say.
pub(super) fn settle(mut goes_on: impl FnMut() -> bool) {
    assert!((0..100).any(|_| !goes_on()), "this has no end");
}
