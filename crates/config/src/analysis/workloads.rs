//! Things that run, as selectors see them: Pods, WorkloadEntries, local Processes, and Deployments whose Pods are not listed.
//! Used by the view.

use super::index::Index;
use super::view::{Mesh, kubernetes_host};
use crate::core::{Deployment, Pod, PodSpec};
use crate::networking::WorkloadEntry;
use crate::process::Process;
use crate::{Host, Kind, Labels, Object, Str};

/// Label and annotation that turn injection on or off for a Pod.
pub(super) const INJECT: &str = "sidecar.istio.io/inject";
/// Label of namespaces.
pub(super) const INJECTION: &str = "istio-injection";
/// Label of namespaces and Pods: the revision that injects.
pub(super) const REVISION: &str = "istio.io/rev";

/// A running thing.
pub(super) struct Workload<'a> {
    pub(super) object: &'a Object,
    pub(super) namespace: Str,
    pub(super) labels: Labels,
    /// Whether traffic goes through a proxy beside it.
    pub(super) in_mesh: bool,
    /// Whether it is a local gateway process, whose ports nobody else opens.
    pub(super) local_gateway: bool,
    /// The service that a Process registers with.
    pub(super) service: Option<Host>,
    /// Whether it is a Pod or will be one.
    pub(super) pod: bool,
}

/// Labels that endpoints take over from their Node.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// All that run.
pub(super) fn all<'a>(mesh: &Mesh<'a>) -> Vec<Workload<'a>> {
    let mut all: Vec<Workload<'a>> =
        mesh.all::<Pod>().map(|(object, pod)| of_pod(mesh, object, pod)).collect();
    let mut pods = Index::default();
    for (position, pod) in all.iter().enumerate() {
        pods.add(position, &pod.namespace, &pod.labels);
    }
    for (object, deployment) in mesh.all::<Deployment>() {
        let template = &deployment.spec.template;
        let labels = &template.metadata.labels;
        let alike = pods.candidates(labels, Some(object.namespace())).unwrap_or_default();
        let listed = alike.iter().any(|pod| crate::labels::selects(labels, &all[*pod].labels));
        // A Deployment scaled to nothing has no Pods, now or later.
        if listed || deployment.spec.replicas == Some(0) {
            continue;
        }
        let annotations = &template.metadata.annotations;
        all.push(Workload {
            in_mesh: in_mesh(mesh, object.namespace(), labels, annotations, &template.spec),
            labels: labels.clone(),
            pod: true,
            ..plain(object)
        });
    }
    for (object, entry) in mesh.all::<WorkloadEntry>() {
        let mut labels = entry.labels.clone();
        labels.extend(object.labels().clone());
        all.push(Workload { labels, ..plain(object) });
    }
    for (object, process) in mesh.all::<Process>() {
        let mut labels = object.labels().clone();
        labels.extend(process.labels.clone());
        let service = kubernetes_host(process.service_name(object.name()), object.namespace(), mesh.domain());
        all.push(Workload {
            labels,
            local_gateway: process.gateway,
            service: Some(service),
            ..plain(object)
        });
    }
    all
}

fn plain(object: &Object) -> Workload<'_> {
    Workload {
        object,
        namespace: object.namespace().clone(),
        labels: Labels::new(),
        in_mesh: true,
        local_gateway: false,
        service: None,
        pod: false,
    }
}

fn of_pod<'a>(mesh: &Mesh<'a>, object: &'a Object, pod: &Pod) -> Workload<'a> {
    let mut labels = object.labels().clone();
    if let Some(name) = &pod.spec.node_name {
        let node = mesh.find(Kind::Node, "", name);
        for (key, value) in node.iter().flat_map(|node| node.labels()) {
            if TOPOLOGY.contains(&&**key) {
                labels.insert(key.clone(), value.clone());
            }
        }
        labels.insert("kubernetes.io/hostname".into(), name.clone());
    }
    let in_mesh = in_mesh(mesh, object.namespace(), object.labels(), &object.metadata.annotations, &pod.spec);
    Workload { labels, in_mesh, pod: true, ..plain(object) }
}

/// Whether a Pod has a sidecar, or would get one: a container, else its label, its annotation, its namespace.
pub(super) fn in_mesh(
    mesh: &Mesh<'_>,
    namespace: &str,
    labels: &Labels,
    annotations: &Labels,
    pod: &PodSpec,
) -> bool {
    if has_proxy(pod) {
        return true;
    }
    if let Some(said) = labels.get(INJECT).or_else(|| annotations.get(INJECT)) {
        return &**said == "true";
    }
    // A namespace that is not given may be anything; most likely it is in the mesh.
    mesh.namespace(namespace).is_none_or(|namespace| {
        let labels = namespace.labels();
        labels.get(INJECTION).is_some_and(|value| &**value == "enabled") || labels.contains_key(REVISION)
    })
}

/// Whether a Pod has the sidecar's container.
pub(super) fn has_proxy(pod: &PodSpec) -> bool {
    let containers = pod.containers.iter().chain(&pod.init_containers);
    containers.into_iter().any(|container| {
        container.name.as_deref() == Some("istio-proxy")
            && container.image.as_deref().is_some_and(|i| !i.is_empty())
    })
}
