//! `RetryPolicy` to the data path's form.

use std::time::Duration;

use meltemi_xds::pb::envoy::{
    config::route::v3::{
        RetryPolicy as Message,
        retry_policy::{RetryPriority, retry_priority},
    },
    extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig,
};

use super::{At, Context, Rejection, fields, refuse};
use crate::route::{RetryOn, RetryPolicy};

/// Hosts already tried are avoided.
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
/// Priorities already tried are avoided.
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";
/// Hosts with some metadata are avoided; without subsets there is nothing that it could mean here.
const OMIT_CANARY: &str = "envoy.retry_host_predicates.omit_canary_hosts";

/// Words of `retry_on` and their flags.
const CONDITIONS: &[(&str, u32)] = &[
    ("5xx", RetryOn::SERVER_ERROR),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-status-codes", RetryOn::RETRIABLE_STATUS_CODES),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
];

/// Compiles a policy; words that this version does not act on are noted, as Envoy skips words it does not know.
pub fn compile(message: &Message, context: &mut Context) -> Result<RetryPolicy, Rejection> {
    fields::unsupported(!message.retry_options_predicates.is_empty(), "retry_options_predicates")?;
    fields::unsupported(message.rate_limited_retry_back_off.is_some(), "rate_limited_retry_back_off")?;
    fields::unsupported(!message.retriable_headers.is_empty(), "retriable_headers")?;
    fields::unsupported(!message.retriable_request_headers.is_empty(), "retriable_request_headers")?;
    fields::unsupported(message.per_try_idle_timeout.is_some(), "per_try_idle_timeout")?;

    let mut avoid_previous_hosts = None;
    for (at, predicate) in message.retry_host_predicate.iter().enumerate() {
        match predicate.name.as_str() {
            PREVIOUS_HOSTS => {
                let attempts = u32::try_from(message.host_selection_retry_max_attempts).unwrap_or(0);
                avoid_previous_hosts = Some(attempts.max(1));
            }
            OMIT_CANARY => {}
            other => {
                return refuse(format!("unknown retry host predicate '{other}'"))
                    .at_index("retry_host_predicate", at);
            }
        }
    }
    Ok(RetryPolicy {
        on: conditions(&message.retry_on, context),
        attempts: fields::number(message.num_retries.as_ref(), 1),
        per_try_timeout: fields::timeout(message.per_try_timeout.as_ref(), "per_try_timeout", None)?,
        statuses: statuses(&message.retriable_status_codes)?,
        backoff: backoff(message)?,
        avoid_previous_hosts,
        avoid_previous_priorities: message
            .retry_priority
            .as_ref()
            .map(priority)
            .transpose()
            .at("retry_priority")?,
    })
}

fn conditions(words: &str, context: &mut Context) -> RetryOn {
    let mut on = RetryOn::default();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match CONDITIONS.iter().find(|(known, _)| *known == word) {
            Some((_, flag)) => on.0 |= flag,
            None => context.note(format!("retry_on: '{word}' is not in effect")),
        }
    }
    on
}

/// After how many tries their priorities are avoided.
fn priority(message: &RetryPriority) -> Result<u32, Rejection> {
    if message.name != PREVIOUS_PRIORITIES {
        return refuse(format!("unknown retry priority '{}'", message.name));
    }
    let Some(retry_priority::ConfigType::TypedConfig(config)) = &message.config_type else {
        return refuse("value is required").at("typed_config");
    };
    let config: PreviousPrioritiesConfig = fields::unpack(config)?;
    match u32::try_from(config.update_frequency) {
        Ok(tries) if tries > 0 => Ok(tries),
        _ => refuse("value must be greater than 0").at("typed_config.update_frequency"),
    }
}

fn statuses(codes: &[u32]) -> Result<Vec<u16>, Rejection> {
    codes
        .iter()
        .map(|code| u16::try_from(*code).map_err(|_| Rejection::new(format!("{code} is no status code"))))
        .collect::<Result<_, _>>()
        .at("retriable_status_codes")
}

fn backoff(message: &Message) -> Result<(Duration, Duration), Rejection> {
    let Some(backoff) = &message.retry_back_off else {
        return Ok((Duration::from_millis(25), Duration::from_millis(250)));
    };
    let Some(base) = fields::optional(backoff.base_interval.as_ref(), "retry_back_off.base_interval")? else {
        return refuse("value is required").at("retry_back_off.base_interval");
    };
    let max =
        fields::optional(backoff.max_interval.as_ref(), "retry_back_off.max_interval")?.unwrap_or(base * 10);
    // At least a millisecond, as in Envoy.
    let base = base.max(Duration::from_millis(1));
    if max < base {
        return refuse("max_interval must be greater than or equal to base_interval").at("retry_back_off");
    }
    Ok((base, max))
}
