//! Logs that go to a service over gRPC: Envoy's access log service, OpenTelemetry.
//!
//! A worker encodes entries into a buffer of its own; a task of that worker sends what it holds once a second, or sooner when it is
//! large, over the cluster's own connections. Invariant: no request waits for the service; what it does not take is dropped and counted.

mod entry;
mod otel;
mod sender;

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use meltemi_xds::pb::{
    envoy::{
        config::core::v3::{GrpcService, Node, grpc_service::TargetSpecifier},
        extensions::access_loggers::grpc::v3::{
            CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
        },
        service::accesslog::v3::{StreamAccessLogsMessage, stream_access_logs_message::Identifier},
    },
    google::protobuf::UInt32Value,
};
use prost::Message as _;

pub use self::sender::Logger;
use self::{entry::Entry, otel::Records};
use crate::{
    access_log::Record,
    cluster::ClusterSlot,
    http::{
        Worker,
        message::{BodyLength, RequestHead},
    },
    xds::{Context, fields},
};

/// Envoy's `buffer_size_bytes`.
const SIZE: u32 = 16 * 1024;

/// A log of this kind. Loggers of the workers know it by its id, and end when it does.
#[derive(Debug)]
pub(super) struct GrpcSink {
    id: u64,
    target: Arc<Target>,
    content: Content,
}

/// Where entries go, and how.
#[derive(Debug)]
pub struct Target {
    slot: Arc<ClusterSlot>,
    head: RequestHead,
    /// `buffer_flush_interval`.
    interval: Duration,
    /// `buffer_size_bytes`.
    size: usize,
    shape: Shape,
    /// Of its statistics.
    prefix: &'static str,
}

/// How entries become messages.
#[derive(Debug)]
enum Shape {
    /// One stream with many messages: how the first begins, and the field that holds the entries.
    Stream { first: Vec<u8>, field: u32 },
    /// A call for each message, whose records stand behind this resource.
    Calls { resource: Vec<u8> },
}

#[derive(Debug)]
enum Content {
    Entry(Entry),
    Records(Records),
}

impl GrpcSink {
    /// `envoy.access_loggers.http_grpc`.
    pub(super) fn http(config: &HttpGrpcAccessLogConfig, context: &mut Context) -> Result<Self, String> {
        let common = config.common_config.as_ref().ok_or("common_config is missing")?;
        let entry = Entry::http(common, config)?;
        Self::stream(common, Content::Entry(entry), 2, context)
    }

    /// `envoy.access_loggers.tcp_grpc`.
    pub(super) fn tcp(config: &TcpGrpcAccessLogConfig, context: &mut Context) -> Result<Self, String> {
        let common = config.common_config.as_ref().ok_or("common_config is missing")?;
        Self::stream(common, Content::Entry(Entry::tcp(common)?), 3, context)
    }

    fn stream(
        common: &CommonGrpcAccessLogConfig,
        content: Content,
        field: u32,
        context: &mut Context,
    ) -> Result<Self, String> {
        let node: Option<Node> = context.node.as_deref().cloned();
        let identifier = Identifier { node, log_name: common.log_name.clone() };
        let first =
            StreamAccessLogsMessage { identifier: Some(identifier), log_entries: None }.encode_to_vec();
        let service = common.grpc_service.as_ref().ok_or("grpc_service is missing")?;
        let path = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
        let target = Target {
            shape: Shape::Stream { first, field },
            prefix: "access_logs.grpc_access_log.",
            ..Target::new(service, path, &(common.buffer_flush_interval, common.buffer_size_bytes), context)?
        };
        Ok(Self::of(target, content))
    }

    fn of(target: Target, content: Content) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Self { id: IDS.fetch_add(1, Ordering::Relaxed), target: Arc::new(target), content }
    }

    /// Hands the record to the worker's logger.
    pub(super) fn append(self: &Arc<Self>, record: &Record<'_>, worker: &Rc<Worker>) {
        let logger =
            worker.grpc_logger(self.id, || Logger::start(&self.target, Arc::downgrade(self), worker));
        logger.append(|out| match &self.content {
            Content::Entry(entry) => entry.write(out, record),
            Content::Records(records) => records.write(out, record),
        });
    }
}

type Buffering = (Option<meltemi_xds::pb::google::protobuf::Duration>, Option<UInt32Value>);

impl Target {
    /// Where the service is. Only Envoy's own client, as there is no other.
    fn new(
        service: &GrpcService,
        path: &str,
        (interval, size): &Buffering,
        context: &mut Context,
    ) -> Result<Self, String> {
        let Some(TargetSpecifier::EnvoyGrpc(target)) = &service.target_specifier else {
            return Err("grpc_service: only envoy_grpc is supported".to_owned());
        };
        if target.cluster_name.is_empty() {
            return Err("envoy_grpc needs a cluster_name".to_owned());
        }
        let mut head = RequestHead::default();
        head.set_method("POST");
        head.set_path(path);
        head.set_authority(if target.authority.is_empty() {
            &target.cluster_name
        } else {
            &target.authority
        });
        head.body = BodyLength::Unknown;
        head.headers.append_named(b"te", b"trailers");
        head.headers.append_named(b"content-type", b"application/grpc");
        for header in &service.initial_metadata {
            let name = header.key.to_ascii_lowercase();
            let wrong = |text: &str| text.bytes().any(|byte| byte < b' ' || byte == 0x7f);
            if name.is_empty() || wrong(&name) || wrong(&header.value) || header.value.contains('%') {
                return Err(format!("initial_metadata {} is not supported", header.key));
            }
            head.headers.append_named(name.as_bytes(), header.value.as_bytes());
        }
        let interval =
            fields::optional(interval.as_ref(), "buffer_flush_interval").map_err(|e| e.to_string())?;
        Ok(Self {
            slot: context.clusters.slot(&target.cluster_name),
            head,
            interval: interval.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1)),
            size: fields::number(size.as_ref(), SIZE) as usize,
            shape: Shape::Calls { resource: Vec::new() },
            prefix: "",
        })
    }
}

/// Appends a field that holds bytes: its tag, the length, the content.
fn field(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}
