//! Listener filters: which one a message means, its settings, and the connections it leaves alone.
//!
//! Invariant: a setting that is not in effect is refused or noted, never ignored.

use meltemi_xds::pb::envoy::{
    config::{
        core::v3::proxy_protocol_config::Version,
        listener::v3::{
            ListenerFilter as Message, ListenerFilterChainMatchPredicate as Predicate, listener_filter,
            listener_filter_chain_match_predicate::{MatchSet, Rule},
        },
    },
    extensions::filters::listener::{
        http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, proxy_protocol::v3::ProxyProtocol,
        tls_inspector::v3::TlsInspector,
    },
};
use prost::Name;

use super::{At, Context, Rejection, fields, refuse};
use crate::listener::{
    HeaderVersions, ListenerFilter,
    filters::{DestinationMatch, InstalledFilter},
};

/// Deeper conditions are refused: evaluating one recurses.
const DEEPEST: usize = 32;

/// Compiles one filter.
pub fn compile(message: &Message, context: &mut Context) -> Result<InstalledFilter, Rejection> {
    let disabled = message.filter_disabled.as_ref().map(|predicate| condition(predicate, 0)).transpose();
    let disabled = disabled.at("filter_disabled")?.map(Box::new);
    let url = match &message.config_type {
        Some(listener_filter::ConfigType::TypedConfig(config)) => {
            if config.type_url == TlsInspector::type_url() {
                tls_inspector(&fields::unpack(config)?, context).at("typed_config")?;
            } else if config.type_url == ProxyProtocol::type_url() {
                let versions = proxy_protocol(&fields::unpack(config)?).at("typed_config")?;
                return Ok(InstalledFilter { filter: ListenerFilter::ProxyProtocol(versions), disabled });
            }
            config.type_url.as_str()
        }
        Some(listener_filter::ConfigType::ConfigDiscovery(_)) => {
            return refuse(format!(
                "filter '{}': discovery of filter configs is not supported",
                message.name
            ));
        }
        None => "",
    };
    let proxy_protocol = ListenerFilter::ProxyProtocol(HeaderVersions::default());
    let known = [
        (ListenerFilter::OriginalDst, OriginalDst::type_url(), "envoy.filters.listener.original_dst"),
        (ListenerFilter::TlsInspector, TlsInspector::type_url(), "envoy.filters.listener.tls_inspector"),
        (ListenerFilter::HttpInspector, HttpInspector::type_url(), "envoy.filters.listener.http_inspector"),
        (proxy_protocol, ProxyProtocol::type_url(), "envoy.filters.listener.proxy_protocol"),
    ];
    let found =
        known.into_iter().find(|(_, typed, name)| url == typed || (url.is_empty() && message.name == *name));
    match found {
        Some((filter, ..)) => Ok(InstalledFilter { filter, disabled }),
        None => refuse(format!("unknown listener filter '{}' of type '{url}'", message.name)),
    }
}

fn condition(message: &Predicate, depth: usize) -> Result<DestinationMatch, Rejection> {
    if depth > DEEPEST {
        return refuse(format!("conditions are nested more than {DEEPEST} deep"));
    }
    Ok(match &message.rule {
        Some(Rule::AnyMatch(true)) => DestinationMatch::Any,
        Some(Rule::AnyMatch(false)) => return refuse("value must equal true").at("any_match"),
        Some(Rule::OrMatch(set)) => DestinationMatch::Or(conditions(set, depth).at("or_match")?),
        Some(Rule::AndMatch(set)) => DestinationMatch::And(conditions(set, depth).at("and_match")?),
        Some(Rule::NotMatch(rule)) => {
            DestinationMatch::Not(Box::new(condition(rule, depth + 1).at("not_match")?))
        }
        Some(Rule::DestinationPortRange(range)) => {
            match (u32::try_from(range.start), u32::try_from(range.end)) {
                (Ok(start), Ok(end)) => DestinationMatch::Ports(start..end),
                _ => {
                    let (start, end) = (range.start, range.end);
                    return refuse(format!("[{start}, {end}) is not a range of ports"))
                        .at("destination_port_range");
                }
            }
        }
        None => return refuse("a rule is required"),
    })
}

fn conditions(set: &MatchSet, depth: usize) -> Result<Vec<DestinationMatch>, Rejection> {
    if set.rules.len() < 2 {
        return refuse("at least 2 items are required").at("rules");
    }
    let rules = set.rules.iter().enumerate();
    rules.map(|(at, rule)| condition(rule, depth + 1).at_index("rules", at)).collect()
}

fn tls_inspector(message: &TlsInspector, context: &mut Context) -> Result<(), Rejection> {
    fields::unsupported(
        fields::flag(message.enable_ja3_fingerprinting.as_ref(), false),
        "enable_ja3_fingerprinting",
    )?;
    fields::unsupported(
        fields::flag(message.enable_ja4_fingerprinting.as_ref(), false),
        "enable_ja4_fingerprinting",
    )?;
    if message.initial_read_buffer_size.is_some() || message.max_client_hello_size.is_some() {
        context.note("tls_inspector buffer sizes: not in effect");
    }
    Ok(())
}

fn proxy_protocol(message: &ProxyProtocol) -> Result<HeaderVersions, Rejection> {
    fields::unsupported(!message.rules.is_empty(), "rules")?;
    fields::unsupported(message.pass_through_tlvs.is_some(), "pass_through_tlvs")?;
    let refuses = |version: Version| message.disallowed_versions.contains(&(version as i32));
    Ok(HeaderVersions {
        optional: message.allow_requests_without_proxy_protocol,
        no_version_1: refuses(Version::V1),
        no_version_2: refuses(Version::V2),
    })
}
