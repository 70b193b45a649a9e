//! What HTTP filters are told per route: faults, answers to other origins.

use std::collections::HashMap;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::extensions::filters::common::fault::v3 as delay;
use meltemi_xds::pb::envoy::extensions::filters::http::{cors::v3 as cors, fault::v3 as fault};
use meltemi_xds::pb::google::protobuf::Any;

use super::{fraction, string_match};
use crate::model::route::{AbortStatus, Cors, Fault, Fraction, Route};
use crate::names::{CORS_FILTER, FAULT_FILTER};
use crate::translate::proto::{bool_value, duration};

/// Configurations by filter.
pub(super) fn per_filter(route: &Route) -> HashMap<String, Any> {
    let mut configs = HashMap::new();
    if let Some(fault) = &route.fault {
        configs.insert(FAULT_FILTER.to_owned(), any(&http_fault(fault)));
    }
    if let Some(cors) = &route.cors {
        configs.insert(CORS_FILTER.to_owned(), any(&cors_policy(cors)));
    }
    configs
}

fn http_fault(model: &Fault) -> fault::HttpFault {
    use delay::fault_delay::FaultDelaySecifier;
    use fault::fault_abort::ErrorType;
    fault::HttpFault {
        delay: model.delay.map(|(pause, share)| delay::FaultDelay {
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(pause))),
            percentage: Some(fraction(share)),
        }),
        abort: model.abort.map(|(status, share)| fault::FaultAbort {
            error_type: Some(match status {
                AbortStatus::Http(status) => ErrorType::HttpStatus(status),
                AbortStatus::Grpc(status) => ErrorType::GrpcStatus(status),
            }),
            percentage: share.map(fraction),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn cors_policy(model: &Cors) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: model.origins.iter().filter_map(string_match).collect(),
        allow_methods: model.methods.clone(),
        allow_headers: model.headers.clone(),
        expose_headers: model.expose.clone(),
        max_age: model.max_age.map(|seconds| seconds.to_string()).unwrap_or_default(),
        allow_credentials: model.credentials.map(bool_value),
        filter_enabled: Some(core::RuntimeFractionalPercent {
            default_value: Some(fraction(Fraction::Percent(100))),
            ..Default::default()
        }),
        forward_not_matching_preflights: Some(bool_value(model.forward_unmatched)),
        ..Default::default()
    }
}
