//! Networks whose endpoints come from a registry that does not exist.

use super::Analyzer;
use super::messages::UNKNOWN_SERVICE_REGISTRY;
use super::report::Report;
use super::view::Mesh;
use crate::kubernetes::Secret;
use crate::mesh::{MeshNetworks, NetworkEndpointsBy};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "mesh-networks",
    about: "registries that MeshNetworks name",
    says: &[&UNKNOWN_SERVICE_REGISTRY],
    run,
};

/// Registries that are always there.
const KNOWN: [&str; 3] = ["Mock", "Kubernetes", "External"];

/// Label of Secrets that hold the access to another cluster; their keys are names of clusters.
const REMOTE: &str = "istio/multiCluster";

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let remote = mesh
        .all::<Secret>()
        .filter(|(object, _)| object.labels().get(REMOTE).is_some_and(|value| &**value == "true"));
    let clusters: Vec<&str> = remote
        .flat_map(|(_, secret)| secret.data.keys().chain(secret.string_data.keys()))
        .map(|key| &**key)
        .collect();
    for (object, networks) in mesh.all::<MeshNetworks>() {
        for (name, network) in &networks.networks {
            for (index, endpoints) in network.endpoints.iter().enumerate() {
                let Some(NetworkEndpointsBy::FromRegistry(registry)) = &endpoints.endpoints else { continue };
                if KNOWN.contains(&&**registry) || clusters.contains(&&**registry) {
                    continue;
                }
                let text = format!(
                    "Unknown service registry {registry} in network {name}: none of its endpoints is known to be in that network, so they are called without its gateway"
                );
                let path = format!("networks[{name:?}].endpoints[{index}].fromRegistry");
                let path = if is_plain(name) {
                    format!("networks.{name}.endpoints[{index}].fromRegistry")
                } else {
                    path
                };
                let hint = "write Kubernetes, or the name of a cluster that a Secret labelled istio/multiCluster=true gives access to";
                report.add(&UNKNOWN_SERVICE_REGISTRY, object, &path, text, hint);
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
