//! `json_format`: an object whose strings are formats.
//!
//! Invariant: as in Envoy, a string that is one operator keeps the operator's type (numbers are numbers, nothing is
//! `null`); a string with more in it is text, with `-` for what is absent. Keys are sorted.

use std::sync::Arc;

use meltemi_xds::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::access_log::{
    format::{Part, parts},
    operator::Operator,
    record::Record,
};

/// A compiled `json_format`. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct JsonFormat {
    pieces: Arc<[Piece]>,
}

#[derive(Debug, Clone)]
enum Piece {
    /// JSON text.
    Verbatim(String),
    /// One operator alone: typed.
    Value(Operator),
    /// Text with operators inside, to be quoted.
    Text(Vec<Part>),
    /// A comma, unless the object has just begun.
    Comma,
    /// `"key":value` with its comma, left out without a value (`omit_empty_values`).
    Optional(String, Operator),
}

impl JsonFormat {
    /// Compiles the object.
    pub(super) fn compile(format: &Struct, omit_empty: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        object(&mut pieces, format, omit_empty)?;
        pieces.push(Piece::Verbatim("\n".into()));
        Ok(Self { pieces: pieces.into() })
    }

    /// Appends the line for a record.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        for piece in &*self.pieces {
            match piece {
                Piece::Verbatim(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Value(operator) => {
                    if !value(out, operator, record) {
                        out.extend_from_slice(b"null");
                    }
                }
                Piece::Text(parts) => quoted(out, |text| {
                    for part in parts {
                        write_part(text, part, record);
                    }
                }),
                Piece::Comma => comma(out),
                Piece::Optional(key, operator) => optional(out, key, operator, record),
            }
        }
    }
}

fn write_part(out: &mut Vec<u8>, part: &Part, record: &Record<'_>) {
    match part {
        Part::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
        Part::Operator(operator) => {
            if !operator.write(out, record) {
                out.push(b'-');
            }
        }
    }
}

fn optional(out: &mut Vec<u8>, key: &str, operator: &Operator, record: &Record<'_>) {
    let start = out.len();
    comma(out);
    out.extend_from_slice(key.as_bytes());
    if !value(out, operator, record) {
        out.truncate(start);
    }
}

fn comma(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn value(out: &mut Vec<u8>, operator: &Operator, record: &Record<'_>) -> bool {
    if operator.is_number() {
        return operator.write(out, record);
    }
    let start = out.len();
    let mut some = false;
    quoted(out, |text| some = operator.write(text, record));
    if !some {
        out.truncate(start);
    }
    some
}

fn object(pieces: &mut Vec<Piece>, format: &Struct, omit_empty: bool) -> Result<(), String> {
    let mut fields: Vec<_> = format.fields.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    verbatim(pieces, "{");
    for (at, (key, field)) in fields.into_iter().enumerate() {
        let name = serde_json::Value::from(key.as_str()).to_string() + ":";
        if omit_empty && let Some(operator) = alone(field)? {
            pieces.push(Piece::Optional(name, operator));
            continue;
        }
        match omit_empty {
            true => pieces.push(Piece::Comma),
            false => verbatim(pieces, if at == 0 { "" } else { "," }),
        }
        verbatim(pieces, &name);
        compile_value(pieces, field, omit_empty)?;
    }
    verbatim(pieces, "}");
    Ok(())
}

/// The operator of a string that is nothing but one.
fn alone(field: &Value) -> Result<Option<Operator>, String> {
    let Some(Kind::StringValue(text)) = &field.kind else { return Ok(None) };
    Ok(match <[Part; 1]>::try_from(parts(text)?) {
        Ok([Part::Operator(operator)]) => Some(operator),
        _ => None,
    })
}

fn compile_value(pieces: &mut Vec<Piece>, field: &Value, omit_empty: bool) -> Result<(), String> {
    match &field.kind {
        Some(Kind::StringValue(text)) => match alone(field)? {
            Some(operator) => pieces.push(Piece::Value(operator)),
            None => pieces.push(Piece::Text(parts(text)?)),
        },
        Some(Kind::StructValue(inner)) => object(pieces, inner, omit_empty)?,
        Some(Kind::ListValue(list)) => {
            verbatim(pieces, "[");
            for (at, item) in list.values.iter().enumerate() {
                verbatim(pieces, if at == 0 { "" } else { "," });
                compile_value(pieces, item, omit_empty)?;
            }
            verbatim(pieces, "]");
        }
        Some(Kind::NumberValue(number)) => verbatim(pieces, &number.to_string()),
        Some(Kind::BoolValue(flag)) => verbatim(pieces, &flag.to_string()),
        Some(Kind::NullValue(_)) | None => verbatim(pieces, "null"),
    }
    Ok(())
}

/// Adds text to the last verbatim piece, or a new one.
fn verbatim(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Verbatim(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Verbatim(text.into())),
    }
}

/// Appends what `write` writes as a JSON string.
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    let start = out.len();
    write(out);
    if out[start..].iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f..)) {
        let text = String::from_utf8_lossy(&out[start..]).into_owned();
        let escaped = serde_json::Value::from(text).to_string();
        out.truncate(start);
        out.extend_from_slice(&escaped.as_bytes()[1..escaped.len() - 1]);
    }
    out.push(b'"');
}
