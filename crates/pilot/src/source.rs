//! Sources of objects: files now, others by the same seam. Each keeps its own last good state and says what changed.
//!
//! Invariant: what a source has said is complete and valid; a faulty resource stays as it last was, and is reported.

use std::sync::Arc;

use meltemi_config::Diagnostic;
use meltemi_config::mesh::MeshConfig;
use tokio::sync::mpsc;

use crate::snapshot::Change;

pub mod file;

/// What changed in a source.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Objects that are new or other than before, and names of those that are gone.
    pub objects: Vec<Change>,
    /// Settings of the mesh, if they are other than before.
    pub mesh: Option<Arc<MeshConfig>>,
    /// All that is wrong or worth knowing, if that is other than before.
    pub findings: Option<Vec<Diagnostic>>,
}

impl Update {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.mesh.is_none() && self.findings.is_none()
    }
}

/// Where objects come from.
pub trait Source: Send {
    /// Name, for logs.
    fn name(&self) -> String;

    /// Begins to follow: the first update is all there is, so a source that needs time reads before it returns.
    fn follow(&mut self) -> (Update, mpsc::Receiver<Update>);
}
