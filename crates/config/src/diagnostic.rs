//! A finding about a resource: made by reading, validation and analysis; shown alike by the command line, status and
//! dashboard. Its fields are the JSON that scripts and editors rely on.

use std::fmt;
use std::sync::Arc;

use crate::Str;
use crate::object::Kind;

mod render;

pub use render::{render, summary};

/// How bad a finding is. Ordered: the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Wrong: the resource is left out.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// Codes of findings: Istio's where it has one, `MELnnnn` else.
pub mod code {
    /// The resource breaks its schema (Istio: SchemaValidationError).
    pub const SCHEMA: &str = "IST0106";
    /// A field that Istio calls deprecated (Istio: Deprecated).
    pub const DEPRECATED: &str = "IST0002";
    /// A route that no request reaches (Istio: VirtualServiceUnreachableRule).
    pub const UNREACHABLE: &str = "IST0130";
    /// A match that an earlier one has taken already (Istio: VirtualServiceIneffectiveMatch).
    pub const INEFFECTIVE_MATCH: &str = "IST0131";
    /// Legal, and advised against by Istio (Istio: SchemaWarning).
    pub const SCHEMA_WARNING: &str = "IST0133";
    /// The text cannot be read at all.
    pub const SYNTAX: &str = "MEL0001";
    /// The field is understood and has no effect yet.
    pub const NOT_IN_EFFECT: &str = "MEL0002";
    /// The same resource is given twice.
    pub const DUPLICATE: &str = "MEL0003";
    /// Legal, and most likely not what was meant.
    pub const SUSPICIOUS: &str = "MEL0004";
    /// A file or folder cannot be read.
    pub const UNREADABLE: &str = "MEL0005";
}

/// A place in a file, as people and editors want it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as it was named.
    pub file: Str,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The name of a resource within the mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// Kind as the document writes it.
    pub kind: Kind,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Str,
    /// Name; empty if the document gives none.
    pub name: Str,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match &**namespace {
            "" => write!(f, "{kind} {name}"),
            _ => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it is about, where that could be read.
    pub resource: Option<ResourceId>,
    /// Where in the resource (`spec.http[0].timeout`); empty for the whole.
    pub path: String,
    /// Where in the file.
    pub place: Option<Place>,
    /// Stable code (see [`code`]).
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line of text at `place`, for showing.
    pub snippet: Option<Arc<str>>,
}

impl Diagnostic {
    /// The message as machines get it: Istio's words for the code first, then the path, then ours.
    pub fn full_message(&self) -> String {
        let begin = match self.code {
            code::SCHEMA => "Schema validation error: ",
            code::SCHEMA_WARNING => "Schema validation warning: ",
            code if code.starts_with("MEL") => "",
            // The message is Istio's from its first word.
            _ => return self.message.clone(),
        };
        match &*self.path {
            "" => format!("{begin}{}", self.message),
            path => format!("{begin}{path}: {}", self.message),
        }
    }

    /// The order of output: by file, line, column, then code and message.
    pub fn sort(diagnostics: &mut [Diagnostic]) {
        diagnostics.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.place.clone(), d.resource.clone(), d.code, d.message.clone());
            key(a).cmp(&key(b))
        });
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} [{}]", self.severity, self.code)?;
        if let Some(resource) = &self.resource {
            write!(f, " {resource}")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl serde::Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.code)?;
        map.serialize_entry("severity", &self.severity.to_string())?;
        map.serialize_entry("message", &self.full_message())?;
        let resource = self.resource.as_ref();
        let resource = serde_json::json!({
            "kind": resource.map_or("", |r| r.kind.as_str()),
            "namespace": resource.map_or("", |r| &*r.namespace),
            "name": resource.map_or("", |r| &*r.name),
        });
        map.serialize_entry("resource", &resource)?;
        map.serialize_entry("file", &self.place.as_ref().map(|place| &place.file))?;
        map.serialize_entry("line", &self.place.as_ref().map(|place| place.line))?;
        map.serialize_entry("column", &self.place.as_ref().map(|place| place.column))?;
        map.serialize_entry("hint", &self.hint)?;
        map.end()
    }
}
