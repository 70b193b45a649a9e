//! `envoy.filters.network.http_connection_manager`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use meltemi_xds::pb::envoy::{
    config::core::v3::{
        ConfigSource, Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
        config_source,
    },
    extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager as Message,
        http_connection_manager::{
            CodecType, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation,
            StripPortMode, UpgradeConfig,
        },
    },
};
use prost::{Message as _, Name as _};

use super::{At, Context, Rejection, access_log, fields, http_filters, listener, refuse, route, wire};
use crate::http::config::{
    Codec, EscapedSlashes, Http1Options, Http2Keepalive, Http2Options, HttpConnectionManager, NameCase,
    NameFormat, RouteSlot, ServerHeader, StripHostPort, Underscores,
};

/// Field number of `HttpConnectionManager.route_config`, which may be large.
const ROUTE_CONFIG: u32 = 4;

/// Compiles an encoded connection manager.
pub fn compile(message: &Bytes, context: &mut Context) -> Result<HttpConnectionManager, Rejection> {
    let (inline, rest) = wire::split(message, ROUTE_CONFIG)?;
    let message = Message::decode(rest.as_slice()).map_err(|error| Rejection::new(error.to_string()))?;
    refuse_unsupported(&message)?;
    note_ineffective(&message, context);
    let routes = routes(message.route_specifier.as_ref(), inline.last(), context)?;
    let (filters, router) = http_filters::chain(&message.http_filters, context)?;
    let common = common(message.common_http_protocol_options.as_ref()).at("common_http_protocol_options")?;
    let millis = |message: Option<_>, field, default| fields::timeout(message, field, default);
    let drain = fields::optional(message.drain_timeout.as_ref(), "drain_timeout")?;
    let close = fields::optional(message.delayed_close_timeout.as_ref(), "delayed_close_timeout")?;
    let (starts, tunnels) = logged_early(&message, context);
    Ok(HttpConnectionManager {
        stat_prefix: context.intern(&message.stat_prefix),
        codec: codec(message.codec_type)?,
        routes,
        filters,
        router,
        access_log: access_log::compile(&message.access_log, context)?,
        log_starts: starts,
        log_tunnels: tunnels,
        server_name: context.intern(if message.server_name.is_empty() {
            "envoy"
        } else {
            &message.server_name
        }),
        server_header: match ServerHeaderTransformation::try_from(message.server_header_transformation) {
            Ok(ServerHeaderTransformation::Overwrite) => ServerHeader::Overwrite,
            Ok(ServerHeaderTransformation::AppendIfAbsent) => ServerHeader::AppendIfAbsent,
            Ok(ServerHeaderTransformation::PassThrough) => ServerHeader::PassThrough,
            Err(_) => {
                return fields::unknown_enum(
                    "server_header_transformation",
                    message.server_header_transformation,
                );
            }
        },
        use_remote_address: fields::flag(message.use_remote_address.as_ref(), false),
        xff_trusted_hops: message.xff_num_trusted_hops,
        internal_ranges: match &message.internal_address_config {
            Some(config) => {
                listener::ranges(&config.cidr_ranges).at("internal_address_config.cidr_ranges")?
            }
            None => Vec::new(),
        },
        skip_xff_append: message.skip_xff_append,
        via: (!message.via.is_empty()).then(|| context.intern(&message.via)),
        generate_request_id: fields::flag(message.generate_request_id.as_ref(), true),
        preserve_external_request_id: message.preserve_external_request_id,
        request_id_in_response: message.always_set_request_id_in_response,
        idle_timeout: common.idle_timeout,
        stream_idle_timeout: millis(
            message.stream_idle_timeout.as_ref(),
            "stream_idle_timeout",
            Some(Duration::from_secs(300)),
        )?,
        request_timeout: millis(message.request_timeout.as_ref(), "request_timeout", None)?,
        request_headers_timeout: millis(
            message.request_headers_timeout.as_ref(),
            "request_headers_timeout",
            None,
        )?,
        drain_timeout: drain.unwrap_or(Duration::from_secs(5)),
        delayed_close_timeout: close.unwrap_or(Duration::from_secs(1)),
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        max_requests_per_connection: common.max_requests_per_connection,
        max_request_headers: header_limit(&message)?,
        max_headers_count: common.max_headers_count,
        underscores: common.underscores,
        upgrades: upgrades(&message.upgrade_configs, context)?,
        normalize_path: fields::flag(message.normalize_path.as_ref(), false),
        merge_slashes: message.merge_slashes,
        escaped_slashes: match PathWithEscapedSlashesAction::try_from(
            message.path_with_escaped_slashes_action,
        ) {
            Ok(
                PathWithEscapedSlashesAction::ImplementationSpecificDefault
                | PathWithEscapedSlashesAction::KeepUnchanged,
            ) => EscapedSlashes::Keep,
            Ok(PathWithEscapedSlashesAction::RejectRequest) => EscapedSlashes::Reject,
            Ok(PathWithEscapedSlashesAction::UnescapeAndForward) => EscapedSlashes::UnescapeForward,
            Ok(PathWithEscapedSlashesAction::UnescapeAndRedirect) => EscapedSlashes::UnescapeRedirect,
            Err(_) => {
                let value = message.path_with_escaped_slashes_action;
                return fields::unknown_enum("path_with_escaped_slashes_action", value);
            }
        },
        strip_host_port: match (&message.strip_port_mode, message.strip_matching_host_port) {
            (Some(StripPortMode::StripAnyHostPort(true)), false) => StripHostPort::Any,
            (Some(StripPortMode::StripAnyHostPort(true)), true) => {
                return refuse("cannot be set together with strip_any_host_port")
                    .at("strip_matching_host_port");
            }
            (_, true) => StripHostPort::Matching,
            (_, false) => StripHostPort::No,
        },
        strip_trailing_host_dot: message.strip_trailing_host_dot,
        http1: http1(message.http_protocol_options.as_ref(), context).at("http_protocol_options")?,
        http2: http2(message.http2_protocol_options.as_ref()).at("http2_protocol_options")?,
        proxy_100_continue: message.proxy_100_continue,
        scheme_overwrite: scheme(&message, context)?,
    })
}

/// Whether a config source is the ADS stream; anything else is refused.
pub fn ads_only(source: Option<&ConfigSource>) -> Result<(), Rejection> {
    use config_source::ConfigSourceSpecifier as Source;
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(Source::Ads(_) | Source::Self_(_)) => Ok(()),
        Some(Source::ApiConfigSource(_)) => refuse("only ADS is supported, not a stream of its own"),
        Some(Source::Path(_) | Source::PathConfigSource(_)) => refuse("only ADS is supported, not files"),
        None => refuse("a config source is required"),
    }
}

fn refuse_unsupported(message: &Message) -> Result<(), Rejection> {
    let set = [
        (fields::flag(message.add_user_agent.as_ref(), false), "add_user_agent"),
        (message.http3_protocol_options.is_some(), "http3_protocol_options"),
        (!message.original_ip_detection_extensions.is_empty(), "original_ip_detection_extensions"),
        (!message.early_header_mutation_extensions.is_empty(), "early_header_mutation_extensions"),
        (
            message.internal_address_config.as_ref().is_some_and(|config| config.unix_sockets),
            "internal_address_config.unix_sockets",
        ),
        (message.forward_client_cert_matcher.is_some(), "forward_client_cert_matcher"),
        (
            message.represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
            "represent_ipv4_remote_address_as_ipv4_mapped_ipv6",
        ),
        (message.local_reply_config.is_some(), "local_reply_config"),
        (message.path_normalization_options.is_some(), "path_normalization_options"),
        (message.proxy_status_config.is_some(), "proxy_status_config"),
        (message.typed_header_validation_config.is_some(), "typed_header_validation_config"),
        (message.append_x_forwarded_port, "append_x_forwarded_port"),
        (message.append_local_overload, "append_local_overload"),
        (message.forward_proto_config.is_some(), "forward_proto_config"),
        (message.stream_flush_timeout.is_some(), "stream_flush_timeout"),
    ];
    set.into_iter().try_for_each(|(set, field)| fields::unsupported(set, field))
}

/// Without TLS the client certificate settings come to the same, sanitize, in Envoy too: all but one.
fn note_ineffective(message: &Message, context: &mut Context) {
    use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::ForwardClientCertDetails;
    if message.tracing.as_ref().is_some_and(|tracing| tracing.provider.is_some()) {
        context.note("tracing: no spans are reported");
    }
    if message.forward_client_cert_details() == ForwardClientCertDetails::AlwaysForwardOnly {
        context.note("forward_client_cert_details: x-forwarded-client-cert is removed, not forwarded");
    }
    if message.request_id_extension.is_some() {
        context.note("request_id_extension: request ids are random UUIDs without a trace reason");
    }
}

/// When a request is logged before its end: at its beginning, once a tunnel stands.
#[expect(deprecated, reason = "configurations in the field still use the older fields")]
fn logged_early(message: &Message, context: &mut Context) -> (bool, bool) {
    let older = (message.flush_access_log_on_new_request, message.access_log_flush_interval.is_some());
    let options = message.access_log_options.as_ref();
    if older.1 || options.is_some_and(|options| options.access_log_flush_interval.is_some()) {
        context.note("access_log_flush_interval: there are no entries while a request goes on");
    }
    let starts = options.map_or(older.0, |options| options.flush_access_log_on_new_request);
    (starts, options.is_some_and(|options| options.flush_log_on_tunnel_successfully_established))
}

fn codec(value: i32) -> Result<Codec, Rejection> {
    match CodecType::try_from(value) {
        Ok(CodecType::Auto) => Ok(Codec::Auto),
        Ok(CodecType::Http1) => Ok(Codec::Http1),
        Ok(CodecType::Http2) => Ok(Codec::Http2),
        Ok(CodecType::Http3) => refuse("HTTP/3 is not supported").at("codec_type"),
        Err(_) => fields::unknown_enum("codec_type", value),
    }
}

fn routes(
    specifier: Option<&RouteSpecifier>,
    inline: Option<&Bytes>,
    context: &mut Context,
) -> Result<Arc<RouteSlot>, Rejection> {
    if let Some(config) = inline {
        let table = route::table(config, "", true, context).at("route_config")?;
        return Ok(Arc::new(RouteSlot::holding(table)));
    }
    match specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            ads_only(rds.config_source.as_ref()).at("rds.config_source")?;
            match rds.route_config_name.as_str() {
                "" => refuse("value is empty").at("rds.route_config_name"),
                name => Ok(context.route_slot(name)),
            }
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => refuse("not supported").at("scoped_routes"),
        Some(RouteSpecifier::RouteConfig(_)) | None => refuse("one of rds and route_config is required"),
    }
}

/// `common_http_protocol_options`, also of clusters.
#[derive(Debug)]
pub struct Common {
    /// Default one hour.
    pub idle_timeout: Option<Duration>,
    /// Default none.
    pub max_connection_duration: Option<Duration>,
    /// Default none.
    pub max_stream_duration: Option<Duration>,
    /// 0 is unlimited.
    pub max_requests_per_connection: u32,
    /// Default 100.
    pub max_headers_count: usize,
    /// Default: allowed.
    pub underscores: Underscores,
}

/// Reads the options.
pub fn common(message: Option<&HttpProtocolOptions>) -> Result<Common, Rejection> {
    let none = HttpProtocolOptions::default();
    let message = message.unwrap_or(&none);
    fields::unsupported(message.max_response_headers_kb.is_some(), "max_response_headers_kb")?;
    let hour = Some(Duration::from_secs(3600));
    Ok(Common {
        idle_timeout: fields::timeout(message.idle_timeout.as_ref(), "idle_timeout", hour)?,
        max_connection_duration: fields::timeout(
            message.max_connection_duration.as_ref(),
            "max_connection_duration",
            None,
        )?,
        max_stream_duration: fields::timeout(
            message.max_stream_duration.as_ref(),
            "max_stream_duration",
            None,
        )?,
        max_requests_per_connection: fields::number(message.max_requests_per_connection.as_ref(), 0),
        max_headers_count: fields::number(message.max_headers_count.as_ref(), 100) as usize,
        underscores: match message.headers_with_underscores_action {
            0 => Underscores::Allow,
            1 => Underscores::Reject,
            2 => Underscores::Drop,
            other => return fields::unknown_enum("headers_with_underscores_action", other),
        },
    })
}

fn header_limit(message: &Message) -> Result<usize, Rejection> {
    match fields::number(message.max_request_headers_kb.as_ref(), 60) {
        kb @ 1..=8192 => Ok(kb as usize * 1024),
        kb => refuse(format!("{kb} is not between 1 and 8192")).at("max_request_headers_kb"),
    }
}

fn upgrades(messages: &[UpgradeConfig], context: &mut Context) -> Result<Vec<Arc<str>>, Rejection> {
    let mut upgrades = Vec::new();
    for (at, upgrade) in messages.iter().enumerate() {
        if !upgrade.filters.is_empty() {
            let chain = http_filters::chain(&upgrade.filters, context)
                .and_then(|(filters, _)| fields::unsupported(!filters.is_empty(), "filters"));
            chain.at_index("upgrade_configs", at)?;
        }
        if fields::flag(upgrade.enabled.as_ref(), true) {
            upgrades.push(context.intern(&upgrade.upgrade_type.to_ascii_lowercase()));
        }
    }
    Ok(upgrades)
}

fn http1(message: Option<&Http1ProtocolOptions>, context: &mut Context) -> Result<Http1Options, Rejection> {
    let Some(message) = message else {
        return Ok(Http1Options { allow_absolute_url: true, ..Http1Options::default() });
    };
    fields::unsupported(message.send_fully_qualified_url, "send_fully_qualified_url")?;
    fields::unsupported(message.allow_chunked_length, "allow_chunked_length")?;
    fields::unsupported(!message.ignore_http_11_upgrade.is_empty(), "ignore_http_11_upgrade")?;
    let default_host = message.default_host_for_http_10.as_str();
    Ok(Http1Options {
        accept_http_10: message.accept_http_10,
        enable_trailers: message.enable_trailers,
        allow_absolute_url: fields::flag(message.allow_absolute_url.as_ref(), true),
        names: names(Some(message))?,
        default_host_for_http_10: (!default_host.is_empty()).then(|| context.intern(default_host)),
    })
}

/// `header_key_format`, of downstreams and of clusters.
pub(super) fn names(message: Option<&Http1ProtocolOptions>) -> Result<NameFormat, Rejection> {
    use meltemi_xds::pb::envoy::{
        config::core::v3::http1_protocol_options::header_key_format::HeaderFormat,
        extensions::http::header_formatters::preserve_case::v3::{
            PreserveCaseFormatterConfig, preserve_case_formatter_config::FormatterTypeOnEnvoyHeaders,
        },
    };
    let format = message.and_then(|message| message.header_key_format.as_ref());
    match format.and_then(|format| format.header_format.as_ref()) {
        None => Ok(NameFormat::default()),
        Some(HeaderFormat::ProperCaseWords(_)) => Ok(NameFormat { case: NameCase::Proper, preserve: false }),
        Some(HeaderFormat::StatefulFormatter(formatter)) => {
            let at = "header_key_format.stateful_formatter";
            let config = formatter.typed_config.as_ref();
            let Some(config) =
                config.filter(|config| config.type_url == PreserveCaseFormatterConfig::type_url())
            else {
                return refuse(format!("unknown formatter '{}'", formatter.name)).at(at);
            };
            let config: PreserveCaseFormatterConfig = fields::unpack(config).at(at)?;
            fields::unsupported(config.forward_reason_phrase, "forward_reason_phrase").at(at)?;
            let proper = config.formatter_type_on_envoy_headers() == FormatterTypeOnEnvoyHeaders::ProperCase;
            let case = if proper { NameCase::Proper } else { NameCase::Lower };
            Ok(NameFormat { case, preserve: true })
        }
    }
}

pub(super) fn http2(message: Option<&Http2ProtocolOptions>) -> Result<Http2Options, Rejection> {
    let mut options = Http2Options::default();
    let Some(message) = message else { return Ok(options) };
    fields::unsupported(message.allow_metadata, "allow_metadata")?;
    fields::unsupported(!message.custom_settings_parameters.is_empty(), "custom_settings_parameters")?;
    options.keepalive =
        message.connection_keepalive.as_ref().map(keepalive).transpose().at("connection_keepalive")?;
    let window = |value: Option<_>, default, field| match fields::number(value, default) {
        size @ 65_535..=2_147_483_647 => Ok(size),
        size => refuse(format!("{size} is not between 65535 and 2147483647")).at(field),
    };
    let stream = message.initial_stream_window_size.as_ref();
    let connection = message.initial_connection_window_size.as_ref();
    options.stream_window = window(stream, options.stream_window, "initial_stream_window_size")?;
    options.connection_window =
        window(connection, options.connection_window, "initial_connection_window_size")?;
    let streams = message.max_concurrent_streams.as_ref();
    options.max_concurrent_streams = match fields::number(streams, options.max_concurrent_streams) {
        most @ 1..=2_147_483_647 => most,
        most => {
            return refuse(format!("{most} is not between 1 and 2147483647")).at("max_concurrent_streams");
        }
    };
    let flood = &mut options.flood;
    for (value, limit) in [
        (&message.max_outbound_frames, &mut flood.outbound_frames),
        (&message.max_outbound_control_frames, &mut flood.outbound_control_frames),
        (&message.max_consecutive_inbound_frames_with_empty_payload, &mut flood.empty_frames),
        (&message.max_inbound_priority_frames_per_stream, &mut flood.priority_frames_per_stream),
        (
            &message.max_inbound_window_update_frames_per_data_frame_sent,
            &mut flood.window_updates_per_data_frame,
        ),
    ] {
        *limit = fields::number(value.as_ref(), *limit);
    }
    Ok(options)
}

fn keepalive(message: &KeepaliveSettings) -> Result<Http2Keepalive, Rejection> {
    let Some(timeout) = fields::optional(message.timeout.as_ref(), "timeout")? else {
        return refuse("value is required").at("timeout");
    };
    let jitter = message.interval_jitter.map_or(15.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&jitter) {
        return refuse(format!("{jitter} is not between 0 and 100")).at("interval_jitter");
    }
    let least = Duration::from_millis(1);
    let at_least = |value: Option<Duration>, field| match value {
        Some(value) if value < least => refuse("value must be greater than or equal to 1ms").at(field),
        value => Ok(value),
    };
    Ok(Http2Keepalive {
        interval: at_least(fields::optional(message.interval.as_ref(), "interval")?, "interval")?,
        timeout: at_least(Some(timeout), "timeout")?.unwrap_or(least),
        jitter: (jitter * 100.0) as u32,
        idle_interval: at_least(
            fields::optional(message.connection_idle_interval.as_ref(), "connection_idle_interval")?,
            "connection_idle_interval",
        )?,
    })
}

fn scheme(message: &Message, context: &mut Context) -> Result<Option<Arc<str>>, Rejection> {
    use meltemi_xds::pb::envoy::config::core::v3::scheme_header_transformation::Transformation;
    let Some(config) = &message.scheme_header_transformation else { return Ok(None) };
    fields::unsupported(config.match_upstream, "scheme_header_transformation.match_upstream")?;
    Ok(config.transformation.as_ref().map(|Transformation::SchemeToOverwrite(scheme)| context.intern(scheme)))
}
