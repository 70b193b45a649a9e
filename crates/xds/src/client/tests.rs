//! Both ends against each other over loopback, in both variants of the protocol.

use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;

use super::*;
use crate::pb::envoy::config::cluster::v3::Cluster;
use crate::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use crate::server::{self, Ads, Backend, Collection};
use crate::type_url::{CLUSTER, ENDPOINT};

/// The resources of a control plane, by type.
#[derive(Clone, Default)]
struct Resources(Arc<Collection>, Arc<Collection>);

impl Resources {
    fn of(&self, type_url: &str) -> &Arc<Collection> {
        if type_url == CLUSTER { &self.0 } else { &self.1 }
    }

    fn put(&self, type_url: &str, resource: server::Resource) {
        self.of(type_url).update([(resource.name().clone(), Some(resource))]);
    }

    fn remove(&self, type_url: &str, name: &str) {
        self.of(type_url).update([(name.into(), None)]);
    }
}

/// A control plane that serves them.
struct Map {
    resources: Resources,
    wake: Mutex<Vec<Arc<Notify>>>,
    events: mpsc::UnboundedSender<String>,
}

impl Map {
    fn new(resources: Resources, events: mpsc::UnboundedSender<String>) -> Self {
        Self { resources, wake: Mutex::default(), events }
    }

    fn wake(&self) {
        self.wake.lock().unwrap().iter().for_each(|wake| wake.notify_one());
    }
}

struct Of(Resources, mpsc::UnboundedSender<String>);

impl server::Client for Of {
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>> {
        vec![Arc::clone(self.0.of(type_url))]
    }

    fn event(&mut self, event: server::Event<'_>) {
        let text = match event {
            server::Event::Sent { type_url, resources, .. } => {
                format!("sent {} {resources}", short(type_url))
            }
            server::Event::Acknowledged { type_url, .. } => format!("ack {}", short(type_url)),
            server::Event::Rejected { type_url, message, .. } => {
                format!("nack {} {message}", short(type_url))
            }
        };
        let _ = self.1.send(text);
    }
}

fn short(type_url: &str) -> &str {
    crate::type_url::short(type_url)
}

impl Backend for Map {
    type Client = Of;

    fn connect(&self, node: &Node, delta: bool) -> Result<(Of, Arc<Notify>), Status> {
        let _ = self.events.send(format!("connect {} {delta}", node.id));
        let wake = Arc::new(Notify::new());
        self.wake.lock().unwrap().push(Arc::clone(&wake));
        Ok((Of(self.resources.clone(), self.events.clone()), wake))
    }
}

/// A control plane on a port of its own, which can be killed and started again there.
struct Server {
    map: Arc<Map>,
    address: std::net::SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    events: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start() -> Self {
        // No port that the kernel may give to a connection while nobody listens there.
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], meltemi_testkit::ports::free()));
        let listener = TcpListener::bind(address).await.unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let map = Arc::new(Map::new(Resources::default(), sender));
        Self { address, runtime: Some(serve(map.clone(), listener)), map, events }
    }

    fn put(&self, resources: impl IntoIterator<Item = (&'static str, server::Resource)>) {
        for (url, resource) in resources {
            self.map.resources.put(url, resource);
        }
        self.map.wake();
    }

    fn remove(&self, type_url: &'static str, name: &str) {
        self.map.resources.remove(type_url, name);
        self.map.wake();
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Ends the server, makes `changes` while nobody can be told of them, and starts it again at its address.
    async fn restart(&mut self, changes: impl FnOnce(&Map)) {
        let runtime = self.runtime.take().unwrap();
        let ended = tokio::task::spawn_blocking(|| runtime.shutdown_timeout(Duration::from_secs(30)));
        ended.await.unwrap();
        changes(&self.map);
        self.map = Arc::new(Map::new(self.map.resources.clone(), self.map.events.clone()));
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.runtime = Some(serve(self.map.clone(), socket.listen(16).unwrap()));
    }

    async fn event(&mut self) -> String {
        self.events.recv().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// On a runtime of its own, whose end ends its connections too, as the end of a process would.
fn serve(map: Arc<Map>, listener: TcpListener) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = listener.into_std().unwrap();
    runtime.spawn(async move {
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        let service = Ads::new(map);
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    runtime
}

/// Tells every update; refuses what is named `bad`; subscribes to the endpoints of clusters as they come.
struct Recorder {
    updates: mpsc::UnboundedSender<String>,
    subscriber: Option<Subscriber>,
}

impl Handler for Recorder {
    fn update(&mut self, update: Update) -> Vec<Rejection> {
        let names: Vec<_> = update.resources.iter().map(|resource| resource.name.to_string()).collect();
        let removed: String = update.removed.iter().map(|name| format!(" -{name}")).collect();
        let _ = self.updates.send(format!("{} {}{removed}", short(&update.type_url), names.join(",")));
        if let (CLUSTER, Some(subscriber)) = (update.type_url.as_str(), &self.subscriber) {
            subscriber.subscribe(ENDPOINT, names.iter().map(String::as_str));
        }
        let bad = names.into_iter().filter(|name| name == "bad");
        bad.map(|name| Rejection { name, reason: "no good".into() }).collect()
    }

    fn connected(&mut self, connected: bool) {
        let _ = self.updates.send(format!("connected {connected}"));
    }
}

struct Running {
    subscriber: Subscriber,
    updates: mpsc::UnboundedReceiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(address: Address, protocol: Protocol, endpoints: bool) -> Self {
        let (sender, updates) = mpsc::unbounded_channel();
        let config = Config {
            protocol,
            base_backoff: Duration::from_millis(5),
            max_backoff: Duration::from_millis(50),
            ..Config::new(crate::node::node("me", "us", &serde_json::Value::Null), vec![address])
        };
        let (mut client, subscriber) = Client::new(config, Recorder { updates: sender, subscriber: None });
        client.handler.subscriber = endpoints.then(|| subscriber.clone());
        Self { subscriber, updates, task: tokio::spawn(client.run()) }
    }

    async fn update(&mut self) -> String {
        self.updates.recv().await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn cluster(name: &str, version: u32) -> (&'static str, server::Resource) {
    let cluster = Cluster { name: name.into(), alt_stat_name: version.to_string(), ..Cluster::default() };
    (CLUSTER, server::Resource::new(name, version.into(), CLUSTER, &cluster))
}

fn endpoints(name: &str) -> (&'static str, server::Resource) {
    let message = ClusterLoadAssignment { cluster_name: name.into(), ..ClusterLoadAssignment::default() };
    (ENDPOINT, server::Resource::new(name, 1, ENDPOINT, &message))
}

fn address(server: &Server) -> Address {
    Address::Tcp(server.address.to_string())
}

#[tokio::test]
async fn adds_changes_and_removals_arrive() {
    for (protocol, changed, removed) in [
        (Protocol::Delta, "CDS a", "CDS  -b"),
        // The whole set each time.
        (Protocol::StateOfTheWorld, "CDS a,b", "CDS a -b"),
    ] {
        let mut server = Server::start().await;
        server.put([cluster("a", 1), cluster("b", 1)]);
        let mut client = Running::start(address(&server), protocol, false);
        client.subscriber.subscribe_all(CLUSTER);
        assert_eq!(client.update().await, "connected true");
        assert_eq!(client.update().await, "CDS a,b");
        assert_eq!(server.event().await, format!("connect me {}", protocol == Protocol::Delta));
        assert_eq!(server.event().await, "sent CDS 2");
        assert_eq!(server.event().await, "ack CDS");
        server.put([cluster("a", 2)]);
        assert_eq!(client.update().await, changed);
        server.remove(CLUSTER, "b");
        assert_eq!(client.update().await, removed);
    }
}

#[tokio::test]
async fn a_changed_cluster_gets_its_endpoints_again() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let server = Server::start().await;
        server.put([cluster("a", 1), endpoints("a")]);
        let mut client = Running::start(address(&server), protocol, true);
        client.subscriber.subscribe_all(CLUSTER);
        for expected in ["connected true", "CDS a", "EDS a"] {
            assert_eq!(client.update().await, expected);
        }
        server.put([cluster("a", 2)]);
        for expected in ["CDS a", "EDS a"] {
            assert_eq!(client.update().await, expected, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_rejection_is_a_nack_with_its_reason() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut server = Server::start().await;
        server.put([cluster("bad", 1), cluster("good", 1)]);
        let mut client = Running::start(address(&server), protocol, false);
        client.subscriber.subscribe_all(CLUSTER);
        assert_eq!(client.update().await, "connected true");
        assert_eq!(client.update().await, "CDS bad,good");
        server.event().await;
        assert_eq!(server.event().await, "sent CDS 2");
        assert_eq!(server.event().await, "nack CDS bad: no good");
    }
}

#[tokio::test]
async fn after_a_restart_delta_sends_only_what_is_not_held() {
    let mut server = Server::start().await;
    server.put([cluster("a", 1), cluster("b", 1), cluster("bad", 1)]);
    let mut client = Running::start(address(&server), Protocol::Delta, false);
    client.subscriber.subscribe_all(CLUSTER);
    assert_eq!(client.update().await, "connected true");
    assert_eq!(client.update().await, "CDS a,b,bad");
    while !server.event().await.starts_with("nack") {}
    let changes = |map: &Map| {
        map.resources.put(CLUSTER, cluster("b", 2).1);
        map.resources.remove(CLUSTER, "a");
    };
    server.restart(changes).await;
    assert_eq!(client.update().await, "connected false");
    assert_eq!(client.update().await, "connected true");
    // What was rejected is not held, so it comes again.
    assert_eq!(client.update().await, "CDS b,bad -a");
}

#[tokio::test]
async fn names_come_and_go() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut server = Server::start().await;
        server.put([endpoints("a"), endpoints("b")]);
        let mut client = Running::start(address(&server), protocol, false);
        client.subscriber.subscribe(ENDPOINT, ["a"]);
        assert_eq!(client.update().await, "connected true");
        assert_eq!(client.update().await, "EDS a");
        while server.event().await != "ack EDS" {}
        client.subscriber.subscribe(ENDPOINT, ["b"]);
        assert!(client.update().await.ends_with('b'));
    }
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let folder = std::env::temp_dir().join(format!("meltemi-xds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("xds.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (events, _events) = mpsc::unbounded_channel();
    let map = Arc::new(Map::new(Resources::default(), events));
    map.resources.put(CLUSTER, cluster("a", 1).1);
    let service = Ads::new(map);
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
    let task = tokio::spawn(serving);
    let mut client = Running::start(Address::Unix(path), Protocol::Delta, false);
    client.subscriber.subscribe_all(CLUSTER);
    assert_eq!(client.update().await, "connected true");
    assert_eq!(client.update().await, "CDS a");
    task.abort();
    std::fs::remove_dir_all(folder).unwrap();
}
