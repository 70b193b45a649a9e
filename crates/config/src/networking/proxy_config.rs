//! ProxyConfig, the resource (not the section of the mesh's settings): settings of proxies by namespace or workload.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::message;
use crate::labels::TypeSelector;

message! {
    /// Settings of proxies.
    pub struct ProxyConfig {
        /// Workloads; unset: all of the namespace (PX-001).
        selector: Option<TypeSelector> = "selector";
        /// Threads; 0: all cores; unset: by the container's limit (PX-002).
        concurrency: Option<i32> = "concurrency";
        /// More environment variables (PX-003).
        environment_variables: BTreeMap<Str, Str> = "environmentVariables";
        /// Image of the proxy (PX-004).
        image: Option<ProxyImage> = "image";
    }
}

message! {
    /// Image of the proxy.
    pub struct ProxyImage {
        /// `default`, `debug` or `distroless` (PX-005).
        image_type: Option<Str> = "imageType";
    }
}
