//! Watches the user's files, so that processes and services that come or go are started and ended. Used by [`super::run`].
//!
//! Invariant: many changes at once are one change; files that cannot be read right now change nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

/// An editor writes a file in several steps; this long after the last one it is read.
const QUIET: Duration = Duration::from_millis(100);

/// A watch on files and folders; ends when dropped.
#[derive(Debug)]
pub(crate) struct Files {
    changes: watch::Receiver<u64>,
    noticed: bool,
    _watcher: RecommendedWatcher,
}

impl Files {
    /// Starts watching.
    pub(crate) fn watch(paths: &[PathBuf]) -> Result<Self> {
        let (sender, changes) = watch::channel(0);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
                Ok(event) if event.kind.is_access() => {}
                Ok(_) => sender.send_modify(|count| *count += 1),
                Err(error) => tracing::warn!("watching files: {error}"),
            })
            .context("cannot watch files")?;
        for path in paths {
            // A file that an editor replaces is another file: its folder is what stays.
            let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            watcher
                .watch(folder, RecursiveMode::Recursive)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
        }
        Ok(Self { changes, noticed: false, _watcher: watcher })
    }

    /// Waits for the next change, and until it is quiet again. A call that is given up loses nothing.
    pub(crate) async fn changed(&mut self) {
        if !self.noticed {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            self.noticed = true;
        }
        while tokio::time::timeout(QUIET, self.changes.changed()).await.is_ok_and(|change| change.is_ok()) {}
        self.noticed = false;
    }
}
