//! What a load assignment says of a host under `envoy.lb`, and what a route asks of hosts there.
//!
//! Made by `xds::metadata`; compared when subsets are laid out and when one is looked for.
//! Invariant: names are sorted, so that equal fields are equal whatever order they came in.

use std::sync::Arc;

/// A value of metadata that can be compared and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number, by its bits.
    Number(u64),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Vec<Value>),
    /// Fields within.
    Struct(Fields),
}

/// Fields by name: the values lie in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Fields {
    names: Vec<Arc<str>>,
    values: Vec<Value>,
}

impl Fields {
    /// Fields in any order; of one name the last counts.
    pub fn new(fields: impl IntoIterator<Item = (Arc<str>, Value)>) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = fields.into_iter().collect();
        let (names, values) = sorted.into_iter().unzip();
        Self { names, values }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.names.binary_search_by(|known| (**known).cmp(name)).ok()?;
        self.values.get(at)
    }

    /// The names, sorted.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The values, in the order of the names.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// These with others laid over them.
    pub fn with(&self, others: &Self) -> Self {
        Self::new(self.pairs().chain(others.pairs()))
    }

    /// Those of these names.
    pub fn only(&self, names: &[Arc<str>]) -> Self {
        Self::new(self.pairs().filter(|(name, _)| names.contains(name)))
    }

    /// All but that of this name.
    fn without(&self, name: &str) -> Self {
        Self::new(self.pairs().filter(|(known, _)| &**known != name))
    }

    fn pairs(&self) -> impl Iterator<Item = (Arc<str>, Value)> + '_ {
        self.names.iter().cloned().zip(self.values.iter().cloned())
    }
}

/// Under this name `metadata_match` lists what to lay over it, one try after the other.
const FALLBACK_LIST: &str = "fallback_list";

/// `metadata_match`: what a route asks of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criteria {
    /// All that is asked.
    pub fields: Fields,
    /// Where the cluster heeds `fallback_list`: what is asked without it, and then, in order, what instead.
    pub fallbacks: Option<(Fields, Vec<Fields>)>,
}

impl Criteria {
    /// What `fields` ask; `None` when that is nothing.
    pub fn new(fields: Fields) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let fallbacks = match fields.get(FALLBACK_LIST) {
            Some(Value::List(list)) => {
                let rest = fields.without(FALLBACK_LIST);
                let instead = |value: &Value| match value {
                    Value::Struct(more) => rest.with(more),
                    _ => rest.clone(),
                };
                let list = list.iter().map(instead).collect();
                Some((rest, list))
            }
            _ => None,
        };
        Some(Self { fields, fallbacks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        Fields::new(pairs.iter().map(|(name, value)| (Arc::from(*name), Value::Text((*value).into()))))
    }

    #[test]
    fn order_makes_no_difference_and_later_ones_win() {
        let both = fields(&[("b", "2"), ("a", "1")]);
        assert_eq!(both, fields(&[("a", "1"), ("b", "2")]));
        assert_eq!(both.get("b"), Some(&Value::Text("2".into())));
        assert_eq!(
            both.with(&fields(&[("b", "3"), ("c", "4")])),
            fields(&[("a", "1"), ("b", "3"), ("c", "4")])
        );
        assert_eq!(both.only(&["b".into()]), fields(&[("b", "2")]));
    }

    #[test]
    fn fallbacks_are_laid_over_the_rest() {
        assert_eq!(Criteria::new(Fields::default()), None);
        let list = Value::List(vec![Value::Struct(fields(&[("v", "2")])), Value::Null]);
        let asked = Fields::new([("fallback_list".into(), list), ("v".into(), Value::Text("1".into()))]);
        let (rest, instead) = Criteria::new(asked).unwrap().fallbacks.unwrap();
        assert_eq!(rest, fields(&[("v", "1")]));
        assert_eq!(instead, [fields(&[("v", "2")]), fields(&[("v", "1")])]);
    }
}
