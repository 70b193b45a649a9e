//! `docs/differences.md` lists every call whose outcome differs from Envoy's on purpose, and no other.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fs, path::Path};

use meltemi_testkit::peers;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    differs: Option<String>,
}

#[test]
fn the_page_lists_what_the_tables_declare() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut declared = BTreeSet::new();
    for folder in ["calls", "routing"] {
        for entry in fs::read_dir(tests.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let file: File = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let table = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
            let rows = file.calls.into_iter().filter_map(|call| {
                call.differs.map(|reason| format!("| {} | {reason} | `{table}` |", call.name))
            });
            declared.extend(rows);
        }
    }
    let page = fs::read_to_string(peers::repository().join("docs/differences.md")).unwrap();
    let table =
        page.split("<!-- table -->").nth(1).and_then(|rest| rest.split("<!-- end -->").next()).unwrap();
    let listed: BTreeSet<_> =
        table.lines().filter(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect();
    let missing: Vec<_> = declared.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&declared).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:#?}\nno longer so: {stale:#?}");
}
