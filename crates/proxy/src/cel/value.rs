//! What expressions come to: values that borrow from the record where they can.
//!
//! Invariant: lists and maps hold only what the expression itself spells out.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use serde_json::Value as Json;

use super::attributes::Group;
use crate::http::headers::HeaderList;
use crate::http::message::{RequestHead, ResponseHead};

/// A value.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `double`
    Double(f64),
    /// `string`; what is not UTF-8 was replaced.
    Text(Cow<'a, str>),
    /// `bytes`
    Bytes(Cow<'a, [u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// Nanoseconds since the epoch.
    Time(i128),
    /// `list`
    List(Rc<[Value<'a>]>),
    /// `map`
    Map(Rc<[(Value<'a>, Value<'a>)]>),
    /// Headers by name, in any case.
    Headers(Headers<'a>),
    /// Metadata and what is in it.
    Json(&'a Json),
    /// `core.v3.Metadata`, whose one field that we have is `filter_metadata`.
    Metadata(Option<&'a Json>),
    /// `request` and the like.
    Group(Group),
    /// What `type()` answers.
    Type(&'static str),
}

/// Which headers.
#[derive(Debug, Clone, Copy)]
pub enum Headers<'a> {
    /// Of the request, with those that begin with a colon.
    Request(&'a RequestHead),
    /// Of the response, with its status.
    Response(&'a ResponseHead, u16),
    /// Trailers.
    Plain(Option<&'a HeaderList>),
}

impl<'a> Headers<'a> {
    /// All values of a name, joined.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Request(head) => match name.as_str() {
                ":method" => Some(Cow::Borrowed(head.method())),
                ":path" => Some(Cow::Borrowed(head.path())),
                ":authority" | "host" => Some(Cow::Borrowed(head.authority())),
                ":scheme" => Some(Cow::Borrowed(head.scheme())),
                name => head.headers.joined(name),
            },
            Self::Response(_, status) if name == ":status" => Some(Cow::Owned(status.to_string())),
            Self::Response(head, _) => head.headers.joined(&name),
            Self::Plain(list) => list?.joined(&name),
        }
    }

    /// Every name with its values.
    pub fn pairs(self) -> Vec<(String, Cow<'a, str>)> {
        let (list, mut names) = match self {
            Self::Request(head) => {
                let own = [":authority", ":method", ":path", ":scheme"].map(str::to_owned);
                (Some(&head.headers), own.to_vec())
            }
            Self::Response(head, _) => (Some(&head.headers), vec![":status".to_owned()]),
            Self::Plain(list) => (list, Vec::new()),
        };
        let fields = list.into_iter().flat_map(HeaderList::iter);
        names.extend(fields.map(|field| String::from_utf8_lossy(field.name).into_owned()));
        names.sort();
        names.dedup();
        names.into_iter().filter_map(|name| self.get(&name).map(|value| (name, value))).collect()
    }
}

impl<'a> Value<'a> {
    /// A text.
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// What a name or key leads to.
    pub(super) fn at(&self, key: &Value<'_>) -> Option<Self> {
        match self {
            Self::List(items) => {
                let at = match key {
                    Value::Int(at) => usize::try_from(*at).ok()?,
                    Value::Uint(at) => usize::try_from(*at).ok()?,
                    _ => return None,
                };
                items.get(at).cloned()
            }
            Self::Map(entries) => {
                let entry = entries.iter().find(|(known, _)| known.equals(key));
                entry.map(|(_, value)| value.clone())
            }
            Self::Json(Json::Array(items)) => {
                let Value::Int(at) = key else { return None };
                items.get(usize::try_from(*at).ok()?).map(Self::of_json)
            }
            _ => match key {
                Value::Text(name) => self.member(name),
                _ => None,
            },
        }
    }

    /// What a name leads to.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        match self {
            Self::Headers(headers) => headers.get(name).map(Value::Text),
            Self::Json(Json::Object(fields)) => fields.get(name).map(Self::of_json),
            Self::Metadata(metadata) => match (name, metadata) {
                ("filter_metadata", Some(all)) => Some(Self::Json(all)),
                ("filter_metadata", None) => Some(Self::Map(Rc::new([]))),
                _ => None,
            },
            Self::Map(_) => self.at(&Value::text(name)),
            _ => None,
        }
    }

    fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(value) => Self::Double(value.as_f64().unwrap_or_default()),
            Json::String(text) => Self::text(text),
            json => Self::Json(json),
        }
    }

    /// `==`: what is of different kinds is not equal; numbers are compared by value.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b))
            }
            (Self::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| other.at(key).is_some_and(|found| value.equals(&found)))
            }
            (Self::Type(a), Value::Type(b)) => a == b,
            (Self::Json(a), Value::Json(b)) => a == b,
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// Order, where there is one.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Self::Time(a), Value::Time(b)) => Some(a.cmp(b)),
            _ => match (self.whole(), other.whole()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => self.float()?.partial_cmp(&other.float()?),
            },
        }
    }

    /// An integer of either kind.
    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    /// A number of any kind.
    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }
}
