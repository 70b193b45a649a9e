//! Proto3 JSON of Envoy's messages, both ways, and YAML in: bootstrap files, config dumps, `translate`.
//!
//! Works between text and wire bytes by a schema of all messages (`json/schema.txt`), so no message needs code of its
//! own and the schema costs nothing before it is used. Names go out as Envoy writes them, in snake case.
//! Invariant: what is not understood is an error that says where; nothing is dropped.

mod read;
mod schema;
mod write;

use prost::{Message, Name};
use serde_json::Value;

pub use self::schema::is_known;

/// Why a text is not the message that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not YAML or JSON; the text names line and column.
    #[error("{0}")]
    Syntax(String),
    /// Understood as text but not as the message.
    #[error("{path}: {problem}")]
    Field {
        /// Where, as `static_resources.listeners[0].name`.
        path: String,
        /// What is wrong there.
        problem: String,
    },
    /// The bytes of a message that does not follow its schema.
    #[error("malformed {0}")]
    Malformed(String),
}

/// Reads a message from YAML (of which JSON is a part).
pub fn from_yaml<M: Message + Name + Default>(text: &str) -> Result<M, JsonError> {
    from_value(&parse(text)?)
}

/// Text to a JSON value.
pub fn parse(text: &str) -> Result<Value, JsonError> {
    serde_saphyr::from_str(text).map_err(|error| JsonError::Syntax(error.to_string()))
}

/// Reads a message from its JSON form.
pub fn from_value<M: Message + Name + Default>(value: &Value) -> Result<M, JsonError> {
    let bytes = to_bytes(&M::full_name(), value)?;
    M::decode(bytes.as_slice()).map_err(|_| JsonError::Malformed(M::full_name()))
}

/// The wire bytes of a message of the named type.
pub fn to_bytes(name: &str, value: &Value) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    read::message(name, value, &mut out).map_err(|fault| fault.into_error())?;
    Ok(out)
}

/// The JSON form of a message.
pub fn to_value<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    bytes_to_value(&M::full_name(), &message.encode_to_vec())
}

/// The JSON form of wire bytes of the named type.
pub fn bytes_to_value(name: &str, bytes: &[u8]) -> Result<Value, JsonError> {
    write::message(name, bytes).ok_or_else(|| JsonError::Malformed(name.to_owned()))
}

#[cfg(test)]
mod tests;
