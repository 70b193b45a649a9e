//! gRPC's own xDS client (`xds:///host:port`) finds and calls a service through this pilot.

use std::process::Command;

use meltemi_testkit::peers;
use meltemi_testkit::process::Process;
use serde_json::json;

use crate::pilot::{PATIENCE, Served};

const SCRIPT: &str = r#"
import sys, time, threading
from concurrent import futures
import grpc

def handler(version):
    def serve(request, context):
        return version.encode() + b" says hello to " + request
    unary = grpc.unary_unary_rpc_method_handler(serve)
    return grpc.method_handlers_generic_handler("greeter.Greeter", {"Greet": unary})

ports = []
for version in ("v1", "v2"):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((handler(version),))
    ports.append(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    globals()["server_" + version] = server
print("PORTS", *ports, flush=True)
for target in ("greeter.default.svc.cluster.local:7070", "greeter:7070"):
    with grpc.insecure_channel("xds:///" + target) as channel:
        call = channel.unary_unary("/greeter.Greeter/Greet")
        print("ANSWER", call(b"you", timeout=15, wait_for_ready=True).decode(), flush=True)
sys.stdin.close()
"#;

fn resources(v1: &str, v2: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: greeter}}
spec: {{clusterIP: 10.1.0.1, selector: {{app: greeter}}, ports: [{{name: grpc, port: 7070, targetPort: grpc}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: v1}}
spec: {{address: 127.0.0.1, ports: {{grpc: {v1}}}, labels: {{app: greeter, version: v1}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: v2}}
spec: {{address: 127.0.0.1, ports: {{grpc: {v2}}}, labels: {{app: greeter, version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: greeter}}
spec:
  host: greeter
  subsets: [{{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: greeter}}
spec:
  hosts: [greeter]
  http: [{{route: [{{destination: {{host: greeter, subset: v2}}}}]}}]
"#
    )
}

fn bootstrap(served: &Served, id: &str) -> String {
    json!({
        "xds_servers": [{
            "server_uri": served.address.to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {"id": id, "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default"}},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_resolves_and_calls_a_service() {
    let Some(python) = peers::python_with("grpc") else { return };
    for id in ["sidecar~127.0.0.9~client.default~default.svc.cluster.local", "just-a-client"] {
        let served = Served::start("").await;
        let mut command = Command::new(&python);
        command.args(["-c", SCRIPT]).env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap(&served, id));
        let client = Process::start(&mut command);
        let line = client.wait_for("PORTS", PATIENCE);
        let ports: Vec<&str> = line.split_whitespace().skip(1).collect();
        served.set(&resources(ports[0], ports[1])).await;
        for _ in 0..2 {
            assert_eq!(client.wait_for("ANSWER", PATIENCE), "ANSWER v2 says hello to you");
        }
    }
}
