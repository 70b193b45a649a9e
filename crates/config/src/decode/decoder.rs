//! What a reader carries along: the faults found so far, strictness, the strings seen.

use rustc_hash::FxHashSet;

use super::{Field, Mark, Node, Path, Severity, Str, Value, code};
use crate::text;
use crate::tree::Entry;

/// A finding within one document, before it is given its resource and file.
#[derive(Debug, Clone)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// Stable code.
    pub code: &'static str,
    /// Where in the file.
    pub mark: Mark,
    /// Where in the resource.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The state of reading one document.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What was found.
    pub faults: Vec<Fault>,
    /// Whether unknown and missing fields are faults (mesh kinds) or not (Kubernetes objects).
    pub strict: bool,
    /// Whether snake_case names and numbers in quotes are read as well (MeshConfig, which Istio reads as protobuf's JSON).
    pub proto_json: bool,
    /// Whether an item of a list could not be read, so that indices of the typed form are not those of the document.
    pub dropped_items: bool,
    strings: FxHashSet<Str>,
}

impl Decoder {
    /// One shared copy of a string.
    pub fn intern(&mut self, text: &str) -> Str {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let shared = Str::from(text);
        // Long texts hardly ever repeat; keep the table small.
        if text.len() <= 128 {
            self.strings.insert(shared.clone());
        }
        shared
    }

    /// Notes a finding.
    pub fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        mark: Mark,
        path: &Path<'_>,
        message: String,
        hint: Option<String>,
    ) {
        self.faults.push(Fault { severity, code, mark, path: path.to_string(), message, hint });
    }

    /// Whether an error was noted at exactly this place.
    pub fn has_error(&self, path: &Path<'_>) -> bool {
        let is_error = |fault: &&Fault| fault.severity == Severity::Error;
        let mut errors = self.faults.iter().filter(is_error).peekable();
        errors.peek().is_some() && {
            let path = path.to_string();
            errors.any(|fault| fault.path == path)
        }
    }

    /// Notes a schema error.
    pub fn error(&mut self, node: &Node<'_>, path: &Path<'_>, message: String, hint: Option<String>) {
        self.push(Severity::Error, code::SCHEMA, node.mark, path, message, hint);
    }

    /// Notes that the document says one kind of thing where another is wanted.
    pub fn wrong_type(&mut self, node: &Node<'_>, path: &Path<'_>, wanted: &str) {
        let hint = match &node.value {
            Value::Map(_) | Value::Null if wanted.starts_with("a list") => {
                Some("begin each item with `- `".to_owned())
            }
            _ => None,
        };
        self.error(node, path, format!("expected {wanted}, found {}", node.describe()), hint);
    }

    /// Notes a key that the message does not have.
    pub fn unknown_field(&mut self, entry: &Entry<'_>, path: &Path<'_>, fields: &[Field]) {
        if !self.strict {
            return;
        }
        let key = &*entry.key;
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let hint = match text::closest(key, &names) {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None if names.is_empty() => None,
            None => Some(format!("known fields: {}", text::list(&names))),
        };
        self.push(Severity::Error, code::SCHEMA, entry.mark, path, format!("unknown field `{key}`"), hint);
    }

    /// Notes a field that must be given and is not.
    pub fn missing(&mut self, node: &Node<'_>, path: &Path<'_>, name: &str) {
        let at = path.key(name);
        self.error(node, &at, format!("`{name}` is missing"), None);
    }

    /// Reads one of several words; gives its index.
    pub fn word(&mut self, node: &Node<'_>, path: &Path<'_>, words: &[&str]) -> Option<usize> {
        let Value::Scalar(scalar) = &node.value else {
            self.wrong_type(node, path, &format!("one of {}", text::list(words)));
            return None;
        };
        if let Some(index) = words.iter().position(|word| *word == scalar.text) {
            return Some(index);
        }
        let hint = match text::closest(&scalar.text, words) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("one of {}", text::list(words)),
        };
        let message = format!("{} is not a known value", text::quoted(&scalar.text));
        self.error(node, path, message, Some(hint));
        None
    }
}
