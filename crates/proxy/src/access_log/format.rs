//! A format string, compiled: literal text and operators in turn.
//!
//! Invariant: the text `%%` is a percent sign; anything else between two percent signs is an operator that exists.

use std::sync::Arc;

use crate::access_log::{
    operator::{Formatters, Operator},
    record::Record,
};

/// A compiled Envoy format string (`%REQ(X)% …`), also used for header values. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Format {
    parts: Arc<[Part]>,
    /// Print nothing, not `-`, where there is no value.
    omit_empty: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    Literal(Box<str>),
    Operator(Operator),
}

impl Format {
    /// Envoy's format when a configuration gives none.
    pub const DEFAULT: &'static str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
        %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
        %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
        \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

    /// Compiles a format; the error names the operator that is wrong.
    pub fn compile(text: &str) -> Result<Self, String> {
        Self::compile_with(text, Formatters::default())
    }

    /// The same, with what a configuration lists as `formatters`.
    pub(super) fn compile_with(text: &str, formatters: Formatters) -> Result<Self, String> {
        Ok(Self { parts: parts(text, formatters)?.into(), omit_empty: false })
    }

    /// A format without operators.
    pub fn literal_text(text: &str) -> Self {
        Self { parts: [Part::Literal(text.into())].into(), omit_empty: false }
    }

    /// As it is, but absent values print nothing: header values, and logs with `omit_empty_values`.
    #[must_use]
    pub fn omit_empty(mut self) -> Self {
        self.omit_empty = true;
        self
    }

    /// The whole text, if there is no operator in it.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text for a record.
    pub fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        for part in &*self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Operator(operator) => {
                    if !operator.write(out, record) && !self.omit_empty {
                        out.push(b'-');
                    }
                }
            }
        }
    }
}

/// Cuts a format at its percent signs.
pub(super) fn parts(text: &str, formatters: Formatters) -> Result<Vec<Part>, String> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let end = operator_end(rest).ok_or_else(|| format!("no closing % after %{rest}"))?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Operator(Operator::parse(&rest[..end], formatters)?));
        rest = &rest[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

/// Where the operator's closing `%` is. An argument goes up to the first `)` that `%` or `:LENGTH%` follows, so that it may hold
/// both signs: a time format, an expression.
fn operator_end(text: &str) -> Option<usize> {
    let name = text.find(['(', '%'])?;
    if text[name..].starts_with('%') {
        return Some(name);
    }
    text[name..].match_indices(')').find_map(|(at, _)| {
        let after = name + at + 1;
        let rest = &text[after..];
        let length = rest
            .strip_prefix(':')
            .map_or(0, |digits| 1 + digits.bytes().take_while(|byte| byte.is_ascii_digit()).count());
        rest[length..].starts_with('%').then_some(after + length)
    })
}
