//! Labels, the selectors over them, and `exportTo`.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::message;

/// Labels of an object, sorted.
pub type Labels = BTreeMap<Str, Str>;

/// Whether `labels` has all that `selector` asks for. An empty selector takes everything; callers for whom an empty one
/// means nothing (Kubernetes Services) check that themselves.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

message! {
    /// Selects workloads by label, in networking kinds (`labels`).
    pub struct WorkloadSelector {
        /// All of these must be there (SC-016).
        labels: Labels = "labels";
    }
}

message! {
    /// Selects workloads by label, in security, telemetry and extension kinds (`matchLabels`).
    pub struct TypeSelector {
        /// All of these must be there (TY-001).
        match_labels: Labels = "matchLabels";
    }
}

message! {
    /// A Kubernetes label selector.
    pub struct LabelSelector {
        /// All of these must be there.
        match_labels: Labels = "matchLabels";
        /// All of these must hold.
        match_expressions: Vec<LabelSelectorRequirement> = "matchExpressions";
    }
}

message! {
    /// A condition on one label.
    pub struct LabelSelectorRequirement {
        /// The label.
        key: Str = "key" required;
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        operator: Str = "operator" required;
        /// For `In` and `NotIn`.
        values: Vec<Str> = "values";
    }
}

impl LabelSelector {
    /// Whether the labels satisfy it. An operator that is not known satisfies nothing.
    pub fn selects(&self, labels: &Labels) -> bool {
        selects(&self.match_labels, labels) && self.match_expressions.iter().all(|want| want.holds(labels))
    }
}

impl LabelSelectorRequirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &*self.operator {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => !value.is_some_and(|value| self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// Who may see an object (SEM-005).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExportTo {
    /// Everybody (`*`).
    Public,
    /// Nobody (`~`).
    Nobody,
    /// These namespaces, sorted (`.` already resolved).
    Namespaces(Vec<Str>),
}

impl ExportTo {
    /// Resolves a list as written by an object in `namespace`; an empty one is replaced by the mesh's default, itself `*`
    /// when empty. `~` anywhere hides; else `*` makes public.
    pub fn resolve(list: &[Str], default: &[Str], namespace: &str) -> ExportTo {
        let list = if list.is_empty() { default } else { list };
        if list.iter().any(|entry| &**entry == "~") {
            return ExportTo::Nobody;
        }
        if list.is_empty() || list.iter().any(|entry| &**entry == "*") {
            return ExportTo::Public;
        }
        let own = Str::from(namespace);
        let resolve = |entry: &Str| if &**entry == "." { own.clone() } else { entry.clone() };
        let mut namespaces: Vec<Str> = list.iter().map(resolve).collect();
        namespaces.sort();
        namespaces.dedup();
        ExportTo::Namespaces(namespaces)
    }

    /// Reads the annotation `networking.istio.io/exportTo`: the same, with commas.
    pub fn from_annotation(text: &str, namespace: &str) -> ExportTo {
        let list: Vec<Str> =
            text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(Str::from).collect();
        ExportTo::resolve(&list, &[], namespace)
    }

    /// Whether those in `namespace` may see the object.
    pub fn visible_in(&self, namespace: &str) -> bool {
        match self {
            ExportTo::Public => true,
            ExportTo::Nobody => false,
            ExportTo::Namespaces(list) => list.iter().any(|entry| &**entry == namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_to_resolves_as_istio_does() {
        let resolve = |list: &[&str]| {
            ExportTo::resolve(&list.iter().map(|s| Str::from(*s)).collect::<Vec<_>>(), &[], "own")
        };
        assert_eq!(resolve(&[]), ExportTo::Public);
        assert_eq!(resolve(&["*", "."]), ExportTo::Public);
        assert_eq!(resolve(&["*", "~"]), ExportTo::Nobody);
        assert_eq!(resolve(&["b", "."]), ExportTo::Namespaces(vec!["b".into(), "own".into()]));
        assert!(resolve(&["."]).visible_in("own"));
        assert!(!resolve(&["."]).visible_in("other"));
        assert!(!ExportTo::resolve(&[], &[".".into()], "own").visible_in("other"));
    }
}
