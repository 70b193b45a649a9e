//! WasmPlugin of `extensions.istio.io`. Read and checked; not in effect yet.

use crate::Str;
use crate::decode::macros::{message, proto_enum};
use crate::labels::TypeSelector;
use crate::networking::virtual_service::PortSelector;
use crate::security::PolicyTargetReference;
use crate::telemetry::WorkloadMode;

message! {
    /// A WebAssembly module in the filter chain.
    pub struct WasmPlugin {
        /// Workloads; unset: all of the namespace (WP-001).
        selector: Option<TypeSelector> = "selector";
        /// Old form of `targetRefs` (WP-002).
        target_ref: Option<PolicyTargetReference> = "targetRef";
        /// Resources it is attached to (WP-003).
        target_refs: Vec<PolicyTargetReference> = "targetRefs";
        /// Where the module is: `oci://`, `file://`, `http(s)://` (WP-004).
        url: Str = "url" required;
        /// Its checksum (WP-005).
        sha256: Option<Str> = "sha256";
        /// When to fetch (WP-006).
        image_pull_policy: PullPolicy = "imagePullPolicy";
        /// Secret for fetching (WP-007).
        image_pull_secret: Option<Str> = "imagePullSecret";
        /// Never implemented (WP-008).
        verification_key: Option<Str> = "verificationKey";
        /// Settings of the module (WP-009).
        plugin_config: Option<serde_json::Value> = "pluginConfig";
        /// Name in the module (WP-010).
        plugin_name: Option<Str> = "pluginName";
        /// Where in the chain (WP-011).
        phase: PluginPhase = "phase";
        /// Order within the phase; higher first (WP-012).
        priority: Option<i32> = "priority";
        /// When the module fails (WP-013).
        fail_strategy: FailStrategy = "failStrategy";
        /// Environment (WP-014).
        vm_config: Option<VmConfig> = "vmConfig";
        /// For which traffic (WP-017).
        matches: Vec<TrafficSelector> = "match";
        /// HTTP or network filter (WP-018).
        plugin_type: PluginType = "type";
    }
}

message! {
    /// Traffic by side and port.
    pub struct TrafficSelector {
        /// Side (WP-015).
        mode: WorkloadMode = "mode";
        /// Ports (WP-016).
        ports: Vec<PortSelector> = "ports";
    }
}

message! {
    /// Environment of a module.
    pub struct VmConfig {
        /// Variables (WP-026).
        env: Vec<EnvVar> = "env";
    }
}

message! {
    /// A variable.
    pub struct EnvVar {
        /// Name (WP-027).
        name: Str = "name" required;
        /// Where its value comes from (WP-028).
        value_from: EnvValueSource = "valueFrom";
        /// Value (WP-029).
        value: Option<Str> = "value";
    }
}

proto_enum! {
    /// Kinds of module.
    pub enum PluginType {
        /// As HTTP.
        Unspecified = "UNSPECIFIED_PLUGIN_TYPE";
        /// HTTP filter (WP-019).
        Http = "HTTP";
        /// Network filter (WP-020).
        Network = "NETWORK";
    }
}

proto_enum! {
    /// Places in the chain.
    pub enum PluginPhase {
        /// Near the end.
        Unspecified = "UNSPECIFIED_PHASE";
        /// Before authentication (WP-021).
        Authn = "AUTHN";
        /// After it (WP-022).
        Authz = "AUTHZ";
        /// After authorization (WP-023).
        Stats = "STATS";
    }
}

proto_enum! {
    /// When to fetch a module.
    pub enum PullPolicy {
        /// By tag: latest always, others once.
        Unspecified = "UNSPECIFIED_POLICY";
        /// Once (WP-024).
        IfNotPresent = "IfNotPresent";
        /// Always (WP-025).
        Always = "Always";
    }
}

proto_enum! {
    /// Where a variable's value comes from.
    pub enum EnvValueSource {
        /// The resource (WP-030).
        Inline = "INLINE";
        /// The proxy's environment (WP-031).
        Host = "HOST";
    }
}

proto_enum! {
    /// What happens when a module fails.
    pub enum FailStrategy {
        /// Requests fail (WP-032).
        FailClose = "FAIL_CLOSE";
        /// Requests go on without it (WP-033).
        FailOpen = "FAIL_OPEN";
        /// It is loaded again (WP-034).
        FailReload = "FAIL_RELOAD";
    }
}
