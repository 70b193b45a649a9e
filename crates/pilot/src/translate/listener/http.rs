//! Settings of HTTP as Envoy's HttpConnectionManager.

use std::time::Duration;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as envoy;

use super::access_log;
use crate::model::listener::{ClientCert, Http, PathNormalization, Routes};
use crate::names::SERVER_NAME;
use crate::translate::proto::{ads, bool_value, duration};
use crate::translate::route::route_configuration;

/// A connection manager.
pub(super) fn connection_manager(model: &Http) -> envoy::HttpConnectionManager {
    use envoy::http_connection_manager::{RouteSpecifier, UpgradeConfig};
    let routes = match &model.routes {
        Routes::Rds(name) => {
            RouteSpecifier::Rds(envoy::Rds { config_source: Some(ads()), route_config_name: name.clone() })
        }
        Routes::Inline(routes) => RouteSpecifier::RouteConfig(route_configuration(routes)),
    };
    let mut manager = envoy::HttpConnectionManager {
        stat_prefix: model.stat_prefix.clone(),
        route_specifier: Some(routes),
        http_filters: vec![router()],
        server_name: SERVER_NAME.to_owned(),
        access_log: model.access_log.iter().map(|log| access_log(log, false)).collect(),
        use_remote_address: Some(bool_value(model.use_remote_address)),
        xff_num_trusted_hops: model.trusted_hops,
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        // Streams may be silent for long; routes have their own timeouts.
        stream_idle_timeout: Some(duration(Duration::ZERO)),
        http_protocol_options: model
            .http10
            .then(|| core::Http1ProtocolOptions { accept_http_10: true, ..Default::default() }),
        ..Default::default()
    };
    set_client_cert(&mut manager, model.client_cert);
    set_normalization(&mut manager, model.normalization);
    manager
}

/// The little that gRPC's client reads.
pub(super) fn api_manager(route: &str) -> envoy::HttpConnectionManager {
    let rds = envoy::Rds { config_source: Some(ads()), route_config_name: route.to_owned() };
    envoy::HttpConnectionManager {
        route_specifier: Some(envoy::http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters: vec![router()],
        ..Default::default()
    }
}

fn router() -> envoy::HttpFilter {
    envoy::HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(envoy::http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..Default::default()
    }
}

fn set_client_cert(manager: &mut envoy::HttpConnectionManager, client_cert: ClientCert) {
    use envoy::http_connection_manager::{ForwardClientCertDetails as Forward, SetCurrentClientCertDetails};
    let forward = match client_cert {
        ClientCert::Sanitize => return,
        ClientCert::SanitizeSet => Forward::SanitizeSet,
        ClientCert::AppendForward => Forward::AppendForward,
    };
    manager.forward_client_cert_details = forward.into();
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: Some(bool_value(true)),
        dns: true,
        uri: true,
        cert: client_cert == ClientCert::SanitizeSet,
        ..Default::default()
    });
}

fn set_normalization(manager: &mut envoy::HttpConnectionManager, normalization: PathNormalization) {
    use envoy::http_connection_manager::PathWithEscapedSlashesAction as Escaped;
    manager.normalize_path = Some(bool_value(normalization != PathNormalization::None));
    manager.merge_slashes =
        matches!(normalization, PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes);
    if normalization == PathNormalization::DecodeAndMergeSlashes {
        manager.path_with_escaped_slashes_action = Escaped::UnescapeAndForward.into();
    }
}
