//! Whatever happens in whatever order, a client that is left in peace ends up with what it wants as it is now, as far as this form of
//! the protocol can say.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::server::happenings::{Change, Mesh, NAMES, TYPES, change, kind, read, settle};

#[derive(Debug, Clone)]
enum Happening {
    Changes(Change),
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
    let wanted = prop::collection::btree_set(0..NAMES.len(), 1..4);
    prop_oneof![
        11 => change().prop_map(Happening::Changes),
        4 => (0..TYPES.len(), wanted).prop_map(|(kind, names)| Happening::Want { kind, names }),
        6 => Just(Happening::Serve),
        6 => Just(Happening::Deliver),
        6 => Just(Happening::Answer),
        1 => Just(Happening::Reconnect),
    ]
}

/// What the client wants of a type and what it has.
#[derive(Debug, Default)]
struct Wish {
    names: BTreeSet<&'static str>,
    asked: bool,
    nonce: String,
    held: BTreeMap<String, u64>,
}

impl Wish {
    /// Of clusters everything is wanted, of the others some names.
    fn wants(&self, kind: usize, name: &str) -> bool {
        TYPES[kind] == CLUSTER || self.names.contains(name)
    }
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
            Happening::Changes(change) => self.mesh.change(change),
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
        let any = response.is_some();
        self.responses.extend(response);
        any
    }

    fn deliver(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else { return false };
        let kind = kind(&response.type_url);
        let wish = &mut self.wishes[kind];
        if TYPES[kind] != ENDPOINT {
            wish.held.clear();
        }
        let mut seen = BTreeSet::new();
        for resource in response.resources {
            let (name, version) = read(&resource.value);
            assert!(seen.insert(name.clone()), "{name} twice in a response");
            if wish.wants(kind, &name) {
                wish.held.insert(name, version);
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
            mesh: Mesh::default(),
            session: Session::default(),
            wishes: Default::default(),
            responses: VecDeque::new(),
            requests: VecDeque::new(),
        };
        for what in &happenings {
            peers.happens(what);
        }
        settle(|| peers.serve() | peers.deliver() | peers.answer());
        for (kind, wish) in peers.wishes.iter().enumerate().filter(|(_, wish)| wish.asked) {
            let wanted = peers.mesh.wanted(kind, |name| wish.wants(kind, name));
            // Nothing can say that an assignment is gone.
            let mut held = wish.held.clone();
            held.retain(|name, _| TYPES[kind] != ENDPOINT || wanted.contains_key(name));
            prop_assert_eq!(held, wanted, "{}", TYPES[kind]);
        }
    }
}
