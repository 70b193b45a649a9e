//! A plan in the control plane's words: a Pod for each workload, a Sidecar that says where its proxy listens, Services
//! that nobody wrote. Called by [`super::run`]; pure.
//!
//! Invariant: only kinds that Istio knows; the control plane has no notion of `up`.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_config::Protocol;
use serde_json::{Value, json};

use super::plan::{GatewayPlan, Plan, Port, Workload, gateway_namespace};

/// Label by which a generated Sidecar selects its one workload.
const INSTANCE_LABEL: &str = "meltemi.dev/instance";
/// Label by which a generated Service selects its workloads.
const SERVICE_LABEL: &str = "meltemi.dev/service";

/// All resources of the plan, as a `List`.
pub(crate) fn generate(plan: &Plan) -> Value {
    let mut items = Vec::new();
    for workload in &plan.workloads {
        items.push(pod(workload));
        items.push(sidecar(workload, plan));
    }
    for gateway in &plan.gateways {
        items.push(gateway_pod(gateway));
        items.push(gateway_service(gateway));
    }
    for ((namespace, name), ports) in &plan.implied {
        items.push(implied_service(namespace, name, ports));
    }
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// The labels of a workload as its pod and its proxy carry them.
pub(crate) fn instance_labels(workload: &Workload) -> BTreeMap<String, String> {
    let mut labels = workload.labels.clone();
    labels.insert(INSTANCE_LABEL.to_owned(), workload.name.clone());
    labels.insert(SERVICE_LABEL.to_owned(), workload.service.clone());
    labels
}

fn pod(workload: &Workload) -> Value {
    let ports: Vec<_> = workload
        .ports
        .iter()
        .map(|port| json!({ "name": port.name, "containerPort": port.number }))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": workload.name, "namespace": workload.namespace, "labels": instance_labels(workload) },
        "spec": {
            "serviceAccountName": workload.service_account,
            "containers": [{ "name": "app", "ports": ports }],
        },
        "status": running(&workload.address.to_string()),
    })
}

fn running(address: &str) -> Value {
    json!({
        "phase": "Running",
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    })
}

fn sidecar(workload: &Workload, plan: &Plan) -> Value {
    let ingress: Vec<_> = workload.ports.iter().map(|port| ingress(workload, port)).collect();
    let mut spec = json!({
        "workloadSelector": { "labels": { INSTANCE_LABEL: workload.name } },
        "egress": egress(workload, plan),
    });
    if !ingress.is_empty() {
        spec["ingress"] = ingress.into();
    }
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        // Of two Sidecars for one workload the first by name is in force: ours, which has taken over what the user's says.
        "metadata": { "name": format!("0-{}", workload.name), "namespace": workload.namespace },
        "spec": spec,
    })
}

fn ingress(workload: &Workload, port: &Port) -> Value {
    json!({
        "port": { "number": port.number, "protocol": word(port.protocol), "name": port.name },
        "bind": workload.address.to_string(),
        "captureMode": "NONE",
        "defaultEndpoint": format!("127.0.0.1:{}", port.app),
    })
}

/// One listener for each port number that HTTP services have, and one for each TCP service.
fn egress(workload: &Workload, plan: &Plan) -> Vec<Value> {
    let mut listeners = Vec::new();
    let http: BTreeSet<u16> =
        plan.upstreams.iter().filter(|upstream| upstream.is_http()).map(|upstream| upstream.port).collect();
    for port in http {
        listeners.push(json!({
            "port": { "number": port, "protocol": "HTTP", "name": format!("http-{port}") },
            "bind": workload.egress.to_string(),
            "captureMode": "NONE",
            "hosts": workload.egress_hosts,
        }));
    }
    for (upstream, address) in plan.upstreams.iter().zip(&workload.tcp_egress) {
        let Some(address) = address else { continue };
        listeners.push(json!({
            "port": { "number": upstream.port, "protocol": word(upstream.protocol), "name": format!("tcp-{}", upstream.port) },
            "bind": address.to_string(),
            "captureMode": "NONE",
            "hosts": [format!("{}/{}", upstream.namespace, upstream.host)],
        }));
    }
    if listeners.is_empty() {
        listeners.push(json!({ "hosts": workload.egress_hosts }));
    }
    listeners
}

/// A port without a declared protocol is HTTP here: with explicit listeners there is no original address to fall back to.
fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Auto => "HTTP",
        other => other.as_str(),
    }
}

fn gateway_pod(gateway: &GatewayPlan) -> Value {
    let ports: Vec<_> = gateway.ports.values().map(|port| json!({ "containerPort": port })).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": gateway.name, "namespace": gateway_namespace(), "labels": gateway.labels },
        "spec": { "serviceAccountName": gateway.name, "containers": [{ "name": "istio-proxy", "ports": ports }] },
        "status": running(&gateway.address.to_string()),
    })
}

fn gateway_service(gateway: &GatewayPlan) -> Value {
    let port = |(number, target): (&u16, &u16)| json!({ "name": format!("port-{number}"), "port": number, "targetPort": target });
    let ports: Vec<_> = gateway.ports.iter().map(port).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": gateway.name, "namespace": gateway_namespace(), "labels": gateway.labels },
        "spec": { "selector": gateway.labels, "ports": ports },
    })
}

fn implied_service(namespace: &str, name: &str, ports: &[Port]) -> Value {
    let port = |port: &Port| json!({ "name": port.name, "port": port.number, "appProtocol": word(port.protocol).to_lowercase() });
    let ports: Vec<_> = ports.iter().map(port).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { SERVICE_LABEL: name }, "ports": ports },
    })
}
