//! Golden folders: each `analysis/NAME/` has an `input.yaml`, and what `meltemi analyze` finds in it is compared with
//! `findings.txt` and `findings.json`; its `clean.yaml` has no findings. `mesh.yaml` and `networks.yaml` are the mesh's
//! settings. `BLESS=1 cargo test -p meltemi-config` rewrites what is expected, and `docs/analyze.md`; read the diff.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use meltemi_config::analysis::{ANALYZERS, Settings, analyze, messages};
use meltemi_config::diagnostic::{render, summary};
use meltemi_config::{Diagnostic, Options, Severity, load_text};
use proptest::prelude::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn options() -> Options {
    Options { analysis: true, ..Options::default() }
}

/// The findings of a file of a golden folder.
fn findings(folder: &Path, file: &str) -> Vec<Diagnostic> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let mut settings = Settings::default();
    if let Some(text) = read("mesh.yaml") {
        let (mesh, found) = meltemi_config::load::mesh_config("mesh.yaml", &text);
        assert_eq!(found, [], "{}", folder.display());
        settings.mesh = mesh;
    }
    if let Some(text) = read("networks.yaml") {
        let (object, found) =
            meltemi_config::load::mesh_networks_object("networks.yaml", &text, "istio-system");
        assert_eq!(found, [], "{}", folder.display());
        settings.networks = Some(object);
    }
    analyze(&load_text(file, &read(file).unwrap(), &options()), &settings)
}

fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/analysis");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn shown(findings: &[Diagnostic]) -> String {
    let mut out = String::new();
    writeln!(out, "{}\n", summary(findings)).unwrap();
    for finding in findings {
        writeln!(out, "{}", render(finding, false)).unwrap();
    }
    out
}

/// Compares, or rewrites; gives what differs.
fn compare(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, found).unwrap();
        return None;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    (expected != found).then(|| format!("{}:\n{found}", path.display()))
}

#[test]
fn findings_are_as_written() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let found = findings(&folder, "input.yaml");
        wrong.extend(compare(&folder.join("findings.txt"), &shown(&found)));
        let json = serde_json::to_string_pretty(&found).unwrap() + "\n";
        wrong.extend(compare(&folder.join("findings.json"), &json));
    }
    assert!(wrong.is_empty(), "differs (BLESS=1 rewrites):\n{}", wrong.join("\n"));
}

#[test]
fn clean_meshes_have_no_findings() {
    let mut seen = 0;
    for folder in folders().iter().filter(|folder| folder.join("clean.yaml").exists()) {
        let found = findings(folder, "clean.yaml");
        assert!(found.is_empty(), "{}:\n{}", folder.display(), shown(&found));
        seen += 1;
    }
    assert!(seen > 20, "clean cases are missing");
}

/// Each code is shown by a golden folder, under the severity and with the text that the table gives it.
#[test]
fn every_message_is_shown() {
    let mut shown = BTreeSet::new();
    for folder in folders() {
        for finding in findings(&folder, "input.yaml") {
            let message =
                messages::find(finding.code).unwrap_or_else(|| panic!("{} is not listed", finding.code));
            let text = finding.full_message();
            assert!(
                message.begins(&text) || message.code.starts_with("MEL0"),
                "{}: {text:?} does not begin with {:?}",
                message.code,
                message.begins
            );
            if message.code.starts_with("IST") && message.code != "IST0106" && message.code != "IST0133" {
                assert_eq!(finding.severity, message.severity, "{}", message.code);
            }
            shown.insert(message.code);
        }
    }
    // What other tests show, or what nobody says any more.
    let elsewhere = ["IST0136", "MEL0001", "MEL0005"];
    let missing: Vec<&str> = messages::ALL
        .iter()
        .map(|message| message.code)
        .filter(|code| !shown.contains(code) && !elsewhere.contains(code))
        .collect();
    assert!(missing.is_empty(), "no golden folder shows {missing:?}");
}

/// `docs/analyze.md` has the table of the code.
#[test]
fn the_document_lists_every_message() {
    let path = root().join("docs/analyze.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = document.split_once("<!-- table -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    let mut table =
        String::from("| code | name | severity | what it means | analyzer |\n|---|---|---|---|---|\n");
    for message in messages::ALL {
        let by: Vec<&str> = ANALYZERS
            .iter()
            .filter(|analyzer| analyzer.says.iter().any(|said| said.code == message.code))
            .map(|analyzer| analyzer.name)
            .collect();
        let by = if by.is_empty() { "reading and validation".to_owned() } else { by.join(", ") };
        let about = message.about.replace('|', "\\|");
        writeln!(table, "| {} | {} | {} | {about} | {by} |", message.code, message.name, message.severity)
            .unwrap();
    }
    let renewed = format!("{head}<!-- table -->\n{table}<!-- end -->{tail}");
    let wrong = compare(&path, &renewed);
    assert!(wrong.is_none(), "docs/analyze.md is behind the code: BLESS=1 cargo test -p meltemi-config");
}

/// All samples, each with the services it is for, are clean.
#[test]
fn samples_have_no_findings() {
    let samples = root().join("samples/bookinfo");
    let services = std::fs::read_to_string(samples.join("bookinfo.yaml")).unwrap();
    let rules = std::fs::read_to_string(samples.join("networking/destination-rule-all.yaml")).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(samples.join("networking"))
        .unwrap()
        .chain(std::fs::read_dir(&samples).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 10);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = std::fs::read_to_string(&file).unwrap();
        if name != "bookinfo.yaml" {
            text = format!("{text}\n---\n{services}");
        }
        if name != "destination-rule-all.yaml" {
            text = format!("{text}\n---\n{rules}");
        }
        if name == "virtual-service-reviews-timeout.yaml" {
            let delay = std::fs::read_to_string(samples.join("bookinfo-ratings-delay.yaml")).unwrap();
            text = format!("{text}\n---\n{delay}");
        }
        let found = analyze(&load_text(&name, &text, &options()), &Settings::default());
        assert!(found.is_empty(), "{name}:\n{}", shown(&found));
    }
}

#[test]
fn a_broken_document_hides_no_other() {
    let text = "kind: [\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n\
                spec: {hosts: [a], http: [{route: [{destination: {host: nowhere}}]}]}\n";
    let found = analyze(&load_text("a.yaml", text, &options()), &Settings::default());
    let codes: Vec<&str> = found.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"MEL0001") && codes.contains(&"IST0101"), "{codes:?}");
    assert!(found.iter().any(|finding| finding.severity == Severity::Error));
}

/// Pieces of YAML that, put together in any order, read as something.
fn piece() -> impl Strategy<Value = String> {
    let inputs: Vec<String> = folders()
        .iter()
        .flat_map(|folder| {
            ["input.yaml", "clean.yaml"].map(|name| std::fs::read_to_string(folder.join(name)))
        })
        .flatten()
        .flat_map(|text| text.split("\n---\n").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    proptest::sample::select(inputs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever was read, no analyzer panics: documents in any mixture, with lines lost and words changed.
    #[test]
    fn no_analyzer_panics(
        pieces in proptest::collection::vec(piece(), 1..8),
        lost in proptest::collection::vec(0_usize..200, 0..4),
        word in "[a-z*/.{}\\[\\]:,\"'0-9 -]{0,6}",
        at in 0_usize..4_000,
        defaults in any::<bool>(),
    ) {
        let text = pieces.join("\n---\n");
        let lines = text.lines().enumerate().filter(|(line, _)| !lost.contains(line)).map(|(_, line)| line);
        let mut text = lines.collect::<Vec<_>>().join("\n");
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        text.insert_str(at, &word);
        let loaded = load_text("any.yaml", &text, &options());
        let found = analyze(&loaded, &Settings { defaults, ..Settings::default() });
        for finding in found {
            let _ = render(&finding, true);
        }
    }
}
