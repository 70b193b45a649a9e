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

/// What a reader of the source knows.
struct Reader {
    objects: BTreeMap<ResourceId, Object>,
    findings: Vec<Diagnostic>,
    updates: mpsc::Receiver<Update>,
}

impl Reader {
    fn of(mut source: FileSource) -> Reader {
        let (first, updates) = source.follow();
        let mut reader = Reader { objects: BTreeMap::new(), findings: Vec::new(), updates };
        reader.take(first);
        reader
    }

    fn take(&mut self, update: Update) {
        for (id, object) in update.objects {
            match object {
                Some(object) => self.objects.insert(id, object),
                None => self.objects.remove(&id),
            };
        }
        self.findings = update.findings.unwrap_or(std::mem::take(&mut self.findings));
    }

    fn names(&self) -> Vec<&str> {
        self.objects.keys().map(|id| &*id.name).collect()
    }

    async fn until(&mut self, holds: impl Fn(&Reader) -> bool) {
        while !holds(self) {
            let update = tokio::time::timeout(Duration::from_secs(30), self.updates.recv());
            let update = update.await.expect("in time").expect("an update");
            self.take(update);
        }
    }
}

#[tokio::test]
async fn a_broken_file_keeps_what_was_good_and_heals() {
    let folder = Folder(folder());
    let (a, b) = (folder.0.join("a.yaml"), folder.0.join("b.yaml"));
    std::fs::write(&a, GOOD).unwrap();
    let mut reader = Reader::of(FileSource::new(vec![folder.0.clone()], Options::default()));
    assert_eq!(reader.names(), ["a"]);

    std::fs::write(&a, GOOD.replace("host: a", "host: [")).unwrap();
    std::fs::write(&b, GOOD.replace("name: a", "name: b")).unwrap();
    reader.until(|reader| reader.names().contains(&"b") && !reader.findings.is_empty()).await;
    assert!(reader.names().contains(&"a"), "the last good form stays");
    let finding = reader.findings.iter().find(|finding| finding.severity == Severity::Error).unwrap();
    assert!(finding.place.as_ref().is_some_and(|place| place.line >= 7), "{finding}");

    std::fs::write(&a, GOOD.replace("name: a", "name: c")).unwrap();
    reader.until(|reader| reader.names() == ["b", "c"]).await;

    std::fs::remove_file(&b).unwrap();
    reader.until(|reader| reader.names() == ["c"]).await;
}

#[tokio::test]
async fn a_bad_pattern_keeps_the_resource_as_it_was() {
    let folder = Folder(folder());
    let file = folder.0.join("a.yaml");
    let text = |pattern: &str| {
        GOOD.replace("- route", &format!("- match: [{{uri: {{regex: '{pattern}'}}}}]\n    route"))
    };
    std::fs::write(&file, text("/a.*")).unwrap();
    let mut reader = Reader::of(FileSource::new(vec![file.clone()], Options::default()));
    let before = reader.objects.values().next().unwrap().spec.clone();
    std::fs::write(&file, text("/b(")).unwrap();
    reader.until(|reader| !reader.findings.is_empty()).await;
    assert_eq!(reader.findings.iter().filter(|finding| finding.severity == Severity::Error).count(), 1);
    assert_eq!(reader.objects.values().next().unwrap().spec, before);
}

#[tokio::test]
async fn of_one_object_in_two_files_the_last_holds() {
    let folder = Folder(folder());
    let (a, b) = (folder.0.join("a.yaml"), folder.0.join("b.yaml"));
    std::fs::write(&a, GOOD).unwrap();
    std::fs::write(&b, GOOD.replace("hosts: [a]", "hosts: [b]")).unwrap();
    let mut reader = Reader::of(FileSource::new(vec![folder.0.clone()], Options::default()));
    assert_eq!(reader.findings.len(), 1, "{:?}", reader.findings);
    assert!(reader.objects.values().all(|object| object.source.file.ends_with("b.yaml")));
    std::fs::remove_file(&b).unwrap();
    reader.until(|reader| reader.findings.is_empty()).await;
    assert!(reader.objects.values().all(|object| object.source.file.ends_with("a.yaml")));
    std::fs::create_dir(folder.0.join("more")).unwrap();
    std::fs::write(folder.0.join("more/c.yaml"), GOOD.replace("name: a", "name: c")).unwrap();
    reader.until(|reader| reader.names() == ["a", "c"]).await;
    std::fs::remove_dir_all(folder.0.join("more")).unwrap();
    reader.until(|reader| reader.names() == ["a"]).await;
}

#[test]
fn only_what_changed_is_read_again() {
    let folder = Folder(folder());
    let (a, b) = (folder.0.join("a.yaml"), folder.0.join("b.yaml"));
    let text = |host: &str| GOOD.replace("host: a", &format!("host: {host}"));
    for (file, name) in [(&a, "a"), (&b, "b")] {
        std::fs::write(file, text("a").replace("name: a", &format!("name: {name}"))).unwrap();
    }
    let source = FileSource::new(vec![folder.0.clone()], Options::default());
    let mut files = Files::default();
    let names =
        |update: &Update| update.objects.iter().map(|(id, _)| id.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&files.refresh(&source, None)), ["a", "b"]);

    // Another text behind the same stamp: whoever reads it sees it.
    let written = std::fs::metadata(&b).unwrap().modified().unwrap();
    std::fs::write(&b, text("z").replace("name: a", "name: b")).unwrap();
    std::fs::File::options().write(true).open(&b).unwrap().set_modified(written).unwrap();
    std::fs::write(&a, text("other")).unwrap();
    assert_eq!(names(&files.refresh(&source, Some(BTreeSet::from([a.clone()])))), ["a"]);
    assert_eq!(names(&files.refresh(&source, None)), [""; 0], "the other file was not read");

    std::fs::File::options()
        .write(true)
        .open(&b)
        .unwrap()
        .set_modified(written + Duration::from_secs(1))
        .unwrap();
    assert_eq!(names(&files.refresh(&source, Some(BTreeSet::from([a])))), [""; 0], "nor looked at");
    assert_eq!(names(&files.refresh(&source, Some(BTreeSet::from([b])))), ["b"]);
}
