//! Addresses of an external control plane, in the webhooks of the cluster that uses it.

use super::Analyzer;
use super::messages::{EXTERNAL_CONTROL_PLANE, EXTERNAL_CONTROL_PLANE_IP};
use super::report::Report;
use super::view::Mesh;
use crate::kubernetes::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, Webhook, WebhookConfiguration,
};
use crate::{Kind, Object};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "external-control-plane",
    about: "addresses of webhooks of an external control plane",
    says: &[&EXTERNAL_CONTROL_PLANE, &EXTERNAL_CONTROL_PLANE_IP],
    run,
};

const VALIDATOR: &str = "istio-validator-external-istiod";
const INJECTOR: &str = "istio-sidecar-injector-external-istiod";
const DEFAULT_VALIDATOR: &str = "istiod-default-validator";

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let remote = mesh.find(Kind::ValidatingWebhookConfiguration, "", VALIDATOR).is_some()
        && mesh.find(Kind::MutatingWebhookConfiguration, "", INJECTOR).is_some();
    if !remote {
        return;
    }
    for (object, config) in mesh.all::<ValidatingWebhookConfiguration>() {
        if [VALIDATOR, DEFAULT_VALIDATOR].contains(&&**object.name()) {
            check(object, &config.0, report);
        }
    }
    for (object, config) in mesh.all::<MutatingWebhookConfiguration>() {
        if **object.name() == *INJECTOR {
            check(object, &config.0, report);
        }
    }
}

fn check(object: &Object, config: &WebhookConfiguration, report: &mut Report) {
    for (index, webhook) in config.webhooks.iter().enumerate() {
        // One that leads to a Service of this cluster is none of these.
        if webhook.client_config.service.is_none() {
            url(object, index, webhook, report);
        }
    }
}

fn url(object: &Object, index: usize, webhook: &Webhook, report: &mut Report) {
    let url = webhook.client_config.url.as_deref().unwrap_or_default();
    let path = format!("webhooks[{index}].clientConfig.url");
    let problem = match host_of(url) {
        _ if url.is_empty() => "is blank",
        None => "could not be parsed from its URL",
        Some(host) if is_address(host) => {
            let text = format!(
                "The address ({url}) that was provided for the webhook ({}) to reach the ingress gateway on the external control plane cluster is an IP address. This is not recommended for a production environment.",
                webhook.name
            );
            report.add(&EXTERNAL_CONTROL_PLANE_IP, object, &path, text, "give it a name in DNS");
            return;
        }
        Some(host)
            if crate::host::is_wildcard(host) || host.contains(|c: char| c.is_whitespace() || c == '_') =>
        {
            "is not the name of a host"
        }
        Some(_) => return,
    };
    let text = format!(
        "The hostname ({}) that was provided for the webhook ({}) to reach the ingress gateway on the external control plane cluster {problem}. Traffic may not flow properly.",
        host_of(url).unwrap_or(url),
        webhook.name
    );
    let hint = "write url: https://HOST:15017/inject/… (or /validate/…)";
    report.add(&EXTERNAL_CONTROL_PLANE, object, &path, text, hint);
}

/// The host of `https://host:port/path`.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then_some(host)
}

/// An IP, or what was meant as one.
fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
        || host.split('.').count() == 4 && host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
