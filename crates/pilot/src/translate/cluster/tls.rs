//! What a cluster's connections are wrapped in: TLS with secrets that come over SDS, the PROXY protocol.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::extensions::transport_sockets::{
    proxy_protocol::v3::ProxyProtocolUpstreamTransport, raw_buffer::v3::RawBuffer, tls::v3 as tls,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3 as matcher;
use meltemi_xds::pb::google::protobuf::Any;

use crate::model::cluster::{Cluster, ProxyVersion, Secret, Tls};
use crate::translate::proto::ads;

/// The agent's cluster for secrets, in every bootstrap.
const AGENT: &str = "sds-grpc";

/// The outermost wrapping, if there is any.
pub(super) fn transport_socket(model: &Cluster) -> Option<core::TransportSocket> {
    let secure = model.tls.as_ref().map(|tls| socket("envoy.transport_sockets.tls", any(&context(tls))));
    let Some(version) = model.proxy_protocol else { return secure };
    let plain = || socket("envoy.transport_sockets.raw_buffer", any(&RawBuffer {}));
    let wrapped = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig {
            version: match version {
                ProxyVersion::V1 => core::proxy_protocol_config::Version::V1.into(),
                ProxyVersion::V2 => core::proxy_protocol_config::Version::V2.into(),
            },
            ..Default::default()
        }),
        transport_socket: Some(secure.unwrap_or_else(plain)),
        ..Default::default()
    };
    Some(socket("envoy.transport_sockets.upstream_proxy_protocol", any(&wrapped)))
}

/// What is taken from each request: the server name, and the name that the certificate must carry.
pub(super) fn names_by_request(model: &Cluster) -> Option<core::UpstreamHttpProtocolOptions> {
    let tls = model.tls.as_ref()?;
    let auto_sni = tls.sni.is_empty();
    (auto_sni || tls.checks_request_name).then(|| core::UpstreamHttpProtocolOptions {
        auto_sni,
        auto_san_validation: tls.checks_request_name,
        ..Default::default()
    })
}

fn socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

fn context(model: &Tls) -> tls::UpstreamTlsContext {
    use tls::tls_parameters::TlsProtocol;
    let common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..Default::default()
        }),
        tls_certificate_sds_secret_configs: model.certificate.iter().map(secret).collect(),
        alpn_protocols: model.protocols.iter().map(|name| name.to_string()).collect(),
        validation_context_type: Some(validation(model)),
        ..Default::default()
    };
    tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: model.sni.to_string(),
        ..Default::default()
    }
}

#[allow(deprecated, reason = "Istio sends the untyped form, which says the same of every kind of name")]
fn validation(model: &Tls) -> tls::common_tls_context::ValidationContextType {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let Some(authorities) = &model.authorities else {
        return ValidationContextType::ValidationContext(Default::default());
    };
    let exact = |name: &meltemi_config::Str| matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(name.to_string())),
        ..Default::default()
    };
    let crl = model.revoked.as_ref().map(|file| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(file.to_string())),
        ..Default::default()
    });
    let default = tls::CertificateValidationContext {
        match_subject_alt_names: model.names.iter().map(exact).collect(),
        crl,
        ..Default::default()
    };
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(default),
        validation_context_sds_secret_config: Some(secret(authorities)),
        ..Default::default()
    })
}

fn secret(model: &Secret) -> tls::SdsSecretConfig {
    let sds_config = if model.from_control_plane { ads() } else { agent() };
    tls::SdsSecretConfig { name: model.name.clone(), sds_config: Some(sds_config) }
}

fn agent() -> core::ConfigSource {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let target = EnvoyGrpc { cluster_name: AGENT.to_owned(), ..Default::default() };
    let service = core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(source)),
        resource_api_version: core::ApiVersion::V3.into(),
        ..Default::default()
    }
}
