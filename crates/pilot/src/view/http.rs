//! Settings of HTTP that all listeners of a proxy have in common.

use meltemi_config::Str;
use meltemi_config::mesh::proxy_config::ProxyHeaders;
use meltemi_config::mesh::{NormalizationType, ProxyConfig};

use super::{View, access_log};
use crate::model::listener::{AccessLog, ClientCert, Condition, Http, PathNormalization, Routes, Tcp};
use crate::node::Role;
use crate::registry::Service;

impl View<'_> {
    /// HTTP of connections that the workload opens, and of gateways.
    pub(super) fn outbound_http(&self, stat_prefix: String, routes: Routes) -> Http {
        let gateway = self.node.role == Role::Router;
        Http {
            stat_prefix,
            routes,
            access_log: self.access_log(),
            use_remote_address: gateway || self.snapshot.mesh.switches.sidecar_use_remote_address,
            client_cert: if gateway { ClientCert::SanitizeSet } else { ClientCert::Sanitize },
            normalization: self.normalization(),
            http10: self.node.metadata.http10 || self.snapshot.mesh.switches.http10,
            trusted_hops: if gateway { self.trusted_hops() } else { 0 },
        }
    }

    /// HTTP of connections to the workload.
    pub(super) fn inbound_http(&self, stat_prefix: String, routes: Routes) -> Http {
        Http {
            use_remote_address: false,
            client_cert: ClientCert::AppendForward,
            trusted_hops: 0,
            ..self.outbound_http(stat_prefix, routes)
        }
    }

    /// Bytes to one cluster.
    pub(super) fn tcp_to(&self, cluster: &str) -> Tcp {
        Tcp {
            stat_prefix: cluster.to_owned(),
            clusters: vec![(cluster.to_owned(), 1)],
            access_log: self.access_log(),
            idle_timeout: None,
            max_duration: None,
            hash_source: false,
            tunnel: None,
        }
    }

    /// The log of requests and connections.
    pub(super) fn access_log(&self) -> Option<AccessLog> {
        access_log::of(&self.snapshot.mesh)
    }

    /// The log of connections that no filter chain takes.
    pub(super) fn listener_log(&self) -> Option<AccessLog> {
        if self.snapshot.mesh.disable_envoy_listener_log { None } else { self.access_log() }
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
        self.snapshot.mesh.default_config.as_ref()
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
        let config: Option<&ProxyConfig> = self.snapshot.mesh.default_config.as_ref();
        config
            .and_then(|config| config.gateway_topology.as_ref())
            .map_or(0, |topology| topology.num_trusted_proxies)
    }
}
