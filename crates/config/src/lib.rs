//! Mesh resources: types, reading with places, validation. Used by pilot, agents and the command line.
//!
//! `load` reads files into [`Object`]s and [`Diagnostic`]s; a resource that is wrong is reported and left out, and never hides
//! another. Nothing here knows Envoy.

/// Shared text: names repeat all over a mesh.
pub type Str = std::sync::Arc<str>;

pub mod analysis;
pub mod core;
pub mod decode;
pub mod diagnostic;
pub mod duration;
pub mod extensions;
pub mod host;
pub mod identity;
pub mod in_effect;
pub mod ingress;
pub mod kubernetes;
pub mod labels;
pub mod load;
pub mod mesh;
pub mod networking;
pub mod object;
pub mod path;
pub mod port;
pub mod process;
pub mod security;
mod spans;
pub mod telemetry;
mod text;
pub mod tree;
mod validate;

pub use diagnostic::{Diagnostic, Place, ResourceId, Severity};
pub use duration::Duration;
pub use host::Host;
pub use identity::Identity;
pub use labels::{ExportTo, Labels};
pub use load::{Loaded, Options, load, load_text};
pub use object::{AsSpec, Kind, Metadata, Object, Source, Spec, Timestamp};
pub use port::Protocol;
