//! Sources of objects: files now, others by the same seam. Each keeps its own last good state and says what changed.
//!
//! Invariant: what a source has said is complete and valid; a faulty resource stays as it last was, and is reported.

use std::sync::Arc;

use meltemi_config::mesh::{MeshConfig, Switches};
use meltemi_config::{Diagnostic, Str};
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

/// Settings of the mesh that hold whatever a file says.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Namespace whose resources hold everywhere; unset: as the file says.
    pub root_namespace: Option<Str>,
    /// Domain of service names; unset: `cluster.local`.
    pub domain: Option<Str>,
    /// istiod's switches.
    pub switches: Switches,
}

impl Given {
    /// Puts them in force.
    pub fn lay_over(&self, mesh: &mut MeshConfig) {
        if self.root_namespace.is_some() {
            mesh.root_namespace.clone_from(&self.root_namespace);
        }
        mesh.domain.clone_from(&self.domain);
        mesh.switches = self.switches;
    }
}

/// Where objects come from.
pub trait Source: Send {
    /// Name, for logs.
    fn name(&self) -> String;

    /// Begins to follow: the first update is all there is, so a source that needs time reads before it returns.
    fn follow(&mut self) -> (Update, mpsc::Receiver<Update>);
}
