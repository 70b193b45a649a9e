//! Telemetry: providers, shares, tags and changes of labels.

use super::policy::attachment;
use super::{Check, Path, code, names};
use crate::Str;
use crate::telemetry::*;

pub(super) fn check(it: &Telemetry, check: &mut Check<'_>, at: &Path<'_>) {
    attachment(&it.selector, &it.target_ref, &it.target_refs, check, at);
    let traces = at.key("tracing");
    if it.tracing.len() > 1 {
        let hint = Some("put what they say into one".to_owned());
        check.warn(code::SCHEMA_WARNING, &traces, "multiple tracing is not currently supported", hint);
    }
    for (index, entry) in it.tracing.iter().enumerate() {
        tracing(entry, check, &traces.index(index));
    }
    let metrics = at.key("metrics");
    for (index, entry) in it.metrics.iter().enumerate() {
        let at = metrics.index(index);
        if let Some(interval) = entry.reporting_interval {
            check.accept(&at.key("reportingInterval"), names::duration(interval));
        }
        let overrides = at.key("overrides");
        for (number, change) in entry.overrides.iter().enumerate() {
            self::change(change, check, &overrides.index(number));
        }
    }
}

fn tracing(it: &Tracing, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(percentage) = it.random_sampling_percentage {
        check.accept(&at.key("randomSamplingPercentage"), names::percent(percentage));
    }
    if it.providers.len() > 1 {
        let message = "multiple providers is not currently supported";
        check.warn(code::SCHEMA_WARNING, &at.key("providers"), message, Some("name one".to_owned()));
    }
    providers(&it.providers, check, at);
    let tags = at.key("customTags");
    for (name, tag) in &it.custom_tags {
        let at = tags.key(name);
        if name.is_empty() {
            check.error(&at, "the name of a tag must not be empty");
        }
        let (field, part, text) = match &tag.value {
            None => {
                let hint = "literal, environment, header or formatter";
                check.error_hint(&at, "where the value comes from is missing", hint);
                continue;
            }
            Some(CustomTagType::Literal(tag)) => ("literal", "value", &tag.value),
            Some(CustomTagType::Formatter(tag)) => ("formatter", "value", &tag.value),
            Some(CustomTagType::Environment(tag)) => ("environment", "name", &tag.name),
            Some(CustomTagType::Header(tag)) => ("header", "name", &tag.name),
        };
        let tag_at = at.key(field);
        let place = tag_at.key(part);
        // One that is missing was noted by then.
        if text.is_empty() && check.is_given(&place) {
            check.error(&place, format!("the {part} must not be empty"));
        }
    }
}

/// A change of metrics.
fn change(it: &MetricsOverrides, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(MetricSelector { metric: Some(MetricMatch::CustomMetric(name)), .. }) = &it.matches
        && name.is_empty()
    {
        let match_at = at.key("match");
        check.error(&match_at.key("customMetric"), "the name of a metric must not be empty");
    }
    let tags = at.key("tagOverrides");
    for (name, tag) in &it.tag_overrides {
        let at = tags.key(name);
        let value = tag.value.as_deref().unwrap_or_default();
        match tag.operation {
            TagOperation::Upsert if value.is_empty() => {
                check.error(&at.key("value"), "UPSERT needs a value: an expression");
            }
            TagOperation::Remove if !value.is_empty() => {
                check.error(&at.key("value"), "REMOVE takes no value");
            }
            _ => {}
        }
    }
}

fn providers(list: &[ProviderRef], check: &mut Check<'_>, at: &Path<'_>) {
    let field = at.key("providers");
    let mut seen: Vec<&Str> = Vec::new();
    for (index, provider) in list.iter().enumerate() {
        if seen.contains(&&provider.name) {
            check.error(&field.index(index), format!("provider {:?} is given twice", provider.name));
        }
        seen.push(&provider.name);
    }
}
