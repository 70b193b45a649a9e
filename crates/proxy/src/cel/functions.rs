//! Functions: which there are, and what they do.
//!
//! Invariant: a function that is not known, has the wrong number of arguments, or that Envoy leaves out, is refused
//! when the expression is compiled; patterns are compiled then, too.

use super::{
    eval::evaluate,
    parse::Node,
    time::{self, Part},
    value::Value,
};
use crate::{access_log::Record, route::strings};

/// A call with its arguments, the receiver first.
#[derive(Debug)]
pub(super) struct Call {
    function: Function,
    arguments: Box<[Node]>,
}

#[derive(Debug)]
enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches(regex::Regex),
    Duration,
    Timestamp,
    Int,
    Uint,
    Double,
    Bool,
    Bytes,
    Type,
    Dyn,
    Time(Part),
}

/// `of.name(arguments)`.
pub(super) fn method(name: &str, of: Node, arguments: Vec<Node>) -> Result<Node, String> {
    const MACROS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];
    if MACROS.contains(&name) {
        return Err(format!("{name}() is a comprehension, which are off"));
    }
    let mut all = vec![of];
    all.extend(arguments);
    if let Some(part) = Part::of(name) {
        return call(name, Function::Time(part), all, 1, 2);
    }
    match name {
        "size" => call(name, Function::Size, all, 1, 1),
        "contains" => call(name, Function::Contains, all, 2, 2),
        "startsWith" => call(name, Function::StartsWith, all, 2, 2),
        "endsWith" => call(name, Function::EndsWith, all, 2, 2),
        "matches" => matches(all),
        _ => Err(format!("unknown function {name}()")),
    }
}

/// `name(arguments)`.
pub(super) fn function(name: &str, arguments: Vec<Node>) -> Result<Node, String> {
    let function = match name {
        "size" => Function::Size,
        "matches" => return matches(arguments),
        "duration" => Function::Duration,
        "timestamp" => Function::Timestamp,
        "int" => Function::Int,
        "uint" => Function::Uint,
        "double" => Function::Double,
        "bool" => Function::Bool,
        "bytes" => Function::Bytes,
        "type" => Function::Type,
        "dyn" => Function::Dyn,
        "string" => return Err("string(): conversion to text is off".to_owned()),
        _ => return Err(format!("unknown function {name}()")),
    };
    call(name, function, arguments, 1, 1)
}

fn call(
    name: &str,
    function: Function,
    arguments: Vec<Node>,
    least: usize,
    most: usize,
) -> Result<Node, String> {
    if !(least..=most).contains(&arguments.len()) {
        return Err(format!("{name}() does not take {} arguments", arguments.len()));
    }
    Ok(Node::Call(Call { function, arguments: arguments.into() }))
}

/// A pattern that is worked out for each request would be compiled for each.
fn matches(mut arguments: Vec<Node>) -> Result<Node, String> {
    let pattern = match (arguments.len(), arguments.pop()) {
        (2, Some(Node::Text(pattern))) => pattern,
        (2, _) => return Err("matches() takes a pattern that is spelled out".to_owned()),
        (count, _) => return Err(format!("matches() does not take {count} arguments")),
    };
    let pattern = strings::compile(&pattern)?;
    call("matches", Function::Matches(pattern), arguments, 1, 1)
}

/// What a call answers.
pub(super) fn value<'a>(call: &'a Call, record: &'a Record<'a>) -> Option<Value<'a>> {
    let first = evaluate(call.arguments.first()?, record)?;
    let second = || evaluate(call.arguments.get(1)?, record);
    Some(match &call.function {
        Function::Size => Value::Int(size(&first)?),
        Function::Contains => with_texts(&first, &second()?, |text, part| text.contains(part))?,
        Function::StartsWith => with_texts(&first, &second()?, |text, part| text.starts_with(part))?,
        Function::EndsWith => with_texts(&first, &second()?, |text, part| text.ends_with(part))?,
        Function::Matches(pattern) => match first {
            Value::Text(text) => Value::Bool(pattern.is_match(&text)),
            _ => return None,
        },
        Function::Duration => match first {
            Value::Text(text) => Value::Duration(time::duration(&text)?),
            Value::Duration(_) => first,
            _ => return None,
        },
        Function::Timestamp => match first {
            Value::Text(text) => Value::Time(time::timestamp(&text)?),
            Value::Int(seconds) => Value::Time(i128::from(seconds) * 1_000_000_000),
            Value::Time(_) => first,
            _ => return None,
        },
        Function::Int => Value::Int(int(&first)?),
        Function::Uint => Value::Uint(uint(&first)?),
        Function::Double => match &first {
            Value::Text(text) => Value::Double(text.parse().ok()?),
            number => Value::Double(number.float()?),
        },
        Function::Bool => match &first {
            Value::Bool(value) => Value::Bool(*value),
            Value::Text(text) => match &**text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
                _ => return None,
            },
            _ => return None,
        },
        Function::Bytes => match first {
            Value::Text(text) => Value::Bytes(text.into_owned().into_bytes().into()),
            Value::Bytes(_) => first,
            _ => return None,
        },
        Function::Type => Value::Type(type_of(&first)),
        Function::Dyn => first,
        Function::Time(part) => {
            let zone = match call.arguments.get(1) {
                None => 0,
                Some(_) => match second()? {
                    Value::Text(zone) => time::zone(&zone)?,
                    _ => return None,
                },
            };
            match first {
                Value::Time(at) => Value::Int(part.of_time(at, zone)?),
                Value::Duration(nanos) => Value::Int(part.of_duration(nanos)?),
                _ => return None,
            }
        }
    })
}

fn size(value: &Value<'_>) -> Option<i64> {
    let size = match value {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Headers(headers) => headers.pairs().len(),
        Value::Json(serde_json::Value::Object(fields)) => fields.len(),
        Value::Json(serde_json::Value::Array(items)) => items.len(),
        _ => return None,
    };
    i64::try_from(size).ok()
}

fn with_texts<'a>(one: &Value<'a>, other: &Value<'a>, test: fn(&str, &str) -> bool) -> Option<Value<'a>> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => Some(Value::Bool(test(one, other))),
        _ => None,
    }
}

fn int(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        // The bounds as floating numbers are just outside.
        Value::Double(value) if value.abs() < 9_223_372_036_854_775_808.0 => Some(*value as i64),
        Value::Text(text) => text.parse().ok(),
        Value::Time(at) => i64::try_from(at.div_euclid(1_000_000_000)).ok(),
        _ => None,
    }
}

fn uint(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Uint(value) => Some(*value),
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Double(value) if (0.0..18_446_744_073_709_551_616.0).contains(value) => Some(*value as u64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn type_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null_type",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint",
        Value::Double(_) => "double",
        Value::Text(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Duration(_) => "google.protobuf.Duration",
        Value::Time(_) => "google.protobuf.Timestamp",
        Value::List(_) | Value::Json(serde_json::Value::Array(_)) => "list",
        Value::Map(_) | Value::Headers(_) | Value::Json(_) | Value::Group(_) => "map",
        Value::Metadata(_) => "envoy.config.core.v3.Metadata",
        Value::Type(_) => "type",
    }
}
