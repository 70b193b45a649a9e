//! TLS settings of clients and servers.

use super::{Check, Path, code};
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
    let by_files = files[..3].iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    let by_files: Vec<&str> = by_files.chain(it.ca_crl.is_some().then_some("caCrl")).collect();
    if it.credential_name.is_some() && !by_files.is_empty() && it.mode != ClientTlsMode::IstioMutual {
        let message = format!("credentialName excludes {}", by_files.join(", "));
        check.error_hint(
            &at.key("credentialName"),
            message,
            "put all of it into the Secret, or all into files",
        );
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
    let by_files =
        it.server_certificate.is_some() || it.private_key.is_some() || it.ca_certificates.is_some();
    if it.mode == ServerTlsMode::IstioMutual && (by_secret || by_files) {
        check.error(at, "ISTIO_MUTUAL takes no certificates: the mesh brings its own");
    }
    let passes = matches!(it.mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough);
    if passes && (by_secret || by_files) {
        // A warning for Istio too: such Gateways are in use.
        let message = format!("{} does not open TLS: certificates have no use", it.mode);
        check.warn(code::SCHEMA_WARNING, at, message, Some("leave them out".to_owned()));
    }
    secrets(it, check, at);
    ciphers(it, check, at);
    let (min, max) = (it.min_protocol_version, it.max_protocol_version);
    if max != TlsProtocol::Auto && min > max {
        check.error(&at.key("minProtocolVersion"), "minProtocolVersion is above maxProtocolVersion");
    }
}

/// Ways to name certificates exclude each other; two at most, of different kinds of key.
fn secrets(it: &ServerTlsSettings, check: &mut Check<'_>, at: &Path<'_>) {
    let ways = [
        ("credentialName", it.credential_name.is_some()),
        ("credentialNames", !it.credential_names.is_empty()),
        ("tlsCertificates", !it.tls_certificates.is_empty()),
        ("serverCertificate", it.server_certificate.is_some()),
    ];
    let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if let [first, others @ ..] = &given[..] {
        for other in others {
            check.error(&at.key(other), format!("{first} and {other} exclude each other"));
        }
    }
    for (name, count) in
        [("credentialNames", it.credential_names.len()), ("tlsCertificates", it.tls_certificates.len())]
    {
        if count > 2 {
            let hint = "one with an RSA key and one with an ECDSA key";
            check.error_hint(&at.key(name), format!("{count} certificates are given, two at most"), hint);
        }
    }
}

/// Cipher suites as Envoy names them; whatever else is named is ignored.
fn ciphers(it: &ServerTlsSettings, check: &mut Check<'_>, at: &Path<'_>) {
    const KNOWN: [&str; 14] = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
    ];
    let field = at.key("cipherSuites");
    for (index, suite) in it.cipher_suites.iter().enumerate() {
        let message = if !KNOWN.contains(&&**suite) {
            format!("{} is not a cipher suite, and is ignored", crate::text::quoted(suite))
        } else if it.cipher_suites[..index].contains(suite) {
            format!("{suite} is given twice")
        } else {
            continue;
        };
        let hint = crate::text::closest(suite, &KNOWN)
            .filter(|meant| *meant != &**suite)
            .map(|meant| format!("did you mean `{meant}`?"));
        check.warn(code::SCHEMA_WARNING, &field.index(index), message, hint);
    }
}
