//! A proxy on `127.0.0.1:0` with routes made by hand, raw clients and scripted upstreams.

use std::{cell::Cell, future::Future, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
};

use crate::{
    cluster::{Address, Cluster, ClusterSettings, ClusterSlot, EndpointSet, store::ClusterStore},
    drain::Group,
    http::{self, Worker, config::HttpConnectionManager},
    listener::{
        FilterChain, Listener, Terminal,
        connection::Connection,
        matcher::{ChainMatch, FilterChains},
    },
    route::{
        Action, Forward, HeaderRules, HostRewrite, RequireTls, RetryPolicy, Rewrite, Route, RouteTable,
        Target, VirtualHost,
        hosts::HostIndex,
        matcher::{Entry, PathMatch, RouteIndex, RouteMatch},
    },
    stream::Stream,
};

/// Runs a test on a `LocalSet`, at most thirty seconds.
pub(in crate::http) fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited =
        async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, limited);
}

/// A proxy and what a test may ask of it.
pub(in crate::http) struct Proxy {
    pub(in crate::http) address: SocketAddr,
    pub(in crate::http) worker: Rc<Worker>,
    pub(in crate::http) group: Rc<Group>,
    pub(in crate::http) slot: Arc<ClusterSlot>,
}

/// Settings of a proxy, changed by a test before it starts.
pub(in crate::http) struct Setup {
    pub(in crate::http) manager: HttpConnectionManager,
    pub(in crate::http) forward: Forward,
    pub(in crate::http) cluster: ClusterSettings,
    pub(in crate::http) headers: HeaderRules,
}

impl Setup {
    pub(in crate::http) fn new() -> Self {
        Self {
            manager: HttpConnectionManager::for_tests(),
            forward: forward(),
            cluster: settings(),
            headers: HeaderRules::default(),
        }
    }

    pub(in crate::http) fn retry(mut self, on: u32, attempts: u32) -> Self {
        self.forward.retry = Some(RetryPolicy {
            on: crate::route::RetryOn(on),
            attempts,
            backoff: (Duration::from_millis(1), Duration::from_millis(2)),
            ..RetryPolicy::default()
        });
        self
    }

    /// What a listener needs, and the cluster behind the one route.
    pub(in crate::http) fn parts(
        self,
        upstreams: &[SocketAddr],
    ) -> (Arc<HttpConnectionManager>, Arc<FilterChain>, Arc<Listener>, Arc<ClusterSlot>) {
        let slot = Arc::new(ClusterSlot::new(0, "c".into()));
        let endpoints = EndpointSet::of(upstreams.iter().map(|address| (Address::Socket(*address), 1)));
        slot.publish(Some(Arc::new(Cluster {
            metadata: None,
            name: "c".into(),
            stat_name: "c".into(),
            outlier: self.cluster.outlier.as_ref().map(|settings| {
                Box::new(crate::cluster::outlier::Detector::new(
                    (**settings).clone(),
                    tokio::runtime::Handle::try_current().ok(),
                ))
            }),
            health: None,
            local: None,
            origin: None,
            settings: Arc::new(self.cluster),
            endpoints: endpoints.into(),
        })));
        let forward = Forward { target: Target::Cluster(slot.clone()), ..self.forward };
        self.manager.routes.table.store(Some(Arc::new(table(forward, self.headers))));
        let manager = Arc::new(self.manager);
        let chain = Arc::new(FilterChain {
            metadata: None,
            name: "".into(),
            limits: Vec::new(),
            terminal: Terminal::Http(manager.clone()),
            connect_timeout: None,
        });
        let listener = Arc::new(listener(&chain));
        (manager, chain, listener, slot)
    }

    /// Starts it with one route to `upstreams`.
    pub(in crate::http) async fn start(self, upstreams: &[SocketAddr]) -> Proxy {
        let (manager, chain, listener, slot) = self.parts(upstreams);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy {
            address: socket.local_addr().unwrap(),
            worker: Worker::new(0),
            group: Group::new(),
            slot,
        };
        let (worker, group) = (proxy.worker.clone(), proxy.group.clone());
        spawn_local(async move {
            let mut id = 0;
            while let Ok((stream, remote)) = socket.accept().await {
                stream.set_nodelay(true).unwrap();
                id += 1;
                let connection = Connection {
                    listener: listener.clone(),
                    chain: chain.clone(),
                    local: stream.local_addr().unwrap(),
                    local_restored: false,
                    remote,
                    direct_remote: remote,
                    server_name: None,
                    tls_detected: false,
                    detected: Default::default(),
                    id,
                    drain: group.ticket(),
                };
                spawn_local(http::serve(
                    Stream::Tcp(stream),
                    connection,
                    manager.clone(),
                    worker.clone(),
                    (),
                ));
            }
        });
        proxy
    }
}

impl Proxy {
    pub(in crate::http) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, seen: Vec::new() }
    }

    /// Sends a request on a connection of its own and reads all that comes until the proxy closes.
    pub(in crate::http) async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }
}

/// A raw client (or the accepted side of an upstream).
pub(in crate::http) struct Client {
    pub(in crate::http) stream: TcpStream,
    seen: Vec<u8>,
}

impl Client {
    pub(in crate::http) fn of(stream: TcpStream) -> Self {
        Self { stream, seen: Vec::new() }
    }

    pub(in crate::http) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `end` has come; returns everything up to and with it.
    pub(in crate::http) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.seen.windows(end.len()).position(|window| window == end.as_bytes()) {
                let text = self.seen.drain(..at + end.len()).collect();
                return String::from_utf8(text).unwrap();
            }
            if self.stream.read_buf(&mut self.seen).await.unwrap_or(0) == 0 {
                panic!("closed before {end:?}: {:?}", String::from_utf8_lossy(&self.seen));
            }
        }
    }

    /// Reads a head and the body that its content-length announces.
    pub(in crate::http) async fn message(&mut self) -> String {
        let head = self.until("\r\n\r\n").await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while self.seen.len() < length {
            assert!(self.stream.read_buf(&mut self.seen).await.unwrap() > 0, "closed within a body");
        }
        let body: Vec<u8> = self.seen.drain(..length).collect();
        head + &String::from_utf8(body).unwrap()
    }

    /// Bytes that were read and not taken yet; they count as taken.
    pub(in crate::http) fn rest_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.seen)
    }

    /// Reads until the other side closes or resets.
    pub(in crate::http) async fn rest(&mut self) -> String {
        while self.stream.read_buf(&mut self.seen).await.unwrap_or(0) > 0 {}
        String::from_utf8(std::mem::take(&mut self.seen)).unwrap()
    }
}

/// An upstream whose every connection is served by `serve`, which is given the connection's number.
pub(in crate::http) async fn upstream<F: Future<Output = ()> + 'static>(
    serve: impl Fn(usize, Client) -> F + 'static,
) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move {
        let count = Cell::new(0);
        while let Ok((stream, _)) = socket.accept().await {
            stream.set_nodelay(true).unwrap();
            spawn_local(serve(count.replace(count.get() + 1), Client::of(stream)));
        }
    });
    address
}

/// An upstream that answers every request with its own head (and body, by content-length) as the body.
pub(in crate::http) async fn echo() -> SocketAddr {
    upstream(|_, mut client| async move {
        loop {
            let mut byte = [0];
            // An idle connection that the proxy closes ends quietly.
            if client.seen.is_empty() && client.stream.peek(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            let request = client.message().await;
            client.send(&answer(&request)).await;
        }
    })
    .await
}

/// 200 with a body.
pub(in crate::http) fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An address on which nobody listens.
pub(in crate::http) fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], meltemi_testkit::ports::free()))
}

fn table(forward: Forward, headers: HeaderRules) -> RouteTable {
    let route = Arc::new(Route {
        metadata: None,
        name: "r".into(),
        action: Action::Forward(Box::new(forward)),
        headers: HeaderRules::default(),
        stat_prefix: None,
        filters: None,
        buffer_limit: Default::default(),
        origin: None,
    });
    let entry = |path, route| Entry { condition: RouteMatch { path, also: None }, route };
    let host = VirtualHost {
        metadata: None,
        name: "v".into(),
        require_tls: RequireTls::None,
        headers: HeaderRules::default(),
        request_attempt_count: true,
        response_attempt_count: false,
        virtual_clusters: Vec::new(),
        routes: RouteIndex::new(vec![
            entry(PathMatch::Prefix("/".into()), route.clone()),
            entry(PathMatch::Connect, route),
        ]),
    };
    let mut hosts = HostIndex::default();
    hosts.add("*", 0).unwrap();
    RouteTable {
        name: "t".into(),
        version: "".into(),
        hosts: Arc::new(hosts),
        virtual_hosts: vec![Arc::new(host.into())],
        headers: Arc::new(headers),
        most_specific_headers_win: false,
        ignore_port: false,
        max_direct_response_body: 4096,
    }
}

fn listener(chain: &Arc<FilterChain>) -> Listener {
    Listener {
        metadata: None,
        direction: 0,
        name: "l".into(),
        addresses: Vec::new(),
        bind_to_port: true,
        reuse_port: true,
        inbound: false,
        use_original_dst: false,
        stat_prefix: "l".into(),
        buffer_limit: 1024 * 1024,
        filters: Vec::new(),
        filters_timeout: Duration::from_secs(15),
        continue_on_timeout: false,
        chains: FilterChains::build(vec![(ChainMatch::default(), chain.clone())], None).unwrap(),
        access_log: Vec::new(),
        backlog: 128,
        freebind: false,
        transparent: false,
        keepalive: None,
        ignores_global_limit: false,
    }
}

fn forward() -> Forward {
    Forward {
        target: Target::Header { name: "".into(), clusters: ClusterStore::new() },
        not_found_status: 503,
        timeout: Some(Duration::from_secs(15)),
        idle_timeout: None,
        max_grpc_timeout: None,
        grpc_timeout_offset: None,
        tells_grpc_timeout: false,
        max_stream_duration: None,
        rewrite: Rewrite::None,
        host_rewrite: HostRewrite::None,
        append_x_forwarded_host: false,
        upgrades: Vec::new(),
        tunnel_end: None,
        high_priority: false,
        asked: None,
        retry: None,
        hash: Vec::new(),
        parts_override: false,
        mirrors: Vec::new(),
    }
}

fn settings() -> ClusterSettings {
    ClusterSettings::default()
}
