//! `filter_chain_matcher`: the messages of the matching API over what is known of a connection.
//!
//! Invariant: an input, a matcher or an action that is not known refuses the listener; so does a tree that is deeper than
//! anybody means, since both compiling and matching recurse.

use std::sync::Arc;

use meltemi_xds::pb::{
    envoy::{
        config::core::v3::CidrRange as EnvoyRange,
        extensions::matching::{
            common_inputs::network::v3::{
                ApplicationProtocolInput, DestinationIpInput, DestinationPortInput, DirectSourceIpInput,
                ServerNameInput, SourceIpInput, SourcePortInput, SourceTypeInput, TransportProtocolInput,
            },
            input_matchers::ip::v3::Ip,
        },
    },
    google::protobuf::{Any, StringValue},
    xds::{
        core::v3::TypedExtensionConfig,
        r#type::matcher::v3::{
            Matcher, StringMatcher,
            matcher::{
                MatcherList, MatcherTree, MatcherType, OnMatch,
                matcher_list::{
                    Predicate,
                    predicate::{MatchType, PredicateList, SinglePredicate, single_predicate},
                },
                matcher_tree::{MatchMap, TreeType},
                on_match,
            },
            string_matcher::MatchPattern,
        },
    },
};
use prost::Name;
use rustc_hash::FxHashMap;

use super::{At, Context, Rejection, fields, listener, refuse};
use crate::{
    listener::matcher::tree::{Branch, Condition, Input, Kind, Range, Tree},
    route::strings::StringMatch,
};

/// Deeper trees and conditions are refused.
const DEEPEST: usize = 32;

/// `xds.type.matcher.v3.IPMatcher`, which the generated messages lack.
#[derive(Clone, PartialEq, prost::Message)]
struct IpMatcher {
    #[prost(message, repeated, tag = "1")]
    range_matchers: Vec<IpRangeMatcher>,
}

/// `IPMatcher.IPRangeMatcher`.
#[derive(Clone, PartialEq, prost::Message)]
struct IpRangeMatcher {
    /// The same on the wire as the message of `xds.core`.
    #[prost(message, repeated, tag = "1")]
    ranges: Vec<EnvoyRange>,
    #[prost(message, optional, tag = "2")]
    on_match: Option<OnMatch>,
    #[prost(bool, tag = "3")]
    exclusive: bool,
}

impl Name for IpMatcher {
    const NAME: &'static str = "IPMatcher";
    const PACKAGE: &'static str = "xds.type.matcher.v3";

    fn type_url() -> String {
        IP_MATCHER.to_owned()
    }
}

/// `xds.type.matcher.v3.ServerNameMatcher`, likewise.
#[derive(Clone, PartialEq, prost::Message)]
struct ServerNameMatcher {
    #[prost(message, repeated, tag = "1")]
    domain_matchers: Vec<DomainMatcher>,
}

/// `ServerNameMatcher.DomainMatcher`.
#[derive(Clone, PartialEq, prost::Message)]
struct DomainMatcher {
    #[prost(string, repeated, tag = "1")]
    domains: Vec<String>,
    #[prost(message, optional, tag = "2")]
    on_match: Option<OnMatch>,
}

impl Name for ServerNameMatcher {
    const NAME: &'static str = "ServerNameMatcher";
    const PACKAGE: &'static str = "xds.type.matcher.v3";

    fn type_url() -> String {
        NAME_MATCHER.to_owned()
    }
}

const NAME_MATCHER: &str = "type.googleapis.com/xds.type.matcher.v3.ServerNameMatcher";
const IP_MATCHER: &str = "type.googleapis.com/xds.type.matcher.v3.IPMatcher";

/// Compiles the tree.
pub fn compile(message: &Matcher, context: &mut Context) -> Result<Tree, Rejection> {
    tree(message, 0, context)
}

fn tree(message: &Matcher, depth: usize, context: &mut Context) -> Result<Tree, Rejection> {
    if depth > DEEPEST {
        return refuse(format!("matchers are nested more than {DEEPEST} deep"));
    }
    let kind = match &message.matcher_type {
        None => Kind::Nothing,
        Some(MatcherType::MatcherList(list)) => list_of(list, depth, context).at("matcher_list")?,
        Some(MatcherType::MatcherTree(tree)) => map_of(tree, depth, context).at("matcher_tree")?,
    };
    let otherwise = message.on_no_match.as_ref().map(|next| branch(next, depth, context)).transpose();
    Ok(Tree { kind, otherwise: otherwise.at("on_no_match")? })
}

fn list_of(message: &MatcherList, depth: usize, context: &mut Context) -> Result<Kind, Rejection> {
    let mut list = Vec::with_capacity(message.matchers.len());
    for (at, matcher) in message.matchers.iter().enumerate() {
        let Some(predicate) = &matcher.predicate else {
            return refuse("value is required").at("predicate").at_index("matchers", at);
        };
        let condition = condition(predicate, depth, context).at("predicate").at_index("matchers", at)?;
        let next = required(matcher.on_match.as_ref(), depth, context).at_index("matchers", at)?;
        list.push((condition, next));
    }
    Ok(Kind::List(list))
}

fn required(message: Option<&OnMatch>, depth: usize, context: &mut Context) -> Result<Branch, Rejection> {
    match message {
        Some(message) => branch(message, depth, context).at("on_match"),
        None => refuse("value is required").at("on_match"),
    }
}

fn branch(message: &OnMatch, depth: usize, context: &mut Context) -> Result<Branch, Rejection> {
    fields::unsupported(message.keep_matching, "keep_matching")?;
    match &message.on_match {
        Some(on_match::OnMatch::Matcher(inner)) => {
            tree(inner, depth + 1, context).at("matcher").map(|tree| Branch::Tree(Box::new(tree)))
        }
        Some(on_match::OnMatch::Action(action)) => {
            let config = config(action).at("action")?;
            if config.type_url != StringValue::type_url() {
                let url = &config.type_url;
                return refuse(format!("unknown action '{}' of type '{url}'", action.name)).at("action");
            }
            let name: StringValue = fields::unpack(config)?;
            Ok(Branch::Chain(context.intern(&name.value)))
        }
        None => refuse("a matcher or an action is required"),
    }
}

fn config(message: &TypedExtensionConfig) -> Result<&Any, Rejection> {
    match &message.typed_config {
        Some(config) => Ok(config),
        None => refuse(format!("'{}' needs a typed_config", message.name)),
    }
}

fn input(message: Option<&TypedExtensionConfig>) -> Result<Input, Rejection> {
    let Some(message) = message else { return refuse("value is required").at("input") };
    let known = [
        (DestinationIpInput::type_url(), Input::DestinationIp),
        (DestinationPortInput::type_url(), Input::DestinationPort),
        (SourceIpInput::type_url(), Input::SourceIp),
        (SourcePortInput::type_url(), Input::SourcePort),
        (DirectSourceIpInput::type_url(), Input::DirectSourceIp),
        (SourceTypeInput::type_url(), Input::SourceType),
        (ServerNameInput::type_url(), Input::ServerName),
        (TransportProtocolInput::type_url(), Input::TransportProtocol),
        (ApplicationProtocolInput::type_url(), Input::ApplicationProtocol),
    ];
    let config = config(message).at("input")?;
    let url = &config.type_url;
    match known.into_iter().find(|(known, _)| known == url) {
        Some((_, input)) => Ok(input),
        None => refuse(format!("unknown input '{}' of type '{url}'", message.name)).at("input"),
    }
}

fn condition(message: &Predicate, depth: usize, context: &mut Context) -> Result<Condition, Rejection> {
    if depth > DEEPEST {
        return refuse(format!("conditions are nested more than {DEEPEST} deep"));
    }
    Ok(match &message.match_type {
        Some(MatchType::SinglePredicate(one)) => single(one, context).at("single_predicate")?,
        Some(MatchType::OrMatcher(list)) => {
            Condition::Any(conditions(list, depth, context).at("or_matcher")?)
        }
        Some(MatchType::AndMatcher(list)) => {
            Condition::All(conditions(list, depth, context).at("and_matcher")?)
        }
        Some(MatchType::NotMatcher(inner)) => {
            Condition::Not(Box::new(condition(inner, depth + 1, context).at("not_matcher")?))
        }
        None => return refuse("a predicate is required"),
    })
}

fn conditions(
    message: &PredicateList,
    depth: usize,
    context: &mut Context,
) -> Result<Vec<Condition>, Rejection> {
    if message.predicate.len() < 2 {
        return refuse("at least 2 items are required").at("predicate");
    }
    let parts = message.predicate.iter().enumerate();
    parts.map(|(at, part)| condition(part, depth + 1, context).at_index("predicate", at)).collect()
}

fn single(message: &SinglePredicate, context: &mut Context) -> Result<Condition, Rejection> {
    let input = input(message.input.as_ref())?;
    match &message.matcher {
        Some(single_predicate::Matcher::ValueMatch(text)) => {
            Ok(Condition::Text(input, string(text, context).at("value_match")?))
        }
        Some(single_predicate::Matcher::CustomMatch(custom)) => {
            let config = config(custom).at("custom_match")?;
            if config.type_url != Ip::type_url() {
                let url = &config.type_url;
                return refuse(format!("unknown matcher '{}' of type '{url}'", custom.name))
                    .at("custom_match");
            }
            let ip: Ip = fields::unpack(config)?;
            only_addresses(input)?;
            let ranges = listener::ranges(&ip.cidr_ranges).at("cidr_ranges").at("custom_match")?;
            Ok(Condition::Within(input, ranges))
        }
        None => refuse("value_match or custom_match is required"),
    }
}

fn only_addresses(input: Input) -> Result<(), Rejection> {
    match input.is_address() {
        true => Ok(()),
        false => refuse("ranges of addresses are for inputs that are addresses").at("custom_match"),
    }
}

fn map_of(message: &MatcherTree, depth: usize, context: &mut Context) -> Result<Kind, Rejection> {
    let input = input(message.input.as_ref())?;
    match &message.tree_type {
        Some(TreeType::ExactMatchMap(map)) => {
            let map = entries(map, depth, context).at("exact_match_map")?;
            Ok(Kind::Exact(input, map.into_iter().collect()))
        }
        Some(TreeType::PrefixMatchMap(map)) => {
            let mut map = entries(map, depth, context).at("prefix_match_map")?;
            map.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            Ok(Kind::Prefix(input, map))
        }
        Some(TreeType::CustomMatch(custom)) => ranges(input, custom, depth, context).at("custom_match"),
        None => refuse("a map or a custom match is required"),
    }
}

fn entries(
    message: &MatchMap,
    depth: usize,
    context: &mut Context,
) -> Result<Vec<(Box<str>, Branch)>, Rejection> {
    if message.map.is_empty() {
        return refuse("at least 1 item is required").at("map");
    }
    let entry = |(key, next): (&String, &OnMatch)| {
        Ok((key.as_str().into(), branch(next, depth, context).at(key).at("map")?))
    };
    message.map.iter().map(entry).collect()
}

fn ranges(
    input: Input,
    custom: &TypedExtensionConfig,
    depth: usize,
    context: &mut Context,
) -> Result<Kind, Rejection> {
    let config = config(custom)?;
    if config.type_url == NAME_MATCHER {
        return names(input, &fields::unpack(config)?, depth, context);
    }
    if config.type_url != IP_MATCHER {
        return refuse(format!("unknown matcher '{}' of type '{}'", custom.name, config.type_url));
    }
    only_addresses(input)?;
    let message: IpMatcher = fields::unpack(config)?;
    let mut found = Vec::new();
    for (at, matcher) in message.range_matchers.iter().enumerate() {
        let next = required(matcher.on_match.as_ref(), depth, context).at_index("range_matchers", at)?;
        let next = Arc::new(next);
        let listed = listener::ranges(&matcher.ranges).at("ranges").at_index("range_matchers", at)?;
        let range = |range| Range { range, branch: next.clone(), exclusive: matcher.exclusive };
        found.extend(listed.into_iter().map(range));
    }
    // Of equal ones the first that was listed stays first.
    found.sort_by_key(|range| std::cmp::Reverse(range.range.len));
    Ok(Kind::Ranges(input, found))
}

fn names(
    input: Input,
    message: &ServerNameMatcher,
    depth: usize,
    context: &mut Context,
) -> Result<Kind, Rejection> {
    let mut names = FxHashMap::default();
    for (at, matcher) in message.domain_matchers.iter().enumerate() {
        let next = required(matcher.on_match.as_ref(), depth, context).at_index("domain_matchers", at)?;
        let next = Arc::new(next);
        for domain in &matcher.domains {
            let end = domain.strip_prefix('*').unwrap_or(domain);
            let whole = end.len() == domain.len() || end.is_empty() || end.starts_with('.') && end.len() > 1;
            if domain.is_empty() || end.contains('*') || !whole {
                return refuse(format!("Invalid wildcard domain format '{domain}'"))
                    .at("domains")
                    .at_index("domain_matchers", at);
            }
            if names.insert(domain.to_ascii_lowercase().into(), next.clone()).is_some() {
                return refuse(format!("Duplicate domain in ServerNameMatcher: {domain}"))
                    .at("domains")
                    .at_index("domain_matchers", at);
            }
        }
    }
    Ok(Kind::Names(input, names))
}

/// The matching API's own `StringMatcher`.
fn string(message: &StringMatcher, context: &mut Context) -> Result<StringMatch, Rejection> {
    let mut text = |text: &str, field| match text {
        "" => refuse("value is empty").at(field),
        text => Ok(context.intern(text)),
    };
    let condition = match &message.match_pattern {
        Some(MatchPattern::Exact(value)) => StringMatch::Exact(context.intern(value)),
        Some(MatchPattern::Prefix(value)) => StringMatch::Prefix(text(value, "prefix")?),
        Some(MatchPattern::Suffix(value)) => StringMatch::Suffix(text(value, "suffix")?),
        Some(MatchPattern::Contains(value)) => StringMatch::Contains(text(value, "contains")?),
        Some(MatchPattern::SafeRegex(regex)) if regex.regex.is_empty() => {
            return refuse("value is empty").at("safe_regex.regex");
        }
        Some(MatchPattern::SafeRegex(regex)) if regex.engine_type.is_none() => {
            return refuse("value is required").at("safe_regex.engine_type");
        }
        Some(MatchPattern::SafeRegex(regex)) => {
            StringMatch::Regex(context.full_match(&regex.regex).at("safe_regex")?)
        }
        Some(MatchPattern::Custom(custom)) => {
            return refuse(format!("string matcher '{}' is not supported", custom.name)).at("custom");
        }
        None => return refuse("a match pattern is required"),
    };
    Ok(if message.ignore_case { condition.ignoring_case() } else { condition })
}
