//! `meltemi analyze` as a process: exit status, the JSON of the contract, flags, streams.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn analyze(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meltemi")).arg("analyze").args(args).output().unwrap()
}

fn golden(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/analysis");
    root.join(name).to_str().unwrap().to_owned()
}

fn findings(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn codes(output: &Output) -> Vec<String> {
    findings(output).iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_clean_mesh_exits_with_0_and_an_empty_array() {
    let output = analyze(&[&golden("ist0101-gateway/clean.yaml"), "-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(findings(&output), [] as [Value; 0]);
    assert!(output.stderr.is_empty());
}

#[test]
fn errors_exit_with_1_and_come_with_all_fields() {
    let output = analyze(&[&golden("ist0101-destination/input.yaml"), "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    assert_eq!(found[0]["code"], "IST0101");
    assert_eq!(found[0]["severity"], "error");
    assert_eq!(found[0]["resource"]["kind"], "VirtualService");
    assert!(found[0]["message"].as_str().unwrap().starts_with("Referenced host not found: \"reviewz\""));
    for key in ["resource", "file", "line", "column", "hint"] {
        assert!(!found[0][key].is_null(), "{key}");
    }
    let lines: Vec<u64> = found.iter().map(|finding| finding["line"].as_u64().unwrap()).collect();
    assert!(lines.is_sorted());
}

#[test]
fn thresholds_choose_what_is_shown_and_what_fails() {
    let file = golden("ist0130-reachability/input.yaml");
    assert_eq!(analyze(&[&file]).status.code(), Some(0));
    assert_eq!(analyze(&[&file, "--failure-threshold", "Warning"]).status.code(), Some(1));
    let all = codes(&analyze(&[&file, "-o", "json"]));
    let shown = codes(&analyze(&[&file, "-o", "json", "--output-threshold", "warning"]));
    assert!(all.contains(&"IST0131".to_owned()) && !shown.contains(&"IST0131".to_owned()));
    assert_eq!(
        codes(&analyze(&[&file, "-o", "json", "-S", "IST0130=VirtualService *", "-S", "IST0131=*"])),
        [""; 0]
    );
}

#[test]
fn defaults_and_settings_can_be_given() {
    let gateway = golden("ist0145-conflicting-gateways/clean.yaml");
    assert_eq!(codes(&analyze(&[&gateway, "-o", "json"])), [""; 0]);
    assert_eq!(codes(&analyze(&[&gateway, "-o", "json", "--no-defaults"])), ["IST0101", "IST0101"]);
    let off = golden("no-ingress-gateway/mesh.yaml");
    assert_eq!(codes(&analyze(&[&gateway, "-o", "json", "--mesh-config", &off])), ["IST0101", "IST0101"]);
    let networks = golden("ist0126-mesh-networks/networks.yaml");
    let file = golden("ist0126-mesh-networks/input.yaml");
    let output =
        analyze(&["-f", &file, "--mesh-networks", &networks, "--root-namespace", "root", "-o", "json"]);
    let found = findings(&output);
    assert_eq!(found[0]["code"], "IST0126");
    assert_eq!(found[0]["resource"]["namespace"], "root");
    assert_eq!(found[0]["line"], 5);
}

#[test]
fn documents_without_a_namespace_are_in_the_one_given() {
    let file = golden("ist0112-port-required/clean.yaml");
    let output = analyze(&[&file, "-n", "elsewhere", "-o", "json"]);
    let found = findings(&output);
    assert_eq!(
        found[0]["resource"]["namespace"], "elsewhere",
        "the Service is in default, and not found from there"
    );
}

#[test]
fn people_get_places_fixes_and_a_summary() {
    let output = analyze(&[&golden("ist0109-mesh-hosts/input.yaml")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("input.yaml:20:9") && text.contains("hint: "), "{text}");
    assert!(text.ends_with("4 resources analyzed: 2 errors\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colour into a pipe");
    let list = String::from_utf8(analyze(&["--list-analyzers"]).stdout).unwrap();
    assert!(list.contains("destinations") && list.contains("IST0101"));
    assert_eq!(analyze(&[]).status.code(), Some(2));
}
