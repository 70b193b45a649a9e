//! Whatever happens in whatever order, a client that is left in peace ends up with what it wants as it is now, as far as this form of
//! the protocol can say.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::pb::google::protobuf::Any;
use crate::server::Resource;
use crate::type_url::LISTENER;

/// Of clusters everything is wanted, of the others some names. A response with clusters or listeners is all of them.
const TYPES: [&str; 3] = [CLUSTER, ENDPOINT, LISTENER];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Happening {
    Put {
        kind: usize,
        layer: usize,
        name: usize,
        version: u64,
    },
    Gone {
        kind: usize,
        layer: usize,
        name: usize,
    },
    /// Another collection takes its place: a proxy changes its group.
    Other {
        kind: usize,
        layer: usize,
        names: Vec<usize>,
        version: u64,
    },
    /// The client asks, of clusters for all.
    Want {
        kind: usize,
        names: BTreeSet<usize>,
    },
    Serve,
    Deliver,
    Answer,
    Reconnect,
}

fn happening() -> impl Strategy<Value = Happening> {
    let (kind, layer, name, version) = (0..TYPES.len(), 0..2usize, 0..NAMES.len(), 1..4u64);
    let names = prop::collection::vec(name.clone(), 0..4);
    let wanted = prop::collection::btree_set(name.clone(), 1..4);
    prop_oneof![
        6 => (kind.clone(), layer.clone(), name.clone(), version.clone())
            .prop_map(|(kind, layer, name, version)| Happening::Put { kind, layer, name, version }),
        4 => (kind.clone(), layer.clone(), name)
            .prop_map(|(kind, layer, name)| Happening::Gone { kind, layer, name }),
        1 => (kind.clone(), layer, names, version)
            .prop_map(|(kind, layer, names, version)| Happening::Other { kind, layer, names, version }),
        4 => (kind, wanted).prop_map(|(kind, names)| Happening::Want { kind, names }),
        6 => Just(Happening::Serve),
        6 => Just(Happening::Deliver),
        6 => Just(Happening::Answer),
        1 => Just(Happening::Reconnect),
    ]
}

/// Two collections for each type, of which the first holds.
struct Mesh([[Arc<Collection>; 2]; 3]);

impl Client for Mesh {
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>> {
        let kind = TYPES.iter().position(|url| *url == type_url).unwrap();
        self.0[kind].to_vec()
    }

    fn event(&mut self, _: Event<'_>) {}
}

/// A resource whose message says its name and version.
fn made(name: &str, version: u64) -> Resource {
    let message = Any { type_url: name.to_owned(), value: version.to_string().into() };
    Resource::new(name, version, "t", &message)
}

/// What the client wants of a type and what it has.
#[derive(Debug, Default)]
struct Wish {
    names: BTreeSet<&'static str>,
    asked: bool,
    nonce: String,
    held: BTreeMap<String, Vec<u8>>,
}

struct Peers {
    mesh: Mesh,
    session: Session,
    wishes: [Wish; 3],
    responses: VecDeque<discovery::DiscoveryResponse>,
    requests: VecDeque<discovery::DiscoveryRequest>,
}

impl Peers {
    fn ask(&mut self, kind: usize) {
        let wish = &self.wishes[kind];
        let names: Vec<&str> = wish.names.iter().copied().collect();
        self.requests.push_back(request(TYPES[kind], &names, &wish.nonce));
    }

    fn happens(&mut self, what: &Happening) {
        match what {
            Happening::Put { kind, layer, name, version } => {
                let changed = made(NAMES[*name], *version);
                self.mesh.0[*kind][*layer].update([(NAMES[*name].into(), Some(changed))]);
            }
            Happening::Gone { kind, layer, name } => {
                self.mesh.0[*kind][*layer].update([(NAMES[*name].into(), None)]);
            }
            Happening::Other { kind, layer, names, version } => {
                let names: BTreeSet<_> = names.iter().map(|name| NAMES[*name]).collect();
                let resources = names.into_iter().map(|name| made(name, *version));
                self.mesh.0[*kind][*layer] = Arc::new(Collection::of(resources));
            }
            // A request that crosses a response is old news to the server: who drops a name and wants it again meanwhile was
            // not heard to drop it. Clusters help Envoy out of that, which are warmed by endpoints that are sent again.
            Happening::Want { .. } if !self.requests.is_empty() || !self.responses.is_empty() => {}
            Happening::Want { kind, names } => {
                let wish = &mut self.wishes[*kind];
                let names: BTreeSet<_> = names.iter().map(|name| NAMES[*name]).collect();
                if TYPES[*kind] != CLUSTER && wish.names != names {
                    wish.held.retain(|name, _| names.contains(&**name));
                    wish.names = names;
                } else if wish.asked {
                    return;
                }
                wish.asked = true;
                self.ask(*kind);
            }
            Happening::Serve => drop(self.serve()),
            Happening::Deliver => drop(self.deliver()),
            Happening::Answer => drop(self.answer()),
            Happening::Reconnect => {
                self.session = Session::default();
                self.responses.clear();
                self.requests.clear();
                for kind in 0..TYPES.len() {
                    self.wishes[kind].nonce.clear();
                    if self.wishes[kind].asked {
                        self.ask(kind);
                    }
                }
            }
        }
    }

    fn serve(&mut self) -> bool {
        let response = next(&mut self.session, &mut self.mesh);
        self.responses.extend(response);
        !self.responses.is_empty()
    }

    fn deliver(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else { return false };
        let kind = TYPES.iter().position(|url| *url == response.type_url).unwrap();
        let wish = &mut self.wishes[kind];
        if TYPES[kind] != ENDPOINT {
            wish.held.clear();
        }
        let mut seen = BTreeSet::new();
        for resource in response.resources {
            let name = Any::decode(&*resource.value).unwrap().type_url;
            assert!(seen.insert(name.clone()), "{name} twice in a response");
            if wish.names.contains(&*name) || TYPES[kind] == CLUSTER {
                wish.held.insert(name, resource.value.to_vec());
            }
        }
        wish.nonce = response.nonce;
        self.ask(kind);
        true
    }

    fn answer(&mut self) -> bool {
        let Some(request) = self.requests.pop_front() else { return false };
        self.session.request(request, &mut self.mesh);
        true
    }
}

proptest! {
    #[test]
    fn a_client_ends_up_with_what_it_wants(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut peers = Peers {
            mesh: Mesh(Default::default()),
            session: Session::default(),
            wishes: Default::default(),
            responses: VecDeque::new(),
            requests: VecDeque::new(),
        };
        for what in &happenings {
            peers.happens(what);
        }
        for round in 0.. {
            prop_assert!(round < 100, "this has no end");
            if !(peers.serve() | peers.deliver() | peers.answer()) {
                break;
            }
        }
        for (kind, wish) in peers.wishes.iter().enumerate().filter(|(_, wish)| wish.asked) {
            let [first, second] = &peers.mesh.0[kind];
            let mut wanted = BTreeMap::new();
            for resource in second.all().into_iter().chain(first.all()) {
                if TYPES[kind] == CLUSTER || wish.names.contains(&**resource.name()) {
                    wanted.insert(resource.name().to_string(), resource.message().to_vec());
                }
            }
            // Nothing can say that an assignment is gone.
            let mut held = wish.held.clone();
            held.retain(|name, _| TYPES[kind] != ENDPOINT || wanted.contains_key(name));
            prop_assert_eq!(held, wanted, "{}", TYPES[kind]);
        }
    }
}
