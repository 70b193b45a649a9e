//! `meltemi explain` as a process: the JSON of the contract, places in files, what is passed over and why.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::process::{Command, Output};

use serde_json::Value;

const MESH: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.example]
  ports: [{number: 9080, name: http, protocol: HTTP}, {number: 5432, name: tls, protocol: TLS}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}}
  - {address: 10.0.0.2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.example
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.example]
  http:
  - name: testers
    match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews.example, subset: v2}}]
  - name: moved
    match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - name: rest
    timeout: 3s
    route: [{destination: {host: reviews.example, subset: v1}}]
";

const PROXY: &str = "sidecar~10.0.0.9~app.default~default.svc.cluster.local";

fn explain(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mesh.yaml"), MESH).unwrap();
    Command::new(env!("CARGO_BIN_EXE_meltemi"))
        .current_dir(folder.path())
        .args(["explain", "-f", "mesh.yaml", "--proxy", PROXY])
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = explain(&[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn routes(explanation: &Value) -> Vec<(&str, bool)> {
    let steps = explanation["steps"].as_array().unwrap().iter().filter(|step| step["what"] == "route");
    steps.map(|step| (step["name"].as_str().unwrap(), step["matched"].as_bool().unwrap())).collect()
}

#[test]
fn a_rule_is_named_with_its_line_and_so_is_each_that_was_passed_over() {
    let explanation = json(&["http://reviews.example:9080/ratings"]);
    assert_eq!(routes(&explanation), [("testers", false), ("moved", false), ("rest", true)]);
    let steps = explanation["steps"].as_array().unwrap();
    for step in steps {
        for key in ["what", "name", "matched", "because", "file", "line"] {
            assert!(step.get(key).is_some(), "{key} is missing in {step}");
        }
    }
    let step = |name: &str| steps.iter().find(|step| step["name"] == name).unwrap();
    assert_eq!(step("testers")["because"], "header end-user is absent");
    let place = |name: &str| (step(name)["file"].clone(), step(name)["line"].as_u64());
    let line = |text: &str| MESH.lines().position(|line| line.contains(text)).map(|at| at as u64 + 1);
    assert_eq!(place("testers"), ("mesh.yaml".into(), line("- name: testers")));
    assert_eq!(place("rest"), ("mesh.yaml".into(), line("- name: rest")));
    let cluster = &explanation["outcome"]["forwarded"]["clusters"][0]["name"];
    assert_eq!(cluster, "outbound|9080|v1|reviews.example");
    let endpoints = steps.iter().find(|step| step["what"] == "endpoints").unwrap();
    assert_eq!(endpoints["because"], "10.0.0.1:9080");
}

#[test]
fn headers_choose_another_rule() {
    let explanation = json(&["http://reviews.example:9080/", "-H", "End-User: jason"]);
    assert_eq!(routes(&explanation), [("testers", true)]);
    let explanation = json(&["http://reviews.example:9080/old/x"]);
    assert_eq!(explanation["outcome"]["answered"]["location"], "http://reviews.example:9080/new");
}

#[test]
fn text_says_the_same_and_wrong_usage_is_status_2() {
    let output = explain(&["http://reviews.example:9080/"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["✘ route         testers", "VirtualService default/reviews at mesh.yaml:", "timeout 3s"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(
        text.trim_end().ends_with("⇒ reviews.example:9080/ to outbound|9080|v1|reviews.example"),
        "{text}"
    );
    for wrong in ["reviews", "ftp://reviews/", "http://"] {
        assert_eq!(explain(&[wrong]).status.code(), Some(2), "{wrong}");
    }
}
