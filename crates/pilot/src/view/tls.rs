//! TLS to endpoints, as DestinationRules say (DR-094…DR-106). Secrets are named as Istio names them.

use meltemi_config::Str;
use meltemi_config::networking::tls::{ClientTlsMode, ClientTlsSettings};

use super::View;
use crate::model::cluster::{Protocol, Secret, Tls};
use crate::node::Role;
use crate::registry::Service;
use crate::snapshot::destination_rule::Rule;

/// The cluster that TLS is for.
#[derive(Clone, Copy)]
pub(super) struct TlsPlace<'a> {
    /// `None`: hosts that nobody knows.
    pub(super) service: Option<&'a Service>,
    pub(super) port: u32,
    pub(super) subset: &'a str,
    pub(super) rule: Option<&'a Rule>,
    pub(super) protocol: Protocol,
}

impl View<'_> {
    /// TLS of a cluster; `None`: in the clear.
    pub(super) fn cluster_tls(&self, settings: &ClientTlsSettings, place: TlsPlace<'_>) -> Option<Tls> {
        match settings.mode {
            ClientTlsMode::Disable => None,
            ClientTlsMode::IstioMutual => mesh_tls(settings, place),
            ClientTlsMode::Simple | ClientTlsMode::Mutual => self.origination(settings, place),
        }
    }

    fn origination(&self, settings: &ClientTlsSettings, place: TlsPlace<'_>) -> Option<Tls> {
        let credential = filled(settings.credential_name.as_ref());
        let selected = place.rule.is_some_and(|rule| rule.selector.is_some());
        if credential.is_some() && self.node.role == Role::Sidecar && !selected {
            // Sidecars cannot all have the secret; Istio then leaves TLS out altogether (SEM-070).
            return None;
        }
        let verified = settings.insecure_skip_verify != Some(true);
        let mutual = settings.mode == ClientTlsMode::Mutual;
        let (certificate, authorities) = match credential {
            Some(name) => (
                mutual.then(|| from_control_plane(format!("kubernetes://{name}"))),
                Some(from_control_plane(format!("kubernetes://{name}-cacert"))),
            ),
            None => {
                let files = filled(settings.client_certificate.as_ref())
                    .zip(filled(settings.private_key.as_ref()))
                    .map(|(certificate, key)| from_agent(format!("file-cert:{certificate}~{key}")));
                if mutual && files.is_none() {
                    return None;
                }
                let root = filled(settings.ca_certificates.as_ref()).map_or("system", |file| &**file);
                (files.filter(|_| mutual), Some(from_agent(format!("file-root:{root}"))))
            }
        };
        let sni = settings.sni.clone().unwrap_or_default();
        let own = &settings.subject_alt_names;
        let of_service = place.service.map_or(&[][..], |service| &service.subject_alt_names);
        let names = if own.is_empty() { of_service } else { own };
        Some(Tls {
            checks_request_name: sni.is_empty() && own.is_empty() && verified,
            sni,
            certificate,
            authorities: authorities.filter(|_| verified),
            names: names.to_vec(),
            protocols: h2_only(place.protocol),
            revoked: settings.ca_crl.clone(),
        })
    }
}

/// With the mesh's own certificates; the server name tells gateways between networks where to.
fn mesh_tls(settings: &ClientTlsSettings, place: TlsPlace<'_>) -> Option<Tls> {
    let TlsPlace { port, subset, .. } = place;
    // Who is not known has no certificate of the mesh.
    let service = place.service?;
    let sni = filled(settings.sni.as_ref()).cloned();
    let mut protocols: Vec<Str> = vec!["istio".into()];
    protocols.extend(h2_only(place.protocol));
    Some(Tls {
        sni: sni.unwrap_or_else(|| format!("outbound_.{port}_.{subset}_.{}", service.host).into()),
        certificate: Some(from_agent("default".to_owned())),
        authorities: Some(from_agent("ROOTCA".to_owned())),
        names: settings.subject_alt_names.clone(),
        checks_request_name: false,
        protocols,
        revoked: None,
    })
}

fn h2_only(protocol: Protocol) -> Vec<Str> {
    if protocol == Protocol::Http2 { vec!["h2".into()] } else { Vec::new() }
}

fn filled(text: Option<&Str>) -> Option<&Str> {
    text.filter(|text| !text.is_empty())
}

fn from_agent(name: String) -> Secret {
    Secret { name, from_control_plane: false }
}

fn from_control_plane(name: String) -> Secret {
    Secret { name, from_control_plane: true }
}
