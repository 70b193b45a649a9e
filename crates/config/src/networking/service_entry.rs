//! ServiceEntry: services that no platform knows: outside the mesh, or plain processes and machines in it.

use super::workload::WorkloadEntry;
use crate::Str;
use crate::decode::macros::{message, proto_enum};
use crate::host::Host;
use crate::labels::WorkloadSelector;

message! {
    /// A service in the registry.
    pub struct ServiceEntry {
        /// Its names (SE-001).
        hosts: Vec<Host> = "hosts" required;
        /// Virtual addresses or CIDRs (SE-002).
        addresses: Vec<Str> = "addresses";
        /// Ports (SE-003).
        ports: Vec<ServicePort> = "ports";
        /// Inside the mesh or not (SE-006).
        location: Location = "location";
        /// Where its endpoints come from (SE-012).
        resolution: Resolution = "resolution";
        /// Endpoints; with DNS and none, the hosts are resolved (SE-013).
        endpoints: Vec<WorkloadEntry> = "endpoints";
        /// Pods and WorkloadEntries of the same namespace (SE-014).
        workload_selector: Option<WorkloadSelector> = "workloadSelector";
        /// Who sees it (SE-015).
        export_to: Vec<Str> = "exportTo";
        /// Names that a TLS server may show (SE-016).
        subject_alt_names: Vec<Str> = "subjectAltNames";
    }
}

message! {
    /// A port of a service.
    pub struct ServicePort {
        /// 1 to 65535 (SE-017).
        number: u32 = "number" required;
        /// Protocol; unset: found out (SE-018).
        protocol: Option<Str> = "protocol";
        /// Name (SE-019).
        name: Str = "name" required;
        /// Port of the endpoints; unset: the same (SE-020).
        target_port: Option<u32> = "targetPort";
    }
}

proto_enum! {
    /// Inside the mesh or not.
    pub enum Location {
        /// Outside: no mutual TLS (SE-004).
        MeshExternal = "MESH_EXTERNAL";
        /// Inside (SE-005).
        MeshInternal = "MESH_INTERNAL";
    }
}

proto_enum! {
    /// Where endpoints come from.
    pub enum Resolution {
        /// The address the client asked for (SE-007).
        None = "NONE";
        /// As listed or selected (SE-008).
        Static = "STATIC";
        /// All addresses of a name (SE-009).
        Dns = "DNS";
        /// One address of a name at a time (SE-010).
        DnsRoundRobin = "DNS_ROUND_ROBIN";
        /// The name in the request (SE-011).
        DynamicDns = "DYNAMIC_DNS";
    }
}
