//! The state-of-the-world protocol, message by message.

use super::*;
use crate::pb::google::protobuf::Any;
use crate::type_url::{CLUSTER, ENDPOINT};

struct World(Vec<(&'static str, &'static str)>);

impl Client for World {
    fn resources(&mut self, _: &str, interest: &Interest) -> Vec<Resource> {
        let wanted = self.0.iter().filter(|(name, _)| interest.wants(name));
        wanted
            .map(|(name, version)| Resource {
                name: (*name).into(),
                version: (*version).into(),
                body: Arc::new(Any::default()),
            })
            .collect()
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

#[test]
fn all_is_sent_again_when_anything_changes_and_an_ack_is_not_a_question() {
    let (mut world, mut session) = (World(vec![("a", "1"), ("b", "1")]), Session::default());
    session.request(request(CLUSTER, &[], ""), &mut world);
    let first = session.response(&mut world).expect("a response");
    assert_eq!(first.resources.len(), 2);
    session.request(request(CLUSTER, &[], &first.nonce), &mut world);
    assert!(session.response(&mut world).is_none());
    world.0[0].1 = "2";
    session.changed();
    assert_eq!(session.response(&mut world).expect("a response").resources.len(), 2);
}

#[test]
fn other_names_are_a_question_and_old_nonces_are_nothing() {
    let (mut world, mut session) = (World(vec![("a", "1"), ("b", "1")]), Session::default());
    session.request(request(ENDPOINT, &["a"], ""), &mut world);
    let first = session.response(&mut world).expect("a response");
    session.request(request(ENDPOINT, &["a", "b"], &first.nonce), &mut world);
    let second = session.response(&mut world).expect("a response");
    assert_eq!(second.resources.len(), 2);
    session.request(request(ENDPOINT, &["a"], &first.nonce), &mut world);
    session.changed();
    assert!(session.response(&mut world).is_none(), "the second is under way");
}

#[test]
fn endpoints_follow_clusters() {
    let (mut world, mut session) = (World(vec![("a", "1")]), Session::default());
    session.request(request(CLUSTER, &[], ""), &mut world);
    let clusters = session.response(&mut world).expect("clusters");
    session.request(request(CLUSTER, &[], &clusters.nonce), &mut world);
    session.request(request(ENDPOINT, &["a"], ""), &mut world);
    let endpoints = session.response(&mut world).expect("endpoints");
    session.request(request(ENDPOINT, &["a"], &endpoints.nonce), &mut world);
    world.0[0].1 = "2";
    session.changed();
    assert_eq!(session.response(&mut world).expect("clusters").type_url, CLUSTER);
    assert_eq!(session.response(&mut world).expect("endpoints").type_url, ENDPOINT);
}
