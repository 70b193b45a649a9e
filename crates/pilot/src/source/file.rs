//! Objects from files and folders, read again when they change.
//!
//! A file that cannot be read as a whole keeps what it last gave; a resource with an error keeps its last good form; both heal
//! when mended. Only files that changed are read again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meltemi_config::diagnostic::code;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Diagnostic, Kind, Object, Options, ResourceId, Severity};
use notify::Watcher;
use tokio::sync::{mpsc, watch};

use super::{Source, State};

/// How long to gather events of one save, which editors split into several.
const SETTLE: Duration = Duration::from_millis(20);
/// How often files are looked at even when nobody says that they changed (network file systems).
const POLL: Duration = Duration::from_secs(10);

/// Files and folders.
#[derive(Debug)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    mesh_config: Option<PathBuf>,
    options: Options,
}

impl FileSource {
    /// Files and folders of mesh resources; documents that name no namespace get that of `options`.
    pub fn new(paths: Vec<PathBuf>, options: Options) -> FileSource {
        FileSource { paths, mesh_config: None, options }
    }

    /// With the mesh's settings in that file.
    pub fn with_mesh_config(mut self, file: Option<PathBuf>) -> FileSource {
        self.mesh_config = file;
        self
    }

    /// Reads everything once.
    pub fn read(&self) -> State {
        let mut files = Files::default();
        files.refresh(self);
        files.state()
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        let paths: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
        paths.join(", ")
    }

    fn watch(&mut self) -> watch::Receiver<Arc<State>> {
        let mut files = Files::default();
        files.refresh(self);
        let (sender, receiver) = watch::channel(Arc::new(files.state()));
        let source = FileSource {
            paths: self.paths.clone(),
            mesh_config: self.mesh_config.clone(),
            options: self.options.clone(),
        };
        tokio::spawn(follow(source, files, sender));
        receiver
    }
}

/// Reads again on every change until nobody listens.
async fn follow(mut source: FileSource, mut files: Files, sender: watch::Sender<Arc<State>>) {
    let (events, mut changed) = mpsc::channel(1);
    let watcher = start_watcher(&source, events);
    // Between the first reading and the watch something may have changed.
    let mut first = true;
    loop {
        if !std::mem::take(&mut first) {
            tokio::select! {
                _ = changed.recv(), if watcher.is_some() => {}
                () = tokio::time::sleep(if watcher.is_some() { POLL } else { Duration::from_millis(200) }) => {}
                () = sender.closed() => return,
            }
            tokio::time::sleep(SETTLE).await;
            while changed.try_recv().is_ok() {}
        }
        let read = tokio::task::spawn_blocking(move || {
            let differs = files.refresh(&source);
            (source, files, differs)
        });
        let Ok((back, read, differs)) = read.await else { return };
        source = back;
        files = read;
        if differs {
            sender.send_replace(Arc::new(files.state()));
        }
    }
}

/// A watch over the folders that hold the files; `None` where the system cannot.
fn start_watcher(source: &FileSource, events: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let notify_one = move |event: notify::Result<notify::Event>| {
        let only_read = event.is_ok_and(|event| event.kind.is_access());
        if !only_read {
            // A full channel already says that something changed.
            let _ = events.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(notify_one).ok()?;
    for path in source.paths.iter().chain(&source.mesh_config) {
        // Editors replace files, which ends a watch on the file itself: its folder is watched.
        let (folder, mode) = if path.is_dir() {
            (path.as_path(), notify::RecursiveMode::Recursive)
        } else {
            (parent(path), notify::RecursiveMode::NonRecursive)
        };
        if let Err(error) = watcher.watch(folder, mode) {
            tracing::warn!(path = %folder.display(), %error, "cannot be watched; it is looked at every {POLL:?}");
        }
    }
    Some(watcher)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What tells one content of a file from another without reading it.
type Stamp = (Option<SystemTime>, u64);

/// What was last read.
#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<PathBuf, FileState>,
    mesh: Option<(Stamp, Arc<MeshConfig>, Vec<Diagnostic>)>,
    /// Endpoints before the last reading, to see whether some have gone.
    urgent: bool,
}

/// One file.
#[derive(Debug)]
struct FileState {
    stamp: Stamp,
    /// Objects in force.
    good: Vec<Object>,
    findings: Vec<Diagnostic>,
}

impl Files {
    /// Reads what changed; whether anything did.
    fn refresh(&mut self, source: &FileSource) -> bool {
        let found: BTreeMap<PathBuf, Stamp> = list(&source.paths);
        let before = self.files.len();
        let mut urgent = false;
        self.files.retain(|path, state| {
            let stays = found.contains_key(path);
            urgent |= !stays && state.good.iter().any(is_endpoint);
            stays
        });
        let mut differs = self.files.len() != before;
        for (path, stamp) in found {
            if self.files.get(&path).is_none_or(|state| state.stamp != stamp) {
                let old = self.files.remove(&path);
                let new = read(&path, stamp, old.as_ref(), &source.options);
                urgent |= old.is_some_and(|old| lost_endpoints(&old.good, &new.good));
                self.files.insert(path, new);
                differs = true;
            }
        }
        self.urgent = urgent;
        differs | self.refresh_mesh(source)
    }

    fn refresh_mesh(&mut self, source: &FileSource) -> bool {
        let Some(path) = &source.mesh_config else { return false };
        let stamp = stamp(path).unwrap_or_default();
        if self.mesh.as_ref().is_some_and(|(known, ..)| *known == stamp) {
            return false;
        }
        let text = std::fs::read_to_string(path);
        let (mesh, findings) = match &text {
            Ok(text) => meltemi_config::load::mesh_config(&path.to_string_lossy(), text),
            Err(error) => (MeshConfig::default(), vec![unreadable(path, error)]),
        };
        let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
        let last = self.mesh.take().filter(|_| broken).map(|(_, mesh, _)| mesh);
        self.mesh = Some((stamp, last.unwrap_or_else(|| Arc::new(mesh)), findings));
        true
    }

    fn state(&self) -> State {
        let mut findings: Vec<Diagnostic> =
            self.files.values().flat_map(|file| file.findings.iter().cloned()).collect();
        let objects = unique(self.files.values().flat_map(|file| &file.good), &mut findings);
        findings.extend(self.mesh.iter().flat_map(|(_, _, findings)| findings.iter().cloned()));
        Diagnostic::sort(&mut findings);
        State {
            objects,
            mesh: self.mesh.as_ref().map(|(_, mesh, _)| Arc::clone(mesh)),
            findings,
            urgent: self.urgent,
        }
    }
}

/// Of several objects of one name the last holds, as when each file is applied in turn.
fn unique<'o>(objects: impl Iterator<Item = &'o Object>, findings: &mut Vec<Diagnostic>) -> Vec<Object> {
    let mut order: Vec<Object> = Vec::new();
    let mut places: BTreeMap<ResourceId, usize> = BTreeMap::new();
    for object in objects {
        match places.get(&object.id()) {
            Some(at) => {
                let first = std::mem::replace(&mut order[*at], object.clone());
                findings.push(duplicate(&first, object));
            }
            None => {
                places.insert(object.id(), order.len());
                order.push(object.clone());
            }
        }
    }
    order
}

fn duplicate(first: &Object, second: &Object) -> Diagnostic {
    Diagnostic {
        resource: Some(second.id()),
        path: "metadata.name".into(),
        place: second.place("metadata.name"),
        code: code::DUPLICATE,
        severity: Severity::Warning,
        message: format!("{} is given twice; this one holds", second.id()),
        hint: Some(format!("the other is at {}:{}", first.source.file, first.source.line)),
        snippet: None,
    }
}

/// Files of the paths with their stamps.
fn list(paths: &[PathBuf]) -> BTreeMap<PathBuf, Stamp> {
    let mut found = BTreeMap::new();
    for path in paths {
        visit(path, true, &mut found);
    }
    found
}

fn visit(path: &Path, named: bool, found: &mut BTreeMap<PathBuf, Stamp>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| visit(&entry.path(), false, found));
        return;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let wanted = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
    if named || wanted && !name.starts_with('.') {
        found.insert(path.to_owned(), stamp(path).unwrap_or_default());
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len()))
}

/// Reads a file. What is wrong in it stays as it last was.
fn read(path: &Path, stamp: Stamp, old: Option<&FileState>, options: &Options) -> FileState {
    let loaded = meltemi_config::load(&[path.to_owned()], options);
    let mut good = loaded.objects;
    if let Some(old) = old {
        // Of a document that cannot be read nobody knows what it holds: nothing that is missing now is taken as deleted.
        let keep_all = !loaded.unreadable.is_empty();
        for object in &old.good {
            let id = object.id();
            let rejected = loaded.rejected.iter().any(|rejected| rejected.id() == id);
            let missing = !good.iter().any(|other| other.id() == id);
            if missing && (rejected || keep_all) {
                good.push(object.clone());
            }
        }
    }
    FileState { stamp, good, findings: loaded.diagnostics }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic {
        resource: None,
        path: String::new(),
        place: None,
        code: code::UNREADABLE,
        severity: Severity::Error,
        message: format!("cannot read {}: {error}", path.display()),
        hint: None,
        snippet: None,
    }
}

fn is_endpoint(object: &Object) -> bool {
    matches!(object.kind, Kind::Pod | Kind::WorkloadEntry | Kind::EndpointSlice)
}

/// Whether an object that gives endpoints has gone or changed: callers must stop using them at once.
fn lost_endpoints(old: &[Object], new: &[Object]) -> bool {
    let same =
        |object: &&Object| new.iter().any(|other| other.id() == object.id() && other.spec == object.spec);
    old.iter().filter(|object| is_endpoint(object)).any(|object| !same(&object))
}

#[cfg(test)]
mod tests;
