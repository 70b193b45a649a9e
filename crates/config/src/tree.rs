//! A parsed document: nodes with their places in the text. Made by [`parse`], read by `decode`.
//!
//! Scalars keep their text and are interpreted by whoever reads them, as the field's type decides what `1` means.

use std::borrow::Cow;

use rustc_hash::FxHashSet;

mod json;
mod yaml;

/// Nesting beyond which a document is refused.
const MAX_DEPTH: usize = 64;

/// How many values the aliases of a document may add.
const MAX_ALIASED: usize = 100_000;

/// A document that could be parsed.
#[derive(Debug)]
pub struct Document<'a> {
    /// Its content.
    pub root: Node<'a>,
    /// Faults that do not keep it from being read: keys given twice.
    pub faults: Vec<SyntaxError>,
}

/// Why a text is not YAML or JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub mark: Mark,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Parses a text: JSON if it begins like it, else YAML. A syntax error costs one document.
pub fn parse(text: &str) -> Vec<Result<Document<'_>, SyntaxError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        let documents = json::parse(text);
        if documents.iter().all(Result::is_ok) {
            return documents;
        }
        // YAML may begin like that too; if it is not, JSON's message is the better one.
        let yaml = yaml::parse(text);
        return if yaml.iter().all(Result::is_ok) { yaml } else { documents };
    }
    yaml::parse(text)
}

/// Drops entries whose key was given before, noting each.
fn unique(entries: &mut Vec<Entry<'_>>, faults: &mut Vec<SyntaxError>) {
    let mut seen = FxHashSet::default();
    let mut repeated = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        if !seen.insert(&*entry.key) {
            let message = format!("the key `{}` is given twice", entry.key);
            faults.push(SyntaxError { mark: entry.mark, message, hint: Some("drop one of the two".into()) });
            repeated.push(position);
        }
    }
    for position in repeated.into_iter().rev() {
        entries.remove(position);
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark {
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Where it begins.
    pub mark: Mark,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing: `null`, `~` or an empty value.
    Null,
    /// Text, number or boolean.
    Scalar(Scalar<'a>),
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping, in the order of the text; keys are unique.
    Map(Vec<Entry<'a>>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// Where the key begins.
    pub mark: Mark,
    /// The value.
    pub value: Node<'a>,
}

/// A scalar as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar<'a> {
    /// The text, escapes resolved.
    pub text: Cow<'a, str>,
    /// Whether it was written without quotes, and so may be a number or boolean.
    pub plain: bool,
}

/// What a scalar is in YAML's core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScalarKind {
    /// Text.
    Text,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Number(f64),
}

impl Scalar<'_> {
    /// Interprets the text by YAML's core schema.
    pub fn kind(&self) -> ScalarKind {
        if !self.plain {
            return ScalarKind::Text;
        }
        match &*self.text {
            "true" | "True" | "TRUE" => ScalarKind::Bool(true),
            "false" | "False" | "FALSE" => ScalarKind::Bool(false),
            text => number(text),
        }
    }
}

fn number(text: &str) -> ScalarKind {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return ScalarKind::Text;
    }
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix).and_then(|digits| i128::from_str_radix(digits, radix).ok())
    };
    if let Some(value) = text.parse().ok().or_else(|| radix("0x", 16)).or_else(|| radix("0o", 8)) {
        return ScalarKind::Integer(value);
    }
    match text.parse() {
        Ok(value) => ScalarKind::Number(value),
        Err(_) => ScalarKind::Text,
    }
}

impl<'a> Node<'a> {
    /// Whether the document gives no value here.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text, if this is a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The value in words, for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Text => format!("the text {}", crate::text::quoted(&scalar.text)),
                ScalarKind::Bool(value) => format!("the boolean {value}"),
                ScalarKind::Integer(_) | ScalarKind::Number(_) => format!("the number {}", scalar.text),
            },
        }
    }

    /// The same value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(
                entries.iter().map(|entry| (entry.key.to_string(), entry.value.to_json())).collect(),
            ),
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Text => Json::String(scalar.text.to_string()),
                ScalarKind::Bool(value) => Json::Bool(value),
                ScalarKind::Integer(value) => {
                    i64::try_from(value).map_or_else(|_| (value as f64).into(), Into::into)
                }
                ScalarKind::Number(value) => value.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
