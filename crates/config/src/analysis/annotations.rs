//! Istio's annotations on Kubernetes objects: known ones, where they belong, what they may say.

use std::net::IpAddr;

use super::Analyzer;
use super::messages::{DEPRECATED_ANNOTATION, INVALID_ANNOTATION, MISPLACED_ANNOTATION, UNKNOWN_ANNOTATION};
use super::report::Report;
use super::view::Mesh;
use super::workloads::INJECT;
use crate::{Kind, Object, Severity};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "annotations",
    about: "Istio's annotations on Namespaces, Services, Pods and Deployments",
    says: &[&MISPLACED_ANNOTATION, &UNKNOWN_ANNOTATION, &INVALID_ANNOTATION, &DEPRECATED_ANNOTATION],
    run,
};

/// An annotation: name, the kinds it belongs to, whether it is deprecated (ANN-001…ANN-068).
type Known = (&'static str, &'static [&'static str], bool);

const POD: &[&str] = &["Pod"];
const ANY: &[&str] = &["Any"];

const KNOWN: &[Known] = &[
    ("prometheus.istio.io/merge-metrics", POD, false),
    ("alpha.istio.io/kubernetes-serviceaccounts", &["Service"], true),
    ("alpha.istio.io/canonical-serviceaccounts", &["Service"], true),
    ("networking.istio.io/exportTo", &["Service"], false),
    (INJECT, POD, true),
    ("sidecar.istio.io/status", POD, false),
    ("sidecar.istio.io/rewriteAppHTTPProbers", POD, false),
    ("sidecar.istio.io/discoveryAddress", POD, true),
    ("sidecar.istio.io/proxyImage", POD, false),
    ("sidecar.istio.io/proxyImageType", POD, false),
    ("sidecar.istio.io/proxyCPU", POD, false),
    ("sidecar.istio.io/proxyCPULimit", POD, false),
    ("sidecar.istio.io/proxyMemory", POD, false),
    ("sidecar.istio.io/proxyMemoryLimit", POD, false),
    ("sidecar.istio.io/interceptionMode", POD, false),
    ("sidecar.istio.io/bootstrapOverride", POD, false),
    ("sidecar.istio.io/statsInclusionPrefixes", POD, true),
    ("sidecar.istio.io/statsInclusionSuffixes", POD, true),
    ("sidecar.istio.io/statsInclusionRegexps", POD, true),
    ("sidecar.istio.io/statsHistogramBuckets", POD, false),
    ("sidecar.istio.io/statsFlushInterval", POD, false),
    ("sidecar.istio.io/statsEvictionInterval", POD, false),
    ("sidecar.istio.io/statsHistogramBins", POD, false),
    ("sidecar.istio.io/statsCompression", POD, true),
    ("sidecar.istio.io/userVolume", POD, false),
    ("sidecar.istio.io/userVolumeMount", POD, false),
    ("status.sidecar.istio.io/port", POD, false),
    ("sidecar.istio.io/logLevel", POD, false),
    ("sidecar.istio.io/componentLogLevel", POD, false),
    ("sidecar.istio.io/agentLogLevel", POD, false),
    ("sidecar.istio.io/nativeSidecar", POD, false),
    ("readiness.status.sidecar.istio.io/initialDelaySeconds", POD, false),
    ("readiness.status.sidecar.istio.io/periodSeconds", POD, false),
    ("readiness.status.sidecar.istio.io/failureThreshold", POD, false),
    ("readiness.status.sidecar.istio.io/applicationPorts", POD, false),
    ("traffic.istio.io/nodeSelector", &["Service"], false),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", POD, false),
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", POD, false),
    ("traffic.sidecar.istio.io/includeInboundPorts", POD, false),
    ("traffic.sidecar.istio.io/excludeInboundPorts", POD, false),
    ("traffic.sidecar.istio.io/excludeInterfaces", POD, false),
    ("traffic.sidecar.istio.io/includeOutboundPorts", POD, false),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", POD, false),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", POD, true),
    ("kubernetes.io/ingress.class", &["Ingress"], false),
    ("galley.istio.io/analyze-suppress", ANY, false),
    ("proxy.istio.io/config", POD, false),
    ("istio.io/dry-run", &["AuthorizationPolicy"], false),
    ("istio.io/rev", POD, false),
    ("proxy.istio.io/overrides", POD, false),
    ("inject.istio.io/templates", POD, false),
    ("sidecar.istio.io/extraStatTags", POD, true),
    ("istio.io/autoRegistrationGroup", &["WorkloadEntry"], false),
    ("istio.io/workloadController", &["WorkloadEntry"], false),
    ("istio.io/connectedAt", &["WorkloadEntry"], false),
    ("istio.io/disconnectedAt", &["WorkloadEntry"], false),
    ("topology.istio.io/controlPlaneClusters", &["Namespace"], false),
    ("gateway.istio.io/controller-version", ANY, false),
    ("ambient.istio.io/redirection", POD, false),
    ("ambient.istio.io/waypoint-inbound-binding", &["GatewayClass", "Gateway"], false),
    ("gateway.istio.io/service-account", &["Gateway"], false),
    ("gateway.istio.io/name-override", &["Gateway"], false),
    ("networking.istio.io/service-type", &["Gateway"], false),
    ("networking.istio.io/traffic-distribution", &["Namespace", "Service", "ServiceEntry"], false),
    ("istio.io/use-waypoint-canary-weight", &["Service", "ServiceEntry", "Namespace"], false),
    ("ambient.istio.io/bypass-inbound-capture", POD, false),
    ("istio.io/reroute-virtual-interfaces", POD, false),
    ("ambient.istio.io/dns-capture", POD, false),
    // Read by Istio, and not in its list.
    ("networking.istio.io/address-type", ANY, false),
    ("ambient.istio.io/xfcc-include-client-identity", ANY, false),
];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for kind in [Kind::Namespace, Kind::Service, Kind::Pod, Kind::Deployment] {
        for object in mesh.objects(kind) {
            for (name, value) in &object.metadata.annotations {
                if is_istios(name) {
                    check(object, name, value, report);
                }
            }
        }
    }
}

fn is_istios(name: &str) -> bool {
    let domain = name.split('/').next().unwrap_or_default();
    name == "kubernetes.io/ingress.class"
        || domain.ends_with("istio.io")
            && domain != "internal.istio.io"
            && !domain.ends_with(".internal.istio.io")
}

fn check(object: &Object, name: &str, value: &str, report: &mut Report) {
    let path = format!("metadata.annotations[{name:?}]");
    let Some((_, kinds, deprecated)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<&str> = KNOWN.iter().map(|(known, ..)| *known).collect();
        let hint = match crate::text::closest(name, &names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "drop it: nobody reads it".to_owned(),
        };
        report.add(&UNKNOWN_ANNOTATION, object, &path, format!("Unknown annotation: {name}"), hint);
        return;
    };
    // Who has the label as well knows, and wants to be understood by older versions.
    if *deprecated && !(name == INJECT && object.labels().contains_key(INJECT)) {
        let extra = if name == INJECT { " in favor of the \"sidecar.istio.io/inject\" label" } else { "" };
        let text = format!(
            "Annotation {name:?} has been deprecated{extra} and may not work in future Istio versions."
        );
        let hint = if name == INJECT { "make it a label" } else { "use proxy.istio.io/config, or drop it" };
        report.add(&DEPRECATED_ANNOTATION, object, &path, text, hint);
    }
    if *kinds == ANY {
        return;
    }
    if !kinds.contains(&object.kind.as_str()) {
        let text = format!("Misplaced annotation: {name} can only be applied to {}", kinds.join(", "));
        let hint = match (object.kind, &**kinds) {
            (Kind::Deployment, ["Pod"]) => "put it below spec.template.metadata.annotations".to_owned(),
            _ => format!("it has no effect on a {}", object.kind),
        };
        report.add(&MISPLACED_ANNOTATION, object, &path, text, hint);
        return;
    }
    if let Err(problem) = valid(name, value) {
        let text = format!("Invalid annotation {name}: {problem}");
        report.add(&INVALID_ANNOTATION, object, &path, text, "a Pod with it is refused by the injector");
    }
}

/// Whether a value can be read.
fn valid(name: &str, value: &str) -> Result<(), String> {
    let (_, last) = name.rsplit_once('/').unwrap_or(("", name));
    match last {
        "interceptionMode" => match value {
            "REDIRECT" | "TPROXY" | "NONE" => Ok(()),
            _ => Err(format!("interceptionMode invalid, use REDIRECT, TPROXY or NONE: {value}")),
        },
        "port" if name.starts_with("status.") => port(value),
        "initialDelaySeconds" | "periodSeconds" | "failureThreshold" => match value.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{value:?} is not a whole number")),
        },
        "includeOutboundIPRanges" if value == "*" => Ok(()),
        "includeOutboundIPRanges" | "excludeOutboundIPRanges" => each(value, cidr),
        "includeInboundPorts" | "includeOutboundPorts" | "excludeInboundPorts" if value == "*" => Ok(()),
        "includeInboundPorts"
        | "excludeInboundPorts"
        | "includeOutboundPorts"
        | "excludeOutboundPorts"
        | "applicationPorts" => each(value, port),
        "merge-metrics" | "rewriteAppHTTPProbers" => match value {
            "true" | "false" | "True" | "False" | "TRUE" | "FALSE" | "1" | "0" | "t" | "f" | "T" | "F" => {
                Ok(())
            }
            _ => Err(format!("{value:?} is neither true nor false")),
        },
        "config" => proxy_config(value),
        _ => Ok(()),
    }
}

fn each(list: &str, check: fn(&str) -> Result<(), String>) -> Result<(), String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).try_for_each(check)
}

fn port(text: &str) -> Result<(), String> {
    text.parse::<u16>().map(|_| ()).map_err(|_| format!("{text:?} is not a port"))
}

fn cidr(text: &str) -> Result<(), String> {
    let (address, length) = text.split_once('/').ok_or_else(|| format!("{text:?} is not a CIDR"))?;
    let address: IpAddr = address.parse().map_err(|_| format!("{text:?} is not a CIDR"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match length.parse::<u8>() {
        Ok(length) if length <= most => Ok(()),
        _ => Err(format!("{text:?} is not a CIDR")),
    }
}

fn proxy_config(text: &str) -> Result<(), String> {
    let (_, findings) = crate::load::proxy_config("annotation", text);
    match findings.into_iter().find(|finding| finding.severity == Severity::Error) {
        None => Ok(()),
        Some(finding) if finding.path.is_empty() => Err(finding.message),
        Some(finding) => Err(format!("{}: {}", finding.path, finding.message)),
    }
}
