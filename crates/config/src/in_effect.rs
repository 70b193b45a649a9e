//! Which fields have an effect, in one place: drives the findings about fields that have none yet, and the tables of
//! `docs/compatibility.md`. A field that is not listed follows the closest one around it.
//!
//! To add a field: list it in the file of its kind with a test that shows it, then `BLESS=1 cargo test -p meltemi-config`.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use crate::decode::Decoder;
use crate::diagnostic::{Severity, code};
use crate::object::Kind;
use crate::path::Path;
use crate::tree::{Mark, Node, Value};

/// A call of a routing table: shown by the matcher, by Meltemi and by Envoy.
macro_rules! call {
    ($file:literal, $name:literal) => {
        concat!("crates/meltemi/tests/routing/", $file, ".yaml::", $name)
    };
}

mod behaviour;
mod destination_rule;
mod gateway;
mod ingress;
mod others;
mod service_entry;
mod sidecar;
mod virtual_service;

/// Whether a field has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what Istio's does.
    Works,
    /// It does part of it; the note says which.
    Partly,
    /// It is read and has no effect.
    NotYet,
}

/// A field, or a group of them, and its effect.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Path below `spec`: `http[].route[].weight`; keys of maps as `{}`; `=WORD` at the end for one value of an enum; empty for
    /// the whole kind. In parentheses: not a field of `spec`, for the document only.
    pub path: &'static str,
    /// Whether it has an effect.
    pub status: Status,
    /// Lines of the feature inventory.
    pub ids: &'static str,
    /// What there is to know; for `NotYet`, what happens instead.
    pub note: &'static str,
    /// Tests that show it: `crates/…/file.rs::test` or `crates/…/table.yaml::name of a call`, from the root of the tree.
    pub tests: &'static [&'static str],
}

const fn works(
    path: &'static str,
    ids: &'static str,
    note: &'static str,
    tests: &'static [&'static str],
) -> Row {
    Row { path, status: Status::Works, ids, note, tests }
}

const fn partly(
    path: &'static str,
    ids: &'static str,
    note: &'static str,
    tests: &'static [&'static str],
) -> Row {
    Row { path, status: Status::Partly, ids, note, tests }
}

const fn not_yet(path: &'static str, ids: &'static str, note: &'static str) -> Row {
    Row { path, status: Status::NotYet, ids, note, tests: &[] }
}

/// Several tables as one.
const fn joined<const N: usize>(parts: &[&[Row]]) -> [Row; N] {
    let mut all = [not_yet("", "", ""); N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[at] = parts[part][row];
            (at, row) = (at + 1, row + 1);
        }
        part += 1;
    }
    assert!(at == N, "all rows of all parts");
    all
}

/// The fields of a kind.
pub fn rows(kind: Kind) -> &'static [Row] {
    match kind {
        Kind::VirtualService => virtual_service::ROWS,
        Kind::DestinationRule => destination_rule::ROWS,
        Kind::Gateway => gateway::ROWS,
        Kind::ServiceEntry => service_entry::ROWS,
        Kind::WorkloadEntry => service_entry::WORKLOAD_ENTRY,
        Kind::WorkloadGroup => service_entry::WORKLOAD_GROUP,
        Kind::Sidecar => sidecar::ROWS,
        Kind::EnvoyFilter => others::ENVOY_FILTER,
        Kind::ProxyConfig => others::PROXY_CONFIG,
        Kind::PeerAuthentication => others::PEER_AUTHENTICATION,
        Kind::RequestAuthentication => others::REQUEST_AUTHENTICATION,
        Kind::AuthorizationPolicy => others::AUTHORIZATION_POLICY,
        Kind::Telemetry => others::TELEMETRY,
        Kind::WasmPlugin => others::WASM_PLUGIN,
        Kind::Service => others::SERVICE,
        Kind::EndpointSlice => others::ENDPOINT_SLICE,
        Kind::Pod => others::POD,
        Kind::Namespace => others::NAMESPACE,
        Kind::Deployment => others::DEPLOYMENT,
        Kind::Process => others::PROCESS,
        Kind::Node => others::NODE,
        Kind::Ingress => ingress::INGRESS,
        Kind::IngressClass => ingress::INGRESS_CLASS,
        Kind::Secret
        | Kind::ConfigMap
        | Kind::CustomResourceDefinition
        | Kind::MutatingWebhookConfiguration
        | Kind::ValidatingWebhookConfiguration
        | Kind::MeshNetworks => others::FOR_ANALYSIS,
    }
}

/// Fields of the mesh's settings; shown in the document, not reported.
pub fn mesh_rows() -> &'static [Row] {
    others::MESH_CONFIG
}

/// What people rely on beyond single fields; `path` says it in words.
pub fn behaviour_rows() -> &'static [Row] {
    behaviour::ROWS
}

/// The rows of a kind as a tree by path.
#[derive(Default)]
struct Branch {
    row: Option<&'static Row>,
    below: FxHashMap<&'static str, Branch>,
}

impl Branch {
    fn of(rows: &'static [Row]) -> Branch {
        let mut root = Branch::default();
        for row in rows.iter().filter(|row| !row.path.starts_with('(')) {
            let mut at = &mut root;
            for part in parts(row.path) {
                at = at.below.entry(part).or_default();
            }
            at.row = Some(row);
        }
        root
    }
}

/// `http[].route` in steps: `http`, `[]`, `route`; `=WORD` is one step.
pub fn parts(path: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.is_empty() {
            return None;
        }
        let end = match rest {
            _ if rest.starts_with("[]") || rest.starts_with("{}") => 2,
            _ if rest.starts_with('=') => rest.len(),
            _ => rest.find(['.', '[', '{', '=']).unwrap_or(rest.len()),
        };
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}

fn tree(kind: Kind) -> &'static Branch {
    static TREES: OnceLock<FxHashMap<Kind, Branch>> = OnceLock::new();
    let trees = TREES.get_or_init(|| Kind::ALL.iter().map(|kind| (*kind, Branch::of(rows(*kind)))).collect());
    trees.get(&kind).expect("invariant: every kind has a tree")
}

/// Reports the fields of a resource that have no effect yet.
pub(crate) fn report(kind: Kind, root: &Node<'_>, cx: &mut Decoder) {
    let tree = tree(kind);
    if let Some(row) = tree.row.filter(|row| row.status == Status::NotYet) {
        let mark = root.get("kind").map_or(root.mark, |node| node.mark);
        let message = format!("{kind} is not in effect yet: {}", row.note);
        cx.push(Severity::Warning, code::NOT_IN_EFFECT, mark, &Path::ROOT, message, None);
        return;
    }
    if let Some(spec) = root.get("spec") {
        walk(tree, spec, spec.mark, &Path::ROOT.key("spec"), cx);
    }
}

/// `mark`: where to show a finding about `node` as a whole, its key if it has one.
fn walk(branch: &Branch, node: &Node<'_>, mark: Mark, at: &Path<'_>, cx: &mut Decoder) {
    if node.is_null() {
        return;
    }
    if let Some(row) = branch.row.filter(|row| row.status == Status::NotYet) {
        push(row, mark, at, cx);
        return;
    }
    match &node.value {
        Value::Map(entries) => {
            let any = branch.below.get("{}");
            for entry in entries {
                if let Some(below) = branch.below.get(&*entry.key).or(any) {
                    walk(below, &entry.value, entry.mark, &at.key(&entry.key), cx);
                }
            }
        }
        Value::List(items) => {
            let Some(below) = branch.below.get("[]") else { return };
            for (index, item) in items.iter().enumerate() {
                walk(below, item, item.mark, &at.index(index), cx);
            }
        }
        Value::Scalar(scalar) => {
            let value = branch.below.iter().find(|(part, _)| part.strip_prefix('=') == Some(&*scalar.text));
            if let Some(row) =
                value.and_then(|(_, below)| below.row).filter(|row| row.status == Status::NotYet)
            {
                push(row, node.mark, at, cx);
            }
        }
        Value::Null => {}
    }
}

fn push(row: &Row, mark: Mark, at: &Path<'_>, cx: &mut Decoder) {
    let name = match row.path.split_once('=') {
        Some((_, value)) => value,
        None => row.path.rsplit(['.', ']', '}']).find(|part| !part.is_empty()).unwrap_or(row.path),
    };
    let name = name.split(['[', '{']).next().unwrap_or(name);
    let message = format!("`{name}` is not in effect yet: {}", row.note);
    cx.push(Severity::Warning, code::NOT_IN_EFFECT, mark, at, message, None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Shape;

    /// Whether the schema has a path.
    fn exists(shape: Shape, parts: &[&str]) -> bool {
        let Some((first, rest)) = parts.split_first() else { return true };
        match shape {
            Shape::List(item) => *first == "[]" && exists(item(), rest),
            Shape::Map(value) => *first == "{}" && exists(value(), rest),
            Shape::Enum(words) => first.strip_prefix('=').is_some_and(|word| words.contains(&word)),
            Shape::Message(fields) => fields()
                .iter()
                .find(|field| field.name == *first)
                .is_some_and(|field| exists((field.shape)(), rest)),
            // Words that the schema leaves open, such as protocols.
            Shape::Text => first.starts_with('='),
            _ => false,
        }
    }

    #[test]
    fn every_listed_path_exists() {
        for kind in Kind::ALL {
            for row in rows(*kind).iter().filter(|row| !row.path.starts_with('(')) {
                let parts: Vec<_> = parts(row.path).collect();
                assert!(exists(kind.shape(), &parts), "{kind}: {}", row.path);
            }
        }
    }

    /// Every field of the main kinds is listed, or lies below one that is.
    #[test]
    fn every_field_of_traffic_kinds_is_listed() {
        for kind in Kind::ALL.iter().filter(|kind| kind.group() == "networking.istio.io") {
            if tree(*kind).row.is_some() {
                continue;
            }
            let Shape::Message(fields) = kind.shape() else { panic!("{kind} is not a message") };
            for field in fields() {
                assert!(tree(*kind).below.contains_key(field.name), "{kind}.{} is not listed", field.name);
            }
        }
    }
}
