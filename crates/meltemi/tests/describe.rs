//! `meltemi describe` as a process, of files: what applies to a workload and to a service, and what is said against it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

use serde_json::Value;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: raw, port: 90, targetPort: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-v1, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web, version: v1}}, spec: {containers: [{name: app}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: lonely-1, namespace: shop, labels: {team: x}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 10.8.0.9, podIPs: [{ip: 10.8.0.9}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.example']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web, shop.example]
  gateways: [mesh, front]
  http:
  - name: canary
    match: [{headers: {x-user: {exact: jason}}, uri: {prefix: /new}}]
    timeout: 2s
    route: [{destination: {host: web, subset: v2}}]
  - route:
    - {destination: {host: web, subset: v1}, weight: 90}
    - {destination: {host: web, subset: v3}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: ['./*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
";

fn describe(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), SHOP).unwrap();
    Command::new(env!("CARGO_BIN_EXE_meltemi"))
        .current_dir(folder.path())
        .args(["describe", "-f", "shop.yaml"])
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = describe(&[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn line(text: &str) -> usize {
    SHOP.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn what_applies_is_listed_with_its_places() {
    let described = json(&["workload", "web-v1"]);
    let workload = &described["workload"];
    assert_eq!(workload["sidecar"]["name"], "narrow");
    assert_eq!(workload["sidecar"]["file"], "shop.yaml");
    assert_eq!(workload["outboundTrafficPolicy"], "REGISTRY_ONLY");
    assert_eq!(
        (&workload["inbound"][0]["port"], &workload["inbound"][0]["protocol"]),
        (&8080.into(), &"HTTP".into())
    );
    let service = &described["services"][0];
    assert_eq!(service["host"], "web.shop.svc.cluster.local");
    assert_eq!(service["destinationRule"]["policies"][0], "outlierDetection");
    let subsets = service["destinationRule"]["subsets"].as_array().unwrap();
    let of: Vec<_> = subsets.iter().map(|subset| (&subset["hasWorkload"], &subset["endpoints"])).collect();
    assert_eq!(of[0].0, &Value::Bool(true));
    assert_eq!(of[1], (&Value::Bool(false), &0.into()));
    let rules = &service["virtualServices"][0];
    assert_eq!(rules["gateways"][0]["exposes"][0], "http://shop.example:8080");
    assert_eq!(rules["rules"][0]["takes"], "uri begins with \"/new\" and header x-user = \"jason\"");
    assert_eq!(rules["rules"][0]["does"], "to web subset v2, timeout 2s");
    assert_eq!(rules["rules"][0]["line"], line("- name: canary"));
    assert_eq!(rules["rules"][1]["does"], "to web subset v1 (90 %), web subset v3 (10 %)");
}

#[test]
fn what_is_wrong_is_said() {
    let warnings = |arguments: &[&str]| -> Vec<String> {
        let described = json(arguments);
        described["warnings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let has = |warnings: &[String], text: &str| {
        assert!(warnings.iter().any(|one| one.contains(text)), "{text:?} is not in {warnings:#?}");
    };
    let web = warnings(&["service", "web.shop"]);
    has(&web, "port 90 of web.shop.svc.cluster.local does not say its protocol");
    has(&web, "leads to subset v3 of web.shop.svc.cluster.local, which no DestinationRule defines");
    has(&warnings(&["svc", "empty"]), "has no endpoints");
    let lonely = warnings(&["pod", "lonely"]);
    has(&lonely, "has no label \"app\"");
    has(&lonely, "is behind no service");
    let codes: Vec<_> =
        json(&["service", "web"])["findings"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect();
    assert!(codes.contains(&"IST0101".into()), "{codes:?}");
}

#[test]
fn gateways_and_names_that_nobody_has() {
    let front = json(&["workload", "front"]);
    assert_eq!(front["workload"]["role"], "router");
    assert_eq!(front["workload"]["gateways"][0]["name"], "front");
    let unknown = describe(&["service", "wbe"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean web.shop?"));
    let text = describe(&["web-v1"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in
        ["Workload web-v1.shop", "← this workload", "Gateway shop/front at shop.yaml:", "REGISTRY_ONLY"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
