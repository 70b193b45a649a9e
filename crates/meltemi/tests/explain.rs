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

/// Everything that a call may be besides a plain request, in files of a cluster.
const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.9.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.9.0.2, selector: {app: db}, ports: [{name: tcp-db, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-6b9f, namespace: shop, labels: {app: web, version: v1}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 10.8.0.1, podIPs: [{ip: 10.8.0.1}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: shop}
spec: {selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: app}]}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [a.outside.example, b.outside.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.example]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec:
  hosts: [shop.example]
  gateways: [front]
  http:
  - name: cors
    match: [{uri: {prefix: /api}}]
    corsPolicy: {allowOrigins: [{exact: 'https://good.example'}], allowMethods: [GET]}
    route: [{destination: {host: web, port: {number: 80}}}]
  - name: away
    match: [{uri: {prefix: /away}}]
    redirect: {authority: new.example}
  - name: tea
    match: [{uri: {prefix: /tea}}]
    directResponse: {status: 418, body: {string: short}}
  - name: broken
    match: [{uri: {prefix: /broken}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
    route: [{destination: {host: web, port: {number: 80}}}]
  - name: rewritten
    match: [{uri: {prefix: /old}}]
    rewrite: {uri: /new, authority: inner.example}
    route: [{destination: {host: web, port: {number: 80}}}]
";

fn in_shop(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), SHOP).unwrap();
    let command = ["explain", "-f", "shop.yaml"];
    Command::new(env!("CARGO_BIN_EXE_meltemi"))
        .current_dir(folder.path())
        .args(command)
        .args(arguments)
        .output()
        .unwrap()
}

fn shop(arguments: &[&str]) -> Value {
    let output = in_shop(&[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn because<'a>(explanation: &'a Value, what: &str) -> &'a str {
    let mut steps = explanation["steps"].as_array().unwrap().iter();
    steps.rfind(|step| step["what"] == what).map_or("", |step| step["because"].as_str().unwrap())
}

#[test]
fn connections_are_explained_as_well_as_requests() {
    let cluster = |explanation: &Value| explanation["outcome"]["forwarded"]["clusters"][0]["name"].clone();
    let bytes = shop(&["--proxy", "web", "tcp://db:5432"]);
    assert_eq!(cluster(&bytes), "outbound|5432||db.shop.svc.cluster.local");
    assert_eq!(because(&bytes, "listener"), "it listens at 10.9.0.2:5432 for db");
    assert_eq!(shop(&["--proxy", "web", "tcp://10.9.0.2:5432"])["outcome"], bytes["outcome"]);
    let tls = shop(&["--proxy", "web.shop", "--sni", "b.outside.example", "tcp://192.0.2.1:443"]);
    assert_eq!(cluster(&tls), "outbound|443||b.outside.example");
    assert_eq!(
        cluster(&shop(&["--proxy", "web", "https://a.outside.example"])),
        "outbound|443||a.outside.example"
    );
    let inbound = shop(&["--proxy", "web", "--inbound", "http://10.8.0.1:8080/"]);
    assert_eq!(cluster(&inbound), "inbound|8080||");
    assert_eq!(cluster(&shop(&["--proxy", "web", "http://web/"])), "outbound|80||web.shop.svc.cluster.local");
    // The Pod of a Deployment is made up, and says so by its range.
    assert!(because(&bytes, "endpoints").starts_with("198.18.0."), "{bytes}");
}

#[test]
fn whatever_the_gateway_answers_itself_is_foretold() {
    let ask = |arguments: &[&str]| shop(&[&["--proxy", "front"], arguments].concat());
    let answered = |explanation: &Value| explanation["outcome"]["answered"].clone();
    let cors = ask(&[
        "-X",
        "OPTIONS",
        "http://shop.example:8080/api",
        "-H",
        "origin: https://good.example",
        "-H",
        "access-control-request-method: GET",
    ]);
    assert_eq!(answered(&cors)["status"], 200);
    assert_eq!(because(&cors, "cors"), "the preflight of \"https://good.example\" is answered by the proxy");
    let other = ask(&["http://shop.example:8080/api", "-H", "origin: https://bad.example"]);
    assert!(because(&other, "cors").starts_with("origin \"https://bad.example\" is not allowed"), "{other}");
    let away = ask(&["http://shop.example:8080/away"]);
    assert_eq!(answered(&away)["location"], "http://new.example/away");
    let tea = ask(&["http://shop.example:8080/tea"]);
    assert_eq!(
        (answered(&tea)["status"].as_u64(), because(&tea, "request")),
        (Some(418), "418 with a body of 5 bytes")
    );
    let broken = answered(&ask(&["http://shop.example:8080/broken"]));
    assert_eq!(
        (broken["flag"].as_str(), broken["reason"].as_str()),
        (Some("FI"), Some("VirtualService shop/front injected a fault"))
    );
    let rewritten = ask(&["http://shop.example:8080/old/x?y=1"]);
    let forwarded = &rewritten["outcome"]["forwarded"];
    assert_eq!(
        (forwarded["path"].as_str(), forwarded["authority"].as_str()),
        (Some("/new/x?y=1"), Some("inner.example"))
    );
    let none = answered(&ask(&["http://shop.example:8080/none"]));
    assert_eq!(none["reason"], "VirtualService shop/front has no rule that takes GET /none");
    let host = answered(&ask(&["http://other.example:8080/"]));
    assert_eq!(host["reason"], "no VirtualService or service here is for host other.example:8080");
}

#[test]
fn a_name_that_nobody_has_is_answered_with_those_there_are() {
    for (arguments, hint) in [
        (&["--proxy", "wbe-6b9f", "http://web/"][..], "did you mean web-6b9f.shop (workload)?"),
        (&["--proxy", "zzzzzz", "http://web/"], "there are: "),
        (&["--proxy", "web", "tcp://db"], "give http://reviews:9080/path"),
    ] {
        let output = in_shop(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(hint), "{said}");
    }
}
