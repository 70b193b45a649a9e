//! The value of a tree.
//!
//! Invariant: `None` is CEL's error value; `&&` and `||` forget an error that does not matter to them.

use std::rc::Rc;

use super::{
    attributes, functions,
    parse::{Node, Operation},
    value::Value,
};
use crate::access_log::Record;

/// Works out a part.
pub(super) fn evaluate<'a>(node: &'a Node, record: &'a Record<'a>) -> Option<Value<'a>> {
    Some(match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(*value),
        Node::Int(value) => Value::Int(*value),
        Node::Uint(value) => Value::Uint(*value),
        Node::Double(value) => Value::Double(*value),
        Node::Text(text) => Value::text(text),
        Node::Bytes(bytes) => Value::Bytes((&**bytes).into()),
        Node::Attribute(attribute) => return (attribute.value)(record),
        Node::Group(group) => return attributes::whole(*group, record),
        Node::Unknown => return None,
        Node::Select(of, name) => return member(&evaluate(of, record)?, name, record),
        Node::Has(of, name) => return has(of, name, record),
        Node::Index(of, key) => {
            let (of, key) = (evaluate(of, record)?, evaluate(key, record)?);
            return match (&of, &key) {
                (Value::Group(_), Value::Text(name)) => member(&of, name, record),
                _ => of.at(&key),
            };
        }
        Node::List(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| evaluate(item, record)).collect();
            Value::List(items?.into())
        }
        Node::Map(entries) => {
            let pair =
                |(key, value): &'a (Node, Node)| Some((evaluate(key, record)?, evaluate(value, record)?));
            let entries: Option<Vec<_>> = entries.iter().map(pair).collect();
            Value::Map(Rc::from(entries?))
        }
        Node::Not(of) => match evaluate(of, record)? {
            Value::Bool(value) => Value::Bool(!value),
            _ => return None,
        },
        Node::Negate(of) => match evaluate(of, record)? {
            Value::Int(value) => Value::Int(value.checked_neg()?),
            Value::Double(value) => Value::Double(-value),
            _ => return None,
        },
        Node::Binary(operation, left, right) => {
            return binary(*operation, &evaluate(left, record)?, &evaluate(right, record)?);
        }
        Node::And(parts) => return decided(parts, record, false),
        Node::Or(parts) => return decided(parts, record, true),
        Node::Conditional(parts) => {
            let [condition, yes, no] = &**parts;
            return match evaluate(condition, record)? {
                Value::Bool(true) => evaluate(yes, record),
                Value::Bool(false) => evaluate(no, record),
                _ => None,
            };
        }
        Node::Call(call) => return functions::value(call, record),
    })
}

/// `&&` (decided by false) or `||` (decided by true).
fn decided<'a>(parts: &'a [Node], record: &'a Record<'a>, by: bool) -> Option<Value<'a>> {
    let mut clear = true;
    for part in parts {
        match evaluate(part, record) {
            Some(Value::Bool(value)) if value == by => return Some(Value::Bool(by)),
            Some(Value::Bool(_)) => {}
            _ => clear = false,
        }
    }
    clear.then_some(Value::Bool(!by))
}

fn has<'a>(of: &'a Node, name: &str, record: &'a Record<'a>) -> Option<Value<'a>> {
    Some(Value::Bool(member(&evaluate(of, record)?, name, record).is_some()))
}

/// What a name leads to.
fn member<'a>(of: &Value<'a>, name: &str, record: &'a Record<'a>) -> Option<Value<'a>> {
    match of {
        Value::Group(group) => (attributes::find(*group, name)?.value)(record),
        of => of.member(name),
    }
}

fn binary<'a>(operation: Operation, left: &Value<'a>, right: &Value<'a>) -> Option<Value<'a>> {
    use Operation::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, Unequal};
    let ordered = |accepts: fn(std::cmp::Ordering) -> bool| left.compare(right).map(accepts);
    Some(Value::Bool(match operation {
        Equal => left.equals(right),
        Unequal => !left.equals(right),
        Less => ordered(std::cmp::Ordering::is_lt)?,
        LessOrEqual => ordered(std::cmp::Ordering::is_le)?,
        Greater => ordered(std::cmp::Ordering::is_gt)?,
        GreaterOrEqual => ordered(std::cmp::Ordering::is_ge)?,
        In => match right {
            Value::List(items) => items.iter().any(|item| item.equals(left)),
            Value::Map(_) | Value::Headers(_) | Value::Json(serde_json::Value::Object(_)) => {
                right.at(left).is_some()
            }
            _ => return None,
        },
        _ => return arithmetic(operation, left, right),
    }))
}

fn arithmetic<'a>(operation: Operation, left: &Value<'a>, right: &Value<'a>) -> Option<Value<'a>> {
    use Operation::{Add, Divide, Multiply, Remainder, Subtract};
    Some(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Value::Int(match operation {
            Add => a.checked_add(*b),
            Subtract => a.checked_sub(*b),
            Multiply => a.checked_mul(*b),
            Divide => a.checked_div(*b),
            Remainder => a.checked_rem(*b),
            _ => None,
        }?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(match operation {
            Add => a.checked_add(*b),
            Subtract => a.checked_sub(*b),
            Multiply => a.checked_mul(*b),
            Divide => a.checked_div(*b),
            Remainder => a.checked_rem(*b),
            _ => None,
        }?),
        (Value::Double(a), Value::Double(b)) => Value::Double(match operation {
            Add => a + b,
            Subtract => a - b,
            Multiply => a * b,
            Divide => a / b,
            _ => return None,
        }),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(match operation {
            Add => a.checked_add(*b),
            Subtract => a.checked_sub(*b),
            _ => None,
        }?),
        (Value::Time(a), Value::Duration(b)) => Value::Time(match operation {
            Add => a.checked_add(i128::from(*b)),
            Subtract => a.checked_sub(i128::from(*b)),
            _ => None,
        }?),
        (Value::Duration(a), Value::Time(b)) if operation == Add => {
            Value::Time(b.checked_add(i128::from(*a))?)
        }
        (Value::Time(a), Value::Time(b)) if operation == Subtract => {
            Value::Duration(i64::try_from(a.checked_sub(*b)?).ok()?)
        }
        _ => return None,
    })
}
