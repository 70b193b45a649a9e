//! History: what a client that has seen some change lacks.

use super::super::delta::tests::resource;
use super::*;

fn all() -> Interest {
    Interest { wildcard: true, ..Interest::default() }
}

fn lacks(collection: &Collection, seen: u64) -> (Vec<String>, Vec<String>) {
    let selection = collection.since(seen, &all()).expect("remembered");
    let mut names: Vec<_> = selection.resources.iter().map(|resource| resource.name().to_string()).collect();
    names.sort();
    (names, selection.removed.iter().map(ToString::to_string).collect())
}

#[test]
fn each_change_is_followed_from_wherever_a_client_is() {
    let collection = Collection::of([resource("a", 1), resource("b", 1)]);
    assert!(!collection.update([("a".into(), Some(resource("a", 1)))]), "the same is no change");
    assert!(collection.update([("a".into(), Some(resource("a", 2)))]));
    assert!(collection.update([("b".into(), None), ("c".into(), Some(resource("c", 1)))]));
    assert_eq!(lacks(&collection, 0), (vec!["a".to_owned(), "c".to_owned()], vec![]));
    assert_eq!(lacks(&collection, 1), (vec!["a".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
    assert_eq!(lacks(&collection, 2), (vec!["c".to_owned()], vec!["b".to_owned()]));
    assert_eq!(lacks(&collection, 3), (vec![], vec![]));
    assert_eq!(collection.len(), 2);
}

#[test]
fn memory_of_what_is_gone_is_bounded() {
    let collection = Collection::of([resource("stays", 1)]);
    for at in 0..3 * FORGOTTEN_BEYOND as u64 {
        let name: Arc<str> = format!("n{at}").into();
        collection.update([(Arc::clone(&name), Some(resource(&name, at)))]);
        collection.update([(name, None)]);
    }
    let state = collection.state();
    assert!(state.slots.len() <= 2 * FORGOTTEN_BEYOND && state.noted <= 6 * FORGOTTEN_BEYOND);
    drop(state);
    assert!(collection.since(1, &all()).is_none(), "who is that far behind comes again");
    assert_eq!(lacks(&collection, 0).0, ["stays"]);
}

#[test]
fn those_who_lack_the_same_share_the_bytes() {
    let collection = Collection::of((0..2 * WORTH_KEEPING).map(|at| resource(&at.to_string(), 1)));
    let payload = |seen| {
        let selection = collection.since(seen, &all()).expect("remembered");
        collection.payload(&selection, true)
    };
    assert_eq!(payload(0).as_ptr(), payload(0).as_ptr());
}
