//! The house's walls: who may use whom, which libraries may exist once only, under which licences.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Production dependencies between our crates, as docs/ARCHITECTURE and the parts table say. Anything else is a wall broken.
const MAY_USE: &[(&str, &[&str])] = &[
    ("meltemi-xds", &[]),
    ("meltemi-config", &[]),
    ("meltemi-pilot", &["meltemi-config", "meltemi-xds"]),
    ("meltemi-kubernetes", &["meltemi-config", "meltemi-pilot", "meltemi-citadel", "meltemi-inject"]),
    ("meltemi-citadel", &["meltemi-xds"]),
    ("meltemi-mixer", &["meltemi-xds", "meltemi-config"]),
    ("meltemi-agent", &["meltemi-xds"]),
    ("meltemi-proxy", &["meltemi-xds"]),
    ("meltemi-inject", &["meltemi-config"]),
    ("meltemi-testkit", &[]),
    ("bookinfo", &[]),
];

/// Libraries that must not come from outside into a part.
const MUST_NOT_REACH: &[(&str, &[&str])] = &[
    ("meltemi-config", &["envoy-types", "prost", "tonic"]),
    ("meltemi-pilot", &["kube", "k8s-openapi"]),
    ("meltemi-proxy", &["meltemi-config", "meltemi-pilot", "kube"]),
];

const ONE_VERSION: &[&str] = &["tonic", "prost", "hyper", "h2", "http", "rustls", "tokio", "envoy-types"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .exec()
        .unwrap()
}

#[test]
fn crates_use_only_what_the_parts_table_allows() {
    let metadata = metadata();
    for (name, allowed) in MAY_USE {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == *name).unwrap();
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| dependency.name.as_str())
            .filter(|dependency| dependency.starts_with("meltemi") || *dependency == "bookinfo");
        for dependency in ours {
            assert!(allowed.contains(&dependency), "{name} must not use {dependency}");
        }
    }
}

#[test]
fn nothing_forbidden_is_reachable() {
    let metadata = metadata();
    for (name, forbidden) in MUST_NOT_REACH {
        let reached = reachable(&metadata, name);
        for library in *forbidden {
            assert!(!reached.contains(*library), "{name} reaches {library}");
        }
    }
}

#[test]
fn key_libraries_exist_in_one_version() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(package.name.as_str()).or_default().insert(package.version.to_string());
    }
    for library in ONE_VERSION {
        let found = versions.get(library).map_or(0, BTreeSet::len);
        assert!(found <= 1, "{library} is in the tree in several versions: {:?}", versions[library]);
    }
}

#[test]
fn licences_are_those_of_deny_toml() {
    let allowed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml")).unwrap();
    for package in metadata().packages {
        let Some(licence) = &package.license else { panic!("{} names no licence", package.name) };
        let acceptable = licence.split(" OR ").flat_map(|part| part.split('/')).any(|choice| {
            choice.split(" AND ").all(|one| {
                let one = one.trim_matches(|c: char| c == '(' || c == ')' || c == ' ');
                allowed.contains(&format!("\"{one}\""))
            })
        });
        assert!(acceptable, "{} is under {licence}, which deny.toml does not allow", package.name);
    }
}

/// Names of all packages that `name` reaches through normal dependencies.
fn reachable(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let start = metadata.packages.iter().find(|package| package.name.as_str() == name).unwrap();
    let (mut todo, mut seen) = (vec![&start.id], BTreeSet::new());
    while let Some(id) = todo.pop() {
        let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
        for dependency in &node.deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(names[&dependency.pkg].to_owned()) {
                todo.push(&dependency.pkg);
            }
        }
    }
    seen
}
