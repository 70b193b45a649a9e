//! `OutlierDetection`, with Envoy's defaults where it is silent.

use meltemi_xds::pb::{envoy::config::cluster::v3::OutlierDetection, google::protobuf::UInt32Value};

use crate::{
    cluster::outlier,
    xds::{Rejection, fields, refuse},
};

/// Outlier detection with Envoy's defaults.
pub(super) fn compile(message: &OutlierDetection) -> Result<outlier::Settings, Rejection> {
    fields::unsupported(!message.monitors.is_empty(), "monitors")?;
    fields::unsupported(
        fields::flag(message.detect_degraded_hosts.as_ref(), false),
        "detect_degraded_hosts",
    )?;
    let own = outlier::Settings::default();
    let number = |value: Option<&UInt32Value>, default| fields::number(value, default);
    let time = |value, field, default| Ok::<_, Rejection>(fields::optional(value, field)?.unwrap_or(default));
    let base = time(message.base_ejection_time.as_ref(), "base_ejection_time", own.base_ejection_time)?;
    let max = time(message.max_ejection_time.as_ref(), "max_ejection_time", own.max_ejection_time.max(base))?;
    if max < base {
        return refuse("outlier detector's max_ejection_time cannot be smaller than base_ejection_time");
    }
    let pair = |a: Option<&UInt32Value>, b: Option<&UInt32Value>, default: (u32, u32)| {
        (number(a, default.0), number(b, default.1))
    };
    Ok(outlier::Settings {
        interval: time(message.interval.as_ref(), "interval", own.interval)?,
        base_ejection_time: base,
        max_ejection_time: max,
        jitter: time(message.max_ejection_time_jitter.as_ref(), "max_ejection_time_jitter", own.jitter)?,
        consecutive_5xx: pair(
            message.consecutive_5xx.as_ref(),
            message.enforcing_consecutive_5xx.as_ref(),
            own.consecutive_5xx,
        ),
        consecutive_gateway: pair(
            message.consecutive_gateway_failure.as_ref(),
            message.enforcing_consecutive_gateway_failure.as_ref(),
            own.consecutive_gateway,
        ),
        consecutive_local: pair(
            message.consecutive_local_origin_failure.as_ref(),
            message.enforcing_consecutive_local_origin_failure.as_ref(),
            own.consecutive_local,
        ),
        max_ejection_percent: number(message.max_ejection_percent.as_ref(), own.max_ejection_percent),
        always_one: fields::flag(message.always_eject_one_host.as_ref(), false),
        split: message.split_external_local_origin_errors,
        success_rate: pair(
            message.success_rate_minimum_hosts.as_ref(),
            message.success_rate_request_volume.as_ref(),
            own.success_rate,
        ),
        stdev_factor: number(message.success_rate_stdev_factor.as_ref(), own.stdev_factor),
        enforcing_success_rate: pair(
            message.enforcing_success_rate.as_ref(),
            message.enforcing_local_origin_success_rate.as_ref(),
            own.enforcing_success_rate,
        ),
        failure_percentage: pair(
            message.failure_percentage_minimum_hosts.as_ref(),
            message.failure_percentage_request_volume.as_ref(),
            own.failure_percentage,
        ),
        failure_threshold: number(message.failure_percentage_threshold.as_ref(), own.failure_threshold),
        enforcing_failure_percentage: pair(
            message.enforcing_failure_percentage.as_ref(),
            message.enforcing_failure_percentage_local_origin.as_ref(),
            own.enforcing_failure_percentage,
        ),
    })
}
