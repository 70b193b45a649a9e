//! Sources of objects: files now, others by the same seam. Each keeps its own last good state and says what changed.
//!
//! Invariant: what a source reports is complete and valid; a faulty resource stays as it last was, and is reported.

use std::sync::Arc;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Diagnostic, Object};
use tokio::sync::watch;

pub mod file;

/// All that a source knows.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Objects in force.
    pub objects: Vec<Object>,
    /// Settings of the mesh, if this source has any.
    pub mesh: Option<Arc<MeshConfig>>,
    /// What is wrong or worth knowing.
    pub findings: Vec<Diagnostic>,
    /// Whether endpoints have gone since the last state: such a change is not held back.
    pub urgent: bool,
}

/// Where objects come from.
pub trait Source: Send {
    /// Name, for logs.
    fn name(&self) -> String;

    /// Its state, now and after each change. The first value is complete: a source that needs time reads before it returns.
    fn watch(&mut self) -> watch::Receiver<Arc<State>>;
}
