//! A condition on a text: exact, prefix, regular expression, or just present.

use serde::ser::SerializeMap;

use crate::Str;
use crate::decode::{Decode, Decoder, Field, Shape};
use crate::path::Path;
use crate::tree::{Node, Value};

/// A condition on a text, case-sensitive.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StringMatch {
    /// No condition but presence: `{}`.
    #[default]
    Present,
    /// Equal (VS-086).
    Exact(Str),
    /// Begins with (VS-087).
    Prefix(Str),
    /// An RE2 pattern for the whole text (VS-088).
    Regex(Str),
}

impl Decode for StringMatch {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            if node.is_null() {
                return Some(StringMatch::Present);
            }
            cx.wrong_type(node, path, "a match: `exact: …`, `prefix: …` or `regex: …`");
            return None;
        };
        let mut found: Option<(&str, StringMatch)> = None;
        for entry in entries.iter() {
            let at = path.key(&entry.key);
            let make = match &*entry.key {
                "exact" => StringMatch::Exact,
                "prefix" => StringMatch::Prefix,
                "regex" => StringMatch::Regex,
                _ => {
                    cx.unknown_field(entry, &at, &fields());
                    continue;
                }
            };
            if entry.value.is_null() {
                continue;
            }
            if let Some((first, _)) = &found {
                let message = format!("`{first}` and `{}` exclude each other", entry.key);
                cx.error(&entry.value, &at, message, Some("keep one of the two".into()));
                continue;
            }
            if let Some(text) = Str::decode(&entry.value, cx, &at) {
                found = Some((&entry.key, make(text)));
            }
        }
        Some(found.map_or(StringMatch::Present, |(_, arm)| arm))
    }

    fn shape() -> Shape {
        Shape::Message(fields)
    }
}

fn fields() -> Vec<Field> {
    ["exact", "prefix", "regex"].map(|name| Field { name, shape: Str::shape, required: false }).to_vec()
}

impl serde::Serialize for StringMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            StringMatch::Present => {}
            StringMatch::Exact(text) => map.serialize_entry("exact", text)?,
            StringMatch::Prefix(text) => map.serialize_entry("prefix", text)?,
            StringMatch::Regex(text) => map.serialize_entry("regex", text)?,
        }
        map.end()
    }
}
