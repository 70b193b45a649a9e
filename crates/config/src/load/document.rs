//! One document: which kind it is, its metadata, its content, its findings.

use std::sync::Arc;

use super::Loader;
use super::findings::File;
use crate::decode::{Decode, Decoder, Fault, Message};
use crate::diagnostic::{Diagnostic, ResourceId, Severity, code};
use crate::mesh::MeshNetworks;
use crate::object::{Kind, Metadata, Object, Source, Spec};
use crate::path::Path;
use crate::spans::Spans;
use crate::tree::{self, Entry, Mark, Node, SyntaxError, Value};
use crate::{Str, kubernetes, text, validate};

/// API groups whose kinds are all known here: another kind in them is a mistake.
const OWN_GROUPS: [&str; 5] =
    ["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io", "meltemi.dev"];

/// Kinds of those groups that are not read yet.
const LATER_KINDS: [&str; 1] = ["TrafficExtension"];

/// Reads all documents of a text.
pub(super) fn read_all(loader: &mut Loader<'_>, name: &Str, text: &str) {
    let file = File::new(name, text);
    for document in tree::parse(text) {
        match document {
            Ok(document) => {
                read(loader, &file, &document.root, document.faults);
            }
            Err(error) => {
                loader.loaded.unreadable.push(Source { file: name.clone(), line: error.mark.line });
                loader.loaded.diagnostics.push(file.diagnostic(syntax(error), None));
            }
        }
    }
}

fn syntax(error: SyntaxError) -> Fault {
    Fault {
        severity: Severity::Error,
        code: code::SYNTAX,
        mark: error.mark,
        path: String::new(),
        message: error.message,
        hint: error.hint,
    }
}

fn read(loader: &mut Loader<'_>, file: &File<'_>, root: &Node<'_>, repeated: Vec<SyntaxError>) {
    let entries = match &root.value {
        Value::Map(entries) => entries,
        // An empty document, or one of comments only.
        Value::Null => return,
        _ => {
            let message = format!(
                "a resource is a mapping with apiVersion, kind and metadata; this is {}",
                root.describe()
            );
            return note(loader, file, root.mark, "", message, None);
        }
    };
    if let Some(items) = list_items(root) {
        for item in items {
            read(loader, file, item, Vec::new());
        }
        return;
    }
    let Some(kind) = kind(loader, file, root, entries) else { return };
    let object = object(loader, file, root, kind);
    let mut faults = std::mem::take(&mut loader.decoder.faults);
    faults.extend(repeated.into_iter().map(syntax));
    finish(loader, file, object, faults);
}

/// The items, if the document is a `List` (or `VirtualServiceList` and the like).
fn list_items<'n, 'a>(root: &'n Node<'a>) -> Option<&'n [Node<'a>]> {
    let is_list = root.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    match &root.get("items")?.value {
        Value::List(items) if is_list => Some(items),
        Value::Null if is_list => Some(&[]),
        _ => None,
    }
}

/// The kind, if it is one that is read. What looks like a slip is noted; what belongs to others is skipped.
fn kind(loader: &mut Loader<'_>, file: &File<'_>, root: &Node<'_>, entries: &[Entry<'_>]) -> Option<Kind> {
    let text_of = |key: &str| root.get(key).and_then(Node::text).filter(|text| !text.is_empty());
    let (api_version, name) = (text_of("apiVersion"), text_of("kind"));
    let (Some(api_version), Some(name)) = (api_version, name) else {
        let looks_like_one = api_version.is_some() || name.is_some() || root.get("metadata").is_some();
        let missing = if api_version.is_none() { "apiVersion" } else { "kind" };
        let mark = entries.first().map_or(root.mark, |entry| entry.mark);
        if looks_like_one {
            note(loader, file, mark, missing, format!("`{missing}` is missing"), None);
        } else {
            let message = "not a resource (no apiVersion, no kind): left out".to_owned();
            push(loader, file, None, Severity::Warning, mark, "", message, None);
        }
        return None;
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let mark = |key: &str| root.get(key).map_or(root.mark, |node| node.mark);
    if let Some(kind) = Kind::find(group, name) {
        if kind.versions().contains(&version) {
            let wanted = !kind.for_analysis_only() || loader.options.analysis;
            return Some(kind).filter(|_| wanted);
        }
        if kind.is_mesh() {
            let hint = format!("known versions: {}", text::list(kind.versions()));
            let message = format!("{group} has no version {} of {kind}", text::quoted(version));
            note(loader, file, mark("apiVersion"), "apiVersion", message, Some(hint));
        }
        return None;
    }
    if OWN_GROUPS.contains(&group) && LATER_KINDS.contains(&name) {
        let message = format!("{name} is not in effect yet: the resource is left out");
        push(loader, file, None, Severity::Warning, mark("kind"), "kind", message, None);
        return None;
    }
    let elsewhere = Kind::ALL.iter().find(|kind| kind.as_str() == name && kind.is_mesh());
    match elsewhere {
        Some(kind) if OWN_GROUPS.contains(&group) || group.is_empty() => {
            let hint = format!("write apiVersion: {}/{}", kind.group(), kind.versions()[0]);
            let message = format!("{name} is not a kind of {}", text::quoted(api_version));
            note(loader, file, mark("apiVersion"), "apiVersion", message, Some(hint));
        }
        None if OWN_GROUPS.contains(&group) => {
            let known: Vec<&str> =
                Kind::ALL.iter().filter(|k| k.group() == group).map(|k| k.as_str()).collect();
            let hint = match text::closest(name, &known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("kinds of {group}: {}", text::list(&known)),
            };
            let message = format!("{group} has no kind {}", text::quoted(name));
            note(loader, file, mark("kind"), "kind", message, Some(hint));
        }
        _ => {}
    }
    None
}

/// Reads metadata and content; faults go to the decoder.
fn object(loader: &mut Loader<'_>, file: &File<'_>, root: &Node<'_>, kind: Kind) -> Object {
    let cx = &mut loader.decoder;
    (cx.strict, cx.dropped_items) = (kind.is_mesh(), false);
    let at = Path::ROOT.key("metadata");
    let metadata = root.get("metadata").filter(|node| !node.is_null());
    let mut metadata: Metadata = match metadata {
        Some(node) => crate::decode::message(node, cx, &at).unwrap_or_default(),
        None => {
            cx.missing(root, &Path::ROOT, "metadata");
            Metadata::default()
        }
    };
    if metadata.name.is_empty() {
        match &metadata.generate_name {
            Some(prefix) => metadata.name = prefix.clone(),
            None if root.get("metadata").is_some_and(|node| !node.is_null()) => {
                cx.missing(root.get("metadata").unwrap_or(root), &at, "name");
            }
            None => {}
        }
    }
    if !kind.is_namespaced() {
        metadata.namespace = "".into();
    } else if metadata.namespace.is_empty() {
        metadata.namespace = loader.options.namespace.clone();
    }
    let api_version = root.get("apiVersion").and_then(Node::text).unwrap_or_default();
    let api_version = cx.intern(api_version);
    let spec = spec(cx, root, kind);
    let line = match &root.value {
        Value::Map(entries) => entries.first().map_or(root.mark, |entry| entry.mark).line,
        _ => root.mark.line,
    };
    let source = Source { file: file.name.clone(), line };
    let analysis = loader.options.analysis;
    let spans = if kind.is_checked() || analysis { Spans::of(root) } else { Spans::default() };
    let conditions = if analysis { kubernetes::conditions(root, cx) } else { Vec::new() };
    let addresses = match kind {
        Kind::ServiceEntry => kubernetes::addresses(root, cx),
        _ => Vec::new(),
    };
    let metadata = Arc::new(metadata);
    let object = Object {
        kind,
        api_version,
        metadata,
        spec,
        source,
        conditions: conditions.into(),
        addresses: addresses.into(),
        spans,
    };
    if kind.is_checked() {
        validate::object(&object, root, cx);
    }
    object
}

fn spec(cx: &mut Decoder, root: &Node<'_>, kind: Kind) -> Spec {
    let nothing = Node { value: Value::Null, mark: root.mark };
    if !kind.is_mesh() {
        let mut spec = Spec::decode(kind, root, cx, &Path::ROOT);
        if let Some(Spec::Service(service)) = &mut spec {
            Arc::make_mut(service).set_defaults();
        }
        return spec
            .or_else(|| Spec::decode(kind, &nothing, cx, &Path::ROOT))
            .expect("invariant: nothing reads as defaults");
    }
    const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    if let Value::Map(entries) = &root.value {
        for entry in entries.iter().filter(|entry| !TOP.contains(&&*entry.key)) {
            let hint = match text::closest(&entry.key, &TOP) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("fields of {kind} belong below `spec`"),
            };
            let at = Path::ROOT.key(&entry.key);
            cx.push(
                Severity::Error,
                code::SCHEMA,
                entry.mark,
                &at,
                format!("unknown field `{}`", entry.key),
                Some(hint),
            );
        }
    }
    let empty = Node { value: Value::Map(Vec::new()), mark: root.get("metadata").unwrap_or(root).mark };
    let node = root.get("spec").filter(|node| !node.is_null()).unwrap_or(&empty);
    let faults = cx.faults.len();
    if let Some(spec) = Spec::decode(kind, node, cx, &Path::ROOT.key("spec")) {
        return spec;
    }
    // The fault is noted; go on with an empty content, whose missing fields are not worth noting.
    cx.dropped_items = true;
    let noted = cx.faults.len().max(faults);
    let spec = Spec::decode(kind, &nothing, cx, &Path::ROOT.key("spec"));
    cx.faults.truncate(noted);
    spec.expect("invariant: nothing reads as defaults")
}

/// Files the object by whether it has errors.
fn finish(loader: &mut Loader<'_>, file: &File<'_>, object: Object, faults: Vec<Fault>) {
    let id = object.id();
    let wrong = faults.iter().any(|fault| fault.severity == Severity::Error);
    let findings = faults.into_iter().map(|fault| file.diagnostic(fault, Some(id.clone())));
    loader.loaded.diagnostics.extend(findings);
    if wrong { loader.loaded.rejected.push(object) } else { loader.loaded.objects.push(object) }
}

/// Notes an error of a document whose resource is not known.
fn note(
    loader: &mut Loader<'_>,
    file: &File<'_>,
    mark: Mark,
    path: &str,
    message: String,
    hint: Option<String>,
) {
    loader.loaded.unreadable.push(Source { file: file.name.clone(), line: mark.line });
    push(loader, file, None, Severity::Error, mark, path, message, hint);
}

#[allow(clippy::too_many_arguments, reason = "the fields of a finding, in its one place for loose documents")]
fn push(
    loader: &mut Loader<'_>,
    file: &File<'_>,
    resource: Option<ResourceId>,
    severity: Severity,
    mark: Mark,
    path: &str,
    message: String,
    hint: Option<String>,
) {
    let fault = Fault { severity, code: code::SCHEMA, mark, path: path.to_owned(), message, hint };
    loader.loaded.diagnostics.push(file.diagnostic(fault, resource));
}

/// MeshNetworks as an object, so that findings have a place.
pub(super) fn mesh_networks_object(file: &str, text: &str, namespace: &str) -> (Object, Vec<Diagnostic>) {
    let (networks, findings) = bare::<MeshNetworks>(file, text);
    let mut object = Object::new(namespace, "meshnetworks", Spec::MeshNetworks(Arc::new(networks)));
    let documents = tree::parse(text);
    let root = documents.iter().flatten().find(|document| !document.root.is_null());
    object.source = Source { file: file.into(), line: root.map_or(1, |document| document.root.mark.line) };
    object.spans = root.map(|document| Spans::of(&document.root)).unwrap_or_default();
    (object, findings)
}

/// Reads a document that is one bare message.
pub(super) fn bare<M: Message + Decode>(file: &str, text: &str) -> (M, Vec<Diagnostic>) {
    let name: Str = file.into();
    let file = File::new(&name, text);
    let mut cx = Decoder::default();
    (cx.strict, cx.proto_json) = (true, true);
    let mut message = M::default();
    let mut findings = Vec::new();
    for document in tree::parse(text) {
        match document {
            Ok(document) if document.root.is_null() => {}
            Ok(document) => {
                if let Some(read) = M::decode(&document.root, &mut cx, &Path::ROOT) {
                    message = read;
                }
                cx.faults.extend(document.faults.into_iter().map(syntax));
            }
            Err(error) => cx.faults.push(syntax(error)),
        }
    }
    findings.extend(cx.faults.into_iter().map(|fault| file.diagnostic(fault, None)));
    Diagnostic::sort(&mut findings);
    (message, findings)
}
