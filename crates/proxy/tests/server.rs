//! `meltemi-proxy`, the program that only serves: what it makes of what it is started with.
//!
//! Invariant: it serves nothing that another version of the sources prepared.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs::{self, File},
    io::{Seek, Write},
    os::unix::fs::PermissionsExt,
    process::Command,
};

/// One scene after the other: a program just written cannot be executed while a fork of another thread has it open.
#[test]
fn it_serves_what_was_prepared_for_it_alone() {
    a_user_is_told_what_to_start();
    what_cannot_be_read_is_an_error();
    what_others_prepared_goes_back_to_them_untouched();
}

fn a_user_is_told_what_to_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_meltemi-proxy")).args(["-c", "file"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("error: ") && said.contains("hint: start it as `meltemi proxy -c FILE`"), "{said}");
}

fn what_cannot_be_read_is_an_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_meltemi-proxy")).arg("--prepared").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot read what was prepared"), "{said}");
}

fn what_others_prepared_goes_back_to_them_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("meltemi");
    fs::write(&whole, "#!/bin/sh\necho \"$@\"\ncat\n").unwrap();
    fs::set_permissions(&whole, fs::Permissions::from_mode(0o755)).unwrap();
    let mut prepared = Vec::new();
    for text in ["other sources", whole.to_str().unwrap(), "the rest"] {
        prepared.extend_from_slice(&(text.len() as u32).to_be_bytes());
        prepared.extend_from_slice(text.as_bytes());
    }
    let file = folder.path().join("prepared");
    let mut written = File::create_new(&file).unwrap();
    written.write_all(&prepared).unwrap();
    written.rewind().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_meltemi-proxy"))
        .args(["--prepared", "-c", "a file"])
        .stdin(File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, [b"proxy --prepared -c a file\n", &prepared[..]].concat());
}
