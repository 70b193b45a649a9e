//! Settings of HTTP that all listeners of a proxy have in common.

use meltemi_config::mesh::{NormalizationType, ProxyConfig};

use super::{View, access_log};
use crate::model::listener::{AccessLog, ClientCert, Http, PathNormalization, Routes, Tcp};
use crate::node::Role;

impl View<'_> {
    /// HTTP of connections that the workload opens, and of gateways.
    pub(super) fn outbound_http(&self, stat_prefix: String, routes: Routes) -> Http {
        let gateway = self.node.role == Role::Router;
        Http {
            stat_prefix,
            routes,
            access_log: self.access_log(),
            use_remote_address: gateway,
            client_cert: if gateway { ClientCert::SanitizeSet } else { ClientCert::Sanitize },
            normalization: self.normalization(),
            http10: self.node.metadata.http10,
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

    /// Whether the authority that a client asked for is told upstream when it is changed.
    pub(super) fn forwards_host(&self) -> bool {
        let config = self.snapshot.mesh.default_config.as_ref();
        let headers = config.and_then(|config| config.proxy_headers.as_ref());
        headers.and_then(|headers| headers.x_forwarded_host.as_ref()?.enabled).unwrap_or(false)
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
