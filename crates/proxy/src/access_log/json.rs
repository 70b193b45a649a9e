//! `json_format`: an object whose strings are formats.
//!
//! Invariant: as in Envoy, a string that is one operator keeps the operator's type (numbers are numbers, nothing is
//! `null`); a string with more in it is text, with `-` for what is absent. Keys are sorted.

use std::sync::Arc;

use meltemi_xds::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::{
    access_log::{
        format::{Part, parts},
        operator::{Formatters, Operator},
        quote::quoted,
        record::Record,
    },
    cel::number,
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
    /// Text with operators inside, to be quoted; absent ones print nothing, or `-`.
    Text(Vec<Part>, bool),
    /// A comma, unless the object or list has just begun.
    Comma,
    /// `"key":value` with its comma, left out without a value (`omit_empty_values`); in lists there is no key.
    Optional(String, Operator),
    /// `"key":{…}` with its comma, left out when it comes to nothing.
    Object(String, Arc<[Piece]>),
}

/// How objects are compiled.
#[derive(Clone, Copy)]
struct Style {
    omit_empty: bool,
    formatters: Formatters,
}

impl JsonFormat {
    /// Compiles the object.
    pub(super) fn compile(format: &Struct, omit_empty: bool, formatters: Formatters) -> Result<Self, String> {
        let mut pieces = Vec::new();
        object(&mut pieces, format, Style { omit_empty, formatters })?;
        verbatim(&mut pieces, "\n");
        Ok(Self { pieces: pieces.into() })
    }

    /// Appends the line for a record.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        write(&self.pieces, out, record);
    }
}

fn write(pieces: &[Piece], out: &mut Vec<u8>, record: &Record<'_>) {
    for piece in pieces {
        match piece {
            Piece::Verbatim(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value(operator) => {
                if !operator.write_json(out, record) {
                    out.extend_from_slice(b"null");
                }
            }
            Piece::Text(parts, omit_empty) => quoted(out, |text| {
                for part in parts {
                    write_part(text, part, record, *omit_empty);
                }
            }),
            Piece::Comma => comma(out),
            Piece::Optional(key, operator) => {
                let start = out.len();
                comma(out);
                out.extend_from_slice(key.as_bytes());
                if !operator.write_json(out, record) {
                    out.truncate(start);
                }
            }
            Piece::Object(key, pieces) => {
                let start = out.len();
                comma(out);
                out.extend_from_slice(key.as_bytes());
                write(pieces, out, record);
                if out.ends_with(b"{}") {
                    out.truncate(start);
                }
            }
        }
    }
}

fn write_part(out: &mut Vec<u8>, part: &Part, record: &Record<'_>, omit_empty: bool) {
    match part {
        Part::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
        Part::Operator(operator) => {
            if !operator.write(out, record) && !omit_empty {
                out.push(b'-');
            }
        }
    }
}

fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

fn object(pieces: &mut Vec<Piece>, format: &Struct, style: Style) -> Result<(), String> {
    let mut fields: Vec<_> = format.fields.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    verbatim(pieces, "{");
    for (at, (key, field)) in fields.into_iter().enumerate() {
        let name = serde_json::Value::from(key.as_str()).to_string() + ":";
        element(pieces, at, &name, field, style)?;
    }
    verbatim(pieces, "}");
    Ok(())
}

/// A field of an object or an item of a list, with what separates it from the one before.
fn element(
    pieces: &mut Vec<Piece>,
    at: usize,
    name: &str,
    field: &Value,
    style: Style,
) -> Result<(), String> {
    if !style.omit_empty {
        verbatim(pieces, if at == 0 { "" } else { "," });
        verbatim(pieces, name);
        return value(pieces, field, style);
    }
    match &field.kind {
        Some(Kind::NullValue(_)) | None => return Ok(()),
        Some(Kind::StructValue(inner)) => {
            let mut own = Vec::new();
            object(&mut own, inner, style)?;
            pieces.push(Piece::Object(name.to_owned(), own.into()));
            return Ok(());
        }
        _ => {}
    }
    if let Some(operator) = alone(field, style)? {
        pieces.push(Piece::Optional(name.to_owned(), operator));
        return Ok(());
    }
    pieces.push(Piece::Comma);
    verbatim(pieces, name);
    value(pieces, field, style)
}

/// The operator of a string that is nothing but one.
fn alone(field: &Value, style: Style) -> Result<Option<Operator>, String> {
    let Some(Kind::StringValue(text)) = &field.kind else { return Ok(None) };
    Ok(match <[Part; 1]>::try_from(parts(text, style.formatters)?) {
        Ok([Part::Operator(operator)]) => Some(operator),
        _ => None,
    })
}

fn value(pieces: &mut Vec<Piece>, field: &Value, style: Style) -> Result<(), String> {
    match &field.kind {
        Some(Kind::StringValue(text)) => match alone(field, style)? {
            Some(operator) => pieces.push(Piece::Value(operator)),
            None => pieces.push(Piece::Text(parts(text, style.formatters)?, style.omit_empty)),
        },
        Some(Kind::StructValue(inner)) => object(pieces, inner, style)?,
        Some(Kind::ListValue(list)) => {
            verbatim(pieces, "[");
            for (at, item) in list.values.iter().enumerate() {
                element(pieces, at, "", item, style)?;
            }
            verbatim(pieces, "]");
        }
        Some(Kind::NumberValue(number)) => {
            let mut text = Vec::new();
            number::shortest(&mut text, *number);
            verbatim(pieces, &String::from_utf8_lossy(&text));
        }
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
