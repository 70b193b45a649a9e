//! Logs that go to services: a real gRPC server gets the same records from Meltemi's proxy and from Envoy, streams that end begin
//! anew, and what nobody takes is dropped and counted.
//!
//! Invariant: a record is compared whole; of times, ports and ids only that they are there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meltemi_testkit::{peers, ports, proxy::Proxy, raw, tcp};
use meltemi_xds::pb::{
    envoy::{
        config::core::v3::{Address, address, socket_address::PortSpecifier},
        data::accesslog::v3::{AccessLogCommon, HttpAccessLogEntry, TcpAccessLogEntry},
        service::accesslog::v3::{
            StreamAccessLogsMessage, StreamAccessLogsResponse,
            access_log_service_server::{AccessLogService, AccessLogServiceServer},
            stream_access_logs_message::LogEntries,
        },
    },
    google::protobuf,
    opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;

const MELTEMI: &str = env!("CARGO_BIN_EXE_meltemi");
const TYPES: &str = "type.googleapis.com/envoy.extensions";
const PATIENCE: Duration = Duration::from_secs(20);

/// An access log service that tells of every message, and ends each stream after its first.
struct Service {
    messages: mpsc::UnboundedSender<StreamAccessLogsMessage>,
}

#[tonic::async_trait]
impl AccessLogService for Service {
    async fn stream_access_logs(
        &self,
        request: tonic::Request<tonic::Streaming<StreamAccessLogsMessage>>,
    ) -> Result<tonic::Response<StreamAccessLogsResponse>, tonic::Status> {
        let mut stream = request.into_inner();
        if let Some(message) = stream.message().await? {
            let _ = self.messages.send(message);
        }
        Ok(tonic::Response::new(StreamAccessLogsResponse {}))
    }
}

/// `ExportLogsServiceRequest`, as far as it is asked for here.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<KeyValueList>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, repeated, tag = "2")]
    records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
}

/// What both services have heard.
struct Services {
    messages: Mutex<mpsc::UnboundedReceiver<StreamAccessLogsMessage>>,
    exports: Mutex<mpsc::UnboundedReceiver<Export>>,
    accesses: SocketAddr,
    telemetry: SocketAddr,
}

impl Services {
    async fn start() -> Self {
        let (messages, heard) = mpsc::unbounded_channel();
        let (accesses, telemetry) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let addresses = (accesses.local_addr().unwrap(), telemetry.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(AccessLogServiceServer::new(Service { messages }));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(accesses)));
        let (exports, exported) = mpsc::unbounded_channel();
        tokio::spawn(collect(telemetry, exports));
        Self {
            messages: Mutex::new(heard),
            exports: Mutex::new(exported),
            accesses: addresses.0,
            telemetry: addresses.1,
        }
    }

    async fn message(&self) -> StreamAccessLogsMessage {
        timeout(PATIENCE, self.messages.lock().await.recv()).await.expect("a message").unwrap()
    }

    /// The next two messages, which may come in any order: of requests and of connections.
    async fn entries(&self) -> (HttpAccessLogEntry, TcpAccessLogEntry) {
        let (mut http, mut tcp) = (None, None);
        while http.is_none() || tcp.is_none() {
            let message = self.message().await;
            let identifier = message.identifier.expect("the first message of a stream says who sends it");
            assert_eq!(identifier.node.unwrap().id, "node-1");
            match message.log_entries.unwrap() {
                LogEntries::HttpLogs(logs) => {
                    assert_eq!((identifier.log_name.as_str(), logs.log_entry.len()), ("requests", 1));
                    http = Some(logs.log_entry[0].clone());
                }
                LogEntries::TcpLogs(logs) => {
                    assert_eq!((identifier.log_name.as_str(), logs.log_entry.len()), ("connections", 1));
                    tcp = Some(logs.log_entry[0].clone());
                }
            }
        }
        (http.unwrap(), tcp.unwrap())
    }
}

/// A collector of OpenTelemetry: every call is a message, answered with an empty one.
async fn collect(listener: TcpListener, exports: mpsc::UnboundedSender<Export>) {
    while let Ok((stream, _)) = listener.accept().await {
        let exports = exports.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let exports = exports.clone();
            async move {
                assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
                let mut body = request.into_body().collect().await.unwrap().to_bytes();
                body.advance(5);
                let _ = exports.send(Export::decode(body).unwrap());
                let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                let empty =
                    Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
                Ok::<_, Infallible>(
                    Response::builder().header("content-type", "application/grpc").body(empty).unwrap(),
                )
            }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

/// Logs of a listener for requests, at the first port, and of one for connections, at the second.
fn bootstrap(
    [requests, connections]: [u16; 2],
    backends: [SocketAddr; 2],
    services: [SocketAddr; 2],
) -> String {
    let common = |name: &str| {
        json!({"log_name": name, "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "accesses", "authority": "logs.example"}}})
    };
    let log = |kind: &str, config: Value| {
        let mut config = config;
        config["@type"] = format!("{TYPES}.access_loggers.{kind}").into();
        json!({"name": kind, "typed_config": config})
    };
    let mut requests_log = json!({"common_config": common("requests"), "additional_request_headers_to_log": ["X-One", "x-none"],
        "additional_response_headers_to_log": ["x-backend"], "additional_response_trailers_to_log": ["x-none"]});
    requests_log["common_config"]["custom_tags"] = json!([
        {"tag": "fixed", "literal": {"value": "v"}},
        {"tag": "header", "request_header": {"name": "x-one", "default_value": "d"}},
        {"tag": "absent", "request_header": {"name": "x-none", "default_value": "d"}}]);
    let text = |text: &str| json!({"string_value": text});
    let telemetry = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "telemetry"}}, "log_name": "otel",
        "buffer_flush_interval": "0.05s",
        "body": text("%REQ(:METHOD)% %RESPONSE_CODE% %REQ(x-none)%"),
        "attributes": {"values": [{"key": "path", "value": text("%REQ(:PATH)%")}]},
        "resource_attributes": {"values": [{"key": "of", "value": text("us")}]}});
    let address =
        |at: SocketAddr| json!({"socket_address": {"address": "127.0.0.1", "port_value": at.port()}});
    let at = |port| address(SocketAddr::from(([127, 0, 0, 1], port)));
    let manager = json!({"@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "main", "generate_request_id": false,
        "access_log": [log("grpc.v3.HttpGrpcAccessLogConfig", requests_log),
            log("open_telemetry.v3.OpenTelemetryAccessLogConfig", telemetry)],
        "http_filters": [{"name": "router", "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"name": "r", "match": {"prefix": "/"}, "route": {"cluster": "http"}}]}]}});
    let connections_log =
        log("grpc.v3.TcpGrpcAccessLogConfig", json!({"common_config": common("connections")}));
    let proxy = json!({"@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": "main",
        "cluster": "tcp", "access_log": [connections_log]});
    let listener = |name: &str, port, filter: Value| json!({"name": name, "address": at(port), "filter_chains": [{"filters": [{"name": "terminal", "typed_config": filter}]}]});
    let cluster = |name: &str, at, http2| {
        let mut cluster = json!({"name": name, "load_assignment": {"cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(at)}}]}]}});
        if http2 {
            cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options": {}}}});
        }
        cluster
    };
    let resources = json!({"listeners": [listener("requests", requests, manager), listener("connections", connections, proxy)],
        "clusters": [cluster("http", backends[0], false), cluster("tcp", backends[1], false),
            cluster("accesses", services[0], true), cluster("telemetry", services[1], true)]});
    format!("node: {{id: node-1, cluster: cluster-1}}\nstatic_resources: {resources}\n")
}

/// A backend that gives every request the same answer, whatever its connection.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                request.into_body().collect().await?;
                let answer = Response::builder().header("x-backend", "b").header("date", "never");
                Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::from_static(b"ok"))).unwrap())
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

struct Heard {
    http: HttpAccessLogEntry,
    tcp: TcpAccessLogEntry,
    export: Export,
}

/// Two requests and two connections; the service ends its streams in between.
async fn hear(proxy: Proxy) -> Vec<Heard> {
    let services = Services::start().await;
    let echo = tcp::Tcp::start("bytes", tcp::First::Client).await;
    let listening = [ports::free(), ports::free()];
    let bootstrap =
        bootstrap(listening, [backend().await, echo.address], [services.accesses, services.telemetry]);
    let folder = tempfile::tempdir().unwrap();
    let _running = proxy.start(MELTEMI, &bootstrap, folder.path()).await;
    let [requests, connections] = listening.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut heard = Vec::new();
    for _ in 0..2 {
        let request =
            b"POST /a?b HTTP/1.1\r\nhost: shop.example\r\nx-one: 1\r\nuser-agent: ua\r\nreferer: there\r\n\
            x-request-id: id\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(raw::exchange(requests, request, PATIENCE).await.unwrap().body, "ok");
        let mut connection = TcpStream::connect(connections).await.unwrap();
        connection.write_all(b"hello").await.unwrap();
        let mut said = String::new();
        connection.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "bytes\n");
        drop(connection);
        let (http, tcp) = services.entries().await;
        let export =
            timeout(PATIENCE, services.exports.lock().await.recv()).await.expect("an export").unwrap();
        heard.push(Heard { http, tcp, export });
    }
    heard
}

/// Times, ports and ids as one and the same.
fn masked(common: &mut Option<AccessLogCommon>) {
    let common = common.as_mut().unwrap();
    let zero =
        |time: &mut Option<protobuf::Duration>| *time = time.as_ref().map(|_| protobuf::Duration::default());
    common.start_time = common.start_time.as_ref().map(|_| protobuf::Timestamp::default());
    for time in [
        &mut common.time_to_last_rx_byte,
        &mut common.time_to_first_upstream_tx_byte,
        &mut common.time_to_last_upstream_tx_byte,
        &mut common.time_to_first_upstream_rx_byte,
        &mut common.time_to_last_upstream_rx_byte,
        &mut common.time_to_first_downstream_tx_byte,
        &mut common.time_to_last_downstream_tx_byte,
        &mut common.duration,
    ] {
        zero(time);
    }
    for address in [
        &mut common.downstream_remote_address,
        &mut common.downstream_local_address,
        &mut common.downstream_direct_remote_address,
        &mut common.upstream_remote_address,
        &mut common.upstream_local_address,
    ] {
        if let Some(Address { address: Some(address::Address::SocketAddress(at)) }) = address {
            at.port_specifier = Some(PortSpecifier::PortValue(1));
        }
    }
    if common.stream_id.len() == 36 {
        common.stream_id = "uuid".to_owned();
    }
}

#[tokio::test]
async fn services_get_the_same_from_both() {
    let mut ours = hear(Proxy::Meltemi).await;
    for heard in &ours {
        let request = heard.http.request.as_ref().unwrap();
        assert_eq!((request.path.as_str(), request.request_headers["x-one"].as_str()), ("/a?b", "1"));
        let record = &heard.export.resources[0].scopes[0].records[0];
        assert!(record.time > 0 && record.attributes[0].key == "path", "{record:?}");
    }
    if peers::require("envoy").is_none() {
        return;
    }
    let mut theirs = hear(Proxy::Envoy).await;
    for (ours, theirs) in ours.iter_mut().zip(&mut theirs) {
        for heard in [&mut *ours, &mut *theirs] {
            masked(&mut heard.http.common_properties);
            masked(&mut heard.tcp.common_properties);
            heard.export.resources[0].scopes[0].records[0].time = 0;
        }
        assert_eq!(ours.http, theirs.http);
        assert_eq!(ours.tcp, theirs.tcp);
        assert_eq!(ours.export, theirs.export);
    }
}

#[tokio::test]
async fn what_nobody_takes_is_dropped_and_counted() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let listening = [ports::free(), ports::free()];
    let bootstrap = bootstrap(listening, [backend().await, nobody], [nobody, nobody]);
    let folder = tempfile::tempdir().unwrap();
    let running = Proxy::Meltemi.start(MELTEMI, &bootstrap, folder.path()).await;
    let to = SocketAddr::from(([127, 0, 0, 1], listening[0]));
    let long = "x".repeat(50_000);
    let request = format!("GET /{long} HTTP/1.1\r\nhost: a\r\nx-one: 1\r\n\r\n");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        // Requests are answered all the same.
        assert_eq!(raw::exchange(to, request.as_bytes(), PATIENCE).await.unwrap().status, 200);
        if running.stat("access_logs.grpc_access_log.logs_dropped").await > 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing is dropped");
    }
}
