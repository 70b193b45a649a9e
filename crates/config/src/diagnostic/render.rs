//! Findings for people: the message, the place, the line with a mark under it, the hint.

use std::fmt::Write;

use super::{Diagnostic, Severity};

/// Escape sequences; empty without colour.
struct Paint {
    bold: &'static str,
    dim: &'static str,
    hint: &'static str,
    off: &'static str,
    color: bool,
}

impl Paint {
    fn new(color: bool) -> Self {
        match color {
            true => Paint { bold: "\x1b[1m", dim: "\x1b[34m", hint: "\x1b[36m", off: "\x1b[0m", color },
            false => Paint { bold: "", dim: "", hint: "", off: "", color },
        }
    }

    fn severity(&self, severity: Severity) -> &'static str {
        match (self.color, severity) {
            (false, _) => "",
            (_, Severity::Error) => "\x1b[1;31m",
            (_, Severity::Warning) => "\x1b[1;33m",
            (_, Severity::Info) => "\x1b[1;34m",
        }
    }
}

/// One finding as several lines of text, ending in a line break.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let paint = Paint::new(color);
    let Paint { bold, dim, hint: hint_color, off, .. } = paint;
    let level = paint.severity(diagnostic.severity);
    let mut out = String::new();
    let Diagnostic { severity, code, message, .. } = diagnostic;
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{level}{severity}[{code}]{off}{bold}: {message}{off}");
    let width = diagnostic.place.as_ref().map_or(1, |place| place.line.to_string().len());
    if let Some(place) = &diagnostic.place {
        let _ = writeln!(out, "{:width$}{dim}-->{off} {place}", "");
    }
    if let (Some(place), Some(snippet)) = (&diagnostic.place, &diagnostic.snippet) {
        let (line, column) = cut(snippet, place.column as usize);
        let _ = writeln!(out, "{:width$} {dim}|{off}", "");
        let _ = writeln!(out, "{dim}{} |{off} {line}", place.line);
        let mark = "^".repeat(token_len(&line, column));
        let _ = writeln!(out, "{:width$} {dim}|{off} {:column$}{level}{mark}{off}", "", "");
    }
    let resource = diagnostic.resource.as_ref().map(|r| r.to_string()).filter(|r| !r.is_empty());
    let about: Vec<_> =
        resource.into_iter().chain(Some(diagnostic.path.clone())).filter(|s| !s.is_empty()).collect();
    if !about.is_empty() {
        let _ = writeln!(out, "{:width$} {dim}={off} in {}", "", about.join(": "));
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "{:width$} {dim}={off} {hint_color}hint{off}: {hint}", "");
    }
    out
}

/// The part of a line worth showing and the column (from 0) of the mark in it. Tabs and control characters become
/// blanks, so that the mark stands right and a hostile file cannot speak to the terminal.
fn cut(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let column = column.saturating_sub(1);
    let from = if column > WIDTH - 20 { column - 40 } else { 0 };
    let shown =
        line.chars().skip(from).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    (shown.trim_end().to_owned(), column - from)
}

/// How many characters the mark covers: to the end of the word or of the quoted text.
fn token_len(line: &str, column: usize) -> usize {
    let mut rest = line.chars().skip(column);
    let Some(first) = rest.next() else { return 1 };
    let length = match first {
        '"' | '\'' => rest.position(|c| c == first).map_or(1, |n| n + 2),
        _ => 1 + rest.take_while(|c| !c.is_whitespace() && !matches!(c, ':' | ',' | '}' | ']')).count(),
    };
    length.min(80)
}

/// `2 errors, 1 warning` and the like; `no findings` for none.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let part = |severity: Severity, one: &str| {
        let count = diagnostics.iter().filter(|d| d.severity == severity).count();
        match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {one}s")),
        }
    };
    let notes = diagnostics.iter().filter(|d| d.severity == Severity::Info).count();
    let parts: Vec<_> = [
        part(Severity::Error, "error"),
        part(Severity::Warning, "warning"),
        (notes > 0).then(|| format!("{notes} info")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { "no findings".into() } else { parts.join(", ") }
}
