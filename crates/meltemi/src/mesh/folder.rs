//! The folder of one run: generated resources, bootstraps, and the demo's files. Made by [`super::run`].
//!
//! Invariant: it is readable by its owner only, and it is gone when the run has ended.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder that is removed at the end of the run.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, under the user's runtime folder or the system's temporary one.
    pub(crate) fn create() -> Result<Self> {
        let parent = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let parent = if parent.is_dir() { parent } else { std::env::temp_dir() };
        let folder = Self(fresh(&parent)?);
        for part in [folder.resources(), folder.bootstraps(), folder.config()] {
            std::fs::create_dir(&part).with_context(|| format!("cannot create {}", part.display()))?;
        }
        Ok(folder)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Generated mesh resources; the control plane reads them beside the user's.
    pub(crate) fn resources(&self) -> PathBuf {
        self.0.join("generated")
    }

    /// Bootstraps of proxies.
    pub(crate) fn bootstraps(&self) -> PathBuf {
        self.0.join("bootstrap")
    }

    /// The demo's copies of its files.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    /// Removes the folder.
    pub(crate) fn remove(self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            // The reaper, which removes it too, may be quicker.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("cannot remove {}", self.0.display())),
        }
    }
}

/// A new folder; the number of a process that was killed long ago may be ours now.
fn fresh(parent: &Path) -> Result<PathBuf> {
    for attempt in 0..100 {
        let path = parent.join(format!("meltemi-{}-{attempt}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => {
                return result
                    .map(|()| path.clone())
                    .with_context(|| format!("cannot create {}", path.display()));
            }
        }
    }
    anyhow::bail!("cannot create a folder in {}", parent.display())
}

/// Writes a file so that a reader sees the old text or the new one, never a part.
pub(crate) fn write_whole(file: &Path, text: &str) -> Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
    std::fs::rename(&draft, file).with_context(|| format!("cannot write {}", file.display()))
}
