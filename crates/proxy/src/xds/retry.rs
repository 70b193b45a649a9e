//! `RetryPolicy` to the data path's form.

use std::{sync::Arc, time::Duration};

use meltemi_xds::pb::envoy::{
    config::route::v3::{
        HeaderMatcher, RetryPolicy as Message,
        retry_policy::{ResetHeader, ResetHeaderFormat, RetryPriority, retry_priority},
    },
    extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig,
};

use meltemi_xds::extension::RETRY_SAFE;

use super::{At, Context, Rejection, fields, matchers, refuse};
use crate::{
    http::router::retry::condition,
    route::{ResetFormat, ResetHeaders, RetryOn, RetryPolicy, matcher::HeaderMatch},
};

/// Hosts already tried are avoided.
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
/// Priorities already tried are avoided.
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";
/// Hosts with some metadata are avoided; without subsets there is nothing that it could mean here.
const OMIT_CANARY: &str = "envoy.retry_host_predicates.omit_canary_hosts";

/// Compiles a policy; words that this version does not act on are noted, as Envoy skips words it does not know.
pub fn compile(message: &Message, context: &mut Context) -> Result<RetryPolicy, Rejection> {
    fields::unsupported(!message.retry_options_predicates.is_empty(), "retry_options_predicates")?;
    let mut safe = false;
    let mut avoid_previous_hosts = None;
    for (at, predicate) in message.retry_host_predicate.iter().enumerate() {
        match predicate.name.as_str() {
            PREVIOUS_HOSTS => {
                let attempts = u32::try_from(message.host_selection_retry_max_attempts).unwrap_or(0);
                avoid_previous_hosts = Some(attempts.max(1));
            }
            OMIT_CANARY => {}
            RETRY_SAFE => safe = true,
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
        per_try_idle_timeout: fields::timeout(
            message.per_try_idle_timeout.as_ref(),
            "per_try_idle_timeout",
            None,
        )?,
        statuses: statuses(&message.retriable_status_codes)?,
        response_headers: headers(&message.retriable_headers, "retriable_headers", context)?,
        request_headers: headers(&message.retriable_request_headers, "retriable_request_headers", context)?,
        reset_headers: reset_headers(message, context).at("rate_limited_retry_back_off")?,
        reset_max: reset_max(message).at("rate_limited_retry_back_off")?,
        safe,
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
        match condition(word) {
            0 => context.note(format!("retry_on: '{word}' is not in effect")),
            flag => on.0 |= flag,
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

fn headers(
    messages: &[HeaderMatcher],
    field: &str,
    context: &mut Context,
) -> Result<Arc<[HeaderMatch]>, Rejection> {
    let messages = messages.iter().enumerate();
    messages.map(|(at, message)| matchers::header(message, context).at_index(field, at)).collect()
}

/// The headers that say when to come again.
fn reset_headers(message: &Message, context: &mut Context) -> Result<ResetHeaders, Rejection> {
    let Some(limited) = &message.rate_limited_retry_back_off else { return Ok(Arc::default()) };
    if limited.reset_headers.is_empty() {
        return refuse("value must contain at least 1 item").at("reset_headers");
    }
    let header = |header: &ResetHeader| {
        let format = match ResetHeaderFormat::try_from(header.format) {
            Ok(ResetHeaderFormat::Seconds) => ResetFormat::Seconds,
            Ok(ResetHeaderFormat::UnixTimestamp) => ResetFormat::UnixTimestamp,
            Err(_) => return fields::unknown_enum("format", header.format),
        };
        match header.name.as_str() {
            "" => refuse("value is empty").at("name"),
            name => Ok((context.intern(&name.to_ascii_lowercase()), format)),
        }
    };
    limited.reset_headers.iter().map(header).collect::<Result<_, _>>().at("reset_headers")
}

fn reset_max(message: &Message) -> Result<Duration, Rejection> {
    let limited = message.rate_limited_retry_back_off.as_ref();
    let max = limited.and_then(|limited| limited.max_interval.as_ref());
    Ok(fields::optional(max, "max_interval")?.unwrap_or(Duration::from_secs(300)))
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
