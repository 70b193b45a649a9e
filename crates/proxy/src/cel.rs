//! CEL expressions over what is known of a request or connection: `%CEL(…)%`, access log filters.
//! <https://github.com/google/cel-spec>, attributes: <https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/advanced/attributes>
//!
//! It is the language as Envoy builds it for hostile input: no comprehensions, no joining of texts and lists, no
//! conversion to text. So an expression takes at most as many steps as it has nodes, and makes nothing that grows.
//! Invariant: nothing an expression says can panic, recurse deeper than [`parse`] allows, or compute what it does not name.

mod attributes;
mod eval;
mod functions;
mod lexer;
pub mod number;
mod parse;
mod print;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::parse::Node;
pub use self::value::Value;
use crate::access_log::Record;

/// A compiled expression. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Node>);

impl Expression {
    /// Compiles; the error says what is wrong and where.
    pub fn compile(text: &str) -> Result<Self, String> {
        parse::parse(text)
            .map(|node| Self(Arc::new(node)))
            .map_err(|error| format!("CEL expression {text:?}: {error}"))
    }

    /// Its value; `None` when it has none: something that it names is not there, or types do not go together.
    pub fn evaluate<'a>(&'a self, record: &'a Record<'a>) -> Option<Value<'a>> {
        eval::evaluate(&self.0, record)
    }

    /// True when it is `true`.
    pub fn holds(&self, record: &Record<'_>) -> bool {
        matches!(self.evaluate(record), Some(Value::Bool(true)))
    }
}
