//! What routes say of filters (`typed_per_filter_config`), resolved when the table is compiled.
//!
//! [`crate::xds`] makes one per route that says anything; [`super::request`] reads it.
//! Invariant: levels are merged already, so a request looks at one place.

use std::sync::Arc;

use super::{cors, fault};

/// What a route, its virtual host and its table say, most specific first.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    filters: Vec<Override>,
    /// The older `cors` fields of route and virtual host, for where no `typed_per_filter_config` says anything.
    pub legacy_cors: Vec<Arc<cors::Policy>>,
}

/// What is said of one filter.
#[derive(Debug, Clone)]
pub struct Override {
    /// The filter's name in the connection manager.
    pub name: Arc<str>,
    /// Off, or on where it is off by default.
    pub disabled: Option<bool>,
    /// Settings of a fault filter.
    pub fault: Option<Arc<fault::Settings>>,
    /// Policies of a CORS filter, most specific first.
    pub cors: Vec<Arc<cors::Policy>>,
}

impl Overrides {
    /// Adds what a level says that is less specific than all before.
    pub fn inherit(&mut self, level: &[Override]) {
        for other in level {
            match self.filters.iter_mut().find(|own| own.name == other.name) {
                Some(own) => {
                    own.disabled = own.disabled.or(other.disabled);
                    own.fault = own.fault.take().or_else(|| other.fault.clone());
                    own.cors.extend(other.cors.iter().cloned());
                }
                None => self.filters.push(other.clone()),
            }
        }
    }

    /// True when nothing is said.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.legacy_cors.is_empty()
    }

    fn of(&self, filter: &str) -> Option<&Override> {
        self.filters.iter().find(|own| &*own.name == filter)
    }

    /// Whether a filter is switched.
    pub fn disabled(&self, filter: &str) -> Option<bool> {
        self.of(filter)?.disabled
    }

    /// Settings of a fault filter.
    pub fn fault(&self, filter: &str) -> Option<&Arc<fault::Settings>> {
        self.of(filter)?.fault.as_ref()
    }

    /// Policies of a CORS filter.
    pub fn cors(&self, filter: &str) -> &[Arc<cors::Policy>] {
        match self.of(filter) {
            Some(own) if !own.cors.is_empty() => &own.cors,
            _ => &self.legacy_cors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_says_first() {
        let say = |name: &str, disabled| Override {
            name: name.into(),
            disabled,
            fault: None,
            cors: vec![Arc::new(cors::Policy { max_age: name.into(), ..cors::Policy::default() })],
        };
        let mut overrides = Overrides::default();
        assert!(overrides.is_empty());
        overrides.inherit(&[say("a", Some(true))]);
        overrides.inherit(&[say("a", Some(false)), say("b", None)]);
        assert_eq!((overrides.disabled("a"), overrides.disabled("b")), (Some(true), None));
        assert_eq!(
            (overrides.cors("a").len(), overrides.cors("b").len(), overrides.cors("c").len()),
            (2, 1, 0)
        );
    }
}
