//! Golden folders: resources in, what proxies are sent out; and a real Envoy accepts all of it.
//!
//! A case is a folder in `tests/golden`: `input.yaml`; `proxies.json`, node ids and metadata by name; optionally `mesh.yaml`.
//! `NAME.json` beside them is what that proxy is sent. `BLESS=1` rewrites.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use meltemi_config::{Options, Severity};
use meltemi_pilot::node::Node;
use meltemi_pilot::offline;
use meltemi_pilot::snapshot::Snapshot;
use meltemi_testkit::{golden, peers};
use meltemi_xds::json::to_value;
use serde_json::{Map, Value, json};

#[path = "golden/bootstrap.rs"]
mod bootstrap;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

/// The proxies of a case with what each is sent.
fn translated(case: &Path) -> Vec<(String, Value)> {
    let input = std::fs::read_to_string(case.join("input.yaml")).unwrap();
    let loaded = meltemi_config::load_text("input.yaml", &input, &Options::default());
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{}: {errors:?}", case.display());
    let mesh = std::fs::read_to_string(case.join("mesh.yaml")).unwrap_or_else(|_| "{}".to_owned());
    let (mesh, findings) = meltemi_config::load::mesh_config("mesh.yaml", &mesh);
    assert!(findings.is_empty(), "{}: {findings:?}", case.display());
    let snapshot = Snapshot::build(1, &loaded.objects, Arc::new(mesh));
    let proxies = std::fs::read_to_string(case.join("proxies.json")).unwrap();
    let proxies: Map<String, Value> = serde_json::from_str(&proxies).unwrap();
    let translate = |(name, proxy): (String, Value)| {
        let node = Node::parse(proxy["id"].as_str().unwrap(), &proxy["metadata"]).unwrap();
        (name, document(&offline::translate(&snapshot, &node)))
    };
    proxies.into_iter().map(translate).collect()
}

fn document(resources: &offline::Resources) -> Value {
    json!({
        "listeners": resources.listeners.iter().map(to_value).collect::<Vec<_>>(),
        "routes": resources.routes.iter().map(to_value).collect::<Vec<_>>(),
        "clusters": resources.clusters.iter().map(to_value).collect::<Vec<_>>(),
        "endpoints": resources.endpoints.iter().map(to_value).collect::<Vec<_>>(),
    })
}

#[test]
fn proxies_are_sent_what_is_written_down() {
    for case in cases() {
        for (name, document) in translated(&case) {
            golden::check(&case.join(format!("{name}.json")), &format!("{document:#}\n"));
        }
    }
}

#[test]
fn the_order_of_documents_does_not_matter() {
    for case in cases() {
        let input = std::fs::read_to_string(case.join("input.yaml")).unwrap();
        let mut objects = meltemi_config::load_text("input.yaml", &input, &Options::default()).objects;
        let mesh = Arc::default();
        let build = |objects: &[meltemi_config::Object]| Snapshot::build(1, objects, Arc::clone(&mesh));
        let first = build(&objects);
        objects.reverse();
        let second = build(&objects);
        let proxies = std::fs::read_to_string(case.join("proxies.json")).unwrap();
        let proxies: Map<String, Value> = serde_json::from_str(&proxies).unwrap();
        for proxy in proxies.values() {
            let node = Node::parse(proxy["id"].as_str().unwrap(), &proxy["metadata"]).unwrap();
            let of = |snapshot| document(&offline::translate(snapshot, &node));
            assert_eq!(of(&first), of(&second), "{}", case.display());
        }
    }
}

#[test]
fn a_real_envoy_accepts_all_of_it() {
    let Some(envoy) = peers::require("envoy") else { return };
    let folder = std::env::temp_dir().join(format!("meltemi-golden-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for case in cases() {
        for (name, document) in translated(&case) {
            let file = folder.join(format!("{}-{name}.json", case.file_name().unwrap().to_string_lossy()));
            std::fs::write(&file, format!("{:#}", bootstrap::of(&document))).unwrap();
            let mut command = Command::new(&envoy);
            command.args(["--mode", "validate", "--disable-hot-restart", "-l", "error", "-c"]).arg(&file);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} {name}: {said}", case.display());
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
