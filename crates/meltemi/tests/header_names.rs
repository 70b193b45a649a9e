//! The case of header names: what a raw upstream and a raw client see of a bootstrap that preserves it, of one that makes words
//! proper, and of one that says nothing, through Meltemi's proxy and through a real Envoy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use meltemi_testkit::{peers, ports, proxy::Proxy};

const PATIENCE: Duration = Duration::from_secs(30);

const PRESERVE: &str = r#"header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}"#;
const PRESERVE_PROPER: &str = r#"header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, formatter_type_on_envoy_headers: PROPER_CASE}}}"#;
const PROPER: &str = "header_key_format: {proper_case_words: {}}";

const REQUEST: &str = "GET / HTTP/1.1\r\nHOST: a.example\r\nX-My-ID: 1\r\nx-my-id: 2\r\nUser-agent: test\r\nconnection: close\r\n\r\n";
const ANSWER: &str =
    "HTTP/1.1 200 OK\r\nX-Answer-ID: 1\r\nServer: mine\r\nContent-LENGTH: 2\r\nConnection: close\r\n\r\nok";

/// Downstream and upstream options.
const CASES: &[(&str, &str)] = &[
    ("", ""),
    (PRESERVE, PRESERVE),
    (PRESERVE, ""),
    ("", PRESERVE),
    (PRESERVE_PROPER, PRESERVE_PROPER),
    (PROPER, PROPER),
];

#[tokio::test(flavor = "multi_thread")]
async fn names_are_as_envoy_writes_them() {
    if peers::require("envoy").is_none() {
        return;
    }
    for (down, up) in CASES {
        let ours = names(Proxy::Meltemi, down, up).await;
        let theirs = names(Proxy::Envoy, down, up).await;
        assert_eq!(ours, theirs, "downstream '{down}', upstream '{up}'");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_preserved_arrive_as_they_were_sent() {
    let (up, down) = names(Proxy::Meltemi, PRESERVE, PRESERVE).await;
    for name in ["HOST", "X-My-ID", "User-agent"] {
        assert!(up.iter().any(|seen| seen == name), "{name} in {up:?}");
    }
    assert!(down.iter().any(|seen| seen == "X-Answer-ID"), "{down:?}");
}

/// The names that the upstream and the client see, sorted.
async fn names(proxy: Proxy, down: &str, up: &str) -> (Vec<String>, Vec<String>) {
    let port = ports::free();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = listener.local_addr().unwrap().port();
    let (send, seen) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let head = head(&mut stream);
            let _ = stream.write_all(ANSWER.as_bytes());
            if send.send(head).is_err() {
                return;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let text = bootstrap([port, backend], down, up);
    let _proxy = proxy.start(env!("CARGO_BIN_EXE_meltemi"), &text, folder.path()).await;
    let answer = ask(port, REQUEST);
    (sorted(&seen.recv_timeout(PATIENCE).unwrap()), sorted(&answer))
}

fn bootstrap([port, backend]: [u16; 2], down: &str, up: &str) -> String {
    format!(
        r#"
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_protocol_options: {{{down}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: backend}}}}]}}]}}
  clusters:
  - name: backend
    load_assignment: {{cluster_name: backend, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend}}}}}}}}}]}}]}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{{up}}}}}
"#
    )
}

/// The names of a head's lines.
fn sorted(head: &str) -> Vec<String> {
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let mut names: Vec<_> =
        head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
    names.sort();
    names
}

fn head(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0; 1024]);
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(n) if n > 0 => text.extend_from_slice(&byte[..n]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Everything that comes back until the connection ends.
fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
