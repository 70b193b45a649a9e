//! The delta protocol, message by message, against a client with a fixed set of resources.

use super::*;
use crate::pb::google::protobuf::Any;
use crate::pb::google::rpc::Status;
use crate::type_url::{CLUSTER, ENDPOINT, LISTENER};

#[derive(Default)]
struct World {
    resources: BTreeMap<String, Vec<(&'static str, &'static str)>>,
    events: Vec<String>,
}

impl World {
    fn set(&mut self, url: &str, resources: &[(&'static str, &'static str)]) {
        self.resources.insert(url.to_owned(), resources.to_vec());
    }
}

impl Client for World {
    fn resources(&mut self, type_url: &str, interest: &Interest) -> Vec<Resource> {
        let all = self.resources.get(type_url).cloned().unwrap_or_default();
        let wanted = all.into_iter().filter(|(name, _)| interest.wants(name));
        wanted
            .map(|(name, version)| Resource {
                name: name.into(),
                version: version.into(),
                body: Arc::new(Any::default()),
            })
            .collect()
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

fn names(response: &discovery::DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[test]
fn only_the_difference_travels_and_one_at_a_time() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", "1"), ("b", "1")]);
    session.request(request(CLUSTER, &[]), &mut world);
    let first = session.response(&mut world).expect("a response");
    assert_eq!(names(&first), ["a", "b"]);
    world.set(CLUSTER, &[("a", "2"), ("c", "1")]);
    session.changed();
    assert!(session.response(&mut world).is_none(), "the first is under way");
    session.request(ack(&first), &mut world);
    let second = session.response(&mut world).expect("a response");
    assert_eq!((names(&second), &second.removed_resources[..]), (vec!["a", "c"], &["b".to_owned()][..]));
    assert_eq!(world.events, ["sent 2", "ack", "sent 2"]);
}

#[test]
fn an_empty_first_answer_is_an_answer() {
    let (mut world, mut session) = (World::default(), Session::default());
    session.request(request(LISTENER, &[]), &mut world);
    assert!(session.response(&mut world).expect("a response").resources.is_empty());
}

#[test]
fn a_name_that_is_not_there_is_said_once() {
    let (mut world, mut session) = (World::default(), Session::default());
    session.request(request(ENDPOINT, &["x"]), &mut world);
    let first = session.response(&mut world).expect("a response");
    assert_eq!(first.removed_resources, ["x"]);
    session.request(ack(&first), &mut world);
    session.changed();
    assert!(session.response(&mut world).is_none());
    world.set(ENDPOINT, &[("x", "1")]);
    session.changed();
    assert_eq!(names(&session.response(&mut world).expect("a response")), ["x"]);
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", "1"), ("b", "1")]);
    world.set(ENDPOINT, &[("a", "1"), ("b", "1")]);
    session.request(request(CLUSTER, &[]), &mut world);
    let clusters = session.response(&mut world).expect("clusters");
    session.request(ack(&clusters), &mut world);
    session.request(request(ENDPOINT, &["a", "b"]), &mut world);
    let endpoints = session.response(&mut world).expect("endpoints");
    session.request(ack(&endpoints), &mut world);
    world.set(CLUSTER, &[("a", "2"), ("b", "1")]);
    session.changed();
    assert_eq!(names(&session.response(&mut world).expect("clusters")), ["a"]);
    assert_eq!(names(&session.response(&mut world).expect("endpoints")), ["a"]);
    assert!(session.response(&mut world).is_none());
}

#[test]
fn a_client_that_comes_back_gets_what_it_lacks() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(CLUSTER, &[("a", "1"), ("b", "2")]);
    let mut first = request(CLUSTER, &[]);
    first.initial_resource_versions = ["a", "b", "c"].map(|name| (name.to_owned(), "1".to_owned())).into();
    session.request(first, &mut world);
    let response = session.response(&mut world).expect("a response");
    assert_eq!((names(&response), &response.removed_resources[..]), (vec!["b"], &["c".to_owned()][..]));
}

#[test]
fn a_refusal_is_reported_and_not_repeated() {
    let (mut world, mut session) = (World::default(), Session::default());
    world.set(LISTENER, &[("a", "1")]);
    session.request(request(LISTENER, &[]), &mut world);
    let first = session.response(&mut world).expect("a response");
    let mut nack = ack(&first);
    nack.error_detail = Some(Status { message: "bad".to_owned(), ..Default::default() });
    session.request(nack, &mut world);
    session.changed();
    assert!(session.response(&mut world).is_none());
    assert_eq!(world.events.last().map(String::as_str), Some("nack bad"));
}
