//! Who says which files changed. Used by the file source alone.
//!
//! Invariant: what changed since the last question is kept, however much: beyond a bound as "everything".

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, Watcher as _};
use tokio::sync::Notify;

/// More paths than these are not told apart.
const MANY: usize = 4096;

/// What changed.
#[derive(Debug)]
pub(super) enum Seen {
    Paths(BTreeSet<PathBuf>),
    Everything,
}

/// A watch over the folders that hold the files.
#[derive(Debug)]
pub(super) struct Watcher {
    state: Arc<State>,
    _watcher: notify::RecommendedWatcher,
}

#[derive(Debug, Default)]
struct State {
    folders: Vec<Folder>,
    changed: Mutex<Changed>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Changed {
    paths: BTreeSet<PathBuf>,
    everything: bool,
    /// Whether the last that was heard is the end of a save.
    whole: bool,
}

/// Begins; `None` where the system cannot.
pub(super) fn start<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Option<Watcher> {
    let folders: Vec<Folder> = paths.filter_map(|path| Folder::of(path)).collect();
    let state = Arc::new(State { folders, ..State::default() });
    let hearing = Arc::clone(&state);
    let mut watcher = notify::recommended_watcher(move |event| hearing.hear(event)).ok()?;
    for folder in &state.folders {
        if let Err(error) = watcher.watch(&folder.watched, folder.mode) {
            let path = folder.named.display();
            tracing::warn!(%path, %error, "cannot be watched; it is looked at now and then");
        }
    }
    Some(Watcher { state, _watcher: watcher })
}

/// A folder that is watched.
#[derive(Debug)]
struct Folder {
    /// As it was named; files are known by such paths.
    named: PathBuf,
    /// As the system names it.
    watched: PathBuf,
    mode: notify::RecursiveMode,
}

impl Folder {
    /// Editors replace files, which ends a watch on the file itself: its folder is watched.
    fn of(path: &Path) -> Option<Folder> {
        let (named, mode) = match path.is_dir() {
            true => (path, notify::RecursiveMode::Recursive),
            false => (parent(path), notify::RecursiveMode::NonRecursive),
        };
        Some(Folder { named: named.to_owned(), watched: std::path::absolute(named).ok()?, mode })
    }

    fn as_named(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.watched).ok()?;
        Some(if below.as_os_str().is_empty() { self.named.clone() } else { self.named.join(below) })
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl State {
    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: notify::Result<notify::Event>) {
        let mut changed = self.changed();
        match event {
            Ok(event) => {
                let whole = match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
                    EventKind::Access(_) => return,
                    EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => true,
                    _ => false,
                };
                changed.whole = whole;
                changed.everything |= event.need_rescan() || changed.paths.len() > MANY;
                if !changed.everything {
                    let named = event
                        .paths
                        .iter()
                        .flat_map(|path| self.folders.iter().filter_map(|folder| folder.as_named(path)));
                    changed.paths.extend(named);
                }
            }
            Err(_) => changed.everything = true,
        }
        drop(changed);
        self.wake.notify_one();
    }
}

impl Watcher {
    /// Waits for a change, and for the end of the save that it belongs to, but no longer than `settle`.
    pub(super) async fn changed(&self, settle: Duration) -> Seen {
        self.state.wake.notified().await;
        let whole = async {
            while !self.state.changed().whole {
                self.state.wake.notified().await;
            }
        };
        // Not every file system says when a save ends.
        let _ended = tokio::time::timeout(settle, whole).await;
        let changed = std::mem::take(&mut *self.state.changed());
        if changed.everything { Seen::Everything } else { Seen::Paths(changed.paths) }
    }
}
