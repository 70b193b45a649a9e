//! Workers with real sockets: updates in place, drain, refusal, hand-off; TCP proxying as the traffic.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    cluster::{Address, Cluster, ClusterSettings, ClusterSlot, EndpointSet},
    listener::{
        FilterChain, ListenerFilter, TcpProxy, Terminal,
        filters::{DestinationMatch, InstalledFilter},
        matcher::{ChainMatch, FilterChains},
    },
};

/// A server that says its name and then echoes; its address.
async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(name.as_bytes()).await.unwrap();
                // A client that resets ends the copy.
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

fn cluster(id: u32, endpoint: SocketAddr) -> Arc<ClusterSlot> {
    let settings = ClusterSettings { idle_timeout: None, ..ClusterSettings::default() };
    let endpoints = EndpointSet::of([(Address::Socket(endpoint), 1)]);
    let settings = Arc::new(settings);
    let name: Arc<str> = format!("c{id}").into();
    let slot = Arc::new(ClusterSlot::new(id, name.clone()));
    let stat_name = name.clone();
    slot.publish(Some(Arc::new(Cluster {
        metadata: None,
        name,
        stat_name,
        settings,
        origin: None,
        outlier: None,
        health: None,
        local: None,
        endpoints: endpoints_of(endpoints),
    })));
    slot
}

fn endpoints_of(set: EndpointSet) -> crate::cluster::Endpoints {
    set.into()
}

fn tcp_chain(cluster: &Arc<ClusterSlot>) -> Arc<FilterChain> {
    let tcp = TcpProxy {
        stat_prefix: "t".into(),
        clusters: vec![(cluster.clone(), 1, None)],
        idle_timeout: Some(Duration::from_secs(60)),
        max_connect_attempts: 1,
        hash_source_ip: false,
        max_duration: None,
        backoff: None,
        duration_jitter: 0,
        log_times: Default::default(),
        tunnel: None,
        sni: Default::default(),
        access_log: Vec::new(),
    };
    let terminal = Terminal::Tcp(Arc::new(tcp));
    Arc::new(FilterChain {
        name: "tcp".into(),
        limits: Vec::new(),
        terminal,
        connect_timeout: None,
        metadata: None,
    })
}

fn listener(name: &str, address: &str, chain: &Arc<FilterChain>) -> Listener {
    Listener {
        metadata: None,
        direction: 0,
        name: name.into(),
        addresses: vec![ListenAddress::Socket(address.parse().unwrap())],
        bind_to_port: true,
        reuse_port: true,
        inbound: false,
        use_original_dst: false,
        stat_prefix: name.into(),
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

fn workers() -> Workers {
    Workers::start(&Options { count: 2, drain_time: Duration::from_secs(60), ..Options::default() }).unwrap()
}

async fn put(workers: &Workers, listener: Listener) -> SocketAddr {
    let name = listener.name.clone();
    workers.put(Arc::new(listener)).unwrap().wait().await;
    workers.addresses(&name)[0].socket().unwrap()
}

async fn say(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    hear(stream, text.len()).await
}

async fn hear(stream: &mut TcpStream, n: usize) -> String {
    let mut bytes = vec![0; n];
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_under_load_loses_nothing_and_old_connections_stay_on_their_chain() {
    let (a, b) = (backend("a").await, backend("b").await);
    let (a, b) = (tcp_chain(&cluster(0, a)), tcp_chain(&cluster(1, b)));
    let workers = workers();
    let address = put(&workers, listener("l", "127.0.0.1:0", &a)).await;
    let mut old = TcpStream::connect(address).await.unwrap();
    assert_eq!(hear(&mut old, 1).await, "a");

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let load = {
        let (stop, served) = (stop.clone(), served.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(address).await.expect("refused");
                assert!(["a", "b"].contains(&hear(&mut stream, 1).await.as_str()));
                assert_eq!(say(&mut stream, "ping").await, "ping");
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for round in 0..50u32 {
        let chain = if round % 2 == 0 { &b } else { &a };
        put(&workers, listener("l", "127.0.0.1:0", chain)).await;
        let before = served.load(Ordering::Relaxed);
        while served.load(Ordering::Relaxed) < before + 2 {
            tokio::task::yield_now().await;
            assert!(!load.is_finished(), "a connection failed");
        }
    }
    put(&workers, listener("l", "127.0.0.1:0", &b)).await;
    let mut new = TcpStream::connect(address).await.unwrap();
    assert_eq!(hear(&mut new, 1).await, "b");
    assert_eq!(say(&mut old, "still here").await, "still here");
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert_eq!(workers.addresses("l"), [ListenAddress::Socket(address)]);
}

#[tokio::test]
async fn a_removed_listener_refuses_and_lets_its_connections_finish() {
    let chain = tcp_chain(&cluster(0, backend("a").await));
    let workers = workers();
    let address = put(&workers, listener("l", "127.0.0.1:0", &chain)).await;
    let mut open = TcpStream::connect(address).await.unwrap();
    assert_eq!(hear(&mut open, 1).await, "a");
    workers.remove("l");
    // Removal is a message to the workers: wait for its effect.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(say(&mut open, "go on").await, "go on");
    let mut done = std::pin::pin!(workers.drain(Phase::Draining).wait());
    assert!(futures_util::poll!(&mut done).is_pending());
    open.shutdown().await.unwrap();
    done.await;
}

#[tokio::test]
async fn an_address_in_use_is_an_error_and_changes_nothing() {
    let chain = tcp_chain(&cluster(0, backend("a").await));
    let workers = workers();
    let address = format!("127.0.0.1:{}", meltemi_testkit::ports::free());
    let taken = std::net::TcpListener::bind(&address).unwrap();
    let error = workers.put(Arc::new(listener("l", &address, &chain))).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot bind '{address}'")), "{error}");
    assert!(workers.addresses("l").is_empty());

    drop(taken);
    put(&workers, listener("l", &address, &chain)).await;
    let error = workers.put(Arc::new(listener("m", &address, &chain))).unwrap_err().to_string();
    assert!(error.contains("has duplicate address"), "{error}");
}

#[tokio::test]
async fn half_close_travels_through_and_bulk_arrives_whole() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chain = tcp_chain(&cluster(0, backend.local_addr().unwrap()));
    let workers = workers();
    let address = put(&workers, listener("l", "127.0.0.1:0", &chain)).await;
    let bulk: Vec<u8> = (0..8 * 1024 * 1024u32).map(|n| (n % 251) as u8).collect();
    let sent = bulk.clone();
    let server = tokio::spawn(async move {
        let (mut stream, _) = backend.accept().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(received == sent, "bytes differ on the way up");
        stream.write_all(&received).await.unwrap();
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&bulk).await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert!(received == bulk, "bytes differ on the way down");
    server.await.unwrap();
}

#[tokio::test]
async fn an_original_destination_leads_to_its_listener_and_no_match_is_counted() {
    let (a, b) = (tcp_chain(&cluster(0, backend("a").await)), tcp_chain(&cluster(1, backend("b").await)));
    let workers = workers();
    let entry = Listener {
        use_original_dst: true,
        filters: vec![ListenerFilter::ProxyProtocol(Default::default()).into()],
        chains: FilterChains::build(
            vec![(ChainMatch { destination_port: Some(7), ..ChainMatch::default() }, a)],
            None,
        )
        .unwrap(),
        ..listener("entry", "127.0.0.1:0", &b)
    };
    let virtual_one = Listener { bind_to_port: false, ..listener("virtual", "192.0.2.9:80", &b) };
    let address = put(&workers, entry).await;
    workers.put(Arc::new(virtual_one)).unwrap().wait().await;
    for (destination, expected) in [("192.0.2.9 1 80", "b"), ("192.0.2.9 1 7", "a"), ("192.0.2.9 1 81", "")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let header = format!("PROXY TCP4 192.0.2.1 {destination}\r\nhello");
        stream.write_all(header.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        // Unread bytes make the close of an unmatched connection a reset.
        let _ = stream.read_to_string(&mut answer).await;
        let hello = if expected.is_empty() { "" } else { "hello" };
        assert_eq!(answer, format!("{expected}{hello}"), "{destination}");
    }
    let listeners = workers.listeners();
    let (_, stats) = listeners.iter().find(|(listener, _)| &*listener.name == "entry").unwrap();
    assert_eq!(stats.iter().map(|stats| stats.no_filter_chain_match.get()).sum::<u64>(), 1);
}

fn inspected(name: &str, silent: &Arc<FilterChain>, http: &Arc<FilterChain>) -> Listener {
    let is_http = ChainMatch {
        application_protocols: vec!["http/1.1".into()],
        transport_protocol: "raw_buffer".into(),
        ..ChainMatch::default()
    };
    Listener {
        filters: [ListenerFilter::TlsInspector, ListenerFilter::HttpInspector].map(Into::into).into(),
        // For ever: nobody can wait for it to pass.
        filters_timeout: Duration::ZERO,
        continue_on_timeout: true,
        chains: FilterChains::build(vec![(is_http, http.clone())], Some(silent.clone())).unwrap(),
        ..listener(name, "127.0.0.1:0", silent)
    }
}

/// A statistic, summed over workers.
fn read(workers: &Workers, wanted: &str) -> u64 {
    let mut sum = 0;
    workers.stats().read(|prefix, samples| {
        for (name, sample) in samples {
            if let crate::stats::Sample::Counter(value) = sample
                && format!("{prefix}{name}") == wanted
            {
                sum += value;
            }
        }
    });
    sum
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_at_once_and_a_client_keeps_its_choice() {
    let (a, b) = (backend("a").await, backend("b").await);
    let (silent, http) = (tcp_chain(&cluster(0, a)), tcp_chain(&cluster(1, b)));
    let workers = workers();
    let address = put(&workers, inspected("l", &silent, &http)).await;
    for round in 1..=3 {
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_eq!(hear(&mut client, 1).await, "a");
        assert_eq!(say(&mut client, "and on it goes").await, "and on it goes");
        assert_eq!(read(&workers, "protocol_detection.server_first"), round);
    }
    // Whoever has spoken before anybody looks is served as ever.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let heard = hear(&mut client, 1).await;
    assert!(["a", "b"].contains(&heard.as_str()), "a race that either side may win");
}

#[tokio::test]
async fn a_client_that_speaks_first_chooses_and_costs_one_early_connection_at_most() {
    let quiet = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let b = backend("b").await;
    let (silent, http) = (tcp_chain(&cluster(0, quiet.local_addr().unwrap())), tcp_chain(&cluster(1, b)));
    let workers = Workers::start(&Options { count: 1, ..Options::default() }).unwrap();
    let address = put(&workers, inspected("l", &silent, &http)).await;
    for round in 1..=20u64 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(hear(&mut client, 1).await, "b");
        assert_eq!(read(&workers, "http_inspector.http11_found"), round);
    }
    assert!(read(&workers, "protocol_detection.early_connects") <= 1);

    // Something else than HTTP goes where silence would have gone, on the connection that was made for it.
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut server = loop {
        // An early one that turned out useless is closed without a byte.
        let accepted = tokio::time::timeout(Duration::from_secs(30), quiet.accept());
        let (mut stream, _) = accepted.await.unwrap().unwrap();
        client.write_all(b"\x00\x01\x02\r\n").await.unwrap();
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 1 {
            break stream;
        }
    };
    server.write_all(b"!").await.unwrap();
    assert_eq!(hear(&mut client, 1).await, "!");
    assert_eq!(read(&workers, "http_inspector.http_not_found"), 1);
    assert_eq!(read(&workers, "protocol_detection.silent"), 0);
}

#[tokio::test]
async fn a_filter_that_is_disabled_for_a_port_waits_for_nobody_there() {
    let a = backend("a").await;
    let chain = tcp_chain(&cluster(0, a));
    let workers = workers();
    let started = std::time::Instant::now();
    let disabled = |ports| Some(Box::new(DestinationMatch::Ports(ports)));
    let waiting = |name: &str, ports| Listener {
        filters: vec![InstalledFilter { filter: ListenerFilter::HttpInspector, disabled: disabled(ports) }],
        filters_timeout: Duration::from_secs(3600),
        ..listener(name, "127.0.0.1:0", &chain)
    };
    let address = put(&workers, waiting("every", 1..65536)).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(hear(&mut client, 1).await, "a");
    assert!(started.elapsed() < Duration::from_secs(3600));
    assert_eq!(read(&workers, "http_inspector.http_not_found"), 0);

    // Where it is not disabled, the client has to say what it speaks.
    let address = put(&workers, waiting("none", 1..2)).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"\x00\r\n").await.unwrap();
    assert_eq!(hear(&mut client, 1).await, "a");
    assert_eq!(read(&workers, "http_inspector.http_not_found"), 1);
}
