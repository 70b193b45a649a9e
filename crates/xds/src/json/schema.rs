//! The schema of all messages and enums of the `envoy-types` crate, as text lines, found by name on demand.
//!
//! `schema.txt` is made from the descriptor set that the crate carries (`tests/schema.rs` compares and rewrites it):
//! `M name` and its fields (`number name [rep ]kind[ type][ of oneof]`, `number name map key-kind value-kind[ type]`),
//! `E name` and its values. `companion.txt` has, in the same form and by hand, the messages that the crate lacks.
//! Invariant: a type that was looked up stays in memory; nothing else does but the index of names.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

static TEXTS: [&str; 2] = [include_str!("schema.txt"), include_str!("companion.txt")];

/// Name of a type to the text that begins with its lines.
static INDEX: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let mut index = HashMap::with_capacity(2048);
    for text in TEXTS {
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len();
            if !line.starts_with(' ') {
                index.insert(line[2..].trim_end(), &text[at..]);
            }
        }
    }
    index
});

static MESSAGES: LazyLock<Mutex<HashMap<&'static str, &'static [Field]>>> = LazyLock::new(Mutex::default);

/// A field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Number on the wire.
    pub(super) number: u32,
    /// Name in snake case.
    pub(super) name: &'static str,
    /// One, many, or a map.
    pub(super) shape: Shape,
    /// Type of the (element's, map value's) value.
    pub(super) kind: Kind,
    /// The oneof that it belongs to.
    pub(super) oneof: Option<&'static str>,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Repeated,
    Map(Kind),
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Uint32,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Message(&'static str),
    Enum(&'static str),
}

/// True when messages of this full name can be read and written.
pub fn is_known(name: &str) -> bool {
    INDEX.contains_key(name)
}

/// The same name, as long-lived as the schema; `None` for an unknown type.
pub(super) fn known(name: &str) -> Option<&'static str> {
    INDEX.get_key_value(name).map(|(name, _)| *name)
}

/// The fields of a message, in the order of its definition.
pub(super) fn fields(name: &str) -> Option<&'static [Field]> {
    let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(fields) = messages.get(name) {
        return Some(fields);
    }
    let (name, _) = INDEX.get_key_value(name)?;
    let fields: Vec<Field> = lines(name)?.filter_map(field).collect();
    // As long-lived as the schema itself; there are as many as types that are used.
    let fields: &'static [Field] = Vec::leak(fields);
    messages.insert(name, fields);
    Some(fields)
}

/// The number of an enum's value.
pub(super) fn enum_number(name: &str, value: &str) -> Option<i32> {
    lines(name)?.filter_map(|line| line.split_once(' ')).find(|(_, v)| *v == value)?.0.parse().ok()
}

/// The name of an enum's value.
pub(super) fn enum_name(name: &str, number: i32) -> Option<&'static str> {
    let values = lines(name)?.filter_map(|line| line.split_once(' '));
    values.filter(|(n, _)| n.parse() == Ok(number)).map(|(_, v)| v).next()
}

/// The values of an enum, for messages about a wrong one.
pub(super) fn enum_values(name: &str) -> Vec<&'static str> {
    lines(name).into_iter().flatten().filter_map(|line| line.split_once(' ')).map(|(_, v)| v).collect()
}

fn lines(name: &str) -> Option<impl Iterator<Item = &'static str>> {
    Some(INDEX.get(name)?.lines().map_while(|line| line.strip_prefix(' ')))
}

fn field(line: &'static str) -> Option<Field> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?;
    let mut word = words.next()?;
    let mut shape = Shape::One;
    if word == "rep" {
        shape = Shape::Repeated;
        word = words.next()?;
    } else if word == "map" {
        shape = Shape::Map(kind(words.next()?, None)?);
        word = words.next()?;
    }
    let type_name = if matches!(word, "message" | "enum") { words.next() } else { None };
    let oneof = words.next().filter(|word| *word == "of").and_then(|_| words.next());
    Some(Field { number, name, shape, kind: kind(word, type_name)?, oneof })
}

fn kind(word: &str, type_name: Option<&'static str>) -> Option<Kind> {
    Some(match word {
        "double" => Kind::Double,
        "float" => Kind::Float,
        "int64" => Kind::Int64,
        "uint64" => Kind::Uint64,
        "int32" => Kind::Int32,
        "uint32" => Kind::Uint32,
        "sint32" => Kind::Sint32,
        "sint64" => Kind::Sint64,
        "fixed32" => Kind::Fixed32,
        "fixed64" => Kind::Fixed64,
        "sfixed32" => Kind::Sfixed32,
        "sfixed64" => Kind::Sfixed64,
        "bool" => Kind::Bool,
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "message" => Kind::Message(type_name?),
        "enum" => Kind::Enum(type_name?),
        _ => return None,
    })
}
