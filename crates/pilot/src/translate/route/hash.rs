//! Keys of the hash that picks an endpoint as Envoy's HashPolicy.

use meltemi_xds::pb::envoy::config::route::v3 as envoy;

use crate::model::route::{Cookie as CookieKey, HashKey};
use crate::translate::proto::duration;

/// A key.
pub(super) fn hash_policy(model: &HashKey) -> envoy::route_action::HashPolicy {
    use envoy::route_action::hash_policy::{ConnectionProperties, Header, PolicySpecifier, QueryParameter};
    let specifier = match model {
        HashKey::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.to_string(), ..Default::default() })
        }
        HashKey::Cookie(key) => PolicySpecifier::Cookie(cookie(key)),
        HashKey::SourceAddress => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() }),
    };
    envoy::route_action::HashPolicy { policy_specifier: Some(specifier), ..Default::default() }
}

fn cookie(key: &CookieKey) -> envoy::route_action::hash_policy::Cookie {
    use envoy::route_action::hash_policy::{Cookie, CookieAttribute};
    let attribute = |(name, value): &(meltemi_config::Str, meltemi_config::Str)| CookieAttribute {
        name: name.to_string(),
        value: value.to_string(),
    };
    Cookie {
        name: key.name.to_string(),
        path: key.path.to_string(),
        ttl: key.ttl.map(duration),
        attributes: key.attributes.iter().map(attribute).collect(),
    }
}
