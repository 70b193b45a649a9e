//! TLS settings: of clients (DestinationRule, mesh) and of servers (Gateway, Sidecar).

use crate::Str;
use crate::decode::macros::{message, proto_enum};

message! {
    /// TLS towards a destination.
    pub struct ClientTlsSettings {
        /// How (DR-098).
        mode: ClientTlsMode = "mode";
        /// File of the client's certificate (DR-099).
        client_certificate: Option<Str> = "clientCertificate";
        /// File of its key (DR-100).
        private_key: Option<Str> = "privateKey";
        /// File of trusted certificates; unset: the system's (DR-101).
        ca_certificates: Option<Str> = "caCertificates";
        /// Secret, in place of files (DR-102).
        credential_name: Option<Str> = "credentialName";
        /// Names the server's certificate must have one of (DR-103).
        subject_alt_names: Vec<Str> = "subjectAltNames";
        /// Server name to send (DR-104).
        sni: Option<Str> = "sni";
        /// Accept any certificate (DR-105).
        insecure_skip_verify: Option<bool> = "insecureSkipVerify";
        /// File of revoked certificates (DR-106).
        ca_crl: Option<Str> = "caCrl";
    }
}

proto_enum! {
    /// TLS towards a destination.
    pub enum ClientTlsMode {
        /// None (DR-094).
        Disable = "DISABLE";
        /// The server shows a certificate (DR-095).
        Simple = "SIMPLE";
        /// Both do, from files or a secret (DR-096).
        Mutual = "MUTUAL";
        /// Both do, the mesh's own (DR-097).
        IstioMutual = "ISTIO_MUTUAL";
    }
}

message! {
    /// TLS of a server.
    pub struct ServerTlsSettings {
        /// Answer plain HTTP with 301 to https (GW-013).
        https_redirect: bool = "httpsRedirect";
        /// How (GW-020).
        mode: ServerTlsMode = "mode";
        /// File of the certificate (GW-021).
        server_certificate: Option<Str> = "serverCertificate";
        /// File of its key (GW-022).
        private_key: Option<Str> = "privateKey";
        /// File of certificates trusted for clients (GW-023).
        ca_certificates: Option<Str> = "caCertificates";
        /// File of revoked certificates (GW-024).
        ca_crl: Option<Str> = "caCrl";
        /// Secret, in place of files (GW-025).
        credential_name: Option<Str> = "credentialName";
        /// Several secrets, such as RSA and ECDSA (GW-026).
        credential_names: Vec<Str> = "credentialNames";
        /// Secret with the trusted certificates (GW-027).
        ca_cert_credential_name: Option<Str> = "caCertCredentialName";
        /// Several certificates from files (GW-031).
        tls_certificates: Vec<TlsCertificate> = "tlsCertificates";
        /// Names a client's certificate must have one of (GW-032).
        subject_alt_names: Vec<Str> = "subjectAltNames";
        /// Hashes of accepted public keys (GW-033).
        verify_certificate_spki: Vec<Str> = "verifyCertificateSpki";
        /// Hashes of accepted certificates (GW-034).
        verify_certificate_hash: Vec<Str> = "verifyCertificateHash";
        /// Default: 1.2 (GW-040).
        min_protocol_version: TlsProtocol = "minProtocolVersion";
        /// Default: 1.3 (GW-041).
        max_protocol_version: TlsProtocol = "maxProtocolVersion";
        /// Accepted cipher suites (GW-042).
        cipher_suites: Vec<Str> = "cipherSuites";
        /// Accept any client certificate (GW-043).
        insecure_skip_verify: Option<bool> = "insecureSkipVerify";
        /// Curves (GW-044).
        ecdh_curves: Vec<Str> = "ecdhCurves";
    }
}

message! {
    /// A certificate from files.
    pub struct TlsCertificate {
        /// Certificate (GW-028).
        server_certificate: Option<Str> = "serverCertificate";
        /// Key (GW-029).
        private_key: Option<Str> = "privateKey";
        /// Trusted certificates (GW-030).
        ca_certificates: Option<Str> = "caCertificates";
    }
}

proto_enum! {
    /// TLS of a server.
    pub enum ServerTlsMode {
        /// Not opened; routed by server name (GW-014).
        Passthrough = "PASSTHROUGH";
        /// The server shows a certificate (GW-015).
        Simple = "SIMPLE";
        /// Both do (GW-016).
        Mutual = "MUTUAL";
        /// Not opened; the server name says the cluster (GW-017).
        AutoPassthrough = "AUTO_PASSTHROUGH";
        /// Both do, the mesh's own (GW-018).
        IstioMutual = "ISTIO_MUTUAL";
        /// The client may (GW-019).
        OptionalMutual = "OPTIONAL_MUTUAL";
    }
}

proto_enum! {
    /// Versions of TLS.
    pub enum TlsProtocol {
        /// By default (GW-035).
        Auto = "TLS_AUTO";
        /// 1.0 (GW-036).
        V1_0 = "TLSV1_0";
        /// 1.1 (GW-037).
        V1_1 = "TLSV1_1";
        /// 1.2 (GW-038).
        V1_2 = "TLSV1_2";
        /// 1.3 (GW-039).
        V1_3 = "TLSV1_3";
    }
}
