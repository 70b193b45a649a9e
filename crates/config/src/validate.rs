//! Rules of single resources beyond their schema, with Istio's meaning (SEM-034). Called by `load` for each mesh resource and
//! each Ingress.
//!
//! Each kind has a file; what names and values must look like is in `names`. All findings are noted, none ends the check.

use crate::decode::Decoder;
use crate::diagnostic::{Severity, code};
use crate::in_effect;
use crate::object::{Object, Spec};
use crate::path::Path;
use crate::tree::{Mark, Node};

mod destination_rule;
mod gateway;
mod http_route;
mod ingress;
mod names;
mod policy;
mod process;
mod reachability;
mod service_entry;
mod sidecar;
mod tls;
mod virtual_service;
mod workload;

/// Checks one object; findings go to the decoder.
pub(crate) fn object(object: &Object, root: &Node<'_>, cx: &mut Decoder) {
    let mut check = Check { object, cx };
    let spec = Path::ROOT.key("spec");
    check.metadata();
    in_effect::report(object.kind, root, check.cx);
    if check.cx.dropped_items {
        // Paths would point at the wrong items; the faults found so far come first.
        return;
    }
    match &object.spec {
        Spec::VirtualService(it) => virtual_service::check(it, &mut check, &spec),
        Spec::DestinationRule(it) => destination_rule::check(it, &mut check, &spec),
        Spec::Gateway(it) => gateway::check(it, &mut check, &spec),
        Spec::ServiceEntry(it) => service_entry::check(it, &mut check, &spec),
        Spec::WorkloadEntry(it) => workload::entry(it, &mut check, &spec),
        Spec::WorkloadGroup(it) => workload::group(it, &mut check, &spec),
        Spec::Sidecar(it) => sidecar::check(it, &mut check, &spec),
        Spec::PeerAuthentication(it) => policy::peer_authentication(it, &mut check, &spec),
        Spec::RequestAuthentication(it) => policy::request_authentication(it, &mut check, &spec),
        Spec::AuthorizationPolicy(it) => policy::authorization(it, &mut check, &spec),
        Spec::Telemetry(it) => policy::telemetry(it, &mut check, &spec),
        Spec::Process(it) => process::check(it, &mut check, &spec),
        Spec::Ingress(it) => ingress::check(it, &mut check, &spec),
        // Read and kept; what they may say beyond their schema is checked when they take effect.
        Spec::EnvoyFilter(_) | Spec::ProxyConfig(_) | Spec::WasmPlugin(_) => {}
        Spec::Service(_)
        | Spec::Namespace(_)
        | Spec::EndpointSlice(_)
        | Spec::Pod(_)
        | Spec::Deployment(_)
        | Spec::Secret(_)
        | Spec::ConfigMap(_)
        | Spec::Node(_)
        | Spec::IngressClass(_)
        | Spec::CustomResourceDefinition(_)
        | Spec::MutatingWebhookConfiguration(_)
        | Spec::ValidatingWebhookConfiguration(_)
        | Spec::MeshNetworks(_) => {}
    }
}

/// One object being checked.
pub(crate) struct Check<'c> {
    object: &'c Object,
    cx: &'c mut Decoder,
}

impl Check<'_> {
    fn metadata(&mut self) {
        let metadata = Path::ROOT.key("metadata");
        let at = metadata.key("name");
        let name = self.object.name().clone();
        if !name.is_empty() && !names::is_subdomain(&name) {
            let hint = "lower-case letters, digits, `-` and `.`, 253 at most";
            self.error_hint(&at, format!("{name:?} cannot be a name"), hint);
        }
        let namespace = self.object.namespace().clone();
        if !namespace.is_empty() && !names::is_label(&namespace) {
            let at = metadata.key("namespace");
            let hint = "lower-case letters, digits and `-`, 63 at most";
            self.error_hint(&at, format!("{namespace:?} cannot be a namespace"), hint);
        }
    }

    fn mark(&self, at: &Path<'_>) -> Mark {
        self.object.spans.find(&at.segs()).unwrap_or(Mark { line: self.object.source.line, column: 1 })
    }

    /// Notes an error.
    fn error(&mut self, at: &Path<'_>, message: impl Into<String>) {
        self.cx.push(Severity::Error, code::SCHEMA, self.mark(at), at, message.into(), None);
    }

    /// Notes an error and what to do about it.
    fn error_hint(&mut self, at: &Path<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.cx.push(Severity::Error, code::SCHEMA, self.mark(at), at, message.into(), Some(hint.into()));
    }

    /// Notes what is legal and most likely not meant.
    fn warn(&mut self, code: &'static str, at: &Path<'_>, message: impl Into<String>, hint: Option<String>) {
        self.cx.push(Severity::Warning, code, self.mark(at), at, message.into(), hint);
    }

    /// Notes a finding of any severity.
    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: &Path<'_>,
        message: String,
        hint: Option<String>,
    ) {
        self.cx.push(severity, code, self.mark(at), at, message, hint);
    }

    /// Notes an error if a check of `names` failed.
    fn accept(&mut self, at: &Path<'_>, result: Result<(), names::Fault>) {
        if let Err(fault) = result {
            self.cx.push(Severity::Error, code::SCHEMA, self.mark(at), at, fault.message, fault.hint);
        }
    }
}
