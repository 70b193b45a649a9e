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
mod envoy_filter;
mod gateway;
mod http_route;
mod ingress;
mod names;
mod policy;
mod process;
mod reachability;
mod service_entry;
mod sidecar;
mod telemetry;
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
        Spec::Telemetry(it) => telemetry::check(it, &mut check, &spec),
        Spec::Process(it) => process::check(it, &mut check, &spec),
        Spec::Ingress(it) => ingress::check(it, &mut check, &spec),
        Spec::EnvoyFilter(it) => envoy_filter::check(it, &mut check, &spec),
        Spec::ProxyConfig(it) => workload::proxy_config(it, &mut check, &spec),
        // Read and kept; what it may say beyond its schema is checked when it takes effect.
        Spec::WasmPlugin(_) => {}
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

    /// Notes an error, unless one is known of exactly that part: what could not be read, or is missing, says enough.
    fn error(&mut self, at: &Path<'_>, message: impl Into<String>) {
        self.refuse(at, message.into(), None);
    }

    /// Notes an error and what to do about it.
    fn error_hint(&mut self, at: &Path<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.refuse(at, message.into(), Some(hint.into()));
    }

    fn refuse(&mut self, at: &Path<'_>, message: String, hint: Option<String>) {
        if !self.cx.has_error(at) {
            self.cx.push(Severity::Error, code::SCHEMA, self.mark(at), at, message, hint);
        }
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

    /// Whether something was written at a path, be it what would hold anyway.
    fn is_given(&self, at: &Path<'_>) -> bool {
        self.object.spans.has(&at.segs())
    }

    /// Whether something is written below a path, be it nothing that is known.
    fn has_content(&self, at: &Path<'_>) -> bool {
        self.object.spans.below(&at.segs()) > 0
    }

    /// Notes an error if a check of `names` failed.
    fn accept(&mut self, at: &Path<'_>, result: Result<(), names::Fault>) {
        if let Err(fault) = result {
            self.refuse(at, fault.message, fault.hint);
        }
    }
}
