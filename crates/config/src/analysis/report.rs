//! Where analyzers put what they find. Used by every analyzer.
//!
//! Invariant: the text of a finding begins with the published text of its message.

use rustc_hash::FxHashMap;

use super::messages::Message;
use crate::{Diagnostic, Loaded, Object, Str};

/// Findings so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Diagnostic>,
}

impl Report {
    /// Notes a finding about a part of an object. `text` is Istio's, and goes on with the evidence; `hint` is the fix.
    pub(super) fn add(
        &mut self,
        message: &'static Message,
        object: &Object,
        path: &str,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.push(Diagnostic {
            resource: Some(object.id()),
            path: path.to_owned(),
            place: object.place(path),
            code: message.code,
            severity: message.severity,
            message: text.into(),
            hint: Some(hint.into()),
            snippet: None,
        });
    }
}

/// Gives each finding its line of text.
pub(super) fn add_snippets(findings: &mut [Diagnostic], loaded: &Loaded) {
    let mut lines: FxHashMap<Str, Vec<&str>> = FxHashMap::default();
    for finding in findings.iter_mut().filter(|finding| finding.snippet.is_none()) {
        let Some(place) = &finding.place else { continue };
        let Some(text) = loaded.texts.get(&place.file) else { continue };
        let lines = lines.entry(place.file.clone()).or_insert_with(|| text.lines().collect());
        let line = lines.get((place.line as usize).saturating_sub(1)).copied().unwrap_or_default();
        finding.snippet = Some(line.chars().take(1_000).collect::<String>().into());
    }
}

/// `[a b]`: a list as Go prints it, which Istio's texts do.
pub(super) fn go_list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(" "))
}

/// `a=1,b=2`: a selector as Kubernetes prints it.
pub(super) fn selector_text(labels: &crate::Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// `namespace/name`, as Istio names resources.
pub(super) fn full_name(object: &Object) -> String {
    match &**object.namespace() {
        "" => object.name().to_string(),
        namespace => format!("{namespace}/{}", object.name()),
    }
}
