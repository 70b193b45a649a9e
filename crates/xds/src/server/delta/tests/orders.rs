//! Whatever happens in whatever order, a client that is left in peace ends up with what it wants as it is now.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{super::super::Interest, *};

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
    WantAll {
        kind: usize,
    },
    Want {
        kind: usize,
        name: usize,
    },
    Drop {
        kind: usize,
        name: usize,
    },
    Serve,
    Deliver,
    Answer,
    Reconnect,
}

fn happening() -> impl Strategy<Value = Happening> {
    let (kind, layer, name, version) = (0..TYPES.len(), 0..2usize, 0..NAMES.len(), 1..4u64);
    let names = prop::collection::vec(name.clone(), 0..4);
    prop_oneof![
        6 => (kind.clone(), layer.clone(), name.clone(), version.clone())
            .prop_map(|(kind, layer, name, version)| Happening::Put { kind, layer, name, version }),
        4 => (kind.clone(), layer.clone(), name.clone())
            .prop_map(|(kind, layer, name)| Happening::Gone { kind, layer, name }),
        1 => (kind.clone(), layer, names, version)
            .prop_map(|(kind, layer, names, version)| Happening::Other { kind, layer, names, version }),
        1 => kind.clone().prop_map(|kind| Happening::WantAll { kind }),
        3 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Happening::Want { kind, name }),
        2 => (kind, name).prop_map(|(kind, name)| Happening::Drop { kind, name }),
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

/// What the client wants of a type and what it has.
#[derive(Debug, Default)]
struct Wish {
    interest: Interest,
    asked: bool,
    held: BTreeMap<String, String>,
}

struct Peers {
    mesh: Mesh,
    session: Session,
    wishes: [Wish; 3],
    /// On the way to the client.
    responses: VecDeque<discovery::DeltaDiscoveryResponse>,
    /// On the way to the server.
    answers: VecDeque<discovery::DeltaDiscoveryRequest>,
}

impl Peers {
    fn happens(&mut self, what: &Happening) {
        match what {
            Happening::Put { kind, layer, name, version } => {
                let name = NAMES[*name];
                self.mesh.0[*kind][*layer].update([(name.into(), Some(resource(name, *version)))]);
            }
            Happening::Gone { kind, layer, name } => {
                self.mesh.0[*kind][*layer].update([(NAMES[*name].into(), None)]);
            }
            Happening::Other { kind, layer, names, version } => {
                let names: BTreeSet<_> = names.iter().map(|name| NAMES[*name]).collect();
                let resources = names.into_iter().map(|name| resource(name, *version));
                self.mesh.0[*kind][*layer] = Arc::new(Collection::of(resources));
            }
            Happening::WantAll { kind } => {
                let wish = &mut self.wishes[*kind];
                wish.interest.wildcard = true;
                let names = if wish.asked { &["*"][..] } else { &[] };
                wish.asked = true;
                self.session.request(request(TYPES[*kind], names), &mut self.mesh);
            }
            Happening::Want { kind, name } => {
                let wish = &mut self.wishes[*kind];
                if wish.interest.names.insert(NAMES[*name].into()) {
                    wish.asked = true;
                    self.session.request(request(TYPES[*kind], &[NAMES[*name]]), &mut self.mesh);
                }
            }
            Happening::Drop { kind, name } => {
                let wish = &mut self.wishes[*kind];
                if wish.interest.names.remove(NAMES[*name]) {
                    if !wish.interest.wildcard {
                        wish.held.remove(NAMES[*name]);
                    }
                    let names = vec![NAMES[*name].to_owned()];
                    let request = discovery::DeltaDiscoveryRequest {
                        resource_names_unsubscribe: names,
                        ..request(TYPES[*kind], &[])
                    };
                    self.session.request(request, &mut self.mesh);
                }
            }
            Happening::Serve => {
                self.serve();
            }
            Happening::Deliver => {
                self.deliver();
            }
            Happening::Answer => {
                self.answer();
            }
            Happening::Reconnect => {
                self.session = Session::default();
                self.responses.clear();
                self.answers.clear();
                for (wish, url) in self.wishes.iter_mut().zip(TYPES).filter(|(wish, _)| wish.asked) {
                    let mut names: Vec<&str> = wish.interest.names.iter().map(|name| &**name).collect();
                    if names.is_empty() && !wish.interest.wildcard {
                        // Nothing is wanted any more, so nothing is asked.
                        *wish = Wish::default();
                        continue;
                    }
                    if wish.interest.wildcard && !names.is_empty() {
                        names.push("*");
                    }
                    let held = wish.held.clone().into_iter().collect();
                    let first = discovery::DeltaDiscoveryRequest {
                        initial_resource_versions: held,
                        ..request(url, &names)
                    };
                    self.session.request(first, &mut self.mesh);
                }
            }
        }
    }

    fn serve(&mut self) -> bool {
        let Some(response) = self.session.response(&mut self.mesh).unwrap() else { return false };
        let mut bytes = response.head[5..].to_vec();
        response.resources.iter().for_each(|part| bytes.extend_from_slice(part));
        self.responses.push_back(discovery::DeltaDiscoveryResponse::decode(&*bytes).unwrap());
        true
    }

    fn deliver(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else { return false };
        let kind = TYPES.iter().position(|url| *url == response.type_url).unwrap();
        let wish = &mut self.wishes[kind];
        for resource in &response.resources {
            if wish.interest.wants(&resource.name) {
                wish.held.insert(resource.name.clone(), resource.version.clone());
            }
        }
        for name in &response.removed_resources {
            wish.held.remove(name);
        }
        self.answers.push_back(ack(&response));
        true
    }

    fn answer(&mut self) -> bool {
        let Some(answer) = self.answers.pop_front() else { return false };
        self.session.request(answer, &mut self.mesh);
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
            answers: VecDeque::new(),
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
        for (kind, wish) in peers.wishes.iter().enumerate() {
            let [first, second] = &peers.mesh.0[kind];
            let mut wanted = BTreeMap::new();
            for resource in second.all().into_iter().chain(first.all()) {
                if wish.interest.wants(resource.name()) {
                    wanted.insert(resource.name().to_string(), format!("{:016x}", resource.version()));
                }
            }
            let held: BTreeMap<_, _> =
                wish.held.iter().map(|(name, version)| (name.clone(), format!("{version:0>16}"))).collect();
            prop_assert_eq!(held, wanted, "{}", TYPES[kind]);
        }
    }
}
