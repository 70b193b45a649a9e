//! Access logs: of the mesh's settings, of its providers, of Telemetry resources.

use super::*;
use meltemi_pilot::model::listener::{AccessLog, Direction, LogFormat, LogSink, Terminal};

const PROVIDERS: &str = "
extensionProviders:
- name: lines
  envoyFileAccessLog: {path: /tmp/lines.log, logFormat: {text: 'x %RESPONSE_CODE%'}}
- name: objects
  envoyFileAccessLog: {path: /tmp/objects.log, omitEmptyValues: true, logFormat: {labels: {code: '%RESPONSE_CODE%', inner: {path: '%REQ(:PATH)%'}}}}
- name: plain
  envoyFileAccessLog: {}
- name: als
  envoyHttpAls: {service: other/als.example, port: 9000, additionalRequestHeadersToLog: [x-a]}
- name: tcp
  envoyTcpAls: {service: als.example, port: 9001, logName: mine}
- name: otel
  envoyOtelAls: {service: otel.example, port: 4317, logFormat: {labels: {a: b}}}
- name: traces
  zipkin: {service: zipkin.example, port: 9411}
";

fn config(text: &str) -> MeshConfig {
    let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", text);
    assert!(findings.is_empty(), "{findings:?}");
    config
}

fn telemetry(namespace: &str, name: &str, spec: serde_json::Value) -> String {
    let resource = json!({
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    format!("{resource}\n---\n")
}

/// Logs of requests and connections on one side of productpage's sidecar; all of that side have the same.
fn logs(mesh: &Mesh, node: &Node, direction: Direction) -> Vec<AccessLog> {
    let listeners = mesh.listeners(node);
    let of_side = listeners.iter().filter(|listener| listener.direction == direction);
    let chains = of_side.flat_map(|listener| &listener.chains);
    let mut all: Vec<Vec<AccessLog>> = chains
        .map(|chain| match &chain.terminal {
            Terminal::Http(http) => http.access_log.to_vec(),
            Terminal::Tcp(tcp) => tcp.access_log.to_vec(),
        })
        .collect();
    all.dedup();
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// Names of files and services that a side logs to, with its filter.
fn targets(mesh: &Mesh, direction: Direction) -> Vec<String> {
    let target = |log: &AccessLog| {
        let to = match &log.sink {
            LogSink::File { path, .. } => path.to_string(),
            LogSink::HttpGrpc(service) | LogSink::TcpGrpc(service) => service.cluster.clone(),
            LogSink::OpenTelemetry { service, .. } => service.cluster.clone(),
        };
        match &log.filter {
            Some(filter) => format!("{to} if {filter}"),
            None => to,
        }
    };
    logs(mesh, &Mesh::sidecar(), direction).iter().map(target).collect()
}

/// Client side and server side.
fn both(mesh: &Mesh) -> [Vec<String>; 2] {
    [Direction::Outbound, Direction::Inbound].map(|direction| targets(mesh, direction))
}

fn listed(client: &[&str], server: &[&str]) -> [Vec<String>; 2] {
    [client, server].map(|list| list.iter().map(|entry| (*entry).to_owned()).collect())
}

#[test]
fn the_mesh_names_a_file_and_its_form() {
    assert_eq!(both(&Mesh::new("")), listed(&[], &[]));
    let form = |text: &str| {
        let mesh = Mesh::with("", config(text));
        assert_eq!(both(&mesh), listed(&["/dev/stdout"], &["/dev/stdout"]));
        let LogSink::File { format, .. } = logs(&mesh, &Mesh::sidecar(), Direction::Outbound).remove(0).sink
        else {
            panic!("no file")
        };
        format
    };
    let LogFormat::Text(line) = form("accessLogFile: /dev/stdout") else { panic!("no text") };
    assert!(line.starts_with("[%START_TIME%] \"%REQ(:METHOD)%") && line.ends_with("%ROUTE_NAME%\n"));
    let own = form("{accessLogFile: /dev/stdout, accessLogFormat: '%RESPONSE_CODE%'}");
    assert_eq!(own, LogFormat::Text("%RESPONSE_CODE%\n".into()));
    let LogFormat::Json(object) = form("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}") else {
        panic!("no JSON")
    };
    let fields: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(fields["upstream_cluster"], "%UPSTREAM_CLUSTER_RAW%");
    let own = form(
        "{accessLogFile: /dev/stdout, accessLogEncoding: JSON, accessLogFormat: '{\"c\": \"%RESPONSE_CODE%\"}'}",
    );
    assert_eq!(own, LogFormat::Json("{\"c\":\"%RESPONSE_CODE%\"}".into()));
}

#[test]
fn listeners_log_what_no_chain_takes() {
    let listener = |text: &str| {
        let mesh = Mesh::with("", config(text));
        let listeners = mesh.listeners(&Mesh::sidecar());
        let outbound = listeners.iter().find(|listener| listener.name == "virtualOutbound").unwrap();
        translate::listener::listener(outbound).access_log
    };
    let logs = listener("accessLogFile: /dev/stdout");
    assert!(format!("{:?}", logs[0].filter).contains("\"NR\""));
    assert!(listener("{accessLogFile: /dev/stdout, disableEnvoyListenerLog: true}").is_empty());
}

#[test]
fn resources_name_providers() {
    let with = |telemetries: &str| both(&Mesh::with(telemetries, config(PROVIDERS)));
    let root = |spec| telemetry("istio-system", "mesh", spec);
    let use_of = |names: &[&str]| json!({"providers": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
    let lines = with(&root(json!({"accessLogging": [use_of(&["lines"])]})));
    assert_eq!(lines, listed(&["/tmp/lines.log"], &["/tmp/lines.log"]));
    // Istio's own name for standard output; unknown ones and those of other kinds are nothing.
    let some = with(&root(json!({"accessLogging": [use_of(&["envoy", "traces", "nobody"])]})));
    assert_eq!(some, listed(&["/dev/stdout"], &["/dev/stdout"]));
    // One side only, with a filter.
    let mut client = use_of(&["objects"]);
    client["match"] = json!({"mode": "CLIENT"});
    client["filter"] = json!({"expression": "response.code >= 400"});
    let sides = with(&root(json!({"accessLogging": [use_of(&["lines"]), client]})));
    let (lines, objects) = ("/tmp/lines.log", "/tmp/objects.log if response.code >= 400");
    assert_eq!(sides, listed(&[lines, objects], &[lines]));
    let services = with(&root(json!({"accessLogging": [use_of(&["als", "tcp", "otel"])]})));
    let clusters =
        ["outbound|9000||als.example", "outbound|4317||otel.example", "outbound|9001||als.example"];
    assert_eq!(services, listed(&clusters, &clusters));
}

#[test]
fn the_closest_resource_says_which() {
    let named = |name: &str| json!({"accessLogging": [{"providers": [{"name": name}]}]});
    let selected = |spec: serde_json::Value| {
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": "productpage"}});
        spec
    };
    let root = telemetry("istio-system", "mesh", named("lines"));
    let own = telemetry("default", "all", named("objects"));
    let workload = telemetry("default", "one", selected(named("plain")));
    let other = telemetry("other", "all", named("plain"));
    let with = |text: &str| targets(&Mesh::with(text, config(PROVIDERS)), Direction::Outbound);
    assert_eq!(with(&format!("{root}{other}")), ["/tmp/lines.log"]);
    assert_eq!(with(&format!("{root}{own}")), ["/tmp/objects.log"]);
    assert_eq!(with(&format!("{root}{own}{workload}")), ["/dev/stdout"]);
    // Off, and on for one side.
    let off = telemetry("default", "off", json!({"accessLogging": [{"disabled": true}]}));
    assert_eq!(with(&format!("{root}{off}")), [] as [&str; 0]);
    let server = json!({"accessLogging": [{"disabled": true, "match": {"mode": "SERVER"}}]});
    let half = Mesh::with(&format!("{root}{}", telemetry("default", "off", server)), config(PROVIDERS));
    assert_eq!(both(&half), listed(&["/tmp/lines.log"], &[]));
    // A filter without a provider is for those above.
    let errors = json!({"accessLogging": [{"filter": {"expression": "response.code >= 500"}}]});
    let filtered = with(&format!("{root}{}", telemetry("default", "errors", errors)));
    assert_eq!(filtered, ["/tmp/lines.log if response.code >= 500"]);
}

#[test]
fn the_meshs_file_and_default_providers_hold_where_nobody_says_more() {
    let settings = format!("{PROVIDERS}\naccessLogFile: /tmp/mesh.log\n");
    let with = |more: &str, text: &str| both(&Mesh::with(text, config(&format!("{settings}{more}"))));
    let defaults = "defaultProviders: {accessLogging: [lines]}";
    let file = ["/tmp/mesh.log"];
    assert_eq!(with("", ""), listed(&file, &file));
    assert_eq!(with(defaults, ""), listed(&["/tmp/lines.log"], &["/tmp/lines.log"]));
    let off = telemetry("default", "off", json!({"accessLogging": [{"disabled": true}]}));
    assert_eq!(with("", &off), listed(&[], &[]));
    assert_eq!(with(defaults, &off), listed(&[], &[]));
    let client = telemetry(
        "default",
        "one",
        json!({"accessLogging": [{"match": {"mode": "CLIENT"}, "providers": [{"name": "objects"}]}]}),
    );
    assert_eq!(with("", &client), listed(&["/tmp/objects.log"], &file));
    assert_eq!(with(defaults, &client), listed(&["/tmp/objects.log"], &["/tmp/lines.log"]));
}

#[test]
fn gateways_are_clients() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: default}\n\
        spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n---\n";
    let client = json!({"accessLogging": [{"match": {"mode": "CLIENT"}, "providers": [{"name": "lines"}]}]});
    let attached = json!({
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"}],
        "accessLogging": [{"providers": [{"name": "objects"}]}],
    });
    let text = format!(
        "{gateway}{}{}",
        telemetry("istio-system", "mesh", client),
        telemetry("istio-system", "front", attached)
    );
    let mesh = Mesh::with(&text, config(PROVIDERS));
    let count = |labels: serde_json::Value| {
        let logs = logs(&mesh, &Mesh::node("router", "istio-system", labels), Direction::Outbound);
        logs.iter().map(|log| format!("{:?}", log.sink)).collect::<String>()
    };
    assert!(count(json!({"istio": "ingressgateway"})).contains("/tmp/lines.log"));
    let named = json!({"istio": "ingressgateway", "gateway.networking.k8s.io/gateway-name": "front"});
    assert!(count(named).contains("/tmp/objects.log"));
}

#[test]
fn providers_become_envoys_loggers() {
    let names = ["lines", "objects", "als", "tcp", "otel"];
    let providers: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    let filter = json!({"expression": "response.code >= 400"});
    let spec = json!({"accessLogging": [{"providers": providers, "filter": filter}]});
    let mesh = Mesh::with(&telemetry("istio-system", "mesh", spec), config(PROVIDERS));
    let listeners = mesh.listeners(&Mesh::sidecar());
    let outbound = listeners.iter().find(|listener| listener.name == "virtualOutbound").unwrap();
    let logs = translate::listener::listener(outbound).access_log;
    let loggers: Vec<_> =
        logs.iter().map(|log| log.name.trim_start_matches("envoy.access_loggers.")).collect();
    assert_eq!(loggers, ["http_grpc", "file", "file", "open_telemetry", "tcp_grpc"]);
    assert!(format!("{:?}", logs[0].filter).contains("AndFilter"));
    let text = meltemi_xds::json::to_pretty(&translate::listener::listener(outbound));
    for part in ["mine", "omit_empty_values", "als.example"] {
        assert!(text.contains(part), "{part} not in {text}");
    }
}
