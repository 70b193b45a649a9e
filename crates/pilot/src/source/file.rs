//! Objects from files and folders, read again when they change.
//!
//! A file that cannot be read as a whole keeps what it last gave; a resource with an error keeps its last good form; both heal
//! when mended. Only files that changed are looked at and read again, and only objects that differ are passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meltemi_config::diagnostic::code;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Diagnostic, Object, Options, ResourceId, Severity};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

use super::{Given, Source, Update};
use watcher::{Seen, Watcher};

mod watcher;

/// How long to wait for the end of a save that goes in several steps.
const SETTLE: Duration = Duration::from_millis(20);
/// How often all files are looked at even when nobody says that they changed (network file systems).
const POLL: Duration = Duration::from_secs(60);
/// How long after a folder has come it is looked at again: files may be in it before it is watched.
const AGAIN: Duration = Duration::from_millis(200);
/// How often all files are looked at where nobody can say.
const POLL_BLIND: Duration = Duration::from_millis(200);
/// From this many files on they are read with all cores.
const MANY: usize = 64;
/// Updates that may wait for the reader.
const QUEUE: usize = 16;

/// Files and folders.
#[derive(Debug, Clone)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    mesh_config: Option<PathBuf>,
    mesh_networks: Option<PathBuf>,
    given: Given,
    options: Options,
}

impl FileSource {
    /// Files and folders of mesh resources; documents that name no namespace get that of `options`.
    pub fn new(paths: Vec<PathBuf>, options: Options) -> FileSource {
        FileSource { paths, mesh_config: None, mesh_networks: None, given: Given::default(), options }
    }

    /// With the mesh's settings in that file.
    pub fn with_mesh_config(mut self, file: Option<PathBuf>) -> FileSource {
        self.mesh_config = file;
        self
    }

    /// With the mesh's networks in that file.
    pub fn with_mesh_networks(mut self, file: Option<PathBuf>) -> FileSource {
        self.mesh_networks = file;
        self
    }

    /// With settings that hold whatever that file says.
    pub fn with_given(mut self, given: Given) -> FileSource {
        self.given = given;
        self
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        let paths: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
        paths.join(", ")
    }

    fn follow(&mut self) -> (Update, mpsc::Receiver<Update>) {
        // The watch begins before the first reading, so that nothing is missed between.
        let watcher = watcher::start(self.paths.iter().chain(&self.mesh_config).chain(&self.mesh_networks));
        let mut files = Files::default();
        let first = files.refresh(self, None);
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(follow(self.clone(), files, watcher, sender));
        (first, receiver)
    }
}

/// Reads again on every change until nobody listens.
async fn follow(
    source: FileSource,
    mut files: Files,
    watcher: Option<Watcher>,
    sender: mpsc::Sender<Update>,
) {
    let source = Arc::new(source);
    loop {
        let seen = tokio::select! {
            seen = changed(watcher.as_ref(), if files.folders { AGAIN } else { POLL }) => seen,
            () = sender.closed() => return,
        };
        let reading = Arc::clone(&source);
        let read = tokio::task::spawn_blocking(move || {
            let paths = match seen {
                Seen::Paths(paths) => Some(paths),
                Seen::Everything => None,
            };
            let update = files.refresh(&reading, paths);
            (files, update)
        });
        let Ok((back, update)) = read.await else { return };
        files = back;
        if !update.is_empty() && sender.send(update).await.is_err() {
            return;
        }
    }
}

/// Waits for a change, or for the time to look at everything.
async fn changed(watcher: Option<&Watcher>, patience: Duration) -> Seen {
    let Some(watcher) = watcher else {
        tokio::time::sleep(POLL_BLIND).await;
        return Seen::Everything;
    };
    match tokio::time::timeout(patience, watcher.changed(SETTLE)).await {
        Ok(seen) => seen,
        Err(_) => Seen::Everything,
    }
}

/// What tells one content of a file from another without reading it.
type Stamp = (Option<SystemTime>, u64);

/// What was last read.
#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<PathBuf, FileState>,
    /// Files that hold an object; the last one's holds, as when each file is applied in turn.
    holders: FxHashMap<ResourceId, BTreeSet<PathBuf>>,
    /// Objects that are in several files.
    doubled: BTreeSet<ResourceId>,
    mesh: Option<([Stamp; 2], Arc<MeshConfig>, Vec<Diagnostic>)>,
    /// Whether a folder came or went.
    folders: bool,
}

/// One file.
#[derive(Debug, Default)]
struct FileState {
    stamp: Stamp,
    /// Objects in force.
    good: FxHashMap<ResourceId, Object>,
    findings: Vec<Diagnostic>,
}

impl Files {
    /// Looks at these paths, or at everything; reads what changed.
    fn refresh(&mut self, source: &FileSource, paths: Option<BTreeSet<PathBuf>>) -> Update {
        self.folders = paths.as_ref().is_some_and(|paths| paths.iter().any(|path| self.is_folder(path)));
        let found = match paths {
            // A folder that came or went is looked at as a whole.
            Some(paths) if !self.folders => look_at(paths, source),
            _ => self.look_at_all(source),
        };
        let mut before: BTreeMap<ResourceId, Option<Object>> = BTreeMap::new();
        let mut faults = false;
        let doubled = self.doubled.clone();
        let changed = found.into_iter();
        let changed = changed.filter(|(path, stamp)| self.files.get(path).map(|old| old.stamp) != *stamp);
        let changed: Vec<(PathBuf, Option<Stamp>)> = changed.collect();
        for (path, new) in self.read_all(changed, &source.options) {
            let old = self.files.get(&path);
            faults |= old.is_some_and(|old| !old.findings.is_empty());
            faults |= new.as_ref().is_some_and(|new| !new.findings.is_empty());
            self.replace(path, new, &mut before);
        }
        let mut objects = Vec::new();
        for (id, old) in before {
            faults |= self.doubled.contains(&id) || doubled.contains(&id);
            let new = self.in_force(&id).cloned();
            if !same(old.as_ref(), new.as_ref()) {
                objects.push((id, new));
            }
        }
        let mesh = self.refresh_mesh(source);
        let findings = (faults || mesh.is_some()).then(|| self.findings());
        Update { objects, mesh, findings }
    }

    /// Reads files; many with all cores, as at the start.
    fn read_all(
        &self,
        changed: Vec<(PathBuf, Option<Stamp>)>,
        options: &Options,
    ) -> Vec<(PathBuf, Option<FileState>)> {
        let read_one = |(path, stamp): &(PathBuf, Option<Stamp>)| {
            let new = stamp.map(|stamp| read(path, stamp, self.files.get(path), options));
            (path.clone(), new)
        };
        if changed.len() < MANY {
            return changed.iter().map(read_one).collect();
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            let parts = changed.chunks(changed.len().div_ceil(cores));
            let reading: Vec<_> =
                parts.map(|part| scope.spawn(|| part.iter().map(read_one).collect::<Vec<_>>())).collect();
            let read = reading.into_iter().map(|part| part.join());
            // A reader that panics has read nothing; its files are as they were.
            read.flatten().flatten().collect()
        })
    }

    /// Puts what a file holds now in the place of what it held; notes what was in force before.
    fn replace(
        &mut self,
        path: PathBuf,
        new: Option<FileState>,
        before: &mut BTreeMap<ResourceId, Option<Object>>,
    ) {
        let old = self.files.get(&path).map(|old| old.good.keys().cloned().collect::<Vec<_>>());
        let fresh = new.iter().flat_map(|new| new.good.keys().cloned());
        for id in old.iter().flatten().cloned().chain(fresh) {
            let in_force = self.in_force(&id).cloned();
            before.entry(id).or_insert(in_force);
        }
        for id in old.into_iter().flatten() {
            self.hold(&id, &path, false);
        }
        match new {
            Some(new) => {
                let ids: Vec<ResourceId> = new.good.keys().cloned().collect();
                ids.iter().for_each(|id| self.hold(id, &path, true));
                self.files.insert(path, new);
            }
            None => {
                self.files.remove(&path);
            }
        }
    }

    fn hold(&mut self, id: &ResourceId, path: &Path, holds: bool) {
        let holders = self.holders.entry(id.clone()).or_default();
        match holds {
            true => holders.insert(path.to_owned()),
            false => holders.remove(path),
        };
        match holders.len() {
            0 => {
                self.holders.remove(id);
                self.doubled.remove(id);
            }
            1 => {
                self.doubled.remove(id);
            }
            _ => {
                self.doubled.insert(id.clone());
            }
        }
    }

    fn in_force(&self, id: &ResourceId) -> Option<&Object> {
        let path = self.holders.get(id)?.last()?;
        self.files.get(path)?.good.get(id)
    }

    fn is_folder(&self, path: &Path) -> bool {
        // Files below a path come right after it.
        let mut from = self.files.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        path.is_dir() || from.next().is_some_and(|(file, _)| file.starts_with(path))
    }

    /// All files, those that are gone included.
    fn look_at_all(&self, source: &FileSource) -> BTreeMap<PathBuf, Option<Stamp>> {
        let known = self.files.keys().map(|path| (path.clone(), None));
        known.chain(list(&source.paths).into_iter().map(|(path, stamp)| (path, Some(stamp)))).collect()
    }

    /// The mesh's settings, if they are other than before.
    fn refresh_mesh(&mut self, source: &FileSource) -> Option<Arc<MeshConfig>> {
        let (config, networks) = (source.mesh_config.as_deref(), source.mesh_networks.as_deref());
        config.or(networks)?;
        let stamp = [config, networks].map(|path| path.and_then(stamp).unwrap_or_default());
        if self.mesh.as_ref().is_some_and(|(known, ..)| *known == stamp) {
            return None;
        }
        let (mut mesh, mut findings) = bare(config, meltemi_config::load::mesh_config);
        let (networks, more) = bare(networks, meltemi_config::load::mesh_networks);
        mesh.networks = networks;
        findings.extend(more);
        source.given.lay_over(&mut mesh);
        let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
        let last = self.mesh.take().filter(|_| broken).map(|(_, mesh, _)| mesh);
        let mesh = last.unwrap_or_else(|| Arc::new(mesh));
        self.mesh = Some((stamp, Arc::clone(&mesh), findings));
        Some(mesh)
    }

    fn findings(&self) -> Vec<Diagnostic> {
        let mut findings: Vec<Diagnostic> =
            self.files.values().flat_map(|file| file.findings.iter().cloned()).collect();
        for id in &self.doubled {
            let holders = self.holders.get(id).into_iter().flatten();
            let objects: Vec<&Object> =
                holders.filter_map(|path| self.files.get(path)?.good.get(id)).collect();
            findings.extend(objects.windows(2).map(|pair| duplicate(pair[0], pair[1])));
        }
        findings.extend(self.mesh.iter().flat_map(|(_, _, findings)| findings.iter().cloned()));
        Diagnostic::sort(&mut findings);
        findings
    }
}

/// Whether nothing that anybody could see differs, places included.
fn same(old: Option<&Object>, new: Option<&Object>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            old.spec == new.spec
                && old.metadata == new.metadata
                && old.api_version == new.api_version
                && old.source == new.source
        }
        (None, None) => true,
        _ => false,
    }
}

/// Reads a file of settings; without one, nothing is said.
fn bare<T: Default>(
    path: Option<&Path>,
    read: impl Fn(&str, &str) -> (T, Vec<Diagnostic>),
) -> (T, Vec<Diagnostic>) {
    let Some(path) = path else { return (T::default(), Vec::new()) };
    match std::fs::read_to_string(path) {
        Ok(text) => read(&path.to_string_lossy(), &text),
        Err(error) => (T::default(), vec![unreadable(path, &error)]),
    }
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

/// Those of the paths that are files of the source, with their stamps (`None`: gone).
fn look_at(paths: BTreeSet<PathBuf>, source: &FileSource) -> BTreeMap<PathBuf, Option<Stamp>> {
    let wanted = paths.into_iter().filter_map(|path| {
        let named = source.paths.iter().find(|named| same_file(named, &path));
        match named {
            Some(named) => Some(named.clone()),
            None => source
                .paths
                .iter()
                .any(|folder| path.starts_with(folder) && is_resource(&path))
                .then_some(path),
        }
    });
    wanted.map(|path| (path.clone(), stamp(&path))).collect()
}

/// A watch over the folder of a file that is named without one says `./file`.
fn same_file(named: &Path, seen: &Path) -> bool {
    let bare = |path: &Path| path.strip_prefix(".").map(Path::to_owned).unwrap_or_else(|_| path.to_owned());
    bare(named) == bare(seen)
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
    if named || is_resource(path) {
        found.insert(path.to_owned(), stamp(path).unwrap_or_default());
    }
}

/// Whether a file of a folder is one of resources.
fn is_resource(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let wanted = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
    wanted && !name.starts_with('.')
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len()))
}

/// Reads a file. What is wrong in it stays as it last was.
fn read(path: &Path, stamp: Stamp, old: Option<&FileState>, options: &Options) -> FileState {
    let loaded = meltemi_config::load(&[path.to_owned()], options);
    let mut findings = loaded.diagnostics;
    let mut good: FxHashMap<ResourceId, Object> = FxHashMap::default();
    for object in loaded.objects {
        if let Some(first) = good.get(&object.id()) {
            findings.push(duplicate(first, &object));
        }
        good.insert(object.id(), object);
    }
    // Of a document that cannot be read nobody knows what it holds: nothing that is missing now is taken as deleted.
    let keep_all = !loaded.unreadable.is_empty();
    let rejected: BTreeSet<ResourceId> = loaded.rejected.iter().map(|rejected| rejected.id()).collect();
    for (id, object) in old.into_iter().flat_map(|old| &old.good) {
        if !good.contains_key(id) && (keep_all || rejected.contains(id)) {
            good.insert(id.clone(), object.clone());
        }
    }
    FileState { stamp, good, findings }
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

#[cfg(test)]
mod tests;
