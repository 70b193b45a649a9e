//! From faults of a document to diagnostics: with resource, file and the line of text.

use std::sync::Arc;

use crate::Str;
use crate::decode::Fault;
use crate::diagnostic::{Diagnostic, Place, ResourceId};

/// A file being read. Line starts are looked up once, and only if something is found.
pub(super) struct File<'a> {
    pub(super) name: &'a Str,
    text: &'a str,
    starts: std::cell::OnceCell<Vec<usize>>,
}

impl<'a> File<'a> {
    pub(super) fn new(name: &'a Str, text: &'a str) -> Self {
        File { name, text: text.strip_prefix('\u{feff}').unwrap_or(text), starts: std::cell::OnceCell::new() }
    }

    /// A line of the text, from 1.
    fn line(&self, line: u32) -> Option<Arc<str>> {
        let starts = self.starts.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        });
        let start = *starts.get((line as usize).checked_sub(1)?)?;
        let text = self.text[start..].lines().next().unwrap_or_default();
        // Findings live long; a generated one-line file is not worth keeping.
        let text = if text.len() > 2_000 { text.chars().take(1_000).collect() } else { text.to_owned() };
        Some(text.into())
    }

    pub(super) fn diagnostic(&self, fault: Fault, resource: Option<ResourceId>) -> Diagnostic {
        let Fault { severity, code, mark, path, message, hint } = fault;
        let place = Place { file: self.name.clone(), line: mark.line.max(1), column: mark.column.max(1) };
        let snippet = self.line(place.line);
        Diagnostic { resource, path, place: Some(place), code, severity, message, hint, snippet }
    }
}
