//! After any sequence of changes every connected proxy is told what it would be told if it came now, over the meshes of all
//! routing tables.

use std::path::Path;

use meltemi_config::{Options, load_text};
use meltemi_xds::type_url;
use serde_json::{Value, json};

use super::*;
use crate::discovery::following::{differing, draw, words};

/// The mesh of a table and its settings: texts that are indented below a key.
fn block(table: &str, key: &str) -> Option<String> {
    let (_, rest) = table.split_once(&format!("\n{key}: |\n"))?;
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let text: Vec<&str> = lines.map(|line| line.get(2..).unwrap_or_default()).collect();
    let mut text = text.join("\n");
    for (at, place) in
        ["a", "b", "c", "d", "ta", "tb", "sa", "p", "q", "r", "s", "t", "dead"].iter().enumerate()
    {
        text = text.replace(&format!("{{{place}}}"), &(8000 + at).to_string());
    }
    Some(text)
}

struct Mesh {
    name: String,
    objects: Vec<Object>,
    settings: Arc<MeshConfig>,
}

fn meshes() -> Vec<Mesh> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../meltemi/tests/routing");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mesh = |path: &std::path::PathBuf| {
        let table = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let objects = load_text(&name, &block(&table, "mesh").unwrap(), &Options::default()).objects;
        assert!(!objects.is_empty(), "{name}");
        let settings = block(&table, "mesh_config").unwrap_or_else(|| "{}".to_owned());
        let (settings, _) = meltemi_config::load::mesh_config(&name, &settings);
        Mesh { name, objects, settings: Arc::new(settings) }
    };
    files.iter().map(mesh).collect()
}

/// Proxies of all kinds, with whether they take virtual hosts one by one.
fn nodes() -> Vec<(Node, bool)> {
    let node = |id: &str, metadata: Value| Node::parse(id, &metadata).unwrap();
    let id = "sidecar~127.0.0.9~client.default~default.svc.cluster.local";
    vec![
        (node(id, json!({"NAMESPACE": "default", "LABELS": {"app": "client"}})), true),
        (node(id, json!({"NAMESPACE": "default", "DNS_CAPTURE": "true"})), false),
        (
            node(
                "sidecar~127.0.0.1~server.default~default.svc.cluster.local",
                json!({"NAMESPACE": "default", "LABELS": {"app": "server"}, "ENABLE_SELF_DISCOVERY": "true"}),
            ),
            true,
        ),
        (
            node(
                "sidecar~127.0.0.9~client.other~other.svc.cluster.local",
                json!({"NAMESPACE": "other", "INTERCEPTION_MODE": "NONE", "NETWORK": "n1", "CLUSTER_ID": "c1"}),
            ),
            true,
        ),
        (
            node(
                "router~127.0.0.9~gateway.default~default.svc.cluster.local",
                json!({"NAMESPACE": "default", "LABELS": {"istio": "ingressgateway"}}),
            ),
            true,
        ),
        (
            node(
                "router~127.0.0.1~gateway.istio-system~istio-system.svc.cluster.local",
                json!({"NAMESPACE": "istio-system", "LABELS": {"istio": "ingressgateway", "app": "x"}}),
            ),
            false,
        ),
        (
            node(
                "sidecar~127.0.0.9~grpc.default~default.svc.cluster.local",
                json!({"NAMESPACE": "default", "GENERATOR": "grpc"}),
            ),
            false,
        ),
    ]
}

type Held = BTreeMap<String, u64>;

/// Everything a proxy is told: names with versions.
fn held(sources: &ArcSwap<Sources>) -> Held {
    let sources = sources.load();
    let Sources { shared, own } = &**sources;
    let mut held = Held::new();
    let mut add = |kind: &str, collection: &Collection| {
        for resource in collection.all() {
            held.insert(format!("{kind} {}", resource.name()), resource.version());
        }
    };
    add("own listener", &own.listeners);
    add("own cluster", &own.clusters);
    own.endpoints.iter().for_each(|endpoints| add("own endpoints", endpoints));
    add("cluster", &shared.clusters);
    add("endpoints", &shared.endpoints);
    add("listener", &shared.listeners);
    add("route", &shared.routes);
    add("virtual host", &shared.virtual_hosts);
    held
}

/// Has all of them join, and ask.
fn join(world: &mut World, names: &[String]) -> Vec<Arc<ArcSwap<Sources>>> {
    let clusters = names.iter().filter_map(|name| name.rsplit_once(':'));
    let clusters: Vec<String> = clusters.map(|(host, port)| format!("outbound|{port}||{host}")).collect();
    let mut proxies = Vec::new();
    for (at, (node, hosts)) in nodes().into_iter().enumerate() {
        let connection = at as u64;
        proxies.push(world.join(connection, &node, hosts).0);
        world.asked(connection, type_url::LISTENER, names);
        world.asked(connection, type_url::ROUTE, names);
        world.asked(connection, type_url::CLUSTER, &clusters);
        world.asked(connection, type_url::ENDPOINT, &clusters);
    }
    proxies
}

#[test]
fn who_followed_changes_is_told_what_a_newcomer_is_told() {
    let meshes = meshes();
    for (at, mesh) in meshes.iter().enumerate() {
        let mut dice = fastrand::Rng::with_seed(at as u64);
        // Resources of two tables meet.
        let other = &meshes[dice.usize(0..meshes.len())];
        let pool: Vec<&Object> = mesh.objects.iter().chain(&other.objects).collect();
        let names: Vec<String> = ["a", "b", "seen", "web"]
            .iter()
            .flat_map(|name| {
                [format!("{name}.example:8007"), format!("{name}.default.svc.cluster.local:8007")]
            })
            .collect();
        let mut settings = Arc::clone(&mesh.settings);
        let mut world = World::new(Arc::clone(&settings));
        let followers = join(&mut world, &names);
        for step in 0..40 {
            let changes = draw(&mut dice, &pool, 4);
            let others =
                (dice.u8(0..12) == 0).then(|| Arc::clone(&meshes[dice.usize(0..meshes.len())].settings));
            settings = others.clone().unwrap_or(settings);
            let what = words(&changes);
            world.apply(changes, others.clone());

            let mut fresh = World::new(Arc::clone(&settings));
            fresh
                .apply(world.objects().into_iter().map(|object| (object.id(), Some(object))).collect(), None);
            let newcomers = join(&mut fresh, &names);
            for ((node, _), (old, new)) in nodes().iter().zip(followers.iter().zip(&newcomers)) {
                let (old, new) = (held(old), held(new));
                let differs = differing(&old, &new);
                assert!(
                    differs.is_empty(),
                    "{} with {}, step {step}, {what:?}, settings {}, {}: {differs:#?}",
                    mesh.name,
                    other.name,
                    others.is_some(),
                    node.id
                );
            }
        }
    }
}
