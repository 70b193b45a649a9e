//! `docs/compatibility.md` says what is so: its tables are those of `in_effect`, the tests it names exist, and no line of the
//! inventory's main parts is missing. `BLESS=1 cargo test -p meltemi-config` rewrites the tables.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use meltemi_config::Kind;
use meltemi_config::in_effect::{Row, Status, behaviour_rows, mesh_rows, rows};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap()
}

/// `works` is said only with a test at hand.
fn state(row: &Row) -> (&'static str, &'static str) {
    match row.status {
        Status::Works if row.tests.is_empty() => ("partly", "in effect, not yet shown by a test of its own"),
        Status::Works => ("works", ""),
        Status::Partly => ("partly", ""),
        Status::NotYet => ("not yet", ""),
    }
}

fn table(rows: &[Row], fields: bool) -> String {
    let mut out = String::from(if fields { "| field " } else { "| behaviour " });
    out += "| state | to know | shown by | inventory |\n|---|---|---|---|\n";
    for row in rows {
        let (state, remark) = state(row);
        let field = match row.path {
            "" => "all of it".to_owned(),
            path if fields && !path.starts_with('(') => format!("`{path}`"),
            path if fields => path.trim_matches(['(', ')']).to_owned(),
            path => path.to_owned(),
        };
        let note =
            [row.note, remark].iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join("; ");
        let note = note.replace('|', "\\|");
        let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        writeln!(out, "| {field} | {state} | {note} | {} | {} |", tests.join(" "), row.ids).unwrap();
    }
    out
}

/// The table that belongs after `<!-- table: NAME -->`.
fn table_of(name: &str) -> String {
    match name {
        "behaviour" => table(behaviour_rows(), false),
        "MeshConfig" => table(mesh_rows(), true),
        _ => {
            let kind = Kind::ALL
                .iter()
                .find(|kind| kind.as_str() == name)
                .unwrap_or_else(|| panic!("no kind {name}"));
            table(rows(*kind), true)
        }
    }
}

/// The document with its tables made anew.
fn renewed(document: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in document.lines() {
        if let Some(name) = line.strip_prefix("<!-- table: ").and_then(|rest| rest.strip_suffix(" -->")) {
            out += &format!("{line}\n{}", table_of(name));
            inside = true;
        } else if line == "<!-- end -->" {
            out += "<!-- end -->\n";
            inside = false;
        } else if !inside {
            out += &format!("{line}\n");
        }
    }
    out
}

#[test]
fn tables_are_those_of_the_code() {
    let document = document();
    let renewed = renewed(&document);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(root().join("docs/compatibility.md"), renewed).unwrap();
        return;
    }
    assert!(
        document == renewed,
        "docs/compatibility.md is behind the code: BLESS=1 cargo test -p meltemi-config"
    );
}

#[test]
fn every_kind_has_its_table() {
    let document = document();
    for kind in Kind::ALL.iter().filter(|kind| !kind.for_analysis_only()) {
        assert!(document.contains(&format!("<!-- table: {kind} -->")), "{kind} is missing");
    }
}

#[test]
fn every_named_test_exists() {
    let all = Kind::ALL.iter().flat_map(|kind| rows(*kind)).chain(behaviour_rows()).chain(mesh_rows());
    let mut named: BTreeSet<String> = all.flat_map(|row| row.tests).map(|test| (*test).to_owned()).collect();
    // Those that the prose names, too.
    let document = document();
    named.extend(document.split('`').filter(|part| part.contains(".rs::")).map(str::to_owned));
    assert!(!named.is_empty());
    let missing: Vec<&String> = named.iter().filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "named in docs/compatibility.md and not in the tree: {missing:#?}");
}

fn exists(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let Ok(text) = std::fs::read_to_string(root().join(file)) else { return false };
    // A name in a table is that of a call, which stands on one line or on many.
    let call = |line: &str| {
        let named = line.strip_prefix("- {name: ").or_else(|| line.strip_prefix("- name: "));
        let rest = named.and_then(|rest| rest.trim_start_matches('"').strip_prefix(name));
        rest.map(|rest| rest.trim_start_matches('"'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    };
    let table = file.ends_with(".yaml");
    text.lines().any(|line| {
        let line = line.trim_start();
        table && call(line) || !table && line.contains(&format!("fn {name}(")) && !line.starts_with("//")
    })
}

/// `VS-004, VS-033…VS-036` as single ids.
fn expand(ids: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in ids.split(", ").filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('…').unwrap_or((part, part));
        let number = |id: &str| id.split_once('-').unwrap().1.parse::<u32>().unwrap();
        let group = first.split_once('-').unwrap().0;
        all.extend((number(first)..=number(last)).map(|number| format!("{group}-{number:03}")));
    }
    all
}

#[test]
fn no_line_of_the_inventory_is_missing() {
    let listed: BTreeSet<String> = Kind::ALL
        .iter()
        .flat_map(|kind| rows(*kind))
        .chain(mesh_rows())
        .chain(behaviour_rows())
        .flat_map(|row| expand(row.ids))
        .collect();
    let parts = [
        ("VS", 118),
        ("DR", 121),
        ("GW", 44),
        ("SE", 26),
        ("WE", 7),
        ("WG", 26),
        ("SC", 27),
        ("EF", 85),
        ("PX", 5),
        ("PA", 8),
        ("RA", 21),
        ("AP", 41),
        ("TL", 59),
        ("WP", 34),
        ("MC", 248),
        ("MN", 9),
        ("PC", 154),
    ];
    // What rules mean, as far as traffic goes.
    let meanings = [
        ("SEM", 1, 10),
        ("SEM", 20, 45),
        ("SEM", 130, 137),
        ("SEM", 140, 159),
        ("SEM", 170, 178),
        ("LOG", 1, 6),
    ];
    let fields = parts.iter().map(|(group, last)| (*group, 1, *last));
    let wanted = fields
        .chain(meanings)
        .flat_map(|(group, first, last)| (first..=last).map(move |number| format!("{group}-{number:03}")));
    let missing: Vec<String> = wanted.filter(|id| !listed.contains(id)).collect();
    assert!(missing.is_empty(), "not in docs/compatibility.md: {missing:?}");
}
