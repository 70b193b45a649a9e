//! Readers of single values: text, numbers, booleans.

use super::{Decode, Decoder, Node, Path, Shape, Str, Value};
use crate::text;
use crate::tree::ScalarKind;

impl Decode for Str {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Text => Some(cx.intern(&scalar.text)),
            Value::Scalar(scalar) => {
                let message = format!("expected text, found {}", node.describe());
                let hint = format!("put it in quotes: \"{}\"", scalar.text);
                cx.error(node, path, message, Some(hint));
                None
            }
            // `[fe80::]` is a list of a mapping to YAML, and an address to the one who wrote it.
            Value::Map(entries) if matches!(&entries[..], [only] if only.value.is_null()) => {
                let hint = format!("a text with `:` at its end must be in quotes: \"{}:\"", entries[0].key);
                cx.error(node, path, "expected text, found a mapping".into(), Some(hint));
                None
            }
            _ => {
                cx.wrong_type(node, path, "text");
                None
            }
        }
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }

    fn shape() -> Shape {
        Shape::Text
    }
}

impl Decode for bool {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        if let Value::Scalar(scalar) = &node.value {
            match scalar.kind() {
                ScalarKind::Bool(value) => return Some(value),
                ScalarKind::Text => {
                    let hint = match &*scalar.text.to_ascii_lowercase() {
                        "yes" | "on" | "true" => Some("write true, without quotes".to_owned()),
                        "no" | "off" | "false" => Some("write false, without quotes".to_owned()),
                        _ => None,
                    };
                    let found = text::quoted(&scalar.text);
                    cx.error(node, path, format!("expected true or false, found the text {found}"), hint);
                    return None;
                }
                _ => {}
            }
        }
        cx.wrong_type(node, path, "true or false");
        None
    }

    fn shape() -> Shape {
        Shape::Bool
    }
}

/// Reads a whole number within bounds.
fn integer(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>, min: i128, max: i128) -> Option<i128> {
    if let Value::Scalar(scalar) = &node.value {
        let kind = match scalar.text.parse() {
            Ok(value) if cx.proto_json => ScalarKind::Integer(value),
            _ => scalar.kind(),
        };
        match kind {
            ScalarKind::Integer(value) if value < min && min == 0 => {
                cx.error(node, path, format!("{value} is below zero"), None);
                return None;
            }
            ScalarKind::Integer(value) if value < min || value > max => {
                cx.error(node, path, format!("{value} is out of range ({min} to {max})"), None);
                return None;
            }
            ScalarKind::Integer(value) => return Some(value),
            ScalarKind::Text if scalar.text.parse::<i128>().is_ok() => {
                let message =
                    format!("expected a whole number, found the text {}", text::quoted(&scalar.text));
                cx.error(node, path, message, Some("leave out the quotes".into()));
                return None;
            }
            _ => {}
        }
    }
    cx.wrong_type(node, path, "a whole number");
    None
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Decode for $ty {
            fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
                let value = integer(node, cx, path, <$ty>::MIN as i128, <$ty>::MAX as i128)?;
                <$ty>::try_from(value).ok()
            }

            fn shape() -> Shape {
                Shape::Integer
            }
        }
    )*};
}

integers!(i32 i64 u16 u32 u64);

impl Decode for f64 {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        if let Value::Scalar(scalar) = &node.value {
            match scalar.kind() {
                ScalarKind::Integer(value) => return Some(value as f64),
                ScalarKind::Number(value) => return Some(value),
                _ => {}
            }
        }
        cx.wrong_type(node, path, "a number");
        None
    }

    fn shape() -> Shape {
        Shape::Number
    }
}
