//! What analysis can say: code, name, severity and the text each message begins with. Istio's where Istio publishes one
//! (<https://istio.io/latest/docs/reference/config/analysis/>), `MELnnnn` else. `docs/analyze.md` is made from this table.
//!
//! Invariant: `begins` is Istio's published template; what follows it in a finding is ours.

use crate::Severity;
use crate::Severity::{Error, Info, Warning};

/// A kind of finding.
#[derive(Debug)]
pub struct Message {
    /// Code.
    pub code: &'static str,
    /// Istio's name for it, or ours.
    pub name: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What the text begins with; `%s`, `%q`, `%d`, `%v`, `%t` stand for particulars.
    pub begins: &'static str,
    /// What it means.
    pub about: &'static str,
}

macro_rules! messages {
    ($( $constant:ident = $code:literal $name:literal $severity:ident, $begins:literal, $about:literal; )*) => {
        $(
            #[doc = $about]
            pub const $constant: Message =
                Message { code: $code, name: $name, severity: $severity, begins: $begins, about: $about };
        )*

        /// All messages, by code.
        pub const ALL: &[&Message] = &[$( &$constant ),*];
    };
}

messages! {
    DEPRECATED = "IST0002" "Deprecated" Warning,
        "Deprecated: %s",
        "A field or kind that is deprecated.";
    REFERENCED_RESOURCE_NOT_FOUND = "IST0101" "ReferencedResourceNotFound" Error,
        "Referenced %s not found: %q",
        "What a resource refers to does not exist: a host, a port, a subset, a gateway, a selector's workloads, a Secret, a namespace.";
    NAMESPACE_NOT_INJECTED = "IST0102" "NamespaceNotInjected" Info,
        "The namespace is not enabled for Istio injection. Run 'kubectl label namespace %s istio-injection=enabled' to enable it, or 'kubectl label namespace %s istio-injection=disabled' to explicitly mark it as not needing injection.",
        "A namespace says neither that its Pods get sidecars nor that they do not.";
    POD_MISSING_PROXY = "IST0103" "PodMissingProxy" Warning,
        "The pod %s is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.",
        "A Pod without a sidecar in a namespace whose Pods get one.";
    SCHEMA = "IST0106" "SchemaValidationError" Error,
        "Schema validation error: %v",
        "The resource breaks its schema, or a rule of its kind; it is left out.";
    MISPLACED_ANNOTATION = "IST0107" "MisplacedAnnotation" Warning,
        "Misplaced annotation: %s can only be applied to %s",
        "An annotation on a kind of object where nobody looks for it.";
    UNKNOWN_ANNOTATION = "IST0108" "UnknownAnnotation" Warning,
        "Unknown annotation: %s",
        "An annotation of Istio's that does not exist.";
    CONFLICTING_MESH_HOSTS = "IST0109" "ConflictingMeshGatewayVirtualServiceHosts" Error,
        "The VirtualServices %s associated with mesh gateway define the same host %s which can lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.",
        "Several VirtualServices for one host at sidecars: only the oldest holds.";
    CONFLICTING_SIDECAR_SELECTORS = "IST0110" "ConflictingSidecarWorkloadSelectors" Error,
        "The Sidecars %v in namespace %q select the same workload pod %q, which can lead to undefined behavior.",
        "Several Sidecars select one workload: only the oldest holds.";
    MULTIPLE_SIDECARS = "IST0111" "MultipleSidecarsWithoutWorkloadSelectors" Error,
        "The Sidecars %v in namespace %q have no workload selector, which can lead to undefined behavior.",
        "Several Sidecars for a whole namespace: only the oldest holds.";
    DESTINATION_PORT_REQUIRED = "IST0112" "VirtualServiceDestinationPortSelectorRequired" Error,
        "This VirtualService routes to a service %q that exposes multiple ports %v. Specifying a port in the destination is required to disambiguate.",
        "A destination without a port, and the service has several.";
    MTLS_CONFLICT = "IST0113" "MTLSPolicyConflict" Error,
        "A DestinationRule and Policy are in conflict with regards to mTLS for host %s. The DestinationRule %q specifies that mTLS must be %t but the Policy object %q specifies %s.",
        "Clients are told to send in the clear what servers take with mutual TLS only, or the reverse.";
    DEPLOYMENT_PROTOCOLS = "IST0116" "DeploymentAssociatedToMultipleServices" Warning,
        "This deployment %s is associated with multiple services using port %d but different protocols: %v",
        "Services select one Deployment and disagree about the protocol of a port.";
    PORT_NAME = "IST0118" "PortNameIsNotUnderNamingConvention" Info,
        "Port name %s (port: %d, targetPort: %s) doesn't follow the naming convention of Istio port.",
        "The name of a Service's port does not say its protocol, so it is detected.";
    JWT_PORT = "IST0119" "JwtFailureDueToInvalidServicePortPrefix" Warning,
        "Authentication policy with JWT targets Service with invalid port specification (port: %d, name: %s, protocol: %s, targetPort: %s).",
        "Tokens are asked of a service that has no HTTP port.";
    INVALID_REGEXP = "IST0122" "InvalidRegexp" Warning,
        "Field %q regular expression invalid: %q (%s)",
        "A regular expression that is none.";
    MULTIPLE_INJECTION_LABELS = "IST0123" "NamespaceMultipleInjectionLabels" Warning,
        "The namespace has more than one type of injection labels %v, which may lead to undefined behavior. Make sure only one injection label exists.",
        "A namespace with both `istio-injection` and `istio.io/rev`.";
    INVALID_ANNOTATION = "IST0125" "InvalidAnnotation" Warning,
        "Invalid annotation %s: %s",
        "An annotation whose value cannot be read.";
    UNKNOWN_SERVICE_REGISTRY = "IST0126" "UnknownMeshNetworksServiceRegistry" Error,
        "Unknown service registry %s in network %s",
        "A network takes its endpoints from a registry that does not exist.";
    NO_MATCHING_WORKLOADS = "IST0127" "NoMatchingWorkloadsFound" Warning,
        "No matching workloads for this resource with the following labels: %s",
        "An AuthorizationPolicy that no workload of the mesh is under.";
    NO_CA_DESTINATION = "IST0128" "NoServerCertificateVerificationDestinationLevel" Warning,
        "DestinationRule %s in namespace %s has TLS mode set to %s but no caCertificates are set to validate server identity for host: %s",
        "TLS to a server whose certificate is checked against no CA of the rule.";
    NO_CA_PORT = "IST0129" "NoServerCertificateVerificationPortLevel" Warning,
        "DestinationRule %s in namespace %s has TLS mode set to %s but no caCertificates are set to validate server identity for host: %s at port %s",
        "The same for one port.";
    UNREACHABLE_RULE = "IST0130" "VirtualServiceUnreachableRule" Warning,
        "VirtualService rule %v not used (%s).",
        "A rule that no request reaches.";
    INEFFECTIVE_MATCH = "IST0131" "VirtualServiceIneffectiveMatch" Info,
        "VirtualService rule %v match %v is not used (duplicate/overlapping match in rule %v).",
        "A match that an earlier one has taken already.";
    HOST_NOT_IN_GATEWAY = "IST0132" "VirtualServiceHostNotFoundInGateway" Warning,
        "one or more host %v defined in VirtualService %s not found in Gateway %s.",
        "No server of the gateway serves a host of the VirtualService.";
    SCHEMA_WARNING = "IST0133" "SchemaWarning" Warning,
        "Schema validation warning: %v",
        "Legal, and advised against.";
    ADDRESSES_REQUIRED = "IST0134" "ServiceEntryAddressesRequired" Warning,
        "ServiceEntry addresses are required for this protocol.",
        "A TCP port of a ServiceEntry without addresses takes all traffic of that port.";
    DEPRECATED_ANNOTATION = "IST0135" "DeprecatedAnnotation" Info,
        "Annotation %q has been deprecated%s and may not work in future Istio versions.",
        "An annotation that is deprecated.";
    ALPHA_ANNOTATION = "IST0136" "AlphaAnnotation" Info,
        "Annotation %q is part of an alpha-phase feature and may be incompletely supported.",
        "An annotation of a feature that is not finished; Istio has stopped saying so, and so do we.";
    DEPLOYMENT_PORTS = "IST0137" "DeploymentConflictingPorts" Warning,
        "This deployment %s is associated with multiple services %v using targetPort %q but different ports: %v.",
        "Services lead from different ports to one port of a Deployment.";
    DUPLICATE_CERTIFICATE = "IST0138" "GatewayDuplicateCertificate" Warning,
        "Duplicate certificate in multiple gateways %v may cause 404s if clients re-use HTTP2 connections.",
        "Gateways of the same proxies share a certificate.";
    INVALID_WEBHOOK = "IST0139" "InvalidWebhook" Error,
        "%v",
        "Injection webhooks that overlap, or whose Service does not exist.";
    INGRESS_RULES_NOT_AFFECTED = "IST0140" "IngressRouteRulesNotAffected" Warning,
        "Subset in virtual service %s has no effect on ingress gateway %s requests",
        "A gateway's VirtualService leads to a host whose subsets are chosen at sidecars only.";
    UNSUPPORTED_KUBERNETES = "IST0142" "UnsupportedKubernetesVersion" Error,
        "The Kubernetes Version %q is lower than the minimum version: %v",
        "Nodes too old for the sidecars.";
    INVALID_UID = "IST0144" "InvalidApplicationUID" Warning,
        "User ID (UID) 1337 is reserved for the sidecar proxy.",
        "An application that runs as the sidecar's user: its traffic is not captured.";
    CONFLICTING_GATEWAYS = "IST0145" "ConflictingGateways" Error,
        "Conflict with gateways %s (workload selector %s, port %s, hosts %v).",
        "Gateways of the same proxies, port and hosts.";
    IMAGE_AUTO_DEPLOYMENT = "IST0146" "ImageAutoWithoutInjectionWarning" Warning,
        "%s %s contains `image: auto` but does not match any Istio injection webhook selectors.",
        "A Deployment waits for a sidecar that nobody injects.";
    IMAGE_AUTO_POD = "IST0147" "ImageAutoWithoutInjectionError" Error,
        "%s %s contains `image: auto` but does not match any Istio injection webhook selectors.",
        "A Pod with a sidecar image that was never filled in.";
    INJECTED_BY_DEFAULT = "IST0148" "NamespaceInjectionEnabledByDefault" Info,
        "is enabled for Istio injection, as Istio is installed with enableNamespacesByDefault as true.",
        "A namespace whose Pods get sidecars because all do.";
    JWT_ROUTE = "IST0149" "JwtClaimBasedRoutingWithoutRequestAuthN" Error,
        "The virtual service uses the JWT claim based routing (key: %s) but found no request authentication for the gateway (%s) pod (%s). The request authentication must first be applied for the gateway pods to validate the JWT token and make the claims available for routing.",
        "Routing by claims of tokens that nobody checks.";
    EXTERNAL_NAME_PORT = "IST0150" "ExternalNameServiceTypeInvalidPortName" Warning,
        "Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic for ports serving TCP protocol from being forwarded correctly",
        "A TCP port of an ExternalName Service.";
    RELATIVE_OPERATION = "IST0151" "EnvoyFilterUsesRelativeOperation" Warning,
        "This EnvoyFilter does not have a priority and has a relative patch operation set which can cause the EnvoyFilter not to be applied. Using the INSERT_FIRST of ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.",
        "A patch relative to others, in no order.";
    REPLACE_OPERATION = "IST0152" "EnvoyFilterUsesReplaceOperationIncorrectly" Error,
        "The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.",
        "REPLACE where it has no effect.";
    ADD_OPERATION = "IST0153" "EnvoyFilterUsesAddOperationIncorrectly" Error,
        "The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.",
        "ADD where it has no effect.";
    REMOVE_OPERATION = "IST0154" "EnvoyFilterUsesRemoveOperationIncorrectly" Error,
        "The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.",
        "REMOVE where it has no effect.";
    RELATIVE_OPERATION_VERSION = "IST0155" "EnvoyFilterUsesRelativeOperationWithProxyVersion" Warning,
        "This EnvoyFilter does not have a priority and has a relative patch operation (NSTERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion set which can cause the EnvoyFilter not to be applied during an upgrade. Using the INSERT_FIRST or ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.",
        "A patch relative to one that is for some versions of the proxy only.";
    UNSUPPORTED_GATEWAY_API = "IST0156" "UnsupportedGatewayAPIVersion" Error,
        "The Gateway API CRD version %v is lower than the minimum version: %v",
        "Gateway API kinds that are served in versions too old.";
    INVALID_TELEMETRY_PROVIDER = "IST0157" "InvalidTelemetryProvider" Warning,
        "The Telemetry %v in namespace %q with empty providers will be ignored.",
        "Access logging without a provider, and the mesh has no default one.";
    IMAGE_MISMATCH = "IST0158" "PodsIstioProxyImageMismatchInNamespace" Warning,
        "The Istio proxy images of the pods running in the namespace do not match the image defined in the injection configuration (pod names: %v). This often happens after upgrading the Istio control-plane and can be fixed by redeploying the pods.",
        "Pods with sidecars of another version.";
    CONFLICTING_TELEMETRY_SELECTORS = "IST0159" "ConflictingTelemetryWorkloadSelectors" Error,
        "The Telemetries %v in namespace %q select the same workload pod %q, which can lead to undefined behavior.",
        "Several Telemetries select one workload.";
    MULTIPLE_TELEMETRIES = "IST0160" "MultipleTelemetriesWithoutWorkloadSelectors" Error,
        "The Telemetries %v in namespace %q have no workload selector, which can lead to undefined behavior.",
        "Several Telemetries for a whole namespace.";
    INVALID_CREDENTIAL = "IST0161" "InvalidGatewayCredential" Error,
        "The credential referenced by the Gateway %s in namespace %s is invalid, which can cause the traffic not to work as expected.",
        "A gateway's Secret that holds no certificate and key.";
    GATEWAY_PORT_NOT_ON_SERVICE = "IST0162" "GatewayPortNotDefinedOnService" Warning,
        "The gateway is listening on a target port (port %d) that is not defined in the Service associated with its workload instances (Pod selector %s). If you need to access the gateway port through the gateway Service, it will not be available.",
        "A port of a gateway that its Service does not lead to.";
    EXTERNAL_CONTROL_PLANE = "IST0163" "InvalidExternalControlPlaneConfig" Warning,
        "The hostname (%s) that was provided for the webhook (%s) to reach the ingress gateway on the external control plane cluster %s. Traffic may not flow properly.",
        "The address of an external control plane is none.";
    EXTERNAL_CONTROL_PLANE_IP = "IST0164" "ExternalControlPlaneAddressIsNotAHostname" Info,
        "The address (%s) that was provided for the webhook (%s) to reach the ingress gateway on the external control plane cluster is an IP address. This is not recommended for a production environment.",
        "The address of an external control plane is an IP.";
    INTERNAL_GATEWAY = "IST0165" "ReferencedInternalGateway" Warning,
        "Gateway reference in VirtualService %s is to an implementation-generated internal Gateway: %s.",
        "A VirtualService bound to what was made from a Kubernetes Gateway.";
    INEFFECTIVE_SELECTOR = "IST0166" "IneffectiveSelector" Warning,
        "Ineffective selector on Kubernetes Gateway %s. Use the TargetRef field instead.",
        "A policy that selects the Pods of a Kubernetes Gateway by label.";
    INEFFECTIVE_POLICY = "IST0167" "IneffectivePolicy" Warning,
        "The policy has no impact: %s.",
        "A Sidecar for workloads in ambient mode.";
    NEGATIVE_CONDITION = "IST0171" "NegativeConditionStatus" Warning,
        "A condition with a negative status is present: type=%s, reason=%s, message=%s.",
        "A controller says of the object that something does not hold.";
    FUTURE_GATEWAY_API = "IST0172" "FutureUnsupportedGatewayAPIVersion" Warning,
        "The Gateway API CRD version %v is lower than the minimum version: %v",
        "Gateway API kinds that are not served as v1.";
    SUBSET_WITHOUT_PODS = "IST0173" "DestinationRuleSubsetNotSelectPods" Error,
        "The Subset %s defined in the DestinationRule does not select any pods. Which may lead to 503 UH (NoHealthyUpstream).",
        "A subset without endpoints.";
    UNKNOWN_DESTINATION_RULE_HOST = "IST0174" "UnknownDestinationRuleHost" Warning,
        "The host %s defined in the DestinationRule does not match any services in the mesh.",
        "A DestinationRule for a host that is no service.";
    JWKS_UNRESTRICTED = "IST0175" "JwksUriFetchUnrestricted" Warning,
        "BLOCKED_CIDRS_IN_JWKS_URIS is not configured but %d RequestAuthentication resource(s) exist (%s). Consider configuring it to restrict JWKS URI fetches to trusted networks.",
        "The control plane fetches keys from wherever a RequestAuthentication says.";
    GATEWAY_API_BELOW_MINIMUM = "IST0176" "GatewayAPICRDVersionBelowMinimum" Warning,
        "Gateway API CRD %q is at version %q but Istio requires at least %q; resources of this kind will not be processed. Upgrade the Gateway API CRDs to satisfy the minimum version.",
        "Gateway API kinds from a release too old.";
    CONFLICTING_ENTRY_PROTOCOL = "IST0177" "ConflictingServiceEntryProtocol" Warning,
        "Multiple ServiceEntries (%s) define the same host %q and port %d with conflicting protocols (%s).",
        "ServiceEntries disagree about the protocol of a host's port.";
    ROUTE_CACHE = "IST0178" "EnvoyFilterMayClearRouteCache" Warning,
        "Using an EnvoyFilter with route-dependent filters may cause the routing cache to be cleared after the route-dependent filter has run. This can cause a request to be routed differently than it was when the route-dependent filter was evaluated. See https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_filters.html#security-considerations.",
        "Permissions by route beside a filter that may change the route.";

    SYNTAX = "MEL0001" "SyntaxError" Error, "%s", "The text is neither YAML nor JSON.";
    DUPLICATE_RESOURCE = "MEL0003" "DuplicateResource" Warning, "%s", "One resource is given twice; the last holds.";
    SUSPICIOUS = "MEL0004" "Suspicious" Warning, "%s", "Legal, and most likely not what was meant.";
    UNREADABLE = "MEL0005" "UnreadableFile" Error, "%s", "A file or folder cannot be read.";
    NO_ENDPOINTS = "MEL0101" "NoEndpoints" Warning,
        "Service %s selects no workload",
        "A destination that exists and has no endpoints, while its namespace has workloads.";
    SHADOWED_VIRTUAL_SERVICE = "MEL0102" "ShadowedVirtualService" Warning,
        "Rule %s of VirtualService %s is shadowed",
        "At one gateway host, an older VirtualService has a rule for the same requests.";
    RETRIED_UNSAFE = "MEL0103" "RetriedUnsafeMethod" Warning,
        "%s requests of this rule are retried",
        "Requests that may have had an effect already are sent again, by the default retry policy or by the rule's own.";
    QUERY_IN_URI = "MEL0104" "QueryInUriMatch" Warning,
        "A uri match cannot see the query",
        "A match of the path has a `?`: paths are compared without their query.";
    NO_HTTP_PORT = "MEL0105" "HttpRulesWithoutHttpPort" Warning,
        "The HTTP rules of this VirtualService have no effect",
        "HTTP rules for a service none of whose ports is HTTP.";
    PORT_LEVEL_PORT = "MEL0106" "PortLevelSettingsWithoutPort" Warning,
        "Port %d of %s does not exist",
        "Settings of a DestinationRule for a port that the service does not have.";
    CREDENTIAL_IGNORED = "MEL0107" "CredentialWithoutWorkloadSelector" Warning,
        "credentialName has no effect at sidecars",
        "Sidecars do not fetch Secrets for a rule without workloadSelector: traffic goes in the clear.";
    HIDDEN_HOST = "MEL0108" "HostHiddenBySidecar" Warning,
        "Sidecar %s hides %s",
        "A VirtualService for its own namespace, whose sidecars do not see its hosts.";
    REPEATED_SUBSET = "MEL0109" "RepeatedSubset" Warning,
        "Subset %s of %s is defined twice",
        "DestinationRules of one host both define a subset; the older one's holds.";
    LITERAL_REGEX = "MEL0110" "RegexMatchesWhole" Warning,
        "This regex takes one text only",
        "A regex without operators: the whole text must equal it.";
    UNKNOWN_PROVIDER = "MEL0111" "UnknownProvider" Error,
        "Provider %s is not defined",
        "A policy names a provider that the mesh's settings do not have.";
}

/// The message of a code.
pub fn find(code: &str) -> Option<&'static Message> {
    ALL.iter().copied().find(|message| message.code == code)
}

impl Message {
    /// Whether a text begins as published.
    pub fn begins(&self, text: &str) -> bool {
        let mut pattern = String::from("(?s)^");
        let mut rest = self.begins;
        while let Some((before, after)) = rest.split_once('%') {
            pattern += &regex::escape(before);
            let mut chars = after.chars();
            pattern += match chars.next() {
                Some('q') => "\".*\"",
                Some('d') => "-?[0-9]+",
                Some('t') => "(true|false)",
                _ => ".*",
            };
            rest = chars.as_str();
        }
        pattern += &regex::escape(rest);
        regex::Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        for pair in ALL.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
        }
    }

    #[test]
    fn templates_are_compared_with_their_particulars() {
        assert!(REFERENCED_RESOURCE_NOT_FOUND.begins("Referenced host not found: \"a\": and more"));
        assert!(!REFERENCED_RESOURCE_NOT_FOUND.begins("Referenced host not found: a"));
        assert!(MTLS_CONFLICT.begins.contains("%t"));
    }
}
