//! From a parsed document to a typed resource. Called by `load`, one document at a time.
//!
//! Why not serde's derive: it stops at the first fault, and it has no word for a protobuf oneof. Here a fault is
//! noted in the [`Decoder`] with its path and place, the field stays unset, and reading goes on: one pass finds
//! everything that is wrong with a document. The types are declared once by the macros in `decode/macros.rs`,
//! which give each its reader, its serde `Serialize` and its [`Shape`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Severity, code};
use crate::path::Path;
use crate::tree::{Mark, Node, Value};
use crate::{Str, text};

mod decoder;
pub(crate) mod macros;
mod scalar;

pub use decoder::{Decoder, Fault};

/// A type that can be read out of a node of a document.
pub trait Decode: Sized {
    /// Reads the value. `None`: a fault was noted and nothing usable is left.
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self>;

    /// Whether protobuf would not tell this value from an absent one (the empty string). Makes `Option` `None`.
    fn is_unset(&self) -> bool {
        false
    }

    /// What a document may say here; for "did you mean", tables and editor schemas.
    fn shape() -> Shape;
}

/// What a document may say at one place.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A span of time such as `1.5s` or `1h2m`.
    Duration,
    /// One of these words.
    Enum(&'static [&'static str]),
    /// A list of things of one shape.
    List(fn() -> Shape),
    /// Free keys, values of one shape.
    Map(fn() -> Shape),
    /// Named fields.
    Message(fn() -> Vec<Field>),
    /// Anything at all.
    Any,
}

/// A field of a message.
#[derive(Clone, Copy)]
pub struct Field {
    /// Name in documents (camelCase).
    pub name: &'static str,
    /// What it holds.
    pub shape: fn() -> Shape,
    /// Whether a document must give it.
    pub required: bool,
}

/// A message: a mapping with known keys. Implemented by `message!`.
pub trait Message: Default {
    /// Fields that a document must give; `None` for the others.
    const REQUIRED: &'static [Option<&'static str>];
    /// Reads the value of `key` into its field; `false` if there is no such field.
    fn set(&mut self, key: &str, node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> bool;
    /// All fields, with the arms of oneofs as fields of their own.
    fn fields() -> Vec<Field>;
}

/// A protobuf oneof: an enum whose arms are keys of the message around it. Implemented by `oneof!`.
pub trait OneOf: Sized {
    /// Reads `key` if it is one of the arms. Outer `None`: it is not. Inner `None`: it is, and it is faulty.
    fn arm(key: &str, node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Option<Self>>;
    /// The key of this arm.
    fn key(&self) -> &'static str;
    /// All arms.
    fn fields() -> Vec<Field>;
}

/// Reads a message: known keys into fields, all else is a fault (in strict documents).
pub fn message<M: Message>(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<M> {
    let entries = match &node.value {
        Value::Map(entries) => entries,
        Value::Null => return Some(M::default()),
        _ => {
            cx.wrong_type(node, path, "a mapping (key: value)");
            return None;
        }
    };
    let mut message = M::default();
    for entry in entries {
        let at = path.key(&entry.key);
        let camel = if cx.proto_json { text::camel(&entry.key) } else { (&*entry.key).into() };
        if !message.set(&camel, &entry.value, cx, &at) {
            cx.unknown_field(entry, &at, &M::fields());
        }
    }
    if cx.strict {
        for name in M::REQUIRED.iter().flatten() {
            if !entries.iter().any(|entry| entry.key == *name && !entry.value.is_null()) {
                cx.missing(node, path, name);
            }
        }
    }
    Some(message)
}

/// Reads one field of a message; null counts as absent, as it does for a Kubernetes API server.
pub fn field<T: Decode>(target: &mut T, node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) {
    if node.is_null() {
        return;
    }
    if let Some(value) = T::decode(node, cx, path) {
        *target = value;
    }
}

/// Reads one arm of a oneof; `false` if `key` is none of its arms. A second arm is a fault.
pub fn arm<T: OneOf>(
    target: &mut Option<T>,
    key: &str,
    node: &Node<'_>,
    cx: &mut Decoder,
    path: &Path<'_>,
) -> bool {
    let faults = cx.faults.len();
    let Some(read) = T::arm(key, node, cx, path) else { return false };
    if node.is_null() {
        cx.faults.truncate(faults);
        return true;
    }
    if let Some(first) = target.as_ref() {
        let message = format!("`{}` and `{key}` exclude each other", first.key());
        cx.push(Severity::Error, code::SCHEMA, node.mark, path, message, Some("keep one of the two".into()));
        return true;
    }
    *target = read;
    true
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        T::decode(node, cx, path).map(|value| (!value.is_unset()).then_some(value))
    }

    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        T::decode(node, cx, path).map(Box::new)
    }

    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Decode> Decode for Arc<T> {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        T::decode(node, cx, path).map(Arc::new)
    }

    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            cx.wrong_type(node, path, "a list (lines that begin with `- `)");
            return None;
        };
        // A faulty item is left out: what remains is "as far as it could be read".
        let read = |(index, item): (usize, &Node<'_>)| T::decode(item, cx, &path.index(index));
        let list: Self = items.iter().enumerate().filter_map(read).collect();
        cx.dropped_items |= list.len() < items.len();
        Some(list)
    }

    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

impl<T: Decode> Decode for BTreeMap<Str, T> {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.wrong_type(node, path, "a mapping (key: value)");
            return None;
        };
        let mut map = BTreeMap::new();
        for entry in entries {
            let at = path.key(&entry.key);
            if let Some(value) = T::decode(&entry.value, cx, &at) {
                map.insert(cx.intern(&entry.key), value);
            }
        }
        Some(map)
    }

    fn shape() -> Shape {
        Shape::Map(T::shape)
    }
}

impl<T: Decode> Decode for BTreeMap<u32, T> {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.wrong_type(node, path, "a mapping from numbers (8080: …)");
            return None;
        };
        let mut map = BTreeMap::new();
        for entry in entries {
            let at = path.key(&entry.key);
            let Ok(key) = entry.key.parse::<u32>() else {
                let message = format!("the key {} is not a number", text::quoted(&entry.key));
                cx.push(Severity::Error, code::SCHEMA, entry.mark, &at, message, None);
                continue;
            };
            if let Some(value) = T::decode(&entry.value, cx, &at) {
                map.insert(key, value);
            }
        }
        Some(map)
    }

    fn shape() -> Shape {
        Shape::Map(T::shape)
    }
}

impl Decode for serde_json::Value {
    fn decode(node: &Node<'_>, _: &mut Decoder, _: &Path<'_>) -> Option<Self> {
        Some(node.to_json())
    }

    fn shape() -> Shape {
        Shape::Any
    }
}

impl Mark {
    /// The place of nothing: for values that no document gave.
    pub const NONE: Mark = Mark { line: 0, column: 0 };
}

/// Lets `message!` list the arms of a field of type `Option<OneOf>`.
pub trait OptionalOneOf {
    /// All arms.
    fn fields() -> Vec<Field>;
}

impl<T: OneOf> OptionalOneOf for Option<T> {
    fn fields() -> Vec<Field> {
        T::fields()
    }
}

/// Whether a field has the value it has when it is not given; such fields are not written.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
