//! Files that break and heal.

use super::*;

const GOOD: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n";

fn folder() -> PathBuf {
    let mut folder = std::env::temp_dir();
    folder.push(format!("meltemi-file-source-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn names(state: &State) -> Vec<String> {
    state.objects.iter().map(|object| object.name().to_string()).collect()
}

async fn until(states: &mut watch::Receiver<Arc<State>>, holds: impl Fn(&State) -> bool) -> Arc<State> {
    let state = states.wait_for(|state| holds(state));
    Arc::clone(
        &tokio::time::timeout(Duration::from_secs(10), state).await.expect("in time").expect("a state"),
    )
}

#[tokio::test]
async fn a_broken_file_keeps_what_was_good_and_heals() {
    let folder = Folder(folder());
    let (a, b) = (folder.0.join("a.yaml"), folder.0.join("b.yaml"));
    std::fs::write(&a, GOOD).unwrap();
    let mut source = FileSource::new(vec![folder.0.clone()], Options::default());
    let mut states = source.watch();
    assert_eq!(names(&states.borrow()), ["a"]);

    std::fs::write(&a, GOOD.replace("host: a", "host: [")).unwrap();
    std::fs::write(&b, GOOD.replace("name: a", "name: b")).unwrap();
    let state =
        until(&mut states, |state| names(state).contains(&"b".to_owned()) && !state.findings.is_empty())
            .await;
    assert!(names(&state).contains(&"a".to_owned()), "the last good form stays");
    let finding = state.findings.iter().find(|finding| finding.severity == Severity::Error).unwrap();
    assert!(finding.place.as_ref().is_some_and(|place| place.line >= 7), "{finding}");

    std::fs::write(&a, GOOD.replace("name: a", "name: c")).unwrap();
    let state = until(&mut states, |state| names(state).contains(&"c".to_owned())).await;
    assert_eq!(names(&state), ["c", "b"]);

    std::fs::remove_file(&b).unwrap();
    let state = until(&mut states, |state| names(state).len() == 1).await;
    assert_eq!(names(&state), ["c"]);
}

#[tokio::test]
async fn a_bad_pattern_keeps_the_resource_as_it_was() {
    let folder = Folder(folder());
    let file = folder.0.join("a.yaml");
    let text = |pattern: &str| {
        GOOD.replace("- route", &format!("- match: [{{uri: {{regex: '{pattern}'}}}}]\n    route"))
    };
    std::fs::write(&file, text("/a.*")).unwrap();
    let mut source = FileSource::new(vec![file.clone()], Options::default());
    let mut states = source.watch();
    let before = states.borrow().objects[0].spec.clone();
    std::fs::write(&file, text("/b(")).unwrap();
    let state = until(&mut states, |state| !state.findings.is_empty()).await;
    assert_eq!(state.findings.iter().filter(|finding| finding.severity == Severity::Error).count(), 1);
    assert_eq!(state.objects[0].spec, before);
}
