//! What admin and signals change while traffic flows: access logs that are rotated, levels of our own log, drains that leave
//! the door open.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use meltemi_testkit::{ports, proxy::Running, raw};

const PATIENCE: Duration = Duration::from_secs(30);

struct Proxy {
    running: Running,
    main: SocketAddr,
    folder: tempfile::TempDir,
}

impl Proxy {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [admin, main] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], ports::free())));
        let log = folder.path().join("access.log").display().to_string();
        let bootstrap = format!(
            r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}
static_resources:
  listeners:
  - name: main
    traffic_direction: INBOUND
    address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          access_log: [{{name: f, typed_config: {{"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {log}, log_format: {{text_format_source: {{inline_string: "%REQ(:PATH)%\n"}}}}}}}}]
          http_filters: [{{name: envoy.filters.http.router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
          route_config: {{name: r, virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}}
"#,
            admin.port(),
            main.port()
        );
        let file = folder.path().join("bootstrap.yaml");
        fs::write(&file, bootstrap).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command.args(["proxy", "--workers", "2", "-c"]).arg(&file);
        Self { running: Running::start(&mut command, admin).await, main, folder }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        ask(self.running.admin, "GET", path).await
    }

    async fn post(&self, path: &str) -> (u16, String) {
        ask(self.running.admin, "POST", path).await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

async fn ask(to: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let answer = raw::exchange(to, request.as_bytes(), PATIENCE).await.unwrap();
    (answer.status, answer.body)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_logs_lose_no_line() {
    /// Each but the first moves what the one before it made, so none is for nothing.
    const ROTATIONS: usize = 6;
    let proxy = Proxy::start().await;
    let main = proxy.main;
    let rotating = Arc::new(AtomicBool::new(true));
    let traffic = tokio::spawn({
        let rotating = Arc::clone(&rotating);
        async move {
            let mut sent = 0;
            while rotating.load(Ordering::Relaxed) {
                assert_eq!(ask(main, "GET", &format!("/{sent}")).await.0, 200);
                sent += 1;
            }
            sent
        }
    });
    let current = proxy.path("access.log");
    let deadline = Instant::now() + PATIENCE;
    let mut rotated = Vec::new();
    while rotated.len() < ROTATIONS {
        assert!(Instant::now() < deadline, "the log was rotated {} times", rotated.len());
        let old = proxy.path(&format!("access.log.{}", rotated.len()));
        if !lines(&current).is_empty() && fs::rename(&current, &old).is_ok() {
            match rotated.len() % 2 {
                0 => assert_eq!(proxy.post("/reopen_logs").await.0, 200),
                _ => proxy.running.process.signal("USR1"),
            }
            rotated.push(old);
        }
        tokio::task::yield_now().await;
    }
    rotating.store(false, Ordering::Relaxed);
    let sent: usize = traffic.await.unwrap();
    rotated.push(current);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all: Vec<_> = rotated.iter().flat_map(|path| lines(path)).collect();
        let distinct: BTreeSet<_> = all.iter().collect();
        if distinct.len() == sent {
            assert_eq!(all.len(), sent, "a line was written twice");
            break;
        }
        let count = distinct.len();
        assert!(Instant::now() < deadline, "{count} of {sent} lines");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_change_while_it_runs() {
    let proxy = Proxy::start().await;
    let (status, list) = proxy.post("/logging").await;
    assert!(status == 200 && list.contains("  http: info\n"), "{list}");
    let (status, list) = proxy.post("/logging?paths=conn_handler:debug,http2:trace").await;
    assert!(
        status == 200 && list.contains("  conn_handler: debug\n") && list.contains("  http2: trace\n"),
        "{list}"
    );
    assert_eq!(proxy.post("/logging?http=loud").await.0, 400);
    assert_eq!(proxy.post("/logging?nosuch=debug").await.0, 400);
    assert_eq!(proxy.get("/logging").await.0, 405);
    let (status, list) = proxy.post("/logging?level=off").await;
    assert!(status == 200 && list.contains("  main: off\n") && !list.contains("debug"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_listed_answers() {
    let proxy = Proxy::start().await;
    let (_, help) = proxy.get("/help").await;
    let paths =
        help.lines().filter_map(|line| line.strip_prefix("  /")).map(|line| line.split(':').next().unwrap());
    for path in paths {
        let (path, method) = match path.strip_suffix(" (POST)") {
            Some(path) => (path, "POST"),
            None => (path, "GET"),
        };
        if path == "quitquitquit" {
            continue;
        }
        let (status, body) = ask(proxy.running.admin, method, &format!("/{path}")).await;
        assert!(matches!(status, 200 | 501 | 503), "{method} /{path}: {status} {body}");
        if method == "POST" {
            assert_eq!(proxy.get(&format!("/{path}")).await.0, 405, "/{path}");
        }
    }
    assert_eq!(proxy.get("/nosuch").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_with_skip_exit_closes_connections_and_goes_on_accepting() {
    let proxy = Proxy::start().await;
    assert_eq!(proxy.post("/drain_listeners?inboundonly&skip_exit").await.0, 200);
    for _ in 0..3 {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = raw::exchange(proxy.main, request, PATIENCE).await.unwrap();
        assert!(answer.status == 200 && answer.closed, "it should be told to leave");
        assert_eq!(raw::header(&answer, "connection"), Some("close"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dumps_and_stats_are_chosen_from() {
    let proxy = Proxy::start().await;
    let get = async |path: &str| proxy.get(path).await;
    let (status, body) = get("/config_dump?resource=static_listeners&mask=listener.name").await;
    assert!(status == 200 && body.contains("\"main\"") && !body.contains("filter_chains"), "{body}");
    let (_, body) = get("/config_dump?name_regex=nobody").await;
    assert!(!body.contains("\"main\""), "{body}");
    assert_eq!(get("/config_dump?name_regex=[").await.0, 400);
    let (_, body) = get("/stats?type=gauges&filter=^server.*").await;
    assert!(
        body.contains("server.live: 1") && body.lines().all(|line| line.starts_with("server.")),
        "{body}"
    );
    let (_, body) = get("/stats?filter=^server&invert_filter").await;
    assert!(!body.contains("server.live"), "{body}");
    assert_eq!(get("/stats?type=bogus").await.0, 400);
}
