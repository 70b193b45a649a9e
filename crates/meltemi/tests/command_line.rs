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
    let table: &[&[&str]] = &[&["demo", "--gateway", &address], &["dashboard", "--address", "127.0.0.1:1"]];
    for args in table {
        let output = meltemi(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("hint:"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    for args in [&["--help"][..], &["nonsense"][..]] {
        let output = meltemi(args);
        assert!(![output.stdout, output.stderr].concat().contains(&0x1b), "{args:?}");
    }
}
