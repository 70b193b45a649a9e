//! Golden folders: each `analysis/NAME/` has an `input.yaml`, and what `meltemi analyze` finds in it is compared with
//! `findings.txt` and `findings.json`; its `clean.yaml` has no findings. `mesh.yaml` and `networks.yaml` are the mesh's
//! settings. `BLESS=1 cargo test -p meltemi-config` rewrites what is expected, and `docs/analyze.md`; read the diff.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use meltemi_config::analysis::{ANALYZERS, Settings, analyze, measured, messages};
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

/// Istio's documented tasks, each as one mesh, are clean.
#[test]
fn what_istios_tasks_describe_has_no_findings() {
    let samples = root().join("samples/bookinfo");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let bookinfo = format!(
        "{}\n---\n{}",
        read(&samples.join("bookinfo.yaml")),
        read(&samples.join("networking/destination-rule-all.yaml"))
    );
    let clean = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clean");
    let mut files: Vec<PathBuf> = std::fs::read_dir(clean)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "clean meshes are missing");
    let mut wrong = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = read(&file);
        if text.starts_with("# with bookinfo") {
            text = format!("{text}\n---\n{bookinfo}");
        }
        // The same with names of another domain.
        for domain in ["cluster.local", "mesh.example"] {
            let text = text.replace("svc.cluster.local", &format!("svc.{domain}"));
            let mut settings = Settings::default();
            settings.mesh.domain = Some(domain.into());
            let found = analyze(&load_text(&name, &text, &options()), &settings);
            if !found.is_empty() {
                write!(wrong, "{name} ({domain}):\n{}", shown(&found)).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A mesh of that many services: each with a Service, a Deployment of two versions, a DestinationRule; a fifth with a
/// VirtualService, a Gateway and a ServiceEntry; policies for some.
fn mesh_of(services: usize) -> String {
    let mut text = String::new();
    for number in 0..services {
        let (name, namespace) = (format!("svc-{number}"), format!("ns-{}", number % 10));
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n\
             ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}-v1, namespace: {namespace}}}\n\
             spec: {{template: {{metadata: {{labels: {{app: {name}, version: v1}}}}, spec: {{containers: [{{name: app}}]}}}}}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{host: {name}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n"
        )
        .unwrap();
        if !number.is_multiple_of(5) {
            continue;
        }
        write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hosts: [{name}, {name}.example.com], gateways: [mesh, {name}], http: [{{route: [{{destination: {{host: {name}, subset: v1}}}}]}}]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{name}.example.com]}}]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hosts: [\"*.{name}.example.org\"], ports: [{{number: 443, name: tls, protocol: TLS}}]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{workloadSelector: {{labels: {{app: {name}}}}}, egress: [{{hosts: [\"./*\"]}}]}}\n\
             ---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{matchLabels: {{app: {name}}}}}, rules: [{{}}]}}\n\
             ---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{matchLabels: {{app: {name}}}}}, jwtRules: [{{issuer: a, jwksUri: \"https://a.example.com/\"}}]}}\n"
        )
        .unwrap();
    }
    text
}

/// The work of an analysis grows with the mesh, not with its square: 2,000 services and 400 VirtualServices take four times
/// what a quarter of them takes, and sixteen times it would be if anything were compared with everything.
#[test]
fn the_work_grows_with_the_mesh() {
    let looked = |services| {
        let loaded = load_text("mesh.yaml", &mesh_of(services), &options());
        let (found, looked) = measured(&loaded, &Settings::default());
        assert!(found.is_empty(), "{}", shown(&found[..found.len().min(5)]));
        looked
    };
    let (small, large) = (looked(500), looked(2_000));
    assert!(small > 500, "nothing was counted: {small}");
    assert!(large < small * 9 / 2, "{small} things are looked at for 500 services, {large} for 2,000");
}

/// Whatever the mesh's domain is called, short and full names meet in it, and names of the other domain are strangers.
#[test]
fn names_are_completed_with_the_domain_of_the_mesh() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: ns}\nspec: {ports: [{name: http, port: 80}]}\n\
                ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: ns}\n\
                spec: {hosts: [a.ns.svc.mesh.example], http: [{route: [{destination: {host: a}}]}]}\n\
                ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: b, namespace: ns}\n\
                spec: {hosts: [b.example.com], http: [{route: [{destination: {host: a.ns.svc.cluster.local}}]}]}\n";
    let mut settings = Settings::default();
    settings.mesh.domain = Some("mesh.example".into());
    let found = analyze(&load_text("a.yaml", text, &options()), &settings);
    let said: Vec<(&str, u32)> =
        found.iter().map(|finding| (finding.code, finding.place.as_ref().unwrap().line)).collect();
    assert_eq!(said, [("IST0101", 14)], "{}", shown(&found));
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
