//! Kinds of security, telemetry and extension, Kubernetes objects, our own kind, the mesh's settings.

use super::{Row, not_yet, partly, works};

pub(super) const ENVOY_FILTER: &[Row] = &[not_yet("", "EF-001…EF-085", "nothing is patched")];

pub(super) const PROXY_CONFIG: &[Row] = &[not_yet("", "PX-001…PX-005", "proxies keep their settings")];

pub(super) const PEER_AUTHENTICATION: &[Row] =
    &[not_yet("", "PA-001…PA-008", "there is no mutual TLS yet: traffic is in the clear")];

pub(super) const REQUEST_AUTHENTICATION: &[Row] = &[not_yet("", "RA-001…RA-021", "tokens are not looked at")];

pub(super) const AUTHORIZATION_POLICY: &[Row] = &[not_yet("", "AP-001…AP-041", "nothing is denied")];

pub(super) const TELEMETRY: &[Row] =
    &[not_yet("", "TL-001…TL-059", "proxies report as the mesh's settings say")];

pub(super) const WASM_PLUGIN: &[Row] = &[not_yet("", "WP-001…WP-034", "no module is loaded")];

pub(super) const SERVICE: &[Row] = &[
    works("spec.ports", "SEM-140", "protocol by appProtocol or name; targetPort by number or name", &[]),
    works("spec.selector", "SEM-153", "Pods; with EndpointSlices, those", &[]),
    works("spec.clusterIP", "SEM-145", "virtual hosts by name and address", &[]),
    partly("spec.type", "SEM-147", "ExternalName not yet", &[]),
    not_yet("spec.internalTrafficPolicy", "SEM-155", "all endpoints are used"),
];

pub(super) const ENDPOINT_SLICE: &[Row] = &[works("endpoints", "SEM-154", "", &[])];

pub(super) const POD: &[Row] =
    &[works("status.podIP", "SEM-153", "an endpoint of the Services that select it", &[])];

pub(super) const NAMESPACE: &[Row] = &[partly("", "SEM-010", "labels are read", &[])];

pub(super) const DEPLOYMENT: &[Row] = &[partly("", "", "read, for analysis later", &[])];

/// Kinds that `meltemi analyze` alone reads.
pub(super) const FOR_ANALYSIS: &[Row] = &[partly("", "", "read by `meltemi analyze`", &[])];

pub(super) const PROCESS: &[Row] =
    &[works("command", "", "Meltemi's own kind: a local command with a sidecar", &[])];

/// What the pilot reads of the mesh's settings; everything else keeps its default.
pub(super) const MESH_CONFIG: &[Row] = &[
    partly("proxyListenPort, proxyInboundListenPort", "MC-001, MC-002", "", &[]),
    partly("connectTimeout, tcpKeepalive", "MC-004, MC-007", "", &[]),
    partly(
        "accessLogFile, accessLogFormat, accessLogEncoding, disableEnvoyListenerLog",
        "MC-018…MC-022, MC-024",
        "",
        &[],
    ),
    partly("outboundTrafficPolicy.mode", "MC-026…MC-029, MC-031", "ALLOW_ANY_DYNAMIC_DNS as ALLOW_ANY", &[]),
    partly("inboundTrafficPolicy", "MC-032…MC-035", "", &[]),
    partly("trustDomain, rootNamespace", "MC-038, MC-048", "names only", &[]),
    partly(
        "defaultServiceExportTo, defaultVirtualServiceExportTo, defaultDestinationRuleExportTo",
        "MC-045…MC-047",
        "",
        &[],
    ),
    partly("dnsRefreshRate, h2UpgradePolicy", "MC-051…MC-054", "", &[]),
    partly("pathNormalization", "MC-208…MC-214", "", &[]),
    partly("defaultHttpRetryPolicy", "MC-215", "", &[]),
    partly("defaultTrafficPolicy", "MC-224…MC-226", "connectionPool", &[]),
    not_yet(
        "(all others)",
        "MC-003, MC-005, MC-006, MC-008…MC-017, MC-023, MC-025, MC-030, MC-036, MC-037, MC-039…MC-044, MC-049, MC-050, MC-055…MC-207, MC-216…MC-223, MC-227…MC-248, MN-001…MN-009, PC-001…PC-154",
        "read and checked; the defaults hold",
    ),
];
