//! TLS settings of clients and servers.

use super::{Check, Path};
use crate::networking::tls::*;

/// TLS towards a destination.
pub(super) fn client(it: &ClientTlsSettings, check: &mut Check<'_>, at: &Path<'_>) {
    let files = [
        ("clientCertificate", it.client_certificate.is_some()),
        ("privateKey", it.private_key.is_some()),
        ("caCertificates", it.ca_certificates.is_some()),
        ("credentialName", it.credential_name.is_some()),
    ];
    match it.mode {
        ClientTlsMode::IstioMutual => {
            for (name, _) in files.iter().filter(|(_, given)| *given) {
                check.error(
                    &at.key(name),
                    format!("{name} must not be given with ISTIO_MUTUAL: the mesh brings its own"),
                );
            }
        }
        ClientTlsMode::Mutual if it.credential_name.is_none() => {
            for (name, given) in &files[..2] {
                if !given {
                    check.error(&at.key(name), format!("MUTUAL needs {name} (or credentialName)"));
                }
            }
        }
        _ => {}
    }
    if it.credential_name.is_some() && it.client_certificate.is_some() {
        check.error(&at.key("credentialName"), "credentialName excludes clientCertificate and privateKey");
    }
    if it.insecure_skip_verify == Some(true)
        && (it.ca_certificates.is_some() || !it.subject_alt_names.is_empty())
    {
        let message = "nothing is verified, and yet caCertificates or subjectAltNames are given";
        check.error(&at.key("insecureSkipVerify"), message);
    }
}

/// TLS of a server.
pub(super) fn server(it: &ServerTlsSettings, check: &mut Check<'_>, at: &Path<'_>) {
    let by_secret =
        it.credential_name.is_some() || !it.credential_names.is_empty() || !it.tls_certificates.is_empty();
    let needs_certificate =
        matches!(it.mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if needs_certificate && !by_secret {
        let files = [("serverCertificate", &it.server_certificate), ("privateKey", &it.private_key)];
        for (name, given) in files {
            if given.is_none() {
                check.error(&at.key(name), format!("{} needs {name} (or credentialName)", it.mode));
            }
        }
        if it.mode != ServerTlsMode::Simple && it.ca_certificates.is_none() {
            check.error(
                &at.key("caCertificates"),
                format!("{} needs caCertificates (or credentialName)", it.mode),
            );
        }
    }
    if it.mode == ServerTlsMode::IstioMutual && (by_secret || it.server_certificate.is_some()) {
        check.error(at, "ISTIO_MUTUAL takes no certificates: the mesh brings its own");
    }
    let passes = matches!(it.mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough);
    if passes && (by_secret || it.server_certificate.is_some()) {
        check.error(at, format!("{} does not open TLS: certificates have no use", it.mode));
    }
    let (min, max) = (it.min_protocol_version, it.max_protocol_version);
    if max != TlsProtocol::Auto && min > max {
        check.error(&at.key("minProtocolVersion"), "minProtocolVersion is above maxProtocolVersion");
    }
}
