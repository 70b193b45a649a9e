//! The case of header names: what a raw upstream and a raw client see of a bootstrap that preserves it, of one that makes words
//! proper, and of one that says nothing, through Meltemi's proxy and through a real Envoy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use meltemi_testkit::{peers, ports, process::Process};

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

#[test]
fn names_are_as_envoy_writes_them() {
    let Some(envoy) = peers::require("envoy") else { return };
    for (down, up) in CASES {
        let mut ours = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        ours.args(["proxy", "--workers", "1"]);
        let mut theirs = Command::new(&envoy);
        theirs.args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]);
        let (ours, theirs) = (names(ours, down, up), names(theirs, down, up));
        assert_eq!(ours, theirs, "downstream '{down}', upstream '{up}'");
    }
}

#[test]
fn names_that_are_preserved_arrive_as_they_were_sent() {
    let mut ours = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    ours.args(["proxy", "--workers", "1"]);
    let (up, down) = names(ours, PRESERVE, PRESERVE);
    for name in ["HOST", "X-My-ID", "User-agent"] {
        assert!(up.iter().any(|seen| seen == name), "{name} in {up:?}");
    }
    assert!(down.iter().any(|seen| seen == "X-Answer-ID"), "{down:?}");
}

/// The names that the upstream and the client see, sorted.
fn names(mut command: Command, down: &str, up: &str) -> (Vec<String>, Vec<String>) {
    let (port, admin) = (ports::free(), ports::free());
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
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(&file, bootstrap([port, admin, backend], down, up)).unwrap();
    let mut process = Process::start(command.arg("-c").arg(&file));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ask(admin, "GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").contains("200 OK") {
        let gone = process.wait(Duration::ZERO).is_some();
        assert!(!gone && Instant::now() < deadline, "not ready:\n{}", process.said());
        thread::sleep(Duration::from_millis(10));
    }
    let answer = ask(port, REQUEST);
    (sorted(&seen.recv_timeout(Duration::from_secs(5)).unwrap()), sorted(&answer))
}

fn bootstrap([port, admin, backend]: [u16; 3], down: &str, up: &str) -> String {
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
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

/// Everything that comes back until the connection ends; empty when nobody listens.
fn ask(port: u16, request: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).is_ok() {
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
