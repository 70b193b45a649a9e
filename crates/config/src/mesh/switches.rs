//! istiod's switches: settings of the mesh that come from the control plane's environment, under istiod's names and with its
//! defaults (ENV-* of the inventory). Read by the commands; whoever translates finds them beside the other settings.
//!
//! Invariant: nothing here looks at the environment by itself.

use crate::decode::{Decode, Decoder, Shape};
use crate::path::Path;
use crate::tree::Node;

/// Declares the switches once: name in Rust, name in the environment, default.
macro_rules! switches {
    ($( $(#[$meta:meta])* $field:ident = $name:literal $default:literal; )*) => {
        /// The switches that have an effect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        pub struct Switches { $( $(#[$meta])* pub $field: bool, )* }

        impl Default for Switches {
            fn default() -> Self {
                Switches { $( $field: $default, )* }
            }
        }

        impl Switches {
            /// Names and defaults.
            pub const ALL: &'static [(&'static str, bool)] = &[$( ($name, $default) ),*];

            /// Reads them from an environment: booleans as Go reads them, all else is the default.
            pub fn read(get: impl Fn(&str) -> Option<String>) -> Switches {
                Switches { $( $field: boolean(get($name).as_deref()).unwrap_or($default), )* }
            }
        }
    };
}

switches! {
    /// HTTP/1.0 is accepted by gateways and at the outbound side of sidecars (ENV-043).
    http10 = "PILOT_HTTP10" false;
    /// Gateways are for proxies of their own namespace only (ENV-044).
    scope_gateway_to_namespace = "PILOT_SCOPE_GATEWAY_TO_NAMESPACE" false;
    /// Ports of services are taken beside the ingress listeners of a Sidecar (ENV-030).
    merge_ingress_with_services = "PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE" false;
    /// Gateways that the Gateway API made are not for Istio's Gateways of other namespaces (ENV-107).
    strict_gateway_merging = "PILOT_ENABLE_STRICT_GATEWAY_MERGING" true;
    /// ServiceEntries with a selector select Pods (ENV-058).
    service_entry_selects_pods = "PILOT_ENABLE_SERVICEENTRY_SELECT_PODS" true;
    /// Kubernetes Services select WorkloadEntries (ENV-059).
    service_selects_workload_entries = "PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES" true;
    /// Endpoints that are not ready are sent, whatever the rules of their service say (ENV-006).
    send_unhealthy = "PILOT_SEND_UNHEALTHY_ENDPOINTS" false;
    /// They are sent unless a rule asks for a share of healthy ones (ENV-007).
    auto_send_unhealthy = "PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS" true;
    /// Services without addresses are given some (ENV-073).
    automatic_addresses = "PILOT_ENABLE_IP_AUTOALLOCATE" true;
    /// Sidecars set x-forwarded-for of outbound requests to the client's address (ENV-146).
    sidecar_use_remote_address = "PILOT_SIDECAR_USE_REMOTE_ADDRESS" false;
}

fn boolean(text: Option<&str>) -> Option<bool> {
    match text? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A document cannot give them.
impl Decode for Switches {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        cx.error(node, path, "not a setting of MeshConfig".to_owned(), None);
        None
    }

    fn shape() -> Shape {
        Shape::Any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_as_go_reads_booleans() {
        assert_eq!(Switches::read(|_| None), Switches::default());
        let read = |value: &'static str| Switches::read(move |_| Some(value.to_owned()));
        assert!(read("T").http10 && read("1").scope_gateway_to_namespace);
        assert!(!read("false").service_entry_selects_pods);
        assert_eq!(read("yes"), Switches::default());
    }
}
