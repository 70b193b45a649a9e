//! A discovery server feeds real workers: everything arrives, changes, is refused, goes, and survives the server's death;
//! in delta and in state of the world.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use meltemi_proxy::{
    bootstrap::{self, Overrides},
    worker::{self, Workers},
    xds::{
        plane::Plane,
        view::{ConfigView, Kind, Readiness},
    },
};
use meltemi_testkit::{client::Client, echo::Echo, ports};
use meltemi_xds::{
    json,
    pb::envoy::config::core::v3::Node,
    pb::google::protobuf::Any,
    server::{self, Ads, Backend, Collection},
    type_url::{self, CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};
use tokio_stream::wrappers::TcpListenerStream;

/// The resources of a control plane, by type.
type Resources = Arc<Mutex<BTreeMap<String, Arc<Collection>>>>;

fn of_type(resources: &Resources, type_url: &str) -> Arc<Collection> {
    Arc::clone(resources.lock().unwrap().entry(type_url.to_owned()).or_default())
}

/// A control plane that serves them and tells what becomes of them.
struct Map {
    resources: Resources,
    wake: Mutex<Vec<Arc<Notify>>>,
    events: mpsc::UnboundedSender<String>,
}

impl Map {
    fn wake(&self) {
        self.wake.lock().unwrap().iter().for_each(|wake| wake.notify_one());
    }
}

struct Of(Resources, mpsc::UnboundedSender<String>);

impl server::Client for Of {
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>> {
        vec![of_type(&self.0, type_url)]
    }

    fn event(&mut self, event: server::Event<'_>) {
        let text = match event {
            server::Event::Sent { .. } => return,
            server::Event::Acknowledged { type_url, .. } => format!("ack {}", type_url::short(type_url)),
            server::Event::Rejected { type_url, message, .. } => {
                format!("nack {} {message}", type_url::short(type_url))
            }
        };
        let _ = self.1.send(text);
    }
}

impl Backend for Map {
    type Client = Of;

    fn connect(&self, node: &Node, _: bool) -> Result<(Of, Arc<Notify>), tonic::Status> {
        let _ = self.events.send(format!("connect {}", node.id));
        let wake = Arc::new(Notify::new());
        self.wake.lock().unwrap().push(Arc::clone(&wake));
        Ok((Of(self.resources.clone(), self.events.clone()), wake))
    }
}

impl Map {
    fn put(&self, type_url: &'static str, name: &str, text: &str) {
        let full_name = type_url.rsplit('/').next().unwrap();
        let value = json::wire_from_text(full_name, text).unwrap();
        let version = text.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        let resource = server::Resource::joined(name, version, type_url, &Any::default(), &[&value]);
        of_type(&self.resources, type_url).update([(name.into(), Some(resource))]);
    }

    fn put_cluster(&self, name: &str, to: SocketAddr) {
        let cluster =
            format!("{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}");
        self.put(CLUSTER, name, &cluster);
        self.put_endpoint(name, to);
    }

    fn put_endpoint(&self, name: &str, to: SocketAddr) {
        let (ip, port) = (to.ip(), to.port());
        let address = format!("{{socket_address: {{address: {ip}, port_value: {port}}}}}");
        let host = format!("{{endpoint: {{address: {address}}}}}");
        let text = format!("{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{host}]}}]}}");
        self.put(ENDPOINT, name, &text);
    }

    fn put_listener(&self, name: &str, filters: &str) {
        let manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let config = format!(
            r#"{{"@type": type.googleapis.com/{manager}, stat_prefix: x,
                rds: {{route_config_name: routes, config_source: {{ads: {{}}}}}}, http_filters: [{filters}]}}"#
        );
        let text = format!(
            r#"{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}},
                filter_chains: [{{filters: [{{name: hcm, typed_config: {config}}}]}}]}}"#
        );
        self.put(LISTENER, name, &text);
    }
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, and the proxy that follows it.
struct Mesh {
    map: Arc<Map>,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    events: mpsc::UnboundedReceiver<String>,
    workers: Workers,
    view: Arc<ConfigView>,
    client: Client,
    _plane: Plane,
}

/// On a runtime of its own, whose end ends its connections too.
fn serve(map: Arc<Map>, listener: std::net::TcpListener) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime.spawn(async move {
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        let service = Ads::new(map);
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    runtime
}

impl Mesh {
    async fn start(api_type: &str) -> Self {
        Self::start_with(api_type, |_| {}).await
    }

    /// With resources that are there before anybody asks.
    async fn start_with(api_type: &str, prepare: impl FnOnce(&Map)) -> Self {
        // No port that the kernel may give to a connection while nobody listens there.
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let listener = std::net::TcpListener::bind(address).unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let map = Arc::new(Map { resources: Arc::default(), wake: Mutex::default(), events: sender });
        prepare(&map);
        let runtime = serve(map.clone(), listener);
        let bootstrap = format!(
            r#"
            node: {{id: proxy, cluster: tests}}
            dynamic_resources:
              lds_config: {{ads: {{}}}}
              cds_config: {{ads: {{}}}}
              ads_config: {{api_type: {api_type}, grpc_services: [{{google_grpc: {{target_uri: "{address}", stat_prefix: x}}}}]}}
            "#
        );
        let mut bootstrap = bootstrap::from_text(&bootstrap, &Overrides::default()).unwrap();
        let client = &mut bootstrap.discovery.as_mut().unwrap().client;
        client.base_backoff = Duration::from_millis(5);
        client.max_backoff = Duration::from_millis(20);
        let workers = Workers::start(&worker::Options {
            count: 2,
            drain_time: Duration::from_secs(5),
            ..worker::Options::default()
        })
        .unwrap();
        let plane = Plane::new(&bootstrap, workers.clone());
        plane.start(bootstrap).unwrap();
        let (view, client) = (plane.view(), Client::default());
        Self { map, address, runtime: Some(runtime), events, workers, view, client, _plane: plane }
    }

    fn remove(&self, type_url: &'static str, name: &str) {
        of_type(&self.map.resources, type_url).update([(name.into(), None)]);
    }

    fn push(&self) {
        self.map.wake();
    }

    async fn event(&mut self, wanted: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.unwrap();
                if event.starts_with(wanted) {
                    return event;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no '{wanted}'"))
    }

    /// A cluster with its endpoints.
    fn put_routes(&self, action: &str) {
        let routes = format!("[{{match: {{prefix: /}}, {action}}}]");
        let text =
            format!("{{name: routes, virtual_hosts: [{{name: v, domains: ['*'], routes: {routes}}}]}}");
        self.map.put(ROUTE, "routes", &text);
    }

    async fn live(&self) {
        let mut readiness = self.view.watch_readiness();
        let live = readiness.wait_for(|readiness| *readiness == Readiness::Live);
        tokio::time::timeout(PATIENCE, live).await.unwrap().unwrap();
    }

    /// A virtual host that comes by itself.
    fn put_host(&self, name: &str, domain: &str, action: &str) {
        let text =
            format!("{{name: {name}, domains: [{domain}], routes: [{{match: {{prefix: /}}, {action}}}]}}");
        self.map.put(VIRTUAL_HOST, &format!("routes/{name}"), &text);
    }

    /// Status, and which upstream answered.
    async fn get(&self) -> (u16, String) {
        self.get_from("any").await
    }

    /// The same of some host.
    async fn get_from(&self, host: &str) -> (u16, String) {
        let Some(address) = self.workers.addresses("front").first().cloned() else {
            return (0, "nothing listens".to_owned());
        };
        let url = format!("http://{address}/x");
        // A connection that is kept may be closed just now, by a listener that goes.
        let Ok(answer) = self.client.get(&url, &[("host", host)]).await else {
            return (0, "the connection failed".to_owned());
        };
        let seen: Result<meltemi_testkit::echo::Seen, _> = serde_json::from_str(&answer.body);
        (answer.status.as_u16(), seen.map_or(answer.body, |seen| seen.upstream))
    }

    /// Waits until that is what a host answers.
    async fn until(&self, host: &str, (status, upstream): (u16, &str)) {
        let what = format!("{host} answers {status} from {upstream}");
        eventually(&what, async || self.get_from(host).await == (status, upstream.to_owned())).await;
    }

    /// Ends the server; what it has seen is forgotten.
    fn kill(&mut self) {
        let runtime = self.runtime.take().unwrap();
        std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE)).join().unwrap();
        while self.events.try_recv().is_ok() {}
    }

    fn revive(&mut self) {
        // std sets SO_REUSEADDR on Unix, which is all it takes.
        let socket = std::net::TcpListener::bind(self.address).unwrap();
        let map = Map {
            resources: self.map.resources.clone(),
            wake: Mutex::default(),
            events: self.map.events.clone(),
        };
        self.map = Arc::new(map);
        self.runtime = Some(serve(self.map.clone(), socket));
    }
}

/// Waits until it is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const ROUTER: &str = "{name: envoy.filters.http.router, typed_config: \
    {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
const UNKNOWN: &str = "{name: envoy.filters.http.gzip, typed_config: \
    {'@type': type.googleapis.com/envoy.extensions.filters.http.gzip.v3.Gzip}}";

async fn everything(api_type: &str) {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let mut mesh = Mesh::start(api_type).await;
    mesh.map.put_cluster("a", one.address);
    mesh.map.put_listener("front", ROUTER);
    mesh.put_routes("route: {cluster: a}");
    mesh.push();
    mesh.live().await;
    // Live it may have been since the first answers, which had nothing in them.
    mesh.until("any", (200, "one")).await;

    // Endpoints move on their own.
    mesh.map.put_endpoint("a", two.address);
    mesh.push();
    mesh.until("any", (200, "two")).await;

    // A route to a new cluster.
    mesh.map.put_cluster("b", one.address);
    mesh.put_routes("route: {cluster: b}");
    mesh.push();
    mesh.until("any", (200, "one")).await;

    // One bad resource hurts only itself, and is named with its place.
    mesh.map.put_listener("front", &format!("{UNKNOWN}, {ROUTER}"));
    mesh.put_routes("route: {cluster: a}");
    mesh.push();
    let nack = mesh.event("nack LDS").await;
    for part in
        ["front", "filter_chains[0].filters[0].typed_config.http_filters[0]", "'envoy.filters.http.gzip'"]
    {
        assert!(nack.contains(part), "{nack}");
    }
    mesh.until("any", (200, "two")).await;
    let listeners = mesh.view.resources(Kind::Listener);
    assert!(listeners[0].1.active.is_some() && listeners[0].1.refused.is_some());
    mesh.put_routes("route: {regex_rewrite: {pattern: {regex: '['}}, cluster: a}");
    mesh.push();
    let nack = mesh.event("nack RDS").await;
    assert!(
        nack.contains("virtual_hosts[0].routes[0].route.regex_rewrite.pattern.regex: invalid regex '['"),
        "{nack}"
    );
    assert_eq!(mesh.get().await, (200, "two".into()));

    // The server dies: traffic goes on. It comes back with news: they arrive.
    mesh.kill();
    assert_eq!(mesh.get().await, (200, "two".into()));
    mesh.map.put_listener("front", &ROUTER.replace("envoy.filters.http.router,", "mended,"));
    mesh.put_routes("route: {cluster: b}");
    mesh.revive();
    mesh.event("connect proxy").await;
    mesh.until("any", (200, "one")).await;
    eventually("mended", async || mesh.view.resources(Kind::Listener)[0].1.refused.is_none()).await;

    // Removal: of a cluster that is routed to, then of the listener.
    mesh.remove(CLUSTER, "b");
    mesh.remove(ENDPOINT, "b");
    mesh.push();
    eventually("503", async || mesh.get().await.0 == 503).await;
    let has_stats = |cluster: &str| {
        let mut found = false;
        mesh.workers.stats().read(|prefix, _| found |= prefix == format!("cluster.{cluster}."));
        found
    };
    eventually("no statistics of what is gone", async || !has_stats("b")).await;
    assert!(has_stats("a"));
    mesh.remove(LISTENER, "front");
    mesh.push();
    eventually("no listener", async || mesh.workers.addresses("front").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta() {
    everything("DELTA_GRPC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_the_world() {
    everything("GRPC").await;
}

/// A listener waits for its routes, and an update that waits leaves the old one serving.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_warm() {
    let one = Echo::start("one").await;
    let prepare = |map: &Map| {
        map.put_cluster("a", one.address);
        map.put_listener("front", ROUTER);
    };
    let mut mesh = Mesh::start_with("DELTA_GRPC", prepare).await;
    mesh.event("ack LDS").await;
    let front = &mesh.view.resources(Kind::Listener)[0].1;
    assert!(front.active.is_none() && front.warming.is_some());
    assert!(mesh.workers.addresses("front").is_empty());
    assert_eq!(mesh.view.readiness(), Readiness::Initializing);

    mesh.put_routes("route: {cluster: a}");
    mesh.push();
    mesh.live().await;
    assert_eq!(mesh.get().await, (200, "one".into()));
}

/// Virtual hosts come one by one: several at first, then changes, additions and removals of single ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virtual_hosts_come_one_by_one() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let mut mesh = Mesh::start("DELTA_GRPC").await;
    mesh.map.put_cluster("a", one.address);
    mesh.map.put_cluster("b", two.address);
    mesh.map.put_listener("front", ROUTER);
    let rest = "{name: rest, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 404}}]}";
    let routes = format!("{{name: routes, vhds: {{config_source: {{ads: {{}}}}}}, virtual_hosts: [{rest}]}}");
    mesh.map.put(ROUTE, "routes", &routes);
    mesh.push();
    mesh.event("ack RDS").await;
    assert!(mesh.workers.addresses("front").is_empty(), "it waits for its virtual hosts");

    mesh.put_host("a", "a.test", "route: {cluster: a}");
    mesh.put_host("b", "b.test", "route: {cluster: b}");
    mesh.push();
    mesh.live().await;
    mesh.until("a.test", (200, "one")).await;
    assert_eq!(mesh.get_from("b.test").await, (200, "two".into()));
    assert_eq!(mesh.get_from("c.test").await.0, 404);

    // One changes in place, one comes, one goes.
    mesh.put_host("a", "a.test", "route: {cluster: b}");
    mesh.push();
    mesh.until("a.test", (200, "two")).await;
    mesh.put_host("c", "c.test", "route: {cluster: a}");
    mesh.remove(VIRTUAL_HOST, "routes/b");
    mesh.push();
    mesh.until("c.test", (200, "one")).await;
    assert_eq!(mesh.get_from("b.test").await.0, 404);

    // A domain that another one has is refused, and hurts nobody else.
    mesh.put_host("c", "a.test", "route: {cluster: b}");
    mesh.put_host("d", "d.test", "route: {cluster: b}");
    mesh.push();
    let nack = mesh.event("nack VHDS").await;
    assert!(nack.contains("routes/c") && nack.contains("Duplicate entry of domain a.test"), "{nack}");
    assert!(!nack.contains("routes/d"), "{nack}");
    assert_eq!(mesh.get_from("c.test").await, (200, "one".into()));
    mesh.until("d.test", (200, "two")).await;
    let hosts = mesh.view.virtual_hosts("routes");
    let names: Vec<_> = hosts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["routes/a", "routes/c", "routes/d"]);

    // A route configuration that goes and comes back finds them: the server does not repeat them.
    mesh.remove(LISTENER, "front");
    mesh.push();
    eventually("no listener", async || mesh.workers.addresses("front").is_empty()).await;
    mesh.map.put_listener("front", ROUTER);
    mesh.push();
    mesh.until("a.test", (200, "two")).await;
}
