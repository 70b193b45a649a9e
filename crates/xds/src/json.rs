//! The JSON and YAML form of Envoy's messages (proto3 JSON).
//!
//! Used for the bootstrap, `config_dump`, `translate`, and everything that people read. Works between text and wire
//! bytes by a schema of all messages (`json/schema.txt`), so no message needs code of its own and a process that uses
//! none of it pays nothing at start. Reads `snake_case` and `camelCase` names, prints `snake_case` as Envoy does.
//! Invariant: what is not understood is an error that says where; nothing is dropped.

mod locate;
mod read;
mod schema;
mod write;

use prost::{Message, Name};
use serde_json::Value;

pub use self::schema::is_known;

/// A document that is not the message it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Error {
    /// Where in the message: `static_resources.listeners[0].name`; empty at the top or when the document is not JSON
    /// or YAML at all.
    pub path: String,
    /// What is wrong, with a suggestion when there is one.
    pub message: String,
    /// Line and column, from 1, in the text that was read; absent for values that never were text.
    pub position: Option<(usize, usize)>,
}

impl Error {
    fn text(&self) -> String {
        let place = self.position.map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default();
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        format!("{place}{path}{}", self.message)
    }

    /// `file:line:column: path: message`, which editors jump to.
    pub fn in_file(&self, file: impl std::fmt::Display) -> String {
        format!("{file}:{self}")
    }
}

/// Reads a message from YAML or JSON text.
pub fn from_text<M: Message + Name + Default>(text: &str) -> Result<M, Error> {
    decode(&wire_from_text(&M::full_name(), text)?)
}

/// Reads a message from a JSON value.
pub fn from_value<M: Message + Name + Default>(value: &Value) -> Result<M, Error> {
    decode(&wire_from_value(&M::full_name(), value)?)
}

fn decode<M: Message + Default>(wire: &[u8]) -> Result<M, Error> {
    M::decode(wire).map_err(|error| Error { path: String::new(), message: error.to_string(), position: None })
}

/// Encodes YAML or JSON text as the message of that full name (`envoy.config.bootstrap.v3.Bootstrap`), without
/// decoding it.
pub fn wire_from_text(full_name: &str, text: &str) -> Result<Vec<u8>, Error> {
    // YAML has JSON inside it, but JSON's own parser is many times faster: large bootstraps are JSON.
    if text.trim_start().starts_with('{') {
        let mut parser = serde_json::Deserializer::from_str(text);
        let read = read_with(full_name, Some(text), |name, out, fault| {
            read::message(name, &mut parser, out, fault)?;
            parser.end()
        });
        match read {
            // A YAML flow mapping opens like JSON: what JSON's parser refuses, the other one judges.
            Err(Failure::Syntax(_)) => {}
            Err(Failure::Message(error)) => return Err(error),
            Ok(wire) => return Ok(wire),
        }
    }
    // A bootstrap is the operator's own file: thousands of clusters are fine, only nesting and aliases stay bounded.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_events: 100_000_000, max_nodes: 50_000_000, max_total_scalar_bytes: 1 << 30 },
        with_snippet: false,
    };
    let read = read_with(full_name, Some(text), |name, out, fault| {
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |parser| {
            read::message(name, parser, out, fault)
        })
    });
    read.map_err(|failure| match failure {
        Failure::Message(error) => error,
        Failure::Syntax(error) => Error {
            path: String::new(),
            position: error.location().map(|at| (at.line() as usize, at.column() as usize)),
            message: error.to_string(),
        },
    })
}

/// Encodes a JSON value as the message of that full name.
pub fn wire_from_value(full_name: &str, value: &Value) -> Result<Vec<u8>, Error> {
    read_with(full_name, None, |name, out, fault| read::message(name, value, out, fault)).map_err(|failure| {
        match failure {
            Failure::Message(error) => error,
            Failure::Syntax(error) => {
                Error { path: String::new(), message: error.to_string(), position: None }
            }
        }
    })
}

/// Why a text is not a message: not JSON or YAML at all, or not this message.
enum Failure<E> {
    Syntax(E),
    Message(Error),
}

fn read_with<E>(
    full_name: &str,
    text: Option<&str>,
    read: impl FnOnce(&'static str, &mut Vec<u8>, &read::Fault) -> Result<(), E>,
) -> Result<Vec<u8>, Failure<E>> {
    let Some(name) = schema::known(full_name) else {
        let message = format!("unknown type {full_name:?}");
        return Err(Failure::Message(Error { path: String::new(), message, position: None }));
    };
    let (mut out, fault) = (Vec::new(), read::Fault::default());
    match read(name, &mut out, &fault) {
        Ok(()) => Ok(out),
        Err(error) => Err(match fault.into_parts() {
            None => Failure::Syntax(error),
            Some((message, steps)) => Failure::Message(Error {
                path: locate::path(&steps),
                message,
                position: text.and_then(|text| locate::locate(text, &steps)),
            }),
        }),
    }
}

/// True when `key` is the field's name as the schema writes it or in camel case.
fn same_name(field: &str, key: &str) -> bool {
    if field == key {
        return true;
    }
    let mut camel = key.bytes();
    let mut upper = false;
    let equal = field.bytes().all(|byte| {
        if byte == b'_' {
            upper = true;
            return true;
        }
        let wanted = if std::mem::take(&mut upper) { byte.to_ascii_uppercase() } else { byte };
        camel.next() == Some(wanted)
    });
    equal && camel.next().is_none()
}

/// The JSON form of a message.
pub fn to_value<M: Message + Name>(message: &M) -> Value {
    value_from_wire(&M::full_name(), &message.encode_to_vec()).unwrap_or_default()
}

/// The JSON form of wire bytes of the message of that full name; `None` when they are not one.
pub fn value_from_wire(full_name: &str, bytes: &[u8]) -> Option<Value> {
    write::message(full_name, bytes)
}

/// The JSON form of a message, indented, for people.
pub fn to_pretty<M: Message + Name>(message: &M) -> String {
    format!("{:#}", to_value(message))
}

#[cfg(test)]
mod tests;
