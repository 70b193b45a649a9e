//! Findings that someone has decided to live with. Two forms:
//!
//! - Istio's annotation on the resource: `galley.istio.io/analyze-suppress: IST0101,IST0173`, or `"*"` for all.
//! - a comment, `# meltemi:ignore IST0101 why`: for its own line, or alone on a line for the line below; above the first
//!   line of a resource for all of it. Without a code it means every code.
//!
//! Faults of syntax cannot be suppressed.

use rustc_hash::FxHashMap;

use crate::diagnostic::code;
use crate::{Diagnostic, Loaded, ResourceId, Str};

const ANNOTATION: &str = "galley.istio.io/analyze-suppress";
const COMMENT: &str = "meltemi:ignore";

/// Drops what is suppressed.
pub(super) fn apply(findings: &mut Vec<Diagnostic>, loaded: &Loaded) {
    let objects = || loaded.objects.iter().chain(&loaded.rejected);
    let mut by_object: FxHashMap<ResourceId, Vec<String>> = FxHashMap::default();
    for object in objects() {
        if let Some(list) = object.metadata.annotations.get(ANNOTATION) {
            by_object.entry(object.id()).or_default().extend(codes(list));
        }
    }
    let mut by_line: FxHashMap<(Str, u32), Vec<String>> = FxHashMap::default();
    for (file, text) in &loaded.texts {
        for (line, codes) in comments(text) {
            by_line.entry((file.clone(), line)).or_default().extend(codes);
        }
    }
    for object in objects() {
        if let Some(codes) = by_line.get(&(object.source.file.clone(), object.source.line)) {
            by_object.entry(object.id()).or_default().extend(codes.iter().cloned());
        }
    }
    findings.retain(|finding| {
        if matches!(finding.code, code::SYNTAX | code::UNREADABLE) {
            return true;
        }
        let means = |codes: &Vec<String>| codes.iter().any(|code| code == "*" || code == finding.code);
        let object = finding.resource.as_ref().and_then(|id| by_object.get(id));
        let line = finding.place.as_ref().and_then(|place| by_line.get(&(place.file.clone(), place.line)));
        !object.is_some_and(means) && !line.is_some_and(means)
    });
}

fn codes(list: &str) -> impl Iterator<Item = String> + '_ {
    list.split(',').map(|code| code.trim().to_owned()).filter(|code| !code.is_empty())
}

/// The lines that comments are for, with the codes they name.
fn comments(text: &str) -> Vec<(u32, Vec<String>)> {
    let mut found = Vec::new();
    if !text.contains(COMMENT) {
        return found;
    }
    let mut waiting: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let (content, comment) = split(line);
        let mut here = comment.map(said).unwrap_or_default();
        if content.trim().is_empty() || content.trim() == "---" {
            waiting.append(&mut here);
            continue;
        }
        here.append(&mut waiting);
        if !here.is_empty() {
            found.push((number, here));
        }
    }
    found
}

/// A line up to its comment, and the comment. A `#` within a word or in quotes begins none.
fn split(line: &str) -> (&str, Option<&str>) {
    let at = line.match_indices('#').map(|(at, _)| at).find(|at| {
        let before = &line[..*at];
        let begins = before.is_empty() || before.ends_with([' ', '\t']);
        let quoted = before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
        begins && !quoted
    });
    match at {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

/// The codes of a comment; empty if it is an ordinary one.
fn said(comment: &str) -> Vec<String> {
    let Some(rest) = comment.trim_start().strip_prefix(COMMENT) else { return Vec::new() };
    let is_code = |word: &&str| word.starts_with("IST") || word.starts_with("MEL");
    let named: Vec<String> = rest
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .take_while(is_code)
        .map(str::to_owned)
        .collect();
    if named.is_empty() { vec!["*".to_owned()] } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_for_their_line_or_the_next() {
        let text = "# meltemi:ignore IST0101, MEL0103 because\n---\n\na: 1\nb: 2 # meltemi:ignore\nc: \"# meltemi:ignore\"\n";
        let codes = |list: &[&str]| list.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        assert_eq!(comments(text), [(4, codes(&["IST0101", "MEL0103"])), (5, codes(&["*"]))]);
    }
}
