//! Envoy's command operators: parsed by name, written without allocation.
//! <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/advanced/substitution_formatter>
//!
//! Invariant: [`Operator::write`] says whether there was a value; who calls it decides what an absent one looks like.

mod address;
mod command;
mod headers;
mod span;
mod write;

use self::command::Command;
pub(super) use self::write::stream_id;
use crate::access_log::{quote::quoted, record::Record};

/// One `%…%`.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    command: Command,
    /// `:Z`.
    limit: Option<usize>,
}

/// What JSON makes of an operator's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    /// A value of JSON itself.
    Json,
}

/// What a format may use beside what is always there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Formatters {
    /// `envoy.formatter.req_without_query`.
    pub(super) without_query: bool,
}

impl Operator {
    /// `NAME(ARGUMENT):LIMIT`, without the percent signs.
    pub(super) fn parse(text: &str, formatters: Formatters) -> Result<Self, String> {
        let name_len = text.find(['(', ':']).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_len);
        let (argument, limit) = match rest.strip_prefix('(') {
            Some(inside) => {
                let end = inside.rfind(')').ok_or_else(|| format!("%{text}%: no closing parenthesis"))?;
                (Some(&inside[..end]), &inside[end + 1..])
            }
            None => (None, rest),
        };
        let limit = match limit.strip_prefix(':') {
            Some(digits) => {
                Some(digits.parse().map_err(|_| format!("%{text}%: the length limit is no number"))?)
            }
            None if limit.is_empty() => None,
            None => return Err(format!("%{text}%: unexpected text after the parenthesis")),
        };
        if name == "REQ_WITHOUT_QUERY" && !formatters.without_query {
            return Err(format!("%{text}% needs the formatter envoy.formatter.req_without_query"));
        }
        let command =
            Command::parse(name, argument, limit.is_some()).map_err(|why| format!("%{text}%: {why}"))?;
        Ok(Self { command, limit })
    }

    /// Appends the value; false (and nothing appended) when there is none.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        let start = out.len();
        let some = self.command.write(out, record);
        if let Some(limit) = self.limit {
            let end = out.len().min(start + limit);
            out.truncate(whole_characters(out, start, end));
        }
        some
    }

    /// Appends the value as JSON; false (and nothing appended) when there is none.
    pub(super) fn write_json(&self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        match self.command.json_type() {
            Type::Number => self.write(out, record),
            Type::Json => self.command.write_json(out, record),
            Type::Text => {
                let (start, mut some) = (out.len(), false);
                quoted(out, |text| some = self.write(text, record));
                if !some {
                    out.truncate(start);
                }
                some
            }
        }
    }
}

/// Bytes are counted, but no character is cut in two, which Envoy would do.
fn whole_characters(out: &[u8], start: usize, mut end: usize) -> usize {
    while end > start && end < out.len() && out[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}
