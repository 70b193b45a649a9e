//! Reads files and folders into objects. Called by the control plane's file source, `validate`, `translate`, `up`.
//!
//! A resource with an error is reported and left out of [`Loaded::objects`]; what could be read of it is in
//! [`Loaded::rejected`], so that the last good version can stay in force.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::decode::Decoder;
use crate::diagnostic::{Diagnostic, Place, ResourceId, Severity, code};
use crate::mesh::{MeshConfig, MeshNetworks};
use crate::{Object, Source, Str};

mod document;
mod files;
mod findings;

/// How to read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of documents that name none; may be empty.
    pub namespace: Str,
    /// Read what only analysis wants as well: more kinds, `status.conditions`, places in Kubernetes objects, the texts.
    pub analysis: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { namespace: "default".into(), analysis: false }
    }
}

impl Options {
    /// Options with that namespace for documents that name none.
    pub fn in_namespace(namespace: &str) -> Options {
        Options { namespace: namespace.into(), ..Options::default() }
    }
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Objects in force, in the order of files and documents. Of several of one name only the last.
    pub objects: Vec<Object>,
    /// Objects with errors, as far as they could be read.
    pub rejected: Vec<Object>,
    /// Documents and files that could not be read at all: which objects they hold is not known.
    pub unreadable: Vec<Source>,
    /// All findings, sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts of the files by name; kept for analysis only.
    pub texts: BTreeMap<Str, Arc<str>>,
}

impl Loaded {
    /// Whether a finding is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Reads files, and all `.yaml`, `.yml` and `.json` files of folders, in the order of their names. Hidden files are left out.
pub fn load(paths: &[PathBuf], options: &Options) -> Loaded {
    let mut loader = Loader::new(options);
    for path in paths {
        match files::list(path) {
            Ok(files) => files.iter().for_each(|file| loader.file(file)),
            Err(error) => loader.cannot_read(path, &error),
        }
    }
    loader.finish()
}

/// Reads a text as if it were a file of this name.
pub fn load_text(file: &str, text: &str, options: &Options) -> Loaded {
    let mut loader = Loader::new(options);
    loader.text(file.into(), text);
    loader.finish()
}

/// Reads a bare MeshConfig; absent fields stay unset (its methods give Istio's defaults). Names may be snake_case too.
pub fn mesh_config(file: &str, text: &str) -> (MeshConfig, Vec<Diagnostic>) {
    document::bare(file, text)
}

/// Reads bare MeshNetworks.
pub fn mesh_networks(file: &str, text: &str) -> (MeshNetworks, Vec<Diagnostic>) {
    document::bare(file, text)
}

/// Reads a bare ProxyConfig, as the annotation `proxy.istio.io/config` holds one.
pub fn proxy_config(file: &str, text: &str) -> (crate::mesh::ProxyConfig, Vec<Diagnostic>) {
    document::bare(file, text)
}

/// Reads bare MeshNetworks as an object of that namespace, with its places.
pub fn mesh_networks_object(file: &str, text: &str, namespace: &str) -> (Object, Vec<Diagnostic>) {
    document::mesh_networks_object(file, text, namespace)
}

/// The state of one load.
struct Loader<'o> {
    options: &'o Options,
    decoder: Decoder,
    loaded: Loaded,
}

impl<'o> Loader<'o> {
    fn new(options: &'o Options) -> Self {
        Loader { options, decoder: Decoder::default(), loaded: Loaded::default() }
    }

    fn file(&mut self, path: &FilePath) {
        match files::read(path) {
            Ok(text) => self.text(path.to_string_lossy().into(), &text),
            Err(error) => self.cannot_read(path, &error),
        }
    }

    fn text(&mut self, file: Str, text: &str) {
        if self.options.analysis {
            self.loaded.texts.insert(file.clone(), text.into());
        }
        document::read_all(self, &file, text);
    }

    fn cannot_read(&mut self, path: &FilePath, error: &std::io::Error) {
        let file: Str = path.to_string_lossy().into();
        self.loaded.unreadable.push(Source { file: file.clone(), line: 0 });
        self.loaded.diagnostics.push(Diagnostic {
            resource: None,
            path: String::new(),
            place: Some(Place { file, line: 1, column: 1 }),
            code: code::UNREADABLE,
            severity: Severity::Error,
            message: format!("cannot read {}: {error}", path.display()),
            hint: None,
            snippet: None,
        });
    }

    fn finish(mut self) -> Loaded {
        self.drop_repeated();
        Diagnostic::sort(&mut self.loaded.diagnostics);
        self.loaded
    }

    /// Of several objects of one name the last holds, as when each is applied in turn.
    fn drop_repeated(&mut self) {
        let mut last: FxHashMap<ResourceId, usize> = FxHashMap::default();
        let mut repeated = Vec::new();
        for (position, object) in self.loaded.objects.iter().enumerate() {
            if let Some(before) = last.insert(object.id(), position) {
                repeated.push((before, position));
            }
        }
        if repeated.is_empty() {
            return;
        }
        for (before, position) in &repeated {
            let (old, new) = (&self.loaded.objects[*before], &self.loaded.objects[*position]);
            self.loaded.diagnostics.push(Diagnostic {
                resource: Some(new.id()),
                path: "metadata.name".into(),
                place: new.place("metadata.name"),
                code: code::DUPLICATE,
                severity: Severity::Warning,
                message: format!("{} is given twice; this one holds", new.id()),
                hint: Some(format!("the other is at {}:{}", old.source.file, old.source.line)),
                snippet: None,
            });
        }
        let dropped: rustc_hash::FxHashSet<usize> = repeated.iter().map(|(before, _)| *before).collect();
        let mut position = 0;
        self.loaded.objects.retain(|_| {
            position += 1;
            !dropped.contains(&(position - 1))
        });
    }
}

#[cfg(test)]
mod tests;
