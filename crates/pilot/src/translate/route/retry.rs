//! Retries of a route as Envoy's RetryPolicy.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::route::v3 as envoy;
use meltemi_xds::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use meltemi_xds::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use crate::model::route::Retry;
use crate::translate::proto::{duration, uint32};

/// A policy.
pub(super) fn retry_policy(model: &Retry) -> envoy::RetryPolicy {
    use envoy::retry_policy::{RetryBackOff, RetryHostPredicate, RetryPriority};
    use envoy::retry_policy::{retry_host_predicate, retry_priority};
    let previous = || RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
    };
    let priorities = || RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(any(&PreviousPrioritiesConfig {
            update_frequency: 2,
        }))),
    };
    let careful = model.safe.then(meltemi_xds::extension::retry_safe);
    let predicates = model.avoid_previous.then(previous).into_iter().chain(careful).collect();
    envoy::RetryPolicy {
        retry_on: model.on.clone(),
        num_retries: Some(uint32(model.attempts)),
        per_try_timeout: model.per_try_timeout.map(duration),
        retriable_status_codes: model.codes.clone(),
        retry_host_predicate: predicates,
        host_selection_retry_max_attempts: if model.avoid_previous { 5 } else { 0 },
        retry_priority: model.other_localities.then(priorities),
        retry_back_off: model.backoff.map(|base| RetryBackOff {
            base_interval: Some(duration(base)),
            max_interval: Some(duration(base * 10)),
        }),
        ..Default::default()
    }
}
