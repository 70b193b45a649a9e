//! Lines byte by byte: Istio's formats (LOG-001, LOG-002), absent values, types, limits, refusals.

use std::time::{Duration, UNIX_EPOCH};

use meltemi_xds::pb::{
    envoy::config::accesslog::v3::AccessLogFilter,
    google::protobuf::{Struct, Value, value::Kind},
};

use super::{filter::Filter, format::Format, json::JsonFormat, operator::Formatters, record::Record};
use crate::{
    access_log::Times,
    cluster::{Address, Endpoint, Health, store::ClusterStore},
    error::Flags,
    http::message::{Protocol, RequestHead, ResponseHead},
    xds::Context,
};

const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% \
    %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

struct Parts {
    request: RequestHead,
    response: ResponseHead,
    endpoint: Endpoint,
}

fn parts() -> Parts {
    let mut request = RequestHead::default();
    request.set_method("GET");
    request.set_path("/reviews/1?full=1");
    request.set_authority("reviews:9080");
    request.headers.append_named(b"user-agent", b"curl/8");
    request.headers.append_named(b"x-request-id", b"id-1");
    let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
    response.headers.append_named(b"x-envoy-upstream-service-time", b"7");
    let address = Address::Socket("127.0.0.9:9080".parse().unwrap());
    Parts { request, response, endpoint: Endpoint::new(address, None, 1, Health::Healthy) }
}

fn record(parts: &Parts) -> Record<'_> {
    Record {
        request: Some(&parts.request),
        response: Some(&parts.response),
        protocol: Some(Protocol::Http11),
        status: 200,
        details: "via_upstream",
        bytes: (3, 42),
        start: UNIX_EPOCH + Duration::from_millis(951_782_400_123),
        times: Times { total: Some(Duration::from_millis(9)), ..Times::default() },
        route: "default",
        cluster: Some(("outbound|9080||reviews.default.svc.cluster.local", "outbound|9080||reviews")),
        endpoint: Some(&parts.endpoint),
        upstream_local: "127.0.0.1:5000".parse().unwrap(),
        local: "127.0.0.8:9080".parse().unwrap(),
        remote: "127.0.0.7:4000".parse().unwrap(),
        ..Record::default()
    }
}

fn line(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    Format::compile(format).unwrap().write(&mut out, record);
    String::from_utf8(out).unwrap()
}

#[test]
fn istio_text_format_byte_by_byte() {
    let parts = parts();
    assert_eq!(
        line(ISTIO, &record(&parts)),
        "[2000-02-29T00:00:00.123Z] \"GET /reviews/1?full=1 HTTP/1.1\" 200 - via_upstream - \"-\" 3 42 9 7 \"-\" \
         \"curl/8\" \"id-1\" \"reviews:9080\" \"127.0.0.9:9080\" outbound|9080||reviews.default.svc.cluster.local \
         127.0.0.1:5000 127.0.0.8:9080 127.0.0.7:4000 - default\n"
    );
}

#[test]
fn operators_and_their_arguments() {
    let parts = parts();
    let mut record = record(&parts);
    record.flags = Flags::of(Flags::UPSTREAM_CONNECTION_FAILURE | Flags::RETRY_LIMIT_EXCEEDED);
    record.transport_failure = "delayed connect error: 111";
    for (format, wanted) in [
        ("%REQ(X-MISSING?USER-AGENT)%", "curl/8"),
        ("%REQ(X-MISSING)%", "-"),
        ("%REQ(USER-AGENT):3%", "cur"),
        ("%PATH(NQ)%", "/reviews/1"),
        ("%RESP(:STATUS)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "200 7"),
        ("%RESPONSE_FLAGS%", "UF,URX"),
        ("%RESPONSE_FLAGS_LONG%", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "delayed_connect_error:_111"),
        ("%UPSTREAM_CLUSTER%", "outbound|9080||reviews"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%", "127.0.0.9 5000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.7"),
        ("%START_TIME(%Y/%m/%d %H-%M-%S.%3f %s)%", "2000/02/29 00-00-00.123 951782400"),
        ("%START_TIME(%F %T%z)%", "2000-02-29 00:00:00+0000"),
        ("%DYNAMIC_METADATA(a:b)% %FILTER_STATE(x)%", "- -"),
        ("100%%", "100%"),
    ] {
        assert_eq!(line(format, &record), wanted, "{format}");
    }
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    for (format, wanted) in [
        ("%NO_SUCH%", "NO_SUCH"),
        ("%REQ%", "REQ"),
        ("%REQ(A?B?C)%", "one alternative"),
        ("open %REQ(x", "no closing"),
        ("%PROTOCOL:abc%", "length limit"),
    ] {
        let error = Format::compile(format).unwrap_err();
        assert!(error.contains(wanted), "{format}: {error}");
    }
    assert!(Filter::compile(&AccessLogFilter::default(), &mut Context::new(ClusterStore::new())).is_err());
}

fn object(fields: &[(&str, &str)]) -> Struct {
    let value = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    Struct { fields: fields.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect() }
}

#[test]
fn json_keeps_types_and_sorts_keys() {
    let parts = parts();
    let fields = object(&[
        ("status", "%RESPONSE_CODE%"),
        ("agent", "%REQ(USER-AGENT)%"),
        ("none", "%REQ(X-NONE)%"),
        ("mixed", "\"%REQ(X-NONE)%\" %DURATION%"),
    ]);
    let write = |omit| {
        let mut out = Vec::new();
        JsonFormat::compile(&fields, omit, Formatters::default()).unwrap().write(&mut out, &record(&parts));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        write(false),
        "{\"agent\":\"curl/8\",\"mixed\":\"\\\"-\\\" 9\",\"none\":null,\"status\":200}\n"
    );
    assert_eq!(write(true), "{\"agent\":\"curl/8\",\"mixed\":\"\\\"\\\" 9\",\"status\":200}\n");
}

#[test]
fn literal_formats_are_recognised() {
    assert_eq!(Format::compile("plain 100%%").unwrap().literal(), Some("plain 100%"));
    assert_eq!(Format::compile("%PROTOCOL%").unwrap().literal(), None);
}
