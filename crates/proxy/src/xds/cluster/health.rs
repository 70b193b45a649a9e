//! `Cluster.health_checks`: what hosts are asked, and how often.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use meltemi_xds::pb::envoy::{
    config::core::v3::{
        HeaderValueOption, HealthCheck as Message, RequestMethod,
        health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, payload},
    },
    r#type::v3::{CodecClientType, Int64Range},
};

use crate::{
    cluster::health::{Check, GrpcCheck, HttpCheck, Settings, TcpCheck},
    xds::{At, Context, Rejection, fields, matchers, refuse},
};

/// The checks of a cluster; as in Envoy, one at most.
pub(super) fn compile(messages: &[Message], context: &mut Context) -> Result<Option<Settings>, Rejection> {
    match messages {
        [] => Ok(None),
        [one] => settings(one, context).at_index("health_checks", 0).map(Some),
        _ => refuse("multiple health checks not supported").at("health_checks"),
    }
}

fn settings(message: &Message, context: &mut Context) -> Result<Settings, Rejection> {
    if message.transport_socket_match_criteria.is_some() || message.tls_options.is_some() {
        context.note("health_checks: made without TLS");
    }
    if !message.event_log_path.is_empty() || !message.event_logger.is_empty() {
        context.note("health_checks: events are in the log of the proxy only");
    }
    let time = |value, field: &str| match fields::optional(value, field)? {
        Some(Duration::ZERO) => refuse("value must be greater than 0s").at(field),
        value => Ok(value),
    };
    let needed = |value, field: &str| match time(value, field)? {
        Some(value) => Ok(value),
        None => refuse("value is required").at(field),
    };
    let interval = needed(message.interval.as_ref(), "interval")?;
    let no_traffic = time(message.no_traffic_interval.as_ref(), "no_traffic_interval")?;
    let no_traffic = no_traffic.unwrap_or(Duration::from_secs(60));
    let no_traffic_healthy =
        time(message.no_traffic_healthy_interval.as_ref(), "no_traffic_healthy_interval")?;
    let unhealthy = time(message.unhealthy_interval.as_ref(), "unhealthy_interval")?.unwrap_or(interval);
    let unhealthy_edge = time(message.unhealthy_edge_interval.as_ref(), "unhealthy_edge_interval")?;
    let healthy_edge = time(message.healthy_edge_interval.as_ref(), "healthy_edge_interval")?;
    let threshold = |value: Option<&_>, field: &str| match value {
        Some(_) => Ok(fields::number(value, 1)),
        None => refuse("value is required").at(field),
    };
    let port = message.alt_port.as_ref().map(|port| u16::try_from(port.value)).transpose();
    Ok(Settings {
        timeout: needed(message.timeout.as_ref(), "timeout")?,
        interval,
        initial_jitter: time(message.initial_jitter.as_ref(), "initial_jitter")?.unwrap_or_default(),
        jitter: time(message.interval_jitter.as_ref(), "interval_jitter")?.unwrap_or_default(),
        jitter_percent: message.interval_jitter_percent,
        unhealthy_threshold: threshold(message.unhealthy_threshold.as_ref(), "unhealthy_threshold")?,
        healthy_threshold: threshold(message.healthy_threshold.as_ref(), "healthy_threshold")?,
        reuse: fields::flag(message.reuse_connection.as_ref(), true),
        no_traffic: (no_traffic, no_traffic_healthy.unwrap_or(no_traffic)),
        unhealthy: (unhealthy, unhealthy_edge.unwrap_or(unhealthy)),
        healthy_edge: healthy_edge.unwrap_or(interval),
        port: port.map_err(|_| Rejection::new("port is above 65535")).at("alt_port")?,
        check: check(message.health_checker.as_ref(), context)?,
    })
}

fn check(message: Option<&HealthChecker>, context: &mut Context) -> Result<Check, Rejection> {
    match message {
        Some(HealthChecker::HttpHealthCheck(message)) => {
            http(message, context).at("http_health_check").map(|check| Check::Http(Box::new(check)))
        }
        Some(HealthChecker::GrpcHealthCheck(message)) => {
            grpc(message, context).at("grpc_health_check").map(|check| Check::Grpc(Box::new(check)))
        }
        Some(HealthChecker::TcpHealthCheck(message)) => tcp(message).at("tcp_health_check").map(Check::Tcp),
        Some(HealthChecker::CustomHealthCheck(custom)) => {
            refuse(format!("unknown health checker '{}'", custom.name)).at("custom_health_check")
        }
        None => refuse("one of http_health_check, tcp_health_check, grpc_health_check is required"),
    }
}

fn http(message: &HttpHealthCheck, context: &mut Context) -> Result<HttpCheck, Rejection> {
    fields::unsupported(message.send.is_some(), "send")?;
    if !message.path.starts_with('/') {
        return refuse(format!("'{}' does not begin with a slash", message.path)).at("path");
    }
    let method = match message.method() {
        RequestMethod::MethodUnspecified => Method::GET,
        RequestMethod::Connect => return refuse("CONNECT is not allowed").at("method"),
        other => Method::from_bytes(other.as_str_name().as_bytes())
            .map_err(|error| Rejection::new(error.to_string()))
            .at("method")?,
    };
    let name = |text: &String| HeaderName::try_from(text).map_err(|error| Rejection::new(error.to_string()));
    let without: Result<_, _> = message.request_headers_to_remove.iter().map(name).collect();
    let service = message.service_name_matcher.as_ref().map(|m| matchers::string(m, context)).transpose();
    Ok(HttpCheck {
        host: context.intern(&message.host),
        path: context.intern(&message.path),
        method,
        headers: headers(&message.request_headers_to_add).at("request_headers_to_add")?,
        without: without.at("request_headers_to_remove")?,
        expected: ranges(&message.expected_statuses).at("expected_statuses")?,
        retriable: ranges(&message.retriable_statuses).at("retriable_statuses")?,
        http2: match message.codec_client_type() {
            CodecClientType::Http1 => false,
            CodecClientType::Http2 => true,
            CodecClientType::Http3 => return refuse("HTTP/3 is not supported").at("codec_client_type"),
        },
        service: service.at("service_name_matcher")?,
        receive: (
            message.receive.iter().map(bytes).collect::<Result<_, _>>().at("receive")?,
            message.response_buffer_size.as_ref().map_or(1024, |size| size.value as usize).min(1 << 20),
        ),
    })
}

fn grpc(message: &GrpcHealthCheck, context: &mut Context) -> Result<GrpcCheck, Rejection> {
    Ok(GrpcCheck {
        service: context.intern(&message.service_name),
        authority: context.intern(&message.authority),
        metadata: headers(&message.initial_metadata).at("initial_metadata")?,
    })
}

fn tcp(message: &TcpHealthCheck) -> Result<TcpCheck, Rejection> {
    fields::unsupported(message.proxy_protocol_config.is_some(), "proxy_protocol_config")?;
    Ok(TcpCheck {
        send: message.send.as_ref().map_or(Ok(Vec::new()), bytes).at("send")?,
        receive: message.receive.iter().map(bytes).collect::<Result<_, _>>().at("receive")?,
    })
}

/// Header lines without variables: there is no request whose they could be.
fn headers(messages: &[HeaderValueOption]) -> Result<Vec<(HeaderName, HeaderValue)>, Rejection> {
    let mut headers = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let Some(header) = &message.header else {
            return refuse("value is required").at(&format!("[{at}].header"));
        };
        fields::unsupported(header.value.contains('%'), "header.value with variables")?;
        let name = HeaderName::try_from(&header.key).map_err(|error| Rejection::new(error.to_string()))?;
        let value =
            HeaderValue::try_from(&header.value).map_err(|error| Rejection::new(error.to_string()))?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// Half-open ranges of status codes.
fn ranges(messages: &[Int64Range]) -> Result<Vec<(u16, u16)>, Rejection> {
    let range = |message: &Int64Range| match (u16::try_from(message.start), u16::try_from(message.end)) {
        (Ok(start @ 100..), Ok(end @ ..=600)) if start < end => Ok((start, end)),
        _ => refuse(format!("[{}, {}) is no range of status codes", message.start, message.end)),
    };
    messages.iter().map(range).collect()
}

/// Bytes as they are, or in hexadecimal digits.
fn bytes(message: &Payload) -> Result<Vec<u8>, Rejection> {
    match &message.payload {
        Some(payload::Payload::Binary(bytes)) => Ok(bytes.clone()),
        Some(payload::Payload::Text(text)) => {
            let digits = text.as_bytes();
            let pair = |pair: &[u8]| {
                let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
                u8::from_str_radix(text, 16).ok()
            };
            let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
            bytes.ok_or_else(|| Rejection::new(format!("'{text}' is not hexadecimal")))
        }
        None => refuse("one of text and binary is required"),
    }
}
