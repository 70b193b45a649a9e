//! `meltemi validate` as a process: exit status, the JSON of the contract, the samples.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn validate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meltemi")).arg("validate").args(args).output().unwrap()
}

fn golden(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/golden");
    root.join(name).to_str().unwrap().to_owned()
}

#[test]
fn good_resources_exit_with_0_and_an_empty_array() {
    let output = validate(&[&golden("good.yaml"), "-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), serde_json::json!([]));
    let text = validate(&[&golden("good.yaml")]);
    assert_eq!(String::from_utf8(text.stdout).unwrap(), "5 resources: no findings\n");
}

#[test]
fn errors_exit_with_1_and_come_sorted_with_their_places() {
    let output = validate(&[&golden("virtual_service.yaml"), &golden("gateway.yaml"), "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&str> = findings[0].as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["code", "severity", "message", "resource", "file", "line", "column", "hint"] {
        assert!(keys.contains(&key), "{key} is missing");
    }
    assert_eq!(keys.len(), 8);
    let place = |finding: &serde_json::Value| {
        (finding["file"].as_str().unwrap().to_owned(), finding["line"].as_u64(), finding["column"].as_u64())
    };
    let places: Vec<_> = findings.iter().map(place).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(findings.len() > 40);
}

#[test]
fn warnings_alone_exit_with_0() {
    let output = validate(&[&golden("not_in_effect.yaml")]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("warning[MEL0002]: AuthorizationPolicy is not in effect yet"), "{text}");
    assert!(text.contains("not_in_effect.yaml:28:7"), "{text}");
    assert!(!text.contains('\x1b'), "no colour into a pipe");
}

#[test]
fn missing_files_and_wrong_usage_are_told_apart() {
    assert_eq!(validate(&["/does/not/exist.yaml"]).status.code(), Some(1));
    assert_eq!(validate(&[]).status.code(), Some(2));
}

/// A user copies the samples: each file by itself has no finding.
#[test]
fn the_samples_have_no_findings() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/bookinfo")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "yaml") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 5);
    for file in files {
        let output = validate(&[file.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.ends_with("no findings\n"), "{}:\n{text}", file.display());
    }
}
