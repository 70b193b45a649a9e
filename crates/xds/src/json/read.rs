//! JSON or YAML to wire bytes, in one pass: the schema drives serde's parser, and no tree of values is built.
//!
//! Called by `json`. Invariant: every key of every object is either written or named in an error.

mod any;
mod scalar;

use std::{borrow::Cow, cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use self::scalar::{Scalar, block, expected, nearest};
use super::{
    locate::Step,
    schema::{self, Field, Kind, Shape},
};

/// What is wrong and the way to it. serde's errors are the parser's own and carry neither, so it waits here while they
/// travel up.
#[derive(Debug, Default)]
pub(super) struct Fault {
    problem: RefCell<Option<String>>,
    /// Innermost first.
    steps: RefCell<Vec<Step>>,
}

impl Fault {
    /// Notes what is wrong; the error to return.
    fn raise<E: serde::de::Error>(&self, problem: impl Into<String>) -> E {
        *self.problem.borrow_mut() = Some(problem.into());
        E::custom("not the message that it should be")
    }

    /// Notes where an error has come from.
    fn within<T, E>(&self, step: impl FnOnce() -> Step, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.steps.borrow_mut().push(step());
        }
        result
    }

    /// The problem and the way to it, outermost first; `None` when the text itself could not be parsed.
    pub(super) fn into_parts(self) -> Option<(String, Vec<Step>)> {
        let mut steps = self.steps.into_inner();
        steps.reverse();
        Some((self.problem.into_inner()?, steps))
    }
}

/// Reads a message of a known type and appends its wire form.
pub(super) fn message<'de, D: Deserializer<'de>>(
    name: &'static str,
    deserializer: D,
    out: &mut Vec<u8>,
    fault: &Fault,
) -> Result<(), D::Error> {
    One { number: None, kind: Kind::Message(name), out, fault }.deserialize(deserializer)
}

/// One value of a field; without a number, the body alone of a message.
struct One<'o> {
    number: Option<u32>,
    kind: Kind,
    out: &'o mut Vec<u8>,
    fault: &'o Fault,
}

impl One<'_> {
    /// Writes the body of a message with `write`, as a field if this is one.
    fn body<T>(self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), T>) -> Result<(), T> {
        let Some(number) = self.number else { return write(self.out) };
        let mut body = Vec::new();
        write(&mut body)?;
        block(number, &body, self.out);
        Ok(())
    }

    fn scalar<E: serde::de::Error>(self, value: Scalar<'_>) -> Result<(), E> {
        let fault = self.fault;
        let done = match self.kind {
            Kind::Message(name) => self.body(|out| {
                let done = scalar::well_known(name, value, out);
                done.unwrap_or_else(|| Err(expected(object_form(name), value)))
            }),
            kind => scalar::write(self.number.unwrap_or(1), kind, value, self.out),
        };
        done.map_err(|problem| fault.raise(problem))
    }
}

fn object_form(name: &str) -> &'static str {
    match name {
        "google.protobuf.Any" => "an object with \"@type\"",
        "google.protobuf.ListValue" => "a list",
        _ => "an object",
    }
}

fn scalar_form(kind: Kind) -> Cow<'static, str> {
    match kind {
        Kind::Message(name) => scalar::well_known_form(name).unwrap_or(object_form(name)).into(),
        Kind::Enum(name) => format!("one of {}", schema::enum_values(name).join(", ")).into(),
        Kind::Bool => "true or false".into(),
        Kind::String | Kind::Bytes => "a string".into(),
        _ => "a number".into(),
    }
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The visits that every value may be, handed on as a [`Scalar`].
macro_rules! scalar_visits {
    ($out:ty) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<$out, E> {
            self.scalar(Scalar::Null)
        }

        fn visit_none<E: serde::de::Error>(self) -> Result<$out, E> {
            self.scalar(Scalar::Null)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<$out, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<$out, E> {
            self.scalar(Scalar::Bool(value))
        }

        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<$out, E> {
            self.scalar(Scalar::Int(value.into()))
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<$out, E> {
            self.scalar(Scalar::Int(value.into()))
        }

        fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<$out, E> {
            self.scalar(Scalar::Int(value))
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<$out, E> {
            self.scalar(Scalar::Float(value))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$out, E> {
            self.scalar(Scalar::Text(text))
        }
    };
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    scalar_visits!(());

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let fault = self.fault;
        match self.kind {
            Kind::Message("google.protobuf.Any") => self.body(|out| any::any(map, out, fault)),
            Kind::Message("google.protobuf.Struct") => self.body(|out| any::structure(map, out, fault)),
            Kind::Message("google.protobuf.Value") => self.body(|out| {
                let mut body = Vec::new();
                any::structure(map, &mut body, fault)?;
                block(5, &body, out);
                Ok(())
            }),
            Kind::Message(name)
                if scalar::well_known_form(name).is_none() && name != "google.protobuf.ListValue" =>
            {
                self.body(|out| fields(name, map, out, fault))
            }
            kind => Err(fault.raise(expected(&scalar_form(kind), "an object"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        let fault = self.fault;
        match self.kind {
            Kind::Message("google.protobuf.ListValue") => self.body(|out| any::list(items, out, fault)),
            Kind::Message("google.protobuf.Value") => self.body(|out| {
                let mut body = Vec::new();
                any::list(items, &mut body, fault)?;
                block(6, &body, out);
                Ok(())
            }),
            kind => Err(fault.raise(expected(&scalar_form(kind), "a list"))),
        }
    }
}

/// The fields of an object as those of message `name`.
fn fields<'de, A: MapAccess<'de>>(
    name: &str,
    mut map: A,
    out: &mut Vec<u8>,
    fault: &Fault,
) -> Result<(), A::Error> {
    let fields = schema::fields(name).ok_or_else(|| fault.raise(format!("unknown type {name}")))?;
    let mut seen: Vec<&Field> = Vec::new();
    while let Some(key) = map.next_key_seed(Key { fields })? {
        let field = key.map_err(|key| unknown(name, fields, key, fault))?;
        let read = map.next_value_seed(Values { field, out, fault });
        if fault.within(|| Step::Key(field.name.into()), read)? {
            if let Some(problem) = conflict(&seen, field) {
                return fault.within(|| Step::Name(field.name.into()), Err(fault.raise(problem)));
            }
            seen.push(field);
        }
    }
    Ok(())
}

fn unknown<E: serde::de::Error>(name: &str, fields: &[Field], key: String, fault: &Fault) -> E {
    let near = nearest(&key, fields.iter().map(|field| field.name));
    let error = fault.raise(format!("no such field in {name}{near}"));
    fault.steps.borrow_mut().push(Step::Name(key));
    error
}

/// Why a field cannot be set beside those before it.
fn conflict(seen: &[&Field], field: &Field) -> Option<String> {
    let other = seen.iter().find(|other| {
        other.number == field.number || (other.oneof.is_some() && other.oneof == field.oneof)
    })?;
    Some(match other.number == field.number {
        true => "given twice".to_owned(),
        false => format!("only one of {:?} and {:?} can be set", other.name, field.name),
    })
}

/// A key: the field of that name, in snake or camel case, or else the key itself.
struct Key {
    fields: &'static [Field],
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Result<&'static Field, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Result<&'static Field, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.fields.iter().find(|field| super::same_name(field.name, key)).ok_or_else(|| key.to_owned()))
    }
}

/// What stands for a field: one value, a list or a map. Says whether the field is set; `null` is "absent".
struct Values<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
    fault: &'o Fault,
}

impl<'o> Values<'o> {
    fn one(self) -> One<'o> {
        One { number: Some(self.field.number), kind: self.field.kind, out: self.out, fault: self.fault }
    }

    fn scalar<E: serde::de::Error>(self, value: Scalar<'_>) -> Result<bool, E> {
        let is_value = matches!(self.field.kind, Kind::Message("google.protobuf.Value"));
        match (self.field.shape, value) {
            (Shape::One, Scalar::Null) if !is_value => Ok(false),
            (Shape::One, value) => self.one().scalar(value).map(|()| true),
            (_, Scalar::Null) => Ok(false),
            (Shape::Repeated, value) => Err(self.fault.raise(expected("a list", value))),
            (Shape::Map(_), value) => Err(self.fault.raise(expected("an object", value))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = bool;

    scalar_visits!(bool);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { field, out, fault } = self;
        match field.shape {
            Shape::One => Values { field, out, fault }.one().visit_map(map)?,
            Shape::Repeated => return Err(fault.raise(expected("a list", "an object"))),
            Shape::Map(key_kind) => {
                while let Some(key) = map.next_key::<String>()? {
                    let mut entry = Vec::new();
                    let key_value = match key_kind {
                        Kind::Bool => Scalar::Bool(key == "true"),
                        _ => Scalar::Text(&key),
                    };
                    let written = scalar::write(1, key_kind, key_value, &mut entry)
                        .map_err(|problem| fault.raise(problem))
                        .and_then(|()| {
                            let (number, kind) = (Some(2), field.kind);
                            map.next_value_seed(One { number, kind, out: &mut entry, fault })
                        });
                    fault.within(|| Step::Entry(key), written)?;
                    block(field.number, &entry, out);
                }
            }
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let Self { field, out, fault } = self;
        match field.shape {
            Shape::One => Values { field, out, fault }.one().visit_seq(items)?,
            Shape::Map(_) => return Err(fault.raise(expected("an object", "a list"))),
            Shape::Repeated => {
                let mut at = 0;
                loop {
                    let one = One { number: Some(field.number), kind: field.kind, out: &mut *out, fault };
                    let read = items.next_element_seed(one);
                    if fault.within(|| Step::Item(at), read)?.is_none() {
                        break;
                    }
                    at += 1;
                }
            }
        }
        Ok(true)
    }
}
