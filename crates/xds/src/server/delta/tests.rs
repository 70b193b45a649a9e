//! The delta protocol, message by message, against collections that the test fills.

mod orders;

use prost::Message;

use super::*;
use crate::pb::google::rpc::Status;
use crate::server::{Collection, Resource};
use crate::type_url::{CLUSTER, ENDPOINT, LISTENER};

#[derive(Default)]
struct World {
    collections: BTreeMap<String, Arc<Collection>>,
    events: Vec<String>,
}

pub(crate) fn resource(name: &str, version: u64) -> Resource {
    Resource::new(name, version, "t", &crate::pb::google::protobuf::Any::default())
}

impl World {
    fn set(&mut self, url: &str, resources: &[(&str, u64)]) {
        let collection = self.collections.entry(url.to_owned()).or_default();
        collection.replace(resources.iter().map(|(name, version)| resource(name, *version)).collect());
    }
}

impl Client for World {
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>> {
        vec![Arc::clone(self.collections.entry(type_url.to_owned()).or_default())]
    }

    fn event(&mut self, event: Event<'_>) {
        self.events.push(match event {
            Event::Sent { resources, .. } => format!("sent {resources}"),
            Event::Acknowledged { .. } => "ack".to_owned(),
            Event::Rejected { message, .. } => format!("nack {message}"),
        });
    }
}

fn request(url: &str, subscribe: &[&str]) -> discovery::DeltaDiscoveryRequest {
    discovery::DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        resource_names_subscribe: subscribe.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn ack(response: &discovery::DeltaDiscoveryResponse) -> discovery::DeltaDiscoveryRequest {
    discovery::DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..request(&response.type_url, &[])
    }
}

/// The next response, as the client reads it.
fn next(session: &mut Session, world: &mut dyn Client) -> Option<discovery::DeltaDiscoveryResponse> {
    let response = session.response(world).unwrap()?;
    let mut bytes = response.head[5..].to_vec();
    response.resources.iter().for_each(|part| bytes.extend_from_slice(part));
    assert_eq!(u32::from_be_bytes(response.head[1..5].try_into().unwrap()) as usize, bytes.len());
    Some(discovery::DeltaDiscoveryResponse::decode(&*bytes).unwrap())
}

fn names(response: &discovery::DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[test]
fn only_the_difference_travels_and_one_at_a_time() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", 1), ("b", 1)]);
    session.request(request(CLUSTER, &[]), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    assert_eq!(names(&first), ["a", "b"]);
    world.set(CLUSTER, &[("a", 2), ("c", 1)]);
    world.set(CLUSTER, &[("a", 3), ("c", 1)]);
    assert!(next(&mut session, &mut world).is_none(), "the first is under way");
    session.request(ack(&first), &mut world);
    let second = next(&mut session, &mut world).expect("a response");
    assert_eq!(second.removed_resources, ["b"]);
    let mut changed = names(&second);
    changed.sort_unstable();
    assert_eq!(changed, ["a", "c"], "two changes are one");
    assert_eq!(world.events, ["sent 2", "ack", "sent 2"]);
}

#[test]
fn an_empty_first_answer_is_an_answer() {
    let (mut world, mut session) = (World::default(), Session::default());
    session.request(request(LISTENER, &[]), &mut world);
    assert!(next(&mut session, &mut world).expect("a response").resources.is_empty());
}

#[test]
fn a_name_that_is_not_there_is_said_once() {
    let (mut world, mut session) = (World::default(), Session::default());
    session.request(request(ENDPOINT, &["x"]), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    assert_eq!(first.removed_resources, ["x"]);
    session.request(ack(&first), &mut world);
    world.set(ENDPOINT, &[("y", 1)]);
    assert!(next(&mut session, &mut world).is_none());
    world.set(ENDPOINT, &[("x", 1)]);
    assert_eq!(names(&next(&mut session, &mut world).expect("a response")), ["x"]);
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", 1), ("b", 1)]);
    world.set(ENDPOINT, &[("a", 1), ("b", 1)]);
    session.request(request(CLUSTER, &[]), &mut world);
    let clusters = next(&mut session, &mut world).expect("clusters");
    session.request(ack(&clusters), &mut world);
    session.request(request(ENDPOINT, &["a", "b"]), &mut world);
    let endpoints = next(&mut session, &mut world).expect("endpoints");
    assert_eq!(names(&endpoints), ["a", "b"]);
    session.request(ack(&endpoints), &mut world);
    world.set(CLUSTER, &[("a", 2), ("b", 1)]);
    assert_eq!(names(&next(&mut session, &mut world).expect("clusters")), ["a"]);
    assert_eq!(names(&next(&mut session, &mut world).expect("endpoints")), ["a"]);
    assert!(next(&mut session, &mut world).is_none());
}

#[test]
fn a_client_that_comes_back_gets_what_it_lacks() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", 1), ("b", 2)]);
    let mut first = request(CLUSTER, &[]);
    first.initial_resource_versions =
        ["a", "b", "c"].map(|name| (name.to_owned(), format!("{:016x}", 1))).into();
    session.request(first, &mut world);
    let response = next(&mut session, &mut world).expect("a response");
    assert_eq!((names(&response), &response.removed_resources[..]), (vec!["b"], &["c".to_owned()][..]));
}

#[test]
fn a_refusal_is_reported_and_not_repeated() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(LISTENER, &[("a", 1)]);
    session.request(request(LISTENER, &[]), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    let mut nack = ack(&first);
    nack.error_detail = Some(Status { message: "bad".to_owned(), ..Default::default() });
    session.request(nack, &mut world);
    assert!(next(&mut session, &mut world).is_none());
    assert_eq!(world.events.last().map(String::as_str), Some("nack bad"));
}

#[test]
fn a_cluster_goes_after_what_refers_to_it() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", 1), ("b", 1)]);
    world.set(LISTENER, &[("to-a", 1)]);
    for url in [CLUSTER, LISTENER] {
        session.request(request(url, &[]), &mut world);
        let response = next(&mut session, &mut world).expect("a response");
        session.request(ack(&response), &mut world);
    }
    world.set(CLUSTER, &[("b", 1), ("c", 1)]);
    world.set(LISTENER, &[("to-a", 2)]);
    let made = next(&mut session, &mut world).expect("the new cluster");
    assert_eq!((names(&made), made.removed_resources.len()), (vec!["c"], 0));
    session.request(ack(&made), &mut world);
    let listener = next(&mut session, &mut world).expect("the listener");
    assert_eq!(listener.type_url, LISTENER);
    assert!(next(&mut session, &mut world).is_none(), "the listener is not answered yet");
    session.request(ack(&listener), &mut world);
    assert_eq!(next(&mut session, &mut world).expect("the removal").removed_resources, ["a"]);
}

#[test]
fn another_collection_is_compared_with_that_before() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", 1), ("b", 1), ("c", 1)]);
    session.request(request(CLUSTER, &[]), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    session.request(ack(&first), &mut world);
    // The client has not heard of `c` 2 when it moves.
    world.set(CLUSTER, &[("a", 1), ("b", 1), ("c", 2)]);
    world.collections.clear();
    world.set(CLUSTER, &[("a", 1), ("b", 2), ("c", 2), ("d", 1)]);
    let moved = next(&mut session, &mut world).expect("the difference");
    assert_eq!((names(&moved), moved.removed_resources.len()), (vec!["b", "c", "d"], 0));
    session.request(ack(&moved), &mut world);
    world.collections.clear();
    world.set(CLUSTER, &[("a", 1)]);
    let moved = next(&mut session, &mut world).expect("the difference");
    assert_eq!((names(&moved).len(), moved.removed_resources), (0, ["b", "c", "d"].map(String::from).into()));
}

#[test]
fn what_was_held_and_is_unsubscribed_is_sent_again_when_it_is_wanted() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(ENDPOINT, &[("a", 1)]);
    let held = HashMap::from([("a".to_owned(), "1".to_owned())]);
    let again =
        discovery::DeltaDiscoveryRequest { initial_resource_versions: held, ..request(ENDPOINT, &["a"]) };
    session.request(again, &mut world);
    let unsubscribe = discovery::DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["a".to_owned()],
        ..request(ENDPOINT, &[])
    };
    session.request(unsubscribe, &mut world);
    session.request(request(ENDPOINT, &["*"]), &mut world);
    let response = next(&mut session, &mut world).expect("a response");
    assert_eq!(names(&response), ["a"]);
}
