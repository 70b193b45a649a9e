//! Settings of HTTP as Envoy's HttpConnectionManager.

use std::time::Duration;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::extensions::filters::http::{
    cors::v3::Cors, dynamic_forward_proxy::v3 as dfp, fault::v3::HttpFault, router::v3::Router,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as envoy;
use meltemi_xds::pb::google::protobuf::Any;

use super::access_log;
use crate::model::listener::{ClientCert, Forward, Http, PathNormalization, Routes};
use crate::names::{CORS_FILTER, FAULT_FILTER};
use crate::translate::proto::{ads, bool_value, dns_cache, duration, http1_options};
use crate::translate::route::route_configuration;

/// A connection manager.
pub(super) fn connection_manager(model: &Http) -> envoy::HttpConnectionManager {
    use envoy::http_connection_manager::{RouteSpecifier, ServerHeaderTransformation, UpgradeConfig};
    let routes = match &model.routes {
        Routes::Rds(name) => {
            RouteSpecifier::Rds(envoy::Rds { config_source: Some(ads()), route_config_name: name.clone() })
        }
        Routes::Inline(routes) => RouteSpecifier::RouteConfig(route_configuration(routes)),
    };
    let mut manager = envoy::HttpConnectionManager {
        stat_prefix: model.stat_prefix.clone(),
        route_specifier: Some(routes),
        http_filters: filters(model),
        server_name: model.server.as_deref().unwrap_or_default().to_owned(),
        server_header_transformation: match model.server {
            Some(_) => ServerHeaderTransformation::Overwrite.into(),
            None => ServerHeaderTransformation::PassThrough.into(),
        },
        generate_request_id: (!model.request_id).then(|| bool_value(false)),
        append_x_forwarded_port: model.forwarded_port,
        access_log: access_log::terminal(&model.access_log),
        use_remote_address: Some(bool_value(model.use_remote_address)),
        xff_num_trusted_hops: model.trusted_hops,
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        // Streams may be silent for long; routes have their own timeouts.
        stream_idle_timeout: Some(duration(Duration::ZERO)),
        http_protocol_options: (model.http10 || model.preserve_case)
            .then(|| http1_options(model.http10, model.preserve_case)),
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
        http_filters: vec![router(false)],
        ..Default::default()
    }
}

/// What routes may configure, whether or not one does: so a rule that is added changes no listener.
fn filters(model: &Http) -> Vec<envoy::HttpFilter> {
    let mut filters =
        vec![filter(FAULT_FILTER, any(&HttpFault::default())), filter(CORS_FILTER, any(&Cors {}))];
    if let Some(refresh) = model.dynamic_dns {
        let config = dfp::FilterConfig {
            implementation_specifier: Some(dfp::filter_config::ImplementationSpecifier::DnsCacheConfig(
                dns_cache(refresh),
            )),
            ..Default::default()
        };
        filters.push(filter("envoy.filters.http.dynamic_forward_proxy", any(&config)));
    }
    filters.extend(model.reason_header.as_deref().map(meltemi_xds::extension::local_reply_reason));
    filters.push(router(model.hide_envoy));
    filters
}

fn filter(name: &str, config: Any) -> envoy::HttpFilter {
    envoy::HttpFilter {
        name: name.to_owned(),
        config_type: Some(envoy::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn router(suppress_envoy_headers: bool) -> envoy::HttpFilter {
    let config = Router { suppress_envoy_headers, ..Default::default() };
    filter("envoy.filters.http.router", any(&config))
}

fn set_client_cert(manager: &mut envoy::HttpConnectionManager, client_cert: ClientCert) {
    use envoy::http_connection_manager::{ForwardClientCertDetails as Details, SetCurrentClientCertDetails};
    let forward = match client_cert.forward {
        Forward::Sanitize => Details::Sanitize,
        Forward::ForwardOnly => Details::ForwardOnly,
        Forward::AppendForward => Details::AppendForward,
        Forward::SanitizeSet => Details::SanitizeSet,
        Forward::AlwaysForwardOnly => Details::AlwaysForwardOnly,
    };
    manager.forward_client_cert_details = forward.into();
    let [subject, cert, chain, dns, uri] = client_cert.details;
    if client_cert.details.contains(&true) {
        manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
            subject: Some(bool_value(subject)),
            cert,
            chain,
            dns,
            uri,
            ..Default::default()
        });
    }
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
