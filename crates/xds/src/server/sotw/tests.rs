//! The state-of-the-world protocol, message by message.

mod orders;

use prost::Message;

use super::super::delta::tests::resource;
use super::*;
use crate::server::Collection;
use crate::type_url::{CLUSTER, ENDPOINT};

struct World(Arc<Collection>);

impl World {
    fn of(resources: &[(&str, u64)]) -> World {
        World(Arc::new(Collection::of(resources.iter().map(|(name, version)| resource(name, *version)))))
    }

    fn set(&self, name: &str, version: u64) {
        self.0.update([(name.into(), Some(resource(name, version)))]);
    }
}

impl Client for World {
    fn collections(&mut self, _: &str) -> Vec<Arc<Collection>> {
        vec![Arc::clone(&self.0)]
    }

    fn event(&mut self, _: Event<'_>) {}
}

fn request(url: &str, names: &[&str], nonce: &str) -> discovery::DiscoveryRequest {
    discovery::DiscoveryRequest {
        type_url: url.to_owned(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

fn next(session: &mut Session, world: &mut dyn Client) -> Option<discovery::DiscoveryResponse> {
    let response = session.response(world).unwrap()?;
    let mut bytes = response.head[5..].to_vec();
    response.resources.iter().for_each(|part| bytes.extend_from_slice(part));
    Some(discovery::DiscoveryResponse::decode(&*bytes).unwrap())
}

#[test]
fn all_is_sent_again_when_anything_changes_and_an_ack_is_not_a_question() {
    let (mut world, mut session) = (World::of(&[("a", 1), ("b", 1)]), Session::default());
    session.request(request(CLUSTER, &[], ""), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    assert_eq!(first.resources.len(), 2);
    session.request(request(CLUSTER, &[], &first.nonce), &mut world);
    assert!(next(&mut session, &mut world).is_none());
    world.set("a", 2);
    assert_eq!(next(&mut session, &mut world).expect("a response").resources.len(), 2);
}

#[test]
fn of_endpoints_only_those_that_changed_are_sent() {
    let (mut world, mut session) = (World::of(&[("a", 1), ("b", 1), ("c", 1)]), Session::default());
    session.request(request(ENDPOINT, &["a", "b"], ""), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    assert_eq!(first.resources.len(), 2);
    session.request(request(ENDPOINT, &["a", "b"], &first.nonce), &mut world);
    world.set("c", 2);
    assert!(next(&mut session, &mut world).is_none(), "nobody asked for it");
    world.set("b", 2);
    assert_eq!(next(&mut session, &mut world).expect("a response").resources.len(), 1);
}

#[test]
fn other_names_are_a_question_and_old_nonces_are_nothing() {
    let (mut world, mut session) = (World::of(&[("a", 1), ("b", 1)]), Session::default());
    session.request(request(ENDPOINT, &["a"], ""), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    session.request(request(ENDPOINT, &["a", "b"], &first.nonce), &mut world);
    let second = next(&mut session, &mut world).expect("a response");
    assert_eq!(second.resources.len(), 1, "what is new among the names");
    session.request(request(ENDPOINT, &["a"], &first.nonce), &mut world);
    world.set("b", 2);
    assert!(next(&mut session, &mut world).is_none(), "the second is under way");
    session.request(request(ENDPOINT, &["a", "b"], &second.nonce), &mut world);
    assert_eq!(next(&mut session, &mut world).expect("a response").resources.len(), 1);
}

#[test]
fn no_names_mean_everything_only_as_long_as_there_were_none() {
    let (mut world, mut session) = (World::of(&[("a", 1), ("b", 1)]), Session::default());
    session.request(request(CLUSTER, &["a"], ""), &mut world);
    let first = next(&mut session, &mut world).expect("a response");
    assert_eq!(first.resources.len(), 1);
    session.request(request(CLUSTER, &[], &first.nonce), &mut world);
    world.set("a", 2);
    assert!(next(&mut session, &mut world).is_none(), "nothing is wanted any more");
}

#[test]
fn endpoints_follow_clusters() {
    let (mut world, mut session) = (World::of(&[("a", 1)]), Session::default());
    session.request(request(CLUSTER, &[], ""), &mut world);
    let clusters = next(&mut session, &mut world).expect("clusters");
    session.request(request(CLUSTER, &[], &clusters.nonce), &mut world);
    session.request(request(ENDPOINT, &["a"], ""), &mut world);
    let endpoints = next(&mut session, &mut world).expect("endpoints");
    session.request(request(ENDPOINT, &["a"], &endpoints.nonce), &mut world);
    world.set("a", 2);
    assert_eq!(next(&mut session, &mut world).expect("clusters").type_url, CLUSTER);
    assert_eq!(next(&mut session, &mut world).expect("endpoints").type_url, ENDPOINT);
}
