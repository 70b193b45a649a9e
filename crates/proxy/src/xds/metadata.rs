//! `envoy.lb` metadata of hosts and routes, and `lb_subset_config`.
//!
//! Invariant: values nested deeper than anybody means are refused: comparing them recurses.

use std::sync::Arc;

use meltemi_xds::pb::{
    envoy::{
        config::{
            cluster::v3::cluster::{
                LbSubsetConfig,
                lb_subset_config::{
                    LbSubsetFallbackPolicy, LbSubsetSelector,
                    lb_subset_selector::LbSubsetSelectorFallbackPolicy as SelectorPolicy,
                },
            },
            core::v3::Metadata,
        },
        extensions::load_balancing_policies::subset::v3::Subset,
    },
    google::protobuf::{Struct, Value as Message, value::Kind},
};

use super::{At, Context, Rejection, fields, refuse};
use crate::cluster::{
    endpoints::subsets::{Fallback, Selector, SelectorFallback, Settings},
    metadata::{Criteria, Fields, Value},
};

/// The filter under whose name load balancing finds its metadata.
const LB: &str = "envoy.lb";
/// Deeper values are refused.
const DEEPEST: usize = 32;

/// The fields that count in load balancing, if there are any.
pub fn of(message: Option<&Metadata>, context: &mut Context) -> Result<Option<Fields>, Rejection> {
    let Some(message) = message.and_then(|metadata| metadata.filter_metadata.get(LB)) else {
        return Ok(None);
    };
    let fields = structure(message, 0, context).at(LB).at("filter_metadata")?;
    Ok((!fields.is_empty()).then_some(fields))
}

/// `metadata_match`, on top of what is asked already.
pub fn criteria(
    message: Option<&Metadata>,
    outer: Option<&Criteria>,
    context: &mut Context,
) -> Result<Option<Box<Criteria>>, Rejection> {
    let own = of(message, context).at("metadata_match")?;
    let criteria = match (own, outer) {
        (None, outer) => outer.cloned(),
        (Some(own), None) => Criteria::new(own),
        (Some(own), Some(outer)) => Criteria::new(outer.fields.with(&own)),
    };
    Ok(criteria.map(Box::new))
}

fn structure(message: &Struct, depth: usize, context: &mut Context) -> Result<Fields, Rejection> {
    if depth > DEEPEST {
        return refuse(format!("values are nested more than {DEEPEST} deep"));
    }
    let mut pairs = Vec::with_capacity(message.fields.len());
    for (name, message) in &message.fields {
        pairs.push((context.intern(name), value(message, depth + 1, context).at(name)?));
    }
    Ok(Fields::new(pairs))
}

fn value(message: &Message, depth: usize, context: &mut Context) -> Result<Value, Rejection> {
    if depth > DEEPEST {
        return refuse(format!("values are nested more than {DEEPEST} deep"));
    }
    Ok(match &message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        // Zero has two forms.
        Some(Kind::NumberValue(value)) => Value::Number((value + 0.0).to_bits()),
        Some(Kind::StringValue(value)) => Value::Text(context.intern(value)),
        Some(Kind::ListValue(list)) => {
            let values: Result<_, _> = list.values.iter().map(|one| value(one, depth + 1, context)).collect();
            Value::List(values?)
        }
        Some(Kind::StructValue(inner)) => Value::Struct(structure(inner, depth + 1, context)?),
    })
}

/// `lb_subset_config`; `None` where it has no selectors, which turns it off.
pub fn subsets(message: &LbSubsetConfig, context: &mut Context) -> Result<Option<Settings>, Rejection> {
    if message.subset_selectors.is_empty() {
        return Ok(None);
    }
    let selectors = message.subset_selectors.iter().enumerate();
    let selectors: Result<_, _> =
        selectors.map(|(at, one)| selector(one, context).at_index("subset_selectors", at)).collect();
    let default = message.default_subset.as_ref();
    Ok(Some(Settings {
        fallback: match LbSubsetFallbackPolicy::try_from(message.fallback_policy) {
            Ok(LbSubsetFallbackPolicy::NoFallback) => Fallback::None,
            Ok(LbSubsetFallbackPolicy::AnyEndpoint) => Fallback::Any,
            Ok(LbSubsetFallbackPolicy::DefaultSubset) => Fallback::Default,
            Err(_) => return fields::unknown_enum("fallback_policy", message.fallback_policy),
        },
        default: default
            .map(|fields| structure(fields, 0, context))
            .transpose()
            .at("default_subset")?
            .unwrap_or_default(),
        selectors: selectors?,
        locality_weighted: message.locality_weight_aware,
        scales_weights: message.scale_locality_weight,
        panic_any: message.panic_mode_any,
        list_as_any: message.list_as_any,
        heeds_fallback_list: match message.metadata_fallback_policy {
            0 => false,
            1 => true,
            other => return fields::unknown_enum("metadata_fallback_policy", other),
        },
    }))
}

/// The typed policy's settings, which are the same in a message of its own.
pub fn typed_subsets(message: &Subset, context: &mut Context) -> Result<Option<Settings>, Rejection> {
    fields::unsupported(message.allow_redundant_keys, "allow_redundant_keys")?;
    let selectors = message.subset_selectors.iter().map(|selector| LbSubsetSelector {
        keys: selector.keys.clone(),
        single_host_per_subset: selector.single_host_per_subset,
        fallback_policy: selector.fallback_policy,
        fallback_keys_subset: selector.fallback_keys_subset.clone(),
    });
    let same = LbSubsetConfig {
        fallback_policy: message.fallback_policy,
        default_subset: message.default_subset.clone(),
        subset_selectors: selectors.collect(),
        locality_weight_aware: message.locality_weight_aware,
        scale_locality_weight: message.scale_locality_weight,
        panic_mode_any: message.panic_mode_any,
        list_as_any: message.list_as_any,
        metadata_fallback_policy: message.metadata_fallback_policy,
    };
    subsets(&same, context)
}

fn selector(message: &LbSubsetSelector, context: &mut Context) -> Result<Selector, Rejection> {
    let keys = sorted(&message.keys, context);
    if message.single_host_per_subset && keys.len() != 1 {
        return refuse("subset_lb selector: single_host_per_subset cannot be set when the selector does not have a single key")
            .at("single_host_per_subset");
    }
    let like = |fallback| Some(SelectorFallback::Like(fallback));
    let fallback = match SelectorPolicy::try_from(message.fallback_policy) {
        Ok(SelectorPolicy::NotDefined) => None,
        Ok(SelectorPolicy::NoFallback) => like(Fallback::None),
        Ok(SelectorPolicy::AnyEndpoint) => like(Fallback::Any),
        Ok(SelectorPolicy::DefaultSubset) => like(Fallback::Default),
        Ok(SelectorPolicy::KeysSubset) => {
            let fewer = sorted(&message.fallback_keys_subset, context);
            if fewer.is_empty() {
                return refuse("fallback_keys_subset cannot be empty").at("fallback_keys_subset");
            }
            if !fewer.iter().all(|key| keys.contains(key)) {
                return refuse("fallback_keys_subset must be a subset of selector keys")
                    .at("fallback_keys_subset");
            }
            if fewer.len() == keys.len() {
                return refuse("fallback_keys_subset cannot be equal to keys").at("fallback_keys_subset");
            }
            Some(SelectorFallback::Keys(fewer))
        }
        Err(_) => return fields::unknown_enum("fallback_policy", message.fallback_policy),
    };
    Ok(Selector { keys, fallback, single_host: message.single_host_per_subset })
}

fn sorted(keys: &[String], context: &mut Context) -> Vec<Arc<str>> {
    let mut keys: Vec<Arc<str>> = keys.iter().map(|key| context.intern(key)).collect();
    keys.sort();
    keys.dedup();
    keys
}
