//! The HTTP connection manager's settings, compiled from `HttpConnectionManager` with Envoy's defaults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

use crate::{
    access_log::AccessLog, http::filters::HttpFilter, listener::matcher::IpPrefix, route::RouteTable,
};

/// Compiled `envoy.filters.network.http_connection_manager`.
#[derive(Debug)]
pub struct HttpConnectionManager {
    /// Prefix of its statistics: `http.<stat_prefix>.`.
    pub stat_prefix: Arc<str>,
    /// What downstream may speak.
    pub codec: Codec,
    /// The routes; a stream pins the table it started with.
    pub routes: Arc<RouteSlot>,
    /// HTTP filters before the router, in order.
    pub filters: Vec<HttpFilter>,
    /// Router options.
    pub router: RouterOptions,
    /// Where requests are logged.
    pub access_log: Vec<AccessLog>,
    /// `access_log_options.flush_access_log_on_new_request`: a request is logged when it comes, too.
    pub log_starts: bool,
    /// `access_log_options.flush_log_on_tunnel_successfully_established`.
    pub log_tunnels: bool,
    /// `server_name`, default `envoy`, and what to do with an upstream's `server` header.
    pub server_name: Arc<str>,
    /// `server_header_transformation`.
    pub server_header: ServerHeader,
    /// `use_remote_address`: edge (true) or internal hop.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`.
    pub xff_trusted_hops: u32,
    /// `internal_address_config.cidr_ranges`.
    pub internal_ranges: Vec<IpPrefix>,
    /// `skip_xff_append`.
    pub skip_xff_append: bool,
    /// `via`.
    pub via: Option<Arc<str>>,
    /// `generate_request_id`, default true.
    pub generate_request_id: bool,
    /// `preserve_external_request_id`.
    pub preserve_external_request_id: bool,
    /// `always_set_request_id_in_response`.
    pub request_id_in_response: bool,
    /// `common_http_protocol_options.idle_timeout` of downstream connections, default 1 h.
    pub idle_timeout: Option<Duration>,
    /// `stream_idle_timeout`, default 5 min.
    pub stream_idle_timeout: Option<Duration>,
    /// `request_timeout`, default none.
    pub request_timeout: Option<Duration>,
    /// `request_headers_timeout`, default none.
    pub request_headers_timeout: Option<Duration>,
    /// `drain_timeout`, default 5 s.
    pub drain_timeout: Duration,
    /// `delayed_close_timeout`, default 1 s.
    pub delayed_close_timeout: Duration,
    /// `max_connection_duration`.
    pub max_connection_duration: Option<Duration>,
    /// `common_http_protocol_options.max_stream_duration`.
    pub max_stream_duration: Option<Duration>,
    /// `common_http_protocol_options.max_requests_per_connection`; 0 is unlimited.
    pub max_requests_per_connection: u32,
    /// `max_request_headers_kb`, in bytes; default 60 KiB.
    pub max_request_headers: usize,
    /// `common_http_protocol_options.max_headers_count`, default 100.
    pub max_headers_count: usize,
    /// `common_http_protocol_options.headers_with_underscores_action`.
    pub underscores: Underscores,
    /// `upgrade_configs` that are enabled, lower case ("websocket", "connect").
    pub upgrades: Vec<Arc<str>>,
    /// `normalize_path`.
    pub normalize_path: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: EscapedSlashes,
    /// `strip_matching_host_port` / `strip_any_host_port`.
    pub strip_host_port: StripHostPort,
    /// `strip_trailing_host_dot`.
    pub strip_trailing_host_dot: bool,
    /// `http_protocol_options` for downstream HTTP/1.
    pub http1: Http1Options,
    /// `http2_protocol_options` for downstream HTTP/2.
    pub http2: Http2Options,
    /// `proxy_100_continue`.
    pub proxy_100_continue: bool,
    /// `represent_ipv4_remote_address_as_ipv4_mapped_ipv6` is not supported; see docs/compatibility.md.
    pub scheme_overwrite: Option<Arc<str>>,
}

#[cfg(test)]
impl HttpConnectionManager {
    /// One with routes of its own, upgrades allowed and short timeouts: what a test leaves open.
    pub(crate) fn for_tests() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            stat_prefix: "t".into(),
            codec: Codec::Auto,
            routes: Arc::new(RouteSlot::empty("r".into())),
            filters: Vec::new(),
            router: RouterOptions::default(),
            access_log: Vec::new(),
            log_starts: false,
            log_tunnels: false,
            server_name: "envoy".into(),
            server_header: ServerHeader::Overwrite,
            use_remote_address: false,
            xff_trusted_hops: 0,
            internal_ranges: Vec::new(),
            skip_xff_append: false,
            via: None,
            generate_request_id: true,
            preserve_external_request_id: false,
            request_id_in_response: false,
            idle_timeout: Some(minute),
            stream_idle_timeout: Some(minute),
            request_timeout: None,
            request_headers_timeout: None,
            drain_timeout: minute,
            delayed_close_timeout: Duration::from_secs(1),
            max_connection_duration: None,
            max_stream_duration: None,
            max_requests_per_connection: 0,
            max_request_headers: 60 * 1024,
            max_headers_count: 100,
            underscores: Underscores::default(),
            upgrades: vec!["websocket".into(), "connect".into()],
            normalize_path: true,
            merge_slashes: false,
            escaped_slashes: EscapedSlashes::Keep,
            strip_host_port: StripHostPort::No,
            strip_trailing_host_dot: false,
            http1: Http1Options {
                accept_http_10: false,
                enable_trailers: true,
                allow_absolute_url: true,
                names: NameFormat::default(),
                default_host_for_http_10: None,
            },
            http2: Http2Options {
                max_concurrent_streams: 100,
                stream_window: 1 << 20,
                connection_window: 1 << 22,
                ..Http2Options::default()
            },
            proxy_100_continue: false,
            scheme_overwrite: None,
        }
    }
}

/// `codec_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// HTTP/2 when the preface says so, else HTTP/1.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// A route configuration's place: filled by the static config or by RDS; empty until the first answer.
#[derive(Debug)]
pub struct RouteSlot {
    /// `route_config_name`.
    pub name: Arc<str>,
    /// The current table.
    pub table: ArcSwapOption<RouteTable>,
    /// The table is there, but the virtual hosts that come one by one (VHDS) are not.
    pub incomplete: AtomicBool,
}

impl RouteSlot {
    /// A place without a table.
    pub fn empty(name: Arc<str>) -> Self {
        Self { name, table: ArcSwapOption::empty(), incomplete: AtomicBool::new(false) }
    }

    /// The place of a table of its own.
    pub fn holding(table: RouteTable) -> Self {
        let (name, table) = (table.name.clone(), ArcSwapOption::from_pointee(table));
        Self { name, table, incomplete: AtomicBool::new(false) }
    }

    /// Everything came that a listener waits for.
    pub fn is_warm(&self) -> bool {
        self.table.load().is_some() && !self.incomplete.load(Ordering::Relaxed)
    }
}

/// `envoy.filters.http.router`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouterOptions {
    /// `suppress_envoy_headers`.
    pub suppress_envoy_headers: bool,
    /// `respect_expected_rq_timeout`.
    pub respect_expected_rq_timeout: bool,
}

/// `ServerHeaderTransformation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerHeader {
    /// Replace whatever the upstream said.
    Overwrite,
    /// Set only if the upstream set none.
    AppendIfAbsent,
    /// Leave it.
    PassThrough,
}

/// What becomes of header names with underscores, which some take for dashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They are like others.
    #[default]
    Allow,
    /// 400.
    Reject,
    /// They are left out.
    Drop,
}

/// `PathWithEscapedSlashesAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Leave them.
    Keep,
    /// 400.
    Reject,
    /// Unescape and go on.
    UnescapeForward,
    /// Unescape and redirect (307).
    UnescapeRedirect,
}

/// Port stripping from Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripHostPort {
    /// Never.
    No,
    /// When it is the listener's port.
    Matching,
    /// Always.
    Any,
}

/// How names of HTTP/1 headers are written that did not come in a case of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum NameCase {
    /// In lower case.
    #[default]
    Lower,
    /// `Proper-Case`.
    Proper,
}

/// `header_key_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NameFormat {
    /// How names are written that nobody remembers: `proper_case_words`, or of `preserve_case` what
    /// `formatter_type_on_envoy_headers` says.
    pub case: NameCase,
    /// The stateful formatter `preserve_case`: names of what is received are remembered, for when it is sent on.
    pub preserve: bool,
}

impl NameFormat {
    /// How names are written in a message that remembers none.
    pub fn unremembered(self) -> NameCase {
        if self.preserve { NameCase::Lower } else { self.case }
    }
}

/// `Http1ProtocolOptions`.
#[derive(Debug, Clone, Default)]
pub struct Http1Options {
    /// `accept_http_10`.
    pub accept_http_10: bool,
    /// `enable_trailers`.
    pub enable_trailers: bool,
    /// `allow_absolute_url` (Envoy's default is true).
    pub allow_absolute_url: bool,
    /// `header_key_format`.
    pub names: NameFormat,
    /// `default_host_for_http_10`.
    pub default_host_for_http_10: Option<Arc<str>>,
}

/// `Http2ProtocolOptions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Http2Options {
    /// `max_concurrent_streams`; Envoy's default is 1024.
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`, bytes; Envoy's default is 16 MiB.
    pub stream_window: u32,
    /// `initial_connection_window_size`, bytes; Envoy's default is 24 MiB.
    pub connection_window: u32,
    /// Limits on what a peer may send that costs us more than it.
    pub flood: FloodLimits,
    /// `connection_keepalive`.
    pub keepalive: Option<Http2Keepalive>,
}

/// `KeepaliveSettings`: PINGs that tell whether the peer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Http2Keepalive {
    /// `interval`; `None` asks only as `idle_interval` says.
    pub interval: Option<Duration>,
    /// `timeout` of an answer.
    pub timeout: Duration,
    /// `interval_jitter` in hundredths of a percent, default 1500.
    pub jitter: u32,
    /// `connection_idle_interval`: a stream that begins after such a silence asks first.
    pub idle_interval: Option<Duration>,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 1024,
            stream_window: 16 << 20,
            connection_window: 24 << 20,
            flood: FloodLimits::default(),
            keepalive: None,
        }
    }
}

/// Flood limits of `Http2ProtocolOptions`, with Envoy's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FloodLimits {
    /// `max_outbound_frames`, queued for a peer that does not read; default 10,000.
    pub outbound_frames: u32,
    /// `max_outbound_control_frames`, PING, SETTINGS and RST_STREAM among them; default 1000.
    pub outbound_control_frames: u32,
    /// `max_consecutive_inbound_frames_with_empty_payload`, default 1.
    pub empty_frames: u32,
    /// `max_inbound_priority_frames_per_stream`, default 100.
    pub priority_frames_per_stream: u32,
    /// `max_inbound_window_update_frames_per_data_frame_sent`, default 10.
    pub window_updates_per_data_frame: u32,
    /// Streams after which a connection is closed if most of its streams ended badly; 500, Envoy's
    /// `overload.premature_reset_total_stream_count`.
    pub premature_resets: u32,
}

impl FloodLimits {
    /// Envoy's.
    pub const DEFAULT: Self = Self {
        outbound_frames: 10_000,
        outbound_control_frames: 1000,
        empty_frames: 1,
        priority_frames_per_stream: 100,
        window_updates_per_data_frame: 10,
        premature_resets: 500,
    };
}

impl Default for FloodLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
