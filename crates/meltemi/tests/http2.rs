//! HTTP/2 with the programs of others on both sides: nghttpd and grpcio behind, curl, h2load and grpcio in front, and an
//! Envoy before or behind our proxy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use meltemi_testkit::{
    peers, ports,
    process::Process,
    proxy::{Proxy, Running},
};

const PATIENCE: Duration = Duration::from_secs(30);

const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: t
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - { name: v, domains: ["*"], routes: [ { match: { prefix: / }, route: { cluster: c, timeout: 0s } } ] }
  clusters:
  - name: c
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: { initial_stream_window_size: 65535 } }
    load_assignment:
      cluster_name: c
      endpoints:
      - lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: UPSTREAM } } } } ]
"#;

/// Proxies in a row that speak HTTP/2 to each other and to `server`, and the port of the first.
async fn start(chain: &[Proxy], server: u16, folder: &Path) -> (Vec<Running>, u16) {
    let (mut running, mut upstream) = (Vec::new(), server);
    for proxy in chain.iter().rev() {
        let port = ports::free();
        let text = BOOTSTRAP.replace("PORT", &port.to_string()).replace("UPSTREAM", &upstream.to_string());
        running.push(proxy.start(env!("CARGO_BIN_EXE_meltemi"), &text, folder).await);
        upstream = port;
    }
    (running, upstream)
}

/// Waits until a program listens.
async fn listens(process: &mut Process, port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(process.wait(Duration::ZERO).is_none() && Instant::now() < deadline, "{}", process.said());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn run(program: &Path, args: &[&str]) -> String {
    let output = Command::new("timeout").arg("120").arg(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program:?} {args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The order of proxies before the server.
const CHAINS: [&[Proxy]; 3] =
    [&[Proxy::Meltemi], &[Proxy::Meltemi, Proxy::Envoy], &[Proxy::Envoy, Proxy::Meltemi]];

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_many_streams_pass_from_curl_and_h2load_to_nghttpd() {
    let (Some(nghttpd), Some(curl)) = (peers::require("nghttpd"), peers::require("curl")) else { return };
    let (Some(h2load), Some(_)) = (peers::require("h2load"), peers::require("envoy")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (big, back) = (folder.path().join("big"), folder.path().join("back"));
    fs::write(&big, &body).unwrap();
    fs::write(folder.path().join("small"), "small").unwrap();
    let server = ports::free();
    let mut command = Command::new(nghttpd);
    // More streams than the load has: an Envoy in front opens streams before it knows the limit, and answers 503 to those
    // that are refused.
    command
        .args(["--no-tls", "--echo-upload", "--max-concurrent-streams=1000", "-d"])
        .arg(folder.path())
        .arg(server.to_string());
    let mut nghttpd = Process::start(&mut command);
    listens(&mut nghttpd, server).await;
    for chain in CHAINS {
        let (_running, port) = start(chain, server, folder.path()).await;
        let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
        let (big, back) = (big.to_str().unwrap(), back.to_str().unwrap());
        for version in ["--http2-prior-knowledge", "--http1.1"] {
            run(&curl, &["-sf", version, "-o", back, &url("big")]);
            assert!(fs::read(back).unwrap() == body, "{chain:?} {version}: what comes down");
            let upload = format!("@{big}");
            run(&curl, &["-sf", version, "--data-binary", &upload, "-o", back, &url("small")]);
            assert!(fs::read(back).unwrap() == body, "{chain:?} {version}: what goes up");
        }
        let streams: &[&[&str]] = &[
            &["-n", "5000", "-c", "8", "-m", "64", &url("small")],
            // Windows of 64 KB and 256 KB downstream.
            &["-n", "10", "-c", "2", "-m", "4", "-w", "16", "-W", "18", &url("big")],
            &["-n", "10", "-c", "2", "-m", "4", "-d", big, &url("small")],
        ];
        for args in streams {
            let said = run(&h2load, args);
            assert!(said.contains("0 failed, 0 errored, 0 timeout"), "{chain:?} {args:?}: {said}");
        }
    }
}

const GRPC: &str = r#"
import sys, threading, queue
from concurrent import futures
import grpc

same = lambda data: data

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/t.T/Chat":
            def chat(requests, context):
                context.send_initial_metadata((("x-first", "1"),))
                for request in requests:
                    yield request.upper()
                context.set_trailing_metadata((("x-last", "2"), ("x-bin-bin", b"\x00\xff")))
            return grpc.stream_stream_rpc_method_handler(chat, same, same)
        if details.method == "/t.T/Fail":
            def fail(request, context):
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100%")
            return grpc.unary_unary_rpc_method_handler(fail, same, same)
        if details.method == "/t.T/Wait":
            def wait(request, context):
                done = threading.Event()
                context.add_callback(done.set)
                done.wait(60)
                return b""
            return grpc.unary_unary_rpc_method_handler(wait, same, same)

if sys.argv[1] == "serve":
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Handler(),))
    print("port", server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()

channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[2])
sent = queue.Queue()
chat = channel.stream_stream("/t.T/Chat", same, same)(iter(sent.get, None), timeout=60)
# Message by message: the answer to one comes before the next is sent.
for n in range(50):
    message = b"ping %d" % n + b"x" * (n * 3000)
    sent.put(message)
    assert next(chat) == message.upper(), n
sent.put(None)
assert list(chat) == []
assert dict(chat.initial_metadata())["x-first"] == "1"
trailers = dict(chat.trailing_metadata())
assert trailers["x-last"] == "2" and trailers["x-bin-bin"] == b"\x00\xff", trailers
assert chat.code() == grpc.StatusCode.OK
try:
    channel.unary_unary("/t.T/Fail", same, same)(b"", timeout=60)
    raise SystemExit("no failure")
except grpc.RpcError as error:
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now: 100%"), error
try:
    channel.unary_unary("/t.T/Wait", same, same)(b"", timeout=0.3)
    raise SystemExit("no deadline")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
futures_ = [channel.stream_stream("/t.T/Chat", same, same)(iter([b"a", b"b"]), timeout=60) for _ in range(100)]
assert all(list(each) == [b"A", b"B"] for each in futures_)
print("all well")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_streams_both_ways_with_trailers_errors_and_deadlines() {
    let Some(python) = peers::python_with("grpc") else { return };
    if peers::require("envoy").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("talk.py");
    fs::write(&script, GRPC).unwrap();
    let script = script.to_str().unwrap();
    let server = Process::start(Command::new(&python).args([script, "serve"]));
    let said = server.wait_for("port ", PATIENCE);
    let server_port: u16 = said.trim_start_matches("port ").trim().parse().unwrap();
    for chain in CHAINS {
        let (_running, port) = start(chain, server_port, folder.path()).await;
        let said = run(&python, &[script, "call", &port.to_string()]);
        assert!(said.contains("all well"), "{chain:?}: {said}");
    }
}
