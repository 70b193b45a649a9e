//! Messages whose JSON is open: `Any`, `Struct`, `ListValue`.
//!
//! Used by `read`. Invariant: an `Any` of unknown type is an error that names it.

use serde::de::{Error as _, MapAccess, SeqAccess, value::MapDeserializer};
use serde_json::Value;

use super::{
    super::schema,
    Fault, Kind, One, Step, block, fields,
    scalar::{base64, expected, well_known_form},
};

/// An object with `@type`. When that comes first, as everybody writes it, the rest is read as it comes; else it is kept
/// aside until the type is known.
pub(super) fn any<'de, A: MapAccess<'de>>(
    mut map: A,
    out: &mut Vec<u8>,
    fault: &Fault,
) -> Result<(), A::Error> {
    let mut kept: Vec<(String, Value)> = Vec::new();
    while let Some(key) = map.next_key::<String>()? {
        if key != "@type" {
            kept.push((key, map.next_value()?));
            continue;
        }
        let url = match map.next_value::<Value>()? {
            Value::String(url) => url,
            other => {
                let wrong = Err(fault.raise(expected("a string", other)));
                return fault.within(|| Step::Key(key), wrong);
            }
        };
        let mut body = Vec::new();
        if kept.is_empty() {
            typed(&url, map, &mut body, fault)?;
        } else {
            while let Some(entry) = map.next_entry()? {
                kept.push(entry);
            }
            let rest = MapDeserializer::<_, serde_json::Error>::new(kept.into_iter());
            typed(&url, rest, &mut body, fault).map_err(A::Error::custom)?;
        }
        block(1, url.as_bytes(), out);
        block(2, &body, out);
        return Ok(());
    }
    match kept.is_empty() {
        true => Ok(()),
        false => Err(fault.raise("\"@type\" is missing")),
    }
}

/// The message inside, from the keys beside `@type`.
fn typed<'de, A: MapAccess<'de>>(
    url: &str,
    mut map: A,
    out: &mut Vec<u8>,
    fault: &Fault,
) -> Result<(), A::Error> {
    let name = url.rsplit('/').next().unwrap_or(url);
    let Some(name) = schema::known(name) else {
        let Some((key, Value::String(text))) = map.next_entry::<String, Value>()? else {
            let unknown = Err(fault.raise(format!("unknown type {name:?}")));
            return fault.within(|| Step::Key("@type".into()), unknown);
        };
        // The bytes of a type that nobody here knows can still be carried.
        let bytes = (key == "value").then(|| base64(&text)).and_then(Result::ok);
        let Some(bytes) = bytes else {
            let unknown = Err(fault.raise(format!("unknown type {name:?}")));
            return fault.within(|| Step::Key("@type".into()), unknown);
        };
        out.extend(bytes);
        return only(map, name, fault);
    };
    let is_value = well_known_form(name).is_some()
        || matches!(name.strip_prefix("google.protobuf."), Some("Any" | "Struct" | "Value" | "ListValue"));
    if !is_value {
        return fields(name, map, out, fault);
    }
    match map.next_key::<String>()? {
        Some(key) if key == "value" => {
            let one = One { number: None, kind: Kind::Message(name), out, fault };
            let read = map.next_value_seed(one);
            fault.within(|| Step::Key(key), read)?;
            only(map, name, fault)
        }
        Some(key) => {
            let unknown =
                Err(fault.raise(format!("no such field in {name}; its JSON form goes under \"value\"")));
            fault.within(|| Step::Name(key), unknown)
        }
        None => Ok(()),
    }
}

/// Refuses what comes after the only key.
fn only<'de, A: MapAccess<'de>>(mut map: A, name: &str, fault: &Fault) -> Result<(), A::Error> {
    match map.next_key::<String>()? {
        None => Ok(()),
        Some(key) => {
            let unknown = Err(fault.raise(format!("no such field in {name}")));
            fault.within(|| Step::Name(key), unknown)
        }
    }
}

const VALUE: Kind = Kind::Message("google.protobuf.Value");

/// The entries of a `Struct`.
pub(super) fn structure<'de, A: MapAccess<'de>>(
    mut map: A,
    out: &mut Vec<u8>,
    fault: &Fault,
) -> Result<(), A::Error> {
    while let Some(key) = map.next_key::<String>()? {
        let mut entry = Vec::new();
        block(1, key.as_bytes(), &mut entry);
        let read = map.next_value_seed(One { number: Some(2), kind: VALUE, out: &mut entry, fault });
        fault.within(|| Step::Entry(key), read)?;
        block(1, &entry, out);
    }
    Ok(())
}

/// The items of a `ListValue`.
pub(super) fn list<'de, A: SeqAccess<'de>>(
    mut items: A,
    out: &mut Vec<u8>,
    fault: &Fault,
) -> Result<(), A::Error> {
    let mut at = 0;
    loop {
        let read = items.next_element_seed(One { number: Some(1), kind: VALUE, out: &mut *out, fault });
        if fault.within(|| Step::Item(at), read)?.is_none() {
            return Ok(());
        }
        at += 1;
    }
}
