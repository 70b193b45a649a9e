//! `explain`, `proxy-config`, `proxy-status` and `describe` asked of a running mesh: a Meltemi proxy and, where there is one,
//! an Envoy, both programmed by our control plane. What they say of both must be the same.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Output},
    time::{Duration, Instant},
};

use meltemi_agent::{
    bootstrap::Bootstrap,
    node::{Node, Role},
};
use meltemi_testkit::{
    peers, ports,
    process::Process,
    proxy::{Proxy, Running},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

const MESH: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.example]
  ports: [{number: PORT, name: http, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {address: 127.0.0.1, ports: {http: 7001}, labels: {version: v1}, locality: here/a}
  - {address: 127.0.0.1, ports: {http: 7002}, labels: {version: v2}, locality: here/b}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.example
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}, connectionPool: {http: {http2MaxRequests: 7}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.example]
  http:
  - name: broken
    match: [{uri: {prefix: /broken}}]
    route: [{destination: {host: reviews.example, subset: v3}}]
  - name: canary
    match: [{uri: {prefix: /canary}}]
    timeout: 3s
    headers: {request: {set: {x-canary: 'yes'}}}
    mirror: {host: reviews.example, subset: v2}
    mirrorPercentage: {value: 10}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 5}}}
    route:
    - {destination: {host: reviews.example, subset: v1}, weight: 75}
    - {destination: {host: reviews.example, subset: v2}, weight: 25}
  - name: rest
    route: [{destination: {host: reviews.example, subset: v1}}]
";

/// A mesh of one sidecar, as long as a test looks at it.
struct Mesh {
    folder: tempfile::TempDir,
    port: u16,
    monitoring: String,
    _control_plane: Process,
}

impl Mesh {
    fn start() -> Mesh {
        let folder = tempfile::tempdir().unwrap();
        let port = ports::free();
        fs::write(folder.path().join("mesh.yaml"), MESH.replace("PORT", &port.to_string())).unwrap();
        let settings = folder.path().join("settings.yaml");
        fs::write(&settings, format!("accessLogFile: {}\n", folder.path().join("access.log").display()))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command.args(["control-plane", "--xds", "127.0.0.1:0", "--monitoring", "127.0.0.1:0", "--config"]);
        command.arg(folder.path().join("mesh.yaml")).arg("--mesh-config").arg(&settings);
        let process = Process::start(&mut command);
        let line = process.wait_for("xds=", PATIENCE);
        let word =
            |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)).unwrap().to_owned();
        fs::write(folder.path().join("xds"), word("xds=")).unwrap();
        Mesh { port, monitoring: word("monitoring="), _control_plane: process, folder }
    }

    /// A proxy that has been told everything.
    async fn proxy(&self, name: &str, kind: Proxy) -> Running {
        let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let node = Node {
            role: Role::Sidecar,
            address: [127, 0, 0, 9].into(),
            name: name.to_owned(),
            namespace: "default".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "client".to_owned())]),
            service_account: "default".to_owned(),
            owner: name.to_owned(),
            locality: String::new(),
            // Nothing is bound, so that two may stand side by side.
            metadata: serde_json::Map::from_iter([("INTERCEPTION_MODE".to_owned(), "REDIRECT".into())]),
        };
        let discovery = fs::read_to_string(self.folder.path().join("xds")).unwrap();
        let mut bootstrap = Bootstrap { node: &node, discovery: &discovery, admin }.render();
        // Capturing listeners have fixed ports, which another test may have: what is configured is looked at, not what is bound.
        bootstrap["node"]["metadata"]["INTERCEPTION_MODE"] = "NONE".into();
        let file = self.folder.path().join(format!("{name}.json"));
        fs::write(&file, bootstrap.to_string()).unwrap();
        Running::start(kind.command(env!("CARGO_BIN_EXE_meltemi")).arg("-c").arg(&file), admin).await
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meltemi")).args(arguments).output().unwrap()
}

/// What a command prints, if it succeeds.
fn meltemi(arguments: &[&str]) -> Option<String> {
    let output = run(arguments);
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_mesh_can_be_asked() {
    let mesh = Mesh::start();
    let proxy = mesh.proxy("ours", Proxy::Meltemi).await;
    let ours = proxy.admin.to_string();
    explained(&mesh, &ours, true);
    shown(&mesh, &ours);
    logged(&mesh);
    by_name(&mesh, &ours);
    if peers::require("envoy").is_some() {
        let proxy = mesh.proxy("theirs", Proxy::Envoy).await;
        let theirs = proxy.admin.to_string();
        explained(&mesh, &theirs, false);
        shown(&mesh, &theirs);
        for part in ["clusters", "listeners", "routes", "endpoints"] {
            let table = |admin: &str| meltemi(&["proxy-config", part, "--admin", admin]).unwrap();
            assert_eq!(table(&ours), table(&theirs), "{part}");
        }
        let status = meltemi(&["proxy-status", "--address", &mesh.monitoring]).unwrap();
        assert_eq!(status.lines().count(), 3, "{status}");
        let several = run(&["proxy-config", "clusters", "--control-plane", &mesh.monitoring]);
        assert_eq!(several.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&several.stderr).contains("ours.default, theirs.default"));
    }
}

/// `explain` of a live proxy; only ours knows where rules are written.
fn explained(mesh: &Mesh, admin: &str, ours: bool) {
    let url = |path: &str| format!("http://reviews.example:{}{path}", mesh.port);
    let canary = json(&["explain", "--admin", admin, &url("/canary/x"), "-H", "x-user: ann"]);
    let forwarded = &canary["outcome"]["forwarded"];
    let shares: Vec<_> =
        forwarded["clusters"].as_array().unwrap().iter().map(|c| c["percent"].as_f64().unwrap()).collect();
    assert_eq!(shares, [75.0, 25.0]);
    assert_eq!(forwarded["mirrors"][0], format!("outbound|{}|v2|reviews.example", mesh.port));
    let steps = canary["steps"].as_array().unwrap();
    let because = |what: &str| -> Vec<String> {
        let of = steps.iter().filter(|step| step["what"] == what);
        of.map(|step| step["because"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(because("fault"), ["5 % of requests are held up by 1s"]);
    assert_eq!(because("mirror"), ["10 % of requests are copied to it; its answers are thrown away"]);
    assert_eq!(because("headers"), ["set x-canary: \"yes\""]);
    assert_eq!(because("hash"), ["by x-user: ann: the same endpoint each time"]);
    assert!(because("request")[0].starts_with("timeout 3s, up to 2 retries on "), "{:?}", because("request"));
    assert!(because("cluster")[0].starts_with("75 % (75 of 100); RING_HASH"), "{:?}", because("cluster"));
    assert!(because("cluster")[0].contains("at most 7 requests at a time"), "{:?}", because("cluster"));
    let seat = &steps.iter().find(|step| step["what"] == "endpoints").unwrap()["endpoints"][0];
    assert_eq!(
        (seat["address"].as_str(), seat["health"].as_str()),
        (Some("127.0.0.1:7001"), Some("HEALTHY"))
    );
    assert_eq!(seat["locality"], "here/a");
    let rule = steps.iter().find(|step| step["name"] == "canary").unwrap();
    assert_eq!(rule["resource"], "VirtualService default/reviews");
    assert_eq!(rule["line"].is_u64(), ours, "{rule}");
    let broken = json(&["explain", "--admin", admin, &url("/broken")]);
    let answered = &broken["outcome"]["answered"];
    assert_eq!((answered["status"].as_u64(), answered["flag"].as_str()), (Some(503), Some("UH")));
    assert_eq!(answered["reason"], "DestinationRule default/reviews has no endpoints for subset v3");
    // A dump that was saved says the same as the proxy.
    let dump = mesh.folder.path().join("dump.json");
    fs::write(&dump, serde_json::to_string(&json(&["proxy-config", "all", "--admin", admin])).unwrap())
        .unwrap();
    let dump = dump.to_str().unwrap();
    let saved = json(&["explain", "--config-dump", dump, &url("/canary/x"), "-H", "x-user: ann"]);
    assert_eq!(saved, canary);
    let tables = |from: [&str; 2]| meltemi(&["proxy-config", "routes", from[0], from[1]]).unwrap();
    assert_eq!(tables(["--file", dump]), tables(["--admin", admin]));
}

/// The access log ends with the reason that `explain` foretold.
fn logged(mesh: &Mesh) {
    let mut stream = TcpStream::connect(("127.0.0.1", mesh.port)).unwrap();
    stream.write_all(b"GET /broken HTTP/1.1\r\nhost: reviews.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let wanted = "\"DestinationRule default/reviews has no endpoints for subset v3\"";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = fs::read_to_string(mesh.folder.path().join("access.log")).unwrap_or_default();
        if log.lines().any(|line| line.contains(" 503 UH ") && line.ends_with(wanted)) {
            return;
        }
        assert!(Instant::now() < deadline, "{wanted} is not in\n{log}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The tables, and their filters.
fn shown(mesh: &Mesh, admin: &str) {
    let port = mesh.port.to_string();
    let part = |arguments: &[&str]| -> Vec<String> {
        let part = [&["proxy-config"], arguments, &["--admin", admin]].concat();
        meltemi(&part).unwrap_or_else(|| panic!("{part:?}")).lines().map(str::to_owned).collect()
    };
    let clusters = part(&["clusters", "--fqdn", "reviews.example", "--subset", "v2"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        clusters[0],
        "SERVICE FQDN      PORT    SUBSET   DIRECTION   TYPE   DESTINATION RULE"
            .replace("PORT    ", &format!("{:width$}", "PORT", width = port.len().max(4) + 3))
    );
    assert_eq!(words(&clusters[1]), ["reviews.example", &port, "v2", "outbound", "EDS", "reviews.default"]);
    assert_eq!(clusters.len(), 2, "{clusters:?}");
    assert_eq!(part(&["clusters", "--fqdn", "reviews.example", "--port", &port]).len(), 5);
    assert_eq!(part(&["clusters", "--port", "1"]).len(), 1);
    let routes = part(&["routes", "--fqdn", "reviews.example"]);
    assert_eq!(words(&routes[0]), ["NAME", "VHOST", "NAME", "DOMAINS", "MATCH", "VIRTUAL", "SERVICE"]);
    assert!(routes[1].contains("/broken*") && routes[1].ends_with("reviews.default"), "{routes:?}");
    assert_eq!(routes.len(), 4, "{routes:?}");
    let endpoints = part(&["endpoints", "--cluster", &format!("outbound|{port}|v1|reviews.example")]);
    assert_eq!(words(&endpoints[1])[..3], ["127.0.0.1:7001", "HEALTHY", "OK"]);
    assert_eq!(part(&["endpoints", "--status", "unhealthy"]).len(), 1);
    let listeners = part(&["listeners", "--port", &port]);
    assert!(listeners.iter().any(|line| line.contains("Route: ")), "{listeners:?}");
    let one =
        json(&["proxy-config", "clusters", "--admin", admin, "--fqdn", "reviews.example", "--subset", "v1"]);
    assert_eq!(one[0]["name"], format!("outbound|{port}|v1|reviews.example"));
    assert!(part(&["clusters", "-o", "yaml"])[0].starts_with("- "));
    let bootstrap = json(&["proxy-config", "bootstrap", "--admin", admin]);
    assert!(bootstrap["node"]["id"].as_str().unwrap().starts_with("sidecar~"), "{bootstrap}");
    let all = part(&["all"]);
    for heading in ["SERVICE FQDN", "ADDRESSES", "NAME", "ENDPOINT"] {
        assert!(all.iter().any(|line| line.starts_with(heading)), "{heading}");
    }
}

/// The control plane leads from a name to the proxy.
fn by_name(mesh: &Mesh, admin: &str) {
    let control_plane = ["--control-plane", mesh.monitoring.as_str()];
    let table = meltemi(&[&["proxy-config", "clusters", "ours.default"][..], &control_plane].concat());
    assert_eq!(table, meltemi(&["proxy-config", "clusters", "--admin", admin]));
    let wrong = run(&[&["proxy-config", "clusters", "our"][..], &control_plane].concat());
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean ours.default (sidecar)?"));
    let url = format!("http://reviews.example:{}/", mesh.port);
    let named = json(&[&["explain", "--proxy", "ours", &url][..], &control_plane].concat());
    assert!(named["outcome"]["forwarded"].is_object(), "{named}");
    let service = json(&[&["describe", "service", "reviews.example"][..], &control_plane].concat());
    assert_eq!(service["services"][0]["destinationRule"]["subsets"][2]["endpoints"], 0);
    assert_eq!(service["services"][0]["virtualServices"][0]["rules"][1]["name"], "canary");
}
