//! String, header and query parameter conditions: `type.matcher.v3` and `route.v3` messages to the matcher's own.

use meltemi_xds::pb::envoy::{
    config::route::v3::{
        HeaderMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier as Header,
        query_parameter_matcher::QueryParameterMatchSpecifier as Query,
    },
    r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
};

use super::{At, Context, Rejection, refuse};
use crate::route::{
    matcher::{HeaderMatch, HeaderName, QueryMatch, ValueMatch},
    strings::StringMatch,
};

/// A `StringMatcher`.
pub fn string(message: &StringMatcher, context: &mut Context) -> Result<StringMatch, Rejection> {
    let condition = match &message.match_pattern {
        Some(MatchPattern::Exact(text)) => StringMatch::Exact(context.intern(text)),
        Some(MatchPattern::Prefix(text)) => StringMatch::Prefix(not_empty(text, "prefix", context)?),
        Some(MatchPattern::Suffix(text)) => StringMatch::Suffix(not_empty(text, "suffix", context)?),
        Some(MatchPattern::Contains(text)) => StringMatch::Contains(not_empty(text, "contains", context)?),
        Some(MatchPattern::SafeRegex(regex)) => StringMatch::Regex(pattern(regex, context).at("safe_regex")?),
        Some(MatchPattern::Custom(custom)) => {
            return refuse(format!("string matcher '{}' is not supported", custom.name)).at("custom");
        }
        None => return refuse("a match pattern is required"),
    };
    Ok(if message.ignore_case { condition.ignoring_case() } else { condition })
}

/// A `RegexMatcher`, anchored.
pub fn pattern(
    message: &RegexMatcher,
    context: &mut Context,
) -> Result<std::sync::Arc<regex::Regex>, Rejection> {
    match message.regex.as_str() {
        "" => refuse("value is empty").at("regex"),
        text => context.full_match(text),
    }
}

fn not_empty(text: &str, field: &str, context: &mut Context) -> Result<std::sync::Arc<str>, Rejection> {
    if text.is_empty() { refuse("value is empty").at(field) } else { Ok(context.intern(text)) }
}

/// A `HeaderMatcher`.
pub fn header(message: &HeaderMatcher, context: &mut Context) -> Result<HeaderMatch, Rejection> {
    if message.name.is_empty() {
        return refuse("value is empty").at("name");
    }
    let text = |condition| ValueMatch::String(condition);
    let value = match &message.header_match_specifier {
        None => ValueMatch::Present(true),
        Some(Header::PresentMatch(wanted)) => ValueMatch::Present(*wanted),
        Some(Header::ExactMatch(value)) => text(StringMatch::Exact(context.intern(value))),
        Some(Header::PrefixMatch(value)) => {
            text(StringMatch::Prefix(not_empty(value, "prefix_match", context)?))
        }
        Some(Header::SuffixMatch(value)) => {
            text(StringMatch::Suffix(not_empty(value, "suffix_match", context)?))
        }
        Some(Header::ContainsMatch(value)) => {
            text(StringMatch::Contains(not_empty(value, "contains_match", context)?))
        }
        Some(Header::SafeRegexMatch(regex)) => {
            text(StringMatch::Regex(pattern(regex, context).at("safe_regex_match")?))
        }
        Some(Header::StringMatch(condition)) => text(string(condition, context).at("string_match")?),
        Some(Header::RangeMatch(range)) => ValueMatch::Range(range.start, range.end),
    };
    Ok(HeaderMatch {
        name: HeaderName::new(&message.name),
        value,
        invert: message.invert_match,
        missing_is_empty: message.treat_missing_header_as_empty,
    })
}

/// A `QueryParameterMatcher`.
pub fn query(message: &QueryParameterMatcher, context: &mut Context) -> Result<QueryMatch, Rejection> {
    let value = match &message.query_parameter_match_specifier {
        None => ValueMatch::Present(true),
        Some(Query::PresentMatch(wanted)) => ValueMatch::Present(*wanted),
        Some(Query::StringMatch(condition)) => {
            ValueMatch::String(string(condition, context).at("string_match")?)
        }
    };
    match message.name.as_str() {
        "" => refuse("value is empty").at("name"),
        name => Ok(QueryMatch { name: context.intern(name), value }),
    }
}
