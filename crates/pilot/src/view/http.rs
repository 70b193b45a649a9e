//! Settings of HTTP that all listeners of a proxy have in common.

use std::sync::Arc;

use meltemi_config::Str;
use meltemi_config::mesh::proxy_config::{
    ForwardClientCertDetails, ProxyHeaders, SetCurrentClientCertDetails, Toggle,
};
use meltemi_config::mesh::{NormalizationType, ProxyConfig};

use super::View;
use super::access_log::{self, Side};
use crate::model::listener::{
    AccessLogs, ClientCert, Condition, Forward, Http, PathNormalization, Routes, Tcp,
};
use crate::names::SERVER_NAME;
use crate::node::Role;
use crate::registry::Service;

/// Key of `proxyMetadata`: the response header in which answers of the proxy's own say why they are given.
const REASON_HEADER: &str = "MELTEMI_REASON_HEADER";

impl View<'_> {
    /// HTTP of connections that the workload opens, and of gateways.
    pub(super) fn outbound_http(&self, stat_prefix: String, routes: Routes) -> Http {
        let gateway = self.node.role == Role::Router;
        let headers = self.proxy_headers();
        let off = |toggle: Option<&Toggle>| toggle.is_some_and(|toggle| toggle.disabled == Some(true));
        let server = headers.and_then(|headers| headers.server.as_ref());
        // Outbound, Istio leaves Envoy's own word.
        let word = if gateway { SERVER_NAME } else { "" };
        let said = server.and_then(|server| server.value.clone()).filter(|value| !value.is_empty());
        Http {
            stat_prefix,
            routes,
            access_log: self.access_logs(Side::Client),
            use_remote_address: gateway || self.snapshot.mesh.switches.sidecar_use_remote_address,
            client_cert: if gateway { self.client_cert_at_edge() } else { NO_CLIENT_CERT },
            normalization: self.normalization(),
            http10: self.node.metadata.http10 || self.snapshot.mesh.switches.http10,
            trusted_hops: if gateway { self.trusted_hops() } else { 0 },
            preserve_case: self.preserves_case(),
            server: (!off(server)).then(|| said.unwrap_or_else(|| word.into())),
            request_id: !off(headers.and_then(|headers| headers.request_id.as_ref())),
            forwarded_port: headers
                .and_then(|headers| headers.x_forwarded_port.as_ref()?.enabled)
                .unwrap_or(false),
            hide_envoy: off(headers.and_then(|headers| headers.envoy_debug_headers.as_ref())),
            dynamic_dns: self.looks_up().then(|| self.dns_refresh()),
            reason_header: self.reason_header(),
        }
    }

    /// HTTP of connections to the workload.
    pub(super) fn inbound_http(&self, stat_prefix: String, routes: Routes) -> Http {
        let http = self.outbound_http(stat_prefix, routes);
        Http {
            access_log: self.access_logs(Side::Server),
            use_remote_address: false,
            dynamic_dns: None,
            client_cert: self.client_cert_inbound(),
            trusted_hops: 0,
            server: http.server.map(|word| if word.is_empty() { SERVER_NAME.into() } else { word }),
            ..http
        }
    }

    /// At gateways their place in the topology decides.
    fn client_cert_at_edge(&self) -> ClientCert {
        let topology = self.proxy_config().and_then(|config| config.gateway_topology.as_ref());
        let said = topology.map(|topology| topology.forward_client_cert_details).unwrap_or_default();
        let forward = forward(said).unwrap_or(Forward::SanitizeSet);
        let tells = matches!(forward, Forward::SanitizeSet | Forward::AppendForward);
        ClientCert { forward, details: if tells { [true, true, false, true, true] } else { [false; 5] } }
    }

    fn client_cert_inbound(&self) -> ClientCert {
        let headers = self.proxy_headers();
        let said = headers.map(|headers| headers.forwarded_client_cert).unwrap_or_default();
        let details = headers.and_then(|headers| headers.set_current_client_cert_details.as_ref());
        let or = |of: fn(&SetCurrentClientCertDetails) -> Option<bool>, default: bool| {
            details.and_then(of).unwrap_or(default)
        };
        ClientCert {
            forward: forward(said).unwrap_or(Forward::AppendForward),
            details: [
                or(|details| details.subject, true),
                or(|details| details.cert, false),
                or(|details| details.chain, false),
                or(|details| details.dns, true),
                or(|details| details.uri, true),
            ],
        }
    }

    /// Whether upstreams are told the number of the attempt.
    pub(super) fn counts_attempts(&self) -> bool {
        let toggle = self.proxy_headers().and_then(|headers| headers.attempt_count.as_ref());
        toggle.is_none_or(|toggle| toggle.disabled != Some(true))
    }

    /// Bytes to one cluster.
    pub(super) fn tcp_to(&self, cluster: &str) -> Tcp {
        Tcp {
            stat_prefix: cluster.to_owned(),
            clusters: vec![(cluster.to_owned(), 1)],
            access_log: self.access_logs(Side::Client),
            idle_timeout: None,
            max_duration: None,
            hash_source: false,
            tunnel: None,
            looks_up: None,
        }
    }

    /// Bytes to the workload.
    pub(super) fn tcp_inbound(&self, cluster: &str) -> Tcp {
        Tcp { access_log: self.access_logs(Side::Server), ..self.tcp_to(cluster) }
    }

    /// Where answers of the proxy's own say why they are given, if the mesh wants that and the proxy can.
    fn reason_header(&self) -> Option<Str> {
        let config = self.proxy_config().filter(|_| self.node.metadata.knows_reasons())?;
        config.proxy_metadata.get(REASON_HEADER).filter(|name| !name.is_empty()).cloned()
    }

    /// The logs of requests and connections.
    pub(super) fn access_logs(&self, side: Side) -> AccessLogs {
        let of = |side| {
            let mesh = &self.snapshot.mesh;
            let telemetries = &self.snapshot.telemetries;
            let resources = telemetries.applicable(mesh.root_namespace(), &self.node.namespace, &self.labels);
            let logs = access_log::of(mesh, &resources, side);
            if self.node.metadata.tells_places() { access_log::for_meltemi(&logs) } else { logs }
        };
        let logs = self.logs.get_or_init(|| [of(Side::Client), of(Side::Server)]);
        Arc::clone(&logs[usize::from(side == Side::Server)])
    }

    /// The logs of connections that no filter chain takes.
    pub(super) fn listener_logs(&self, side: Side) -> AccessLogs {
        match self.snapshot.mesh.disable_envoy_listener_log {
            true => AccessLogs::default(),
            false => self.access_logs(side),
        }
    }

    /// Whether names of HTTP/1 headers keep their case.
    pub(super) fn preserves_case(&self) -> bool {
        self.proxy_headers().and_then(|headers| headers.preserve_http1_header_case).unwrap_or(false)
    }

    /// How long bytes are waited for that tell the protocol.
    pub(super) fn detection_timeout(&self) -> std::time::Duration {
        self.snapshot.mesh.protocol_detection_timeout.unwrap_or_default().0
    }

    /// HTTP that is not encrypted, as the inspectors find it.
    pub(super) fn http_in_the_clear(&self) -> Condition {
        Condition { transport: "raw_buffer".into(), protocols: self.http_protocols(), ..Condition::default() }
    }

    /// What the HTTP inspector calls HTTP; HTTP/1.0 is bytes unless it is accepted.
    pub(super) fn http_protocols(&self) -> Vec<Str> {
        let http10 = self.node.metadata.http10 || self.snapshot.mesh.switches.http10;
        let old = http10.then(|| "http/1.0".into());
        old.into_iter().chain(["http/1.1".into(), "h2c".into()]).collect()
    }

    /// Bytes as the DestinationRule of their service says: idle time, age, hash, tunnel.
    pub(super) fn with_policy(&self, tcp: Tcp, service: &Service, subset: &str) -> Tcp {
        let Some(rule) = self.rule(service) else { return tcp };
        let of_rule = rule.policy.as_ref();
        let of_subset = rule.subsets.iter().find(|known| &*known.name == subset);
        let of_subset = of_subset.and_then(|subset| subset.traffic_policy.as_ref());
        let limits = of_rule.and_then(|policy| policy.connection_pool.as_ref()?.tcp.as_ref());
        let balancer = of_subset
            .and_then(|policy| policy.load_balancer.as_ref())
            .or_else(|| of_rule?.load_balancer.as_ref());
        let tunnel = of_subset.and_then(|policy| policy.tunnel.as_ref()).or_else(|| of_rule?.tunnel.as_ref());
        Tcp {
            idle_timeout: limits.and_then(|tcp| tcp.idle_timeout).map(|timeout| timeout.0),
            max_duration: limits.and_then(|tcp| tcp.max_connection_duration).map(|age| age.0),
            hash_source: super::policy::hashes_source(balancer),
            tunnel: tunnel.map(super::policy::tunnel),
            ..tcp
        }
    }

    /// Whether the authority that a client asked for is told upstream when it is changed.
    pub(super) fn forwards_host(&self) -> bool {
        let headers = self.proxy_headers().and_then(|headers| headers.x_forwarded_host.as_ref());
        headers.and_then(|toggle| toggle.enabled).unwrap_or(false)
    }

    /// Settings of headers: the proxy's own, else the mesh's.
    pub(super) fn proxy_headers(&self) -> Option<&ProxyHeaders> {
        self.proxy_config()?.proxy_headers.as_ref()
    }

    /// The proxy's settings: its own as it says them, else the mesh's.
    pub(super) fn proxy_config(&self) -> Option<&ProxyConfig> {
        let own = self.node.metadata.proxy_config.as_deref().map(std::ops::Deref::deref);
        own.or(self.snapshot.mesh.default_config.as_ref())
    }

    fn normalization(&self) -> PathNormalization {
        let setting = self.snapshot.mesh.path_normalization.as_ref().map(|setting| setting.normalization);
        match setting.unwrap_or_default() {
            NormalizationType::Default | NormalizationType::Base => PathNormalization::Base,
            NormalizationType::None => PathNormalization::None,
            NormalizationType::MergeSlashes => PathNormalization::MergeSlashes,
            NormalizationType::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
        }
    }

    fn trusted_hops(&self) -> u32 {
        let topology = self.proxy_config().and_then(|config| config.gateway_topology.as_ref());
        topology.map_or(0, |topology| topology.num_trusted_proxies)
    }
}

/// Outbound, the header is dropped.
const NO_CLIENT_CERT: ClientCert = ClientCert { forward: Forward::Sanitize, details: [false; 5] };

fn forward(said: ForwardClientCertDetails) -> Option<Forward> {
    Some(match said {
        ForwardClientCertDetails::Undefined => return None,
        ForwardClientCertDetails::Sanitize => Forward::Sanitize,
        ForwardClientCertDetails::ForwardOnly => Forward::ForwardOnly,
        ForwardClientCertDetails::AppendForward => Forward::AppendForward,
        ForwardClientCertDetails::SanitizeSet => Forward::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => Forward::AlwaysForwardOnly,
    })
}
