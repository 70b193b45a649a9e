//! Golden folder: each `golden/NAME.yaml` is read, and what `meltemi validate` would show is compared with `NAME.txt`.
//! `BLESS=1 cargo test -p meltemi-config` rewrites the texts; read the diff.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::fmt::Write;
use std::path::Path;

use meltemi_config::diagnostic::{code, render, summary};
use meltemi_config::{Options, Severity, load_text};

/// What is in force, what is left out, and the findings as people see them.
fn shown(name: &str, text: &str) -> String {
    let loaded = load_text(name, text, &Options::default());
    let mut out = String::new();
    for object in &loaded.objects {
        writeln!(out, "in force: {}", object.id()).unwrap();
    }
    for object in &loaded.rejected {
        writeln!(out, "left out: {}", object.id()).unwrap();
    }
    for source in &loaded.unreadable {
        writeln!(out, "unreadable: {}:{}", source.file, source.line).unwrap();
    }
    writeln!(out, "{}\n", summary(&loaded.diagnostics)).unwrap();
    for finding in &loaded.diagnostics {
        writeln!(out, "{}", render(finding, false)).unwrap();
    }
    out
}

#[test]
fn findings_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "json"))
        .collect();
    inputs.sort();
    assert!(inputs.len() > 5, "the golden folder is almost empty");
    let mut wrong = Vec::new();
    for input in inputs {
        let name = input.file_name().unwrap().to_str().unwrap();
        let shown = shown(name, &std::fs::read_to_string(&input).unwrap());
        let expected = input.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, shown).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != shown {
            wrong.push(format!("{name}:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "differs from golden/*.txt (BLESS=1 rewrites them):\n{}", wrong.join("\n"));
}

/// Files whose names begin with that, read.
fn read_all(prefix: &str) -> Vec<(String, meltemi_config::Loaded)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let paths = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut read: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, path)| {
            let text = std::fs::read_to_string(path).unwrap();
            (name.clone(), load_text(&name, &text, &Options::default()))
        })
        .collect();
    read.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!read.is_empty(), "no {prefix}*.yaml");
    read
}

/// Every document of `invalid-*.yaml` has one fault, and is left out because of it, at a place in its own lines.
#[test]
fn each_invalid_document_is_left_out() {
    for (name, loaded) in read_all("invalid-") {
        let passed: Vec<String> = loaded.objects.iter().map(|object| object.id().to_string()).collect();
        assert!(passed.is_empty(), "{name}: not found wrong: {passed:?}");
        assert!(loaded.rejected.len() + loaded.unreadable.len() > 10, "{name} is almost empty");
        for object in &loaded.rejected {
            let errors = loaded.diagnostics.iter().filter(|finding| {
                finding.severity == Severity::Error && finding.resource == Some(object.id())
            });
            for error in errors {
                let place = error.place.as_ref().unwrap();
                let lines = object.source.line..object.source.line + 4;
                assert!(lines.contains(&place.line), "{name}: {} is at line {}", object.id(), place.line);
            }
        }
    }
}

/// Nothing in `valid-*.yaml` is wrong, or advised against.
#[test]
fn valid_documents_pass() {
    for (name, loaded) in read_all("valid-") {
        let wrong: Vec<String> = loaded
            .diagnostics
            .iter()
            .filter(|finding| finding.code != code::NOT_IN_EFFECT)
            .map(|finding| render(finding, false))
            .collect();
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    }
}
