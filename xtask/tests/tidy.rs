//! What every source file owes its reader.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("samples"), root.join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> =
        sources().into_iter().filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!")).collect();
    assert!(silent.is_empty(), "files must open with //! and say what they are: {silent:#?}");
}

#[test]
fn no_file_outgrows_a_head() {
    let big: Vec<_> = sources()
        .into_iter()
        .filter(|file| {
            !file.components().any(|part| part.as_os_str() == "tests") && !file.ends_with("tests.rs")
        })
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 1000)
        .collect();
    assert!(big.is_empty(), "over 1,000 lines: split by concern: {big:#?}");
}

#[test]
fn no_test_is_ignored() {
    let marker = concat!("#[", "ignore");
    let ignored: Vec<_> =
        sources().into_iter().filter(|file| fs::read_to_string(file).unwrap().contains(marker)).collect();
    assert!(ignored.is_empty(), "an ignored test proves nothing: {ignored:#?}");
}
