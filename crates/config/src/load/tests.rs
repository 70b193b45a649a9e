//! Files, folders, places, what is in force and what is not. Whole documents are in `tests/golden`.

use proptest::prelude::*;

use super::*;
use crate::networking::{ServiceEntry, VirtualService};
use crate::object::Kind;
use crate::{Duration, core};

const VIRTUAL_SERVICE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, labels: {app.kubernetes.io/name: a}}
spec:
  hosts: [A.example.com]
  http:
  - route:
    - destination: {host: a}
      weight: 3
    timeout: 1m30s
";

fn read(text: &str) -> Loaded {
    load_text("a.yaml", text, &Options::default())
}

#[test]
fn all_versions_mean_the_same() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let loaded = read(&VIRTUAL_SERVICE.replace("io/v1", &format!("io/{version}")));
        assert_eq!(loaded.diagnostics, []);
        let spec = loaded.objects[0].spec_as::<VirtualService>().unwrap();
        assert_eq!(spec.hosts[0].as_str(), "a.example.com");
        assert_eq!(spec.http[0].timeout, Some(Duration::from_millis(90_000)));
        assert_eq!(spec.http[0].route[0].weight, 3);
    }
}

#[test]
fn places_are_found_by_path() {
    let object = read(VIRTUAL_SERVICE).objects.remove(0);
    let place = |path: &str| object.place(path).map(|place| (place.line, place.column)).unwrap();
    assert_eq!(place("spec.http[0].route[0].weight"), (10, 15));
    assert_eq!(place("spec.http[0].timeout"), (11, 14));
    assert_eq!(place("spec.http"), (7, 3));
    assert_eq!(place("spec.http[0].route"), (8, 5));
    assert_eq!(place(r#"metadata.labels["app.kubernetes.io/name"]"#), (4, 54));
    // What is not there is shown at what is around it.
    assert_eq!(place("spec.http[0].retries.attempts"), (8, 5));
    assert_eq!(object.source, Source { file: "a.yaml".into(), line: 2 });
}

#[test]
fn namespaces_are_filled_in() {
    let text = format!(
        "{VIRTUAL_SERVICE}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n, namespace: x}}\n"
    );
    let loaded = load_text("a.yaml", &text, &Options::in_namespace("prod"));
    assert_eq!(&**loaded.objects[0].namespace(), "prod");
    assert_eq!(&**loaded.objects[1].namespace(), "");
    assert_eq!(loaded.objects[1].id().to_string(), "Namespace n");
}

#[test]
fn services_get_an_api_servers_defaults() {
    let loaded = read(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: 10.0.0.1\n  ports:\n  - {port: 80}\n  - {port: 81, targetPort: web, protocol: UDP, x: y}\n",
    );
    let service = loaded.objects[0].spec_as::<core::Service>().unwrap();
    assert_eq!(service.spec.ports[0].target_port, Some(core::IntOrString::Int(80)));
    assert_eq!(service.spec.ports[0].protocol.as_deref(), Some("TCP"));
    assert_eq!(service.spec.ports[1].target_port, Some(core::IntOrString::String("web".into())));
    assert_eq!(service.spec.ports[1].protocol.as_deref(), Some("UDP"));
    assert_eq!(service.spec.cluster_ips, ["10.0.0.1".into()]);
    assert_eq!(loaded.diagnostics, []);
}

#[test]
fn of_two_with_one_name_the_last_holds() {
    let second = VIRTUAL_SERVICE.replace("weight: 3", "weight: 4");
    let loaded = read(&format!("{VIRTUAL_SERVICE}---{second}"));
    assert_eq!(loaded.objects.len(), 1);
    assert_eq!(loaded.objects[0].spec_as::<VirtualService>().unwrap().http[0].route[0].weight, 4);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].code, code::DUPLICATE);
}

#[test]
fn folders_are_walked_in_order_and_missing_files_reported() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    write("b.yaml", VIRTUAL_SERVICE);
    write("a.yml", &VIRTUAL_SERVICE.replace("name: a,", "name: z,"));
    write("sub/c.json", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}"#);
    write("notes.txt", "not: [read");
    write(".hidden.yaml", "not: [read");
    write("empty.yaml", "");
    let loaded = load(&[folder.path().to_owned(), folder.path().join("missing.yaml")], &Options::default());
    let names: Vec<_> = loaded.objects.iter().map(|object| object.name().to_string()).collect();
    assert_eq!(names, ["z", "a", "n"]);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].code, code::UNREADABLE);
    assert_eq!(loaded.unreadable.len(), 1);
}

#[test]
fn mesh_config_takes_both_spellings() {
    let (config, findings) =
        mesh_config("mesh.yaml", "accessLogFile: /dev/stdout\nroot_namespace: r\ntypo: 1\n");
    assert_eq!(config.access_log_file.as_deref(), Some("/dev/stdout"));
    assert_eq!(config.root_namespace(), "r");
    assert_eq!(config.connect_timeout(), Duration::from_millis(10_000));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].place.as_ref().unwrap().line, 3);
}

/// Istio's demo profile, and providers from its documents.
#[test]
fn mesh_config_of_istio_has_no_findings() {
    let text = "
accessLogFile: /dev/stdout
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  tracing: {zipkin: {address: zipkin.istio-system:9411}, sampling: 10.5}
  proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}
  holdApplicationUntilProxyStarts: true
  gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: SANITIZE_SET, proxyProtocol: {}}
  proxyHeaders: {server: {disabled: true}, metadataExchangeHeaders: {mode: IN_MESH}}
defaultProviders: {metrics: [prometheus], accessLogging: [json]}
enablePrometheusMerge: true
extensionProviders:
- name: otel
  envoyOtelAls: {service: opentelemetry-collector.observability.svc.cluster.local, port: 4317}
- name: skywalking
  skywalking: {service: tracing.istio-system.svc.cluster.local, port: 11800}
- name: ext-authz
  envoyExtAuthzHttp: {service: ext-authz.foo.svc.cluster.local, port: \"8000\", includeRequestHeadersInCheck: [x-ext-authz]}
- name: json
  envoyFileAccessLog: {path: /dev/stdout, logFormat: {labels: {status: \"%RESPONSE_CODE%\"}}}
- name: prometheus
  prometheus: {}
- name: tracing
  opentelemetry:
    port: 443
    service: tracing.example.com
    http: {path: /v1/traces, timeout: 10s, headers: [{name: Authorization, envName: TOKEN}]}
    resourceDetectors: {environment: {}}
    dynatraceSampler: {tenant: t, clusterId: -1}
rootNamespace: istio-system
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
pathNormalization: {normalization: MERGE_SLASHES}
caCertificates: [{pem: x, certSigners: [a/b]}]
discoverySelectors: [{matchLabels: {a: b}, matchExpressions: [{key: c, operator: In, values: [d]}]}]
trustDomain: cluster.local
";
    let (config, findings) = mesh_config("mesh.yaml", text);
    assert_eq!(findings, []);
    assert_eq!(config.extension_providers.len(), 6);
    assert_eq!(config.outbound_mode(), crate::mesh::OutboundMode::RegistryOnly);
}

#[test]
fn json_findings_have_the_shape_of_the_contract() {
    let loaded = read(&VIRTUAL_SERVICE.replace("weight: 3", "weight: -3"));
    let json = serde_json::to_value(&loaded.diagnostics).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "code": "IST0106",
            "severity": "error",
            "message": "Schema validation error: spec.http[0].route[0].weight: weight -3 is below zero",
            "resource": {"kind": "VirtualService", "namespace": "default", "name": "a"},
            "file": "a.yaml",
            "line": 10,
            "column": 15,
            "hint": null
        }])
    );
}

/// What is written is read again as the same.
#[test]
fn typed_forms_go_both_ways() {
    for file in ["good.yaml", "not_in_effect.yaml"] {
        let text =
            std::fs::read_to_string(format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for object in read(&text).objects {
            let mut json = serde_json::json!({
                "apiVersion": &*object.api_version,
                "kind": object.kind.as_str(),
                "metadata": &*object.metadata,
            });
            json["spec"] = serde_json::to_value(&object.spec).unwrap();
            let again = read(&json.to_string());
            assert_eq!(again.objects.len(), 1, "{:#?}", again.diagnostics);
            assert_eq!(again.objects[0].spec, object.spec);
        }
    }
}

#[test]
fn thousands_of_entries_are_read_in_linear_time() {
    let entry = |index: usize| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{index}}}\nspec:\n  hosts: [e{index}.example.com]\n  ports:\n  - {{number: 80, name: http, protocol: HTTP}}\n  resolution: STATIC\n  endpoints:\n  - address: 127.0.0.1\n---\n"
        )
    };
    let text: String = (0..5_000).map(entry).collect();
    let start = std::time::Instant::now();
    let loaded = read(&text);
    let took = start.elapsed();
    assert_eq!(loaded.objects.len(), 5_000);
    assert!(loaded.objects.iter().all(|object| object.kind == Kind::ServiceEntry));
    let ports = |at: usize| loaded.objects[at].spec_as::<ServiceEntry>().unwrap().ports[0].name.clone();
    assert!(std::sync::Arc::ptr_eq(&ports(0), &ports(4_999)), "equal names are one copy");
    // Generous: unoptimized code on a busy machine. Optimized it is about a tenth of a second.
    assert!(took.as_secs() < 30, "{took:?}");
    println!("5,000 entries of {} KB in {took:?}", text.len() / 1024);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that a file holds ends the process.
    #[test]
    fn any_text_is_survived(text in r"([a-z:{}\[\]\-&*#|>'\x22\t\n ,!%?]|kind: |apiVersion: |---\n|<<: ){0,60}") {
        for finding in read(&text).diagnostics {
            crate::diagnostic::render(&finding, true);
        }
    }

    /// A document whose lines are mixed up has findings, not panics.
    #[test]
    fn broken_resources_are_survived(cut in 0usize..230, insert in r"[\x00-\x7f]{0,4}") {
        let cut = cut.min(VIRTUAL_SERVICE.len());
        let text = format!("{}{insert}{}", &VIRTUAL_SERVICE[..cut], &VIRTUAL_SERVICE[cut..]);
        for finding in read(&text).diagnostics {
            crate::diagnostic::render(&finding, false);
        }
    }
}
