//! Whatever happens in whatever order, a client that is left in peace ends up with what it wants as it is now.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::server::Interest;
use crate::server::happenings::{Change, Mesh, NAMES, TYPES, change, kind, settle};

#[derive(Debug, Clone)]
enum Happening {
    Changes(Change),
    WantAll { kind: usize },
    Want { kind: usize, name: usize },
    Drop { kind: usize, name: usize },
    Serve,
    Deliver,
    Answer,
    Reconnect,
}

fn happening() -> impl Strategy<Value = Happening> {
    let (kind, name) = (0..TYPES.len(), 0..NAMES.len());
    prop_oneof![
        11 => change().prop_map(Happening::Changes),
        1 => kind.clone().prop_map(|kind| Happening::WantAll { kind }),
        3 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Happening::Want { kind, name }),
        2 => (kind, name).prop_map(|(kind, name)| Happening::Drop { kind, name }),
        6 => Just(Happening::Serve),
        6 => Just(Happening::Deliver),
        6 => Just(Happening::Answer),
        1 => Just(Happening::Reconnect),
    ]
}

/// What the client wants of a type and what it has.
#[derive(Debug, Default)]
struct Wish {
    interest: Interest,
    asked: bool,
    held: BTreeMap<String, u64>,
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
            Happening::Changes(change) => self.mesh.change(change),
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
            Happening::Serve => drop(self.serve()),
            Happening::Deliver => drop(self.deliver()),
            Happening::Answer => drop(self.answer()),
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
                    let held = wish
                        .held
                        .iter()
                        .map(|(name, version)| (name.clone(), format!("{version:x}")))
                        .collect();
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
        let response = next(&mut self.session, &mut self.mesh);
        let any = response.is_some();
        self.responses.extend(response);
        any
    }

    fn deliver(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else { return false };
        let wish = &mut self.wishes[kind(&response.type_url)];
        for resource in &response.resources {
            if wish.interest.wants(&resource.name) {
                let version = u64::from_str_radix(&resource.version, 16).unwrap();
                wish.held.insert(resource.name.clone(), version);
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
            mesh: Mesh::default(),
            session: Session::default(),
            wishes: Default::default(),
            responses: VecDeque::new(),
            answers: VecDeque::new(),
        };
        for what in &happenings {
            peers.happens(what);
        }
        settle(|| peers.serve() | peers.deliver() | peers.answer());
        for (kind, wish) in peers.wishes.iter().enumerate() {
            let wanted = peers.mesh.wanted(kind, |name| wish.interest.wants(name));
            prop_assert_eq!(&wish.held, &wanted, "{}", TYPES[kind]);
        }
    }
}
