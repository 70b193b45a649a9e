//! What is spoken to a cluster's hosts: the options of HTTP, in the typed extension or in the older fields.

use meltemi_xds::pb::envoy::{
    config::{
        cluster::v3::{Cluster as Message, cluster::ClusterProtocolSelection},
        core::v3::{Http1ProtocolOptions, Http2ProtocolOptions},
    },
    extensions::upstreams::http::v3::{
        HttpProtocolOptions,
        http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
    },
};

use crate::{
    cluster::{ClusterSettings, UpstreamProtocol},
    http::config::Underscores,
    xds::{At, Context, Rejection, fields, hcm, refuse},
};

/// The key of HTTP options among the typed ones.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Sets what is spoken to the hosts, and how long connections live.
pub(super) fn protocol(
    message: &Message,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<(), Rejection> {
    let mut common = message.common_http_protocol_options;
    if let Some(options) = &message.http2_protocol_options {
        settings.protocol = UpstreamProtocol::Http2;
        settings.http2 = hcm::http2(Some(options)).at("http2_protocol_options")?;
    }
    if message.protocol_selection == ClusterProtocolSelection::UseDownstreamProtocol as i32 {
        settings.protocol = UpstreamProtocol::Downstream;
    }
    settings.names = hcm::names(message.http_protocol_options.as_ref()).at("http_protocol_options")?;
    let mut names: Vec<_> = message.typed_extension_protocol_options.keys().collect();
    names.sort_unstable();
    for name in names {
        let field = format!("typed_extension_protocol_options[\"{name}\"]");
        if name != HTTP_OPTIONS {
            return refuse(format!("unknown protocol options '{name}'")).at(&field);
        }
        let Some(config) = message.typed_extension_protocol_options.get(name) else { continue };
        let options: HttpProtocolOptions = fields::unpack(config).at(&field)?;
        settings.protocol = http_options(&options, context).at(&field)?;
        settings.names = hcm::names(http1_options(&options)).at("http_protocol_options").at(&field)?;
        settings.http2 = hcm::http2(http2_options(&options)).at("http2_protocol_options").at(&field)?;
        common = options.common_http_protocol_options.or(common);
    }
    let common = hcm::common(common.as_ref()).at("common_http_protocol_options")?;
    fields::unsupported(
        common.underscores != Underscores::Allow,
        "common_http_protocol_options.headers_with_underscores_action",
    )?;
    settings.idle_timeout = common.idle_timeout;
    settings.max_connection_duration = common.max_connection_duration;
    settings.max_stream_duration = common.max_stream_duration;
    let older = fields::number(message.max_requests_per_connection.as_ref(), 0);
    settings.max_requests_per_connection = match common.max_requests_per_connection {
        0 => older,
        limit => limit,
    };
    Ok(())
}

/// `http_protocol_options`, likewise.
fn http1_options(options: &HttpProtocolOptions) -> Option<&Http1ProtocolOptions> {
    match options.upstream_protocol_options.as_ref()? {
        UpstreamProtocolOptions::ExplicitHttpConfig(explicit) => match &explicit.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(options)) => Some(options),
            _ => None,
        },
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(config) => config.http_protocol_options.as_ref(),
        UpstreamProtocolOptions::AutoConfig(config) => config.http_protocol_options.as_ref(),
    }
}

/// `http2_protocol_options`, wherever the protocol's choice puts them.
fn http2_options(options: &HttpProtocolOptions) -> Option<&Http2ProtocolOptions> {
    match options.upstream_protocol_options.as_ref()? {
        UpstreamProtocolOptions::ExplicitHttpConfig(explicit) => match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(options)) => Some(options),
            _ => None,
        },
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(config) => {
            config.http2_protocol_options.as_ref()
        }
        UpstreamProtocolOptions::AutoConfig(config) => config.http2_protocol_options.as_ref(),
    }
}

fn http_options(options: &HttpProtocolOptions, context: &mut Context) -> Result<UpstreamProtocol, Rejection> {
    if let Some(filter) = options.http_filters.iter().find(|filter| !filter.name.ends_with("upstream_codec"))
    {
        return refuse(format!("unknown HTTP filter '{}'", filter.name)).at("http_filters");
    }
    fields::unsupported(options.header_validation_config.is_some(), "header_validation_config")?;
    fields::unsupported(!options.request_mirror_policies.is_empty(), "request_mirror_policies")?;
    fields::unsupported(options.retry_policy.is_some(), "retry_policy")?;
    if options.outlier_detection.is_some() {
        context.note("outlier_detection: hosts are not ejected");
    }
    match &options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(UpstreamProtocol::Http2),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                refuse("HTTP/3 is not supported").at("explicit_http_config.http3_protocol_options")
            }
            Some(ProtocolConfig::HttpProtocolOptions(_)) | None => Ok(UpstreamProtocol::Http1),
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => Ok(UpstreamProtocol::Downstream),
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            refuse("needs ALPN, which comes with TLS").at("auto_config")
        }
        None => refuse("an upstream protocol is required").at("upstream_protocol_options"),
    }
}
