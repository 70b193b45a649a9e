//! Kubernetes objects as far as a mesh reads them: Service, Namespace, EndpointSlice, Pod, Deployment. Fields that are not
//! listed are skipped in silence; what an API server would fill in is filled in by [`Service::set_defaults`].

use crate::Str;
use crate::decode::macros::message;
use crate::decode::{Decode, Decoder, Shape};
use crate::labels::{LabelSelector, Labels};
use crate::path::Path;
use crate::tree::{Node, ScalarKind, Value};

message! {
    /// core/v1 Service.
    pub struct Service {
        /// What is wanted.
        spec: ServiceSpec = "spec";
        /// What is.
        status: ServiceStatus = "status";
    }
}

message! {
    /// What a Service is.
    pub struct ServiceSpec {
        /// Ports.
        ports: Vec<ServicePort> = "ports";
        /// Pods it sends to; empty: none, its endpoints come from elsewhere.
        selector: Labels = "selector";
        /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
        service_type: Option<Str> = "type";
        /// Virtual address; `None`: headless.
        cluster_ip: Option<Str> = "clusterIP";
        /// All virtual addresses.
        cluster_ips: Vec<Str> = "clusterIPs";
        /// More addresses.
        external_ips: Vec<Str> = "externalIPs";
        /// The name it stands for.
        external_name: Option<Str> = "externalName";
        /// `Local`: endpoints of the same node only.
        internal_traffic_policy: Option<Str> = "internalTrafficPolicy";
        /// Preference among endpoints.
        traffic_distribution: Option<Str> = "trafficDistribution";
        /// Whether endpoints count before they are ready.
        publish_not_ready_addresses: bool = "publishNotReadyAddresses";
    }
}

message! {
    /// What a Service has been given.
    pub struct ServiceStatus {
        /// By a load balancer.
        load_balancer: LoadBalancerStatus = "loadBalancer";
    }
}

message! {
    /// Addresses of a load balancer.
    pub struct LoadBalancerStatus {
        /// Addresses.
        ingress: Vec<LoadBalancerIngress> = "ingress";
    }
}

message! {
    /// An address of a load balancer.
    pub struct LoadBalancerIngress {
        /// Address.
        ip: Option<Str> = "ip";
        /// Name.
        hostname: Option<Str> = "hostname";
    }
}

message! {
    /// A port of a Service.
    pub struct ServicePort {
        /// Name; may be empty if it is the only one.
        name: Option<Str> = "name";
        /// Number.
        port: u16 = "port";
        /// `TCP` (default), `UDP` or `SCTP`.
        protocol: Option<Str> = "protocol";
        /// Protocol of the application.
        app_protocol: Option<Str> = "appProtocol";
        /// Port of the pods, by number or name; default: the same number.
        target_port: Option<IntOrString> = "targetPort";
        /// Port of the nodes.
        node_port: u16 = "nodePort";
    }
}

impl Service {
    /// Fills in what an API server fills in: protocol TCP, targetPort = port, type ClusterIP.
    pub fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.service_type.get_or_insert_with(|| "ClusterIP".into());
        for port in &mut spec.ports {
            port.protocol.get_or_insert_with(|| "TCP".into());
            match &port.target_port {
                None | Some(IntOrString::Int(0)) => port.target_port = Some(IntOrString::Int(port.port)),
                Some(_) => {}
            }
        }
        if spec.cluster_ips.is_empty() {
            spec.cluster_ips.extend(spec.cluster_ip.clone());
        }
        if spec.cluster_ip.is_none() {
            spec.cluster_ip = spec.cluster_ips.first().cloned();
        }
    }

    /// Whether it has no virtual address: clients get the endpoints'.
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip.as_deref() == Some("None")
    }
}

/// A number or a name.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(u16),
    /// A name.
    String(Str),
}

impl Decode for IntOrString {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Text => {
                // An API server takes "80" in quotes for a name and then finds no such port; take what is meant.
                let number = scalar.text.parse().map(IntOrString::Int);
                Some(number.unwrap_or_else(|_| IntOrString::String(cx.intern(&scalar.text))))
            }
            _ => u16::decode(node, cx, path).map(IntOrString::Int),
        }
    }

    fn shape() -> Shape {
        Shape::Any
    }
}

message! {
    /// core/v1 Namespace. Its labels are in the metadata.
    pub struct Namespace {}
}

message! {
    /// discovery.k8s.io/v1 EndpointSlice; label `kubernetes.io/service-name` says whose.
    pub struct EndpointSlice {
        /// `IPv4`, `IPv6` or `FQDN`.
        address_type: Option<Str> = "addressType";
        /// Endpoints.
        endpoints: Vec<Endpoint> = "endpoints";
        /// Ports of each.
        ports: Vec<EndpointPort> = "ports";
    }
}

message! {
    /// An endpoint.
    pub struct Endpoint {
        /// Addresses of one and the same thing.
        addresses: Vec<Str> = "addresses";
        /// State.
        conditions: EndpointConditions = "conditions";
        /// Host name.
        hostname: Option<Str> = "hostname";
        /// Node.
        node_name: Option<Str> = "nodeName";
        /// Zone.
        zone: Option<Str> = "zone";
        /// The Pod it is.
        target_ref: Option<ObjectReference> = "targetRef";
    }
}

message! {
    /// State of an endpoint. Absent values mean: ready, serving, not terminating.
    pub struct EndpointConditions {
        /// Ready.
        ready: Option<bool> = "ready";
        /// Serving, be it while terminating.
        serving: Option<bool> = "serving";
        /// On its way out.
        terminating: Option<bool> = "terminating";
    }
}

message! {
    /// A port of endpoints.
    pub struct EndpointPort {
        /// Name, as in the Service.
        name: Option<Str> = "name";
        /// Number.
        port: Option<u16> = "port";
        /// `TCP` (default), `UDP` or `SCTP`.
        protocol: Option<Str> = "protocol";
        /// Protocol of the application.
        app_protocol: Option<Str> = "appProtocol";
    }
}

message! {
    /// Another object.
    pub struct ObjectReference {
        /// Kind.
        kind: Option<Str> = "kind";
        /// Namespace.
        namespace: Option<Str> = "namespace";
        /// Name.
        name: Option<Str> = "name";
    }
}

message! {
    /// core/v1 Pod.
    pub struct Pod {
        /// What is wanted.
        spec: PodSpec = "spec";
        /// What is.
        status: PodStatus = "status";
    }
}

message! {
    /// What a Pod is.
    pub struct PodSpec {
        /// As whom its containers run.
        security_context: SecurityContext = "securityContext";
        /// Containers.
        containers: Vec<Container> = "containers";
        /// Containers that run first.
        init_containers: Vec<Container> = "initContainers";
        /// Account of its identity; empty: `default`.
        service_account_name: Option<Str> = "serviceAccountName";
        /// Node.
        node_name: Option<Str> = "nodeName";
        /// Whether it uses the node's network.
        host_network: bool = "hostNetwork";
        /// Host name.
        hostname: Option<Str> = "hostname";
        /// Domain below the namespace's.
        subdomain: Option<Str> = "subdomain";
    }
}

message! {
    /// A container.
    pub struct Container {
        /// Name.
        name: Option<Str> = "name";
        /// Image.
        image: Option<Str> = "image";
        /// Environment.
        env: Vec<EnvVar> = "env";
        /// As whom it runs.
        security_context: SecurityContext = "securityContext";
        /// Ports.
        ports: Vec<ContainerPort> = "ports";
    }
}

message! {
    /// As whom a container runs.
    pub struct SecurityContext {
        /// User id.
        run_as_user: Option<i64> = "runAsUser";
    }
}

message! {
    /// A variable of a container's environment.
    pub struct EnvVar {
        /// Name.
        name: Str = "name";
        /// Value; unset: empty, or from elsewhere.
        value: Option<Str> = "value";
    }
}

message! {
    /// A port of a container.
    pub struct ContainerPort {
        /// Name.
        name: Option<Str> = "name";
        /// Number.
        container_port: u16 = "containerPort";
        /// `TCP` (default), `UDP` or `SCTP`.
        protocol: Option<Str> = "protocol";
    }
}

message! {
    /// What a Pod has become.
    pub struct PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        phase: Option<Str> = "phase";
        /// Address.
        pod_ip: Option<Str> = "podIP";
        /// All addresses.
        pod_ips: Vec<PodIp> = "podIPs";
        /// The node's address.
        host_ip: Option<Str> = "hostIP";
        /// Conditions.
        conditions: Vec<PodCondition> = "conditions";
    }
}

message! {
    /// An address of a Pod.
    pub struct PodIp {
        /// Address.
        ip: Str = "ip";
    }
}

message! {
    /// A condition of a Pod.
    pub struct PodCondition {
        /// `Ready` and others.
        condition: Str = "type";
        /// `True`, `False` or `Unknown`.
        status: Str = "status";
    }
}

impl Pod {
    /// Its addresses; the first is the main one.
    pub fn addresses(&self) -> impl Iterator<Item = &Str> {
        let first = self.status.pod_ip.iter();
        let more = self.status.pod_ips.iter().map(|entry| &entry.ip);
        first.chain(more.filter(|ip| Some(*ip) != self.status.pod_ip.as_ref()))
    }
}

message! {
    /// apps/v1 Deployment.
    pub struct Deployment {
        /// What is wanted.
        spec: DeploymentSpec = "spec";
    }
}

message! {
    /// What a Deployment is.
    pub struct DeploymentSpec {
        /// How many; unset: 1.
        replicas: Option<i32> = "replicas";
        /// Pods that are its own.
        selector: LabelSelector = "selector";
        /// The Pods.
        template: PodTemplate = "template";
    }
}

message! {
    /// A template of Pods.
    pub struct PodTemplate {
        /// Labels and annotations.
        metadata: TemplateMetadata = "metadata";
        /// The Pod.
        spec: PodSpec = "spec";
    }
}

message! {
    /// Labels and annotations of a template.
    pub struct TemplateMetadata {
        /// Labels.
        labels: Labels = "labels";
        /// Annotations.
        annotations: Labels = "annotations";
    }
}
