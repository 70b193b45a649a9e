//! The command line's contract: help on every level, exit status 0, 1, 2, errors with a hint on standard error.
//!
//! Invariant: what scripts rely on is checked on the built binary, not on the parser.

use std::process::{Command, Output};

fn meltemi(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meltemi")).args(args).output().expect("meltemi runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_level_has_help() {
    let levels: &[&[&str]] = &[
        &[],
        &["demo"],
        &["up"],
        &["control-plane"],
        &["proxy"],
        &["agent"],
        &["agent", "sidecar"],
        &["agent", "gateway"],
        &["validate"],
        &["translate"],
        &["analyze"],
        &["explain"],
        &["describe"],
        &["proxy-config"],
        &["proxy-config", "clusters"],
        &["proxy-config", "listeners"],
        &["proxy-config", "routes"],
        &["proxy-config", "endpoints"],
        &["proxy-config", "bootstrap"],
        &["proxy-config", "secrets"],
        &["proxy-config", "log"],
        &["proxy-config", "all"],
        &["completion"],
        &["proxy-status"],
        &["dashboard"],
    ];
    for level in levels {
        let output = meltemi(&[level, &["--help"][..]].concat());
        assert_eq!(output.status.code(), Some(0), "{level:?}");
        assert!(text(&output.stdout).contains("Usage: meltemi"), "{level:?}");
        assert!(output.stderr.is_empty(), "{level:?}");
    }
}

#[test]
fn wrong_usage_is_status_2_and_says_so_on_standard_error() {
    let table: &[&[&str]] = &[
        &["nonsense"],
        &["up"],
        &["up", "-f", "/no/such/file.yaml"],
        &["demo", "--gateway", "here"],
        &["demo", "--proxy-binary", "/no/such/envoy"],
        &["agent", "sidecar", "--name", "a", "--labels", "app"],
        &["agent", "sidecar", "--name", "a", "--metadata", "[]"],
        &["explain", "-f", ".", "http://a/"],
        &["proxy-config", "log", "--file", "/dev/null"],
        &["describe", "tree", "a", "-f", "/dev/null"],
        &["completion", "tcsh"],
    ];
    for args in table {
        let output = meltemi(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(text(&output.stderr).starts_with("error:"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn what_is_wrong_in_the_world_is_status_1_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let table: &[&[&str]] = &[
        &["demo", "--gateway", &address],
        &["dashboard", "--address", "127.0.0.1:1"],
        &["proxy-status", "--control-plane", "127.0.0.1:1"],
        &["proxy-config", "clusters", "a", "--control-plane", "127.0.0.1:1"],
        &["explain", "--admin", "127.0.0.1:1", "http://a/"],
        &["describe", "a", "--control-plane", "127.0.0.1:1"],
    ];
    for args in table {
        let output = meltemi(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("hint:"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = meltemi(&["completion", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        for command in ["explain", "proxy-config", "describe", "--control-plane"] {
            assert!(script.contains(command.trim_start_matches("--")), "{shell}: {command}");
        }
    }
}

/// As in `meltemi translate … | head`.
#[test]
fn who_reads_no_more_is_no_fault() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/bookinfo/bookinfo.yaml");
    let id = "sidecar~10.0.0.1~a.default~default.svc.cluster.local";
    let commands: &[&[&str]] = &[
        &["translate", "-f", samples, "--proxy", id],
        &["explain", "-f", samples, "--proxy", "productpage-v1", "http://reviews:9080/"],
        &["describe", "-f", samples, "service", "reviews"],
    ];
    for args in commands {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meltemi"))
            .args(*args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("meltemi runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("pipe"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    for args in [&["--help"][..], &["nonsense"][..]] {
        let output = meltemi(args);
        assert!(![output.stdout, output.stderr].concat().contains(&0x1b), "{args:?}");
    }
}
