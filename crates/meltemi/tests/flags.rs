//! Response flags: `flags.yaml` has a bootstrap and, for each flag, what brings it about. Run through `meltemi proxy` and a
//! real Envoy: both log the flag, and ours logs and answers why, with the resource at fault.
//!
//! Invariant: a line of the access log is known by the client's port, and is waited for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use meltemi_testkit::{peers, ports, proxy::Proxy};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about; for its reader.
    #[allow(dead_code, reason = "documentation inside the data")]
    about: String,
    bootstrap: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// As the log has them.
    flags: String,
    /// Port of the listener.
    #[serde(default = "main_port")]
    to: String,
    #[serde(default = "shop")]
    host: String,
    /// Path of a GET.
    #[serde(default)]
    path: String,
    /// What the client says instead of a GET.
    say: Option<String>,
    /// The client goes away once the request has reached the upstream.
    #[serde(default)]
    leave: bool,
    /// The client speaks HTTP/2 and resets its stream once the request has reached the upstream.
    #[serde(default)]
    http2_reset: bool,
    /// Status of the answer; 0: none.
    status: u16,
    /// The answer ends before it is whole.
    #[serde(default)]
    cut: bool,
    /// What ours says; `{any}` stands for anything.
    reason: Option<String>,
}

fn main_port() -> String {
    "{main}".to_owned()
}

fn shop() -> String {
    "shop.example".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meltemi_logs_each_flag_and_says_why() {
    run(Proxy::Meltemi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_logs_the_same_flags() {
    if peers::require("envoy").is_some() {
        run(Proxy::Envoy).await;
    }
}

/// `FLAGS=UH` runs the cases of one flag.
async fn run(proxy: Proxy) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flags.yaml");
    let file: File = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let only = std::env::var("FLAGS").ok();
    let world = World::new(proxy).await;
    let _running =
        proxy.start(env!("CARGO_BIN_EXE_meltemi"), &world.fill(&file.bootstrap), world.folder.path()).await;
    let cases = file.cases.iter().filter(|case| only.as_ref().is_none_or(|only| *only == case.flags));
    let mut taken = Vec::new();
    for (at, case) in cases.enumerate() {
        taken.push((case, world.take(at, case).await));
    }
    let mut problems = Vec::new();
    for (case, seen) in taken {
        let judged = match seen {
            Ok(seen) => world.judge(proxy, case, seen).await,
            Err(problem) => Err(problem),
        };
        problems.extend(
            judged.err().map(|problem| format!("{} ({}{}): {problem}", case.flags, case.to, case.path)),
        );
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Upstreams, ports and the log.
struct World {
    words: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
    /// Requests that `{hangs}` has heard.
    heard: Arc<AtomicUsize>,
}

/// What a client saw.
struct Seen {
    /// The client's end of the connection.
    own: SocketAddr,
    heard: Vec<u8>,
    /// The connection, where it stays after the request.
    _stream: Option<TcpStream>,
}

/// What an upstream does once it has heard a request.
#[derive(Clone, Copy, PartialEq)]
enum Upstream {
    Hangs,
    Stops,
    Closes,
    Babbles,
    Resets,
    Fails,
}

impl World {
    async fn new(proxy: Proxy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let ours = proxy == Proxy::Meltemi;
        let reason = if ours { "%LOCAL_REPLY_REASON%" } else { "-" };
        let log = format!(
            "{{name: log, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}/access.log, log_format: {{text_format_source: {{inline_string: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%\\t%RESPONSE_FLAGS%\\t%RESPONSE_CODE_DETAILS%\\t{reason}\\n\"}}}}}}}}",
            folder.path().display()
        );
        let filter = "- {name: meltemi.local_reply_reason, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: x-why}}";
        let origin = "metadata: {filter_metadata: {istio: {config: /apis/networking.istio.io/v1alpha3/namespaces/default/virtual-service/shop}}}";
        let mut words = vec![
            ("{log}", log),
            ("{reason_filter}", if ours { filter } else { "" }.to_owned()),
            ("{shop}", origin.to_owned()),
        ];
        for name in ["{main}", "{p1}", "{p2}", "{p3}", "{p4}", "{p5}", "{p6}", "{dead}"] {
            words.push((name, ports::free().to_string()));
        }
        for (name, kind) in [
            ("{hangs}", Upstream::Hangs),
            ("{stops}", Upstream::Stops),
            ("{closes}", Upstream::Closes),
            ("{babbles}", Upstream::Babbles),
            ("{resets}", Upstream::Resets),
            ("{fails}", Upstream::Fails),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            words.push((name, listener.local_addr().unwrap().port().to_string()));
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, kind, Arc::clone(&heard)));
                }
            });
        }
        Self { words, folder, heard }
    }

    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Does what a case says, from an address of its own: the kernel gives a port again, and the log knows cases by their client.
    async fn take(&self, at: usize, case: &Case) -> Result<Seen, String> {
        let port: u16 = self.fill(&case.to).parse().unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.bind(SocketAddr::from(([127, 0, 2, u8::try_from(at + 1).unwrap()], 0))).unwrap();
        let proxy = SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = client.connect(proxy).await.map_err(|error| error.to_string())?;
        let own = stream.local_addr().unwrap();
        let before = self.heard.load(Ordering::SeqCst);
        stream.write_all(&said(case)).await.map_err(|error| error.to_string())?;
        let mut heard = Vec::new();
        if case.leave || case.http2_reset {
            self.upstream_heard(before).await?;
        } else if case.status != 0 && !case.cut {
            timeout(PATIENCE, read_head(&mut stream, &mut heard)).await.map_err(|_| "no answer in time")?;
        } else {
            // Until the end; a reset is one too.
            let _ = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.map_err(|_| "no end in time")?;
        }
        if case.http2_reset {
            stream.write_all(&RESET).await.map_err(|error| error.to_string())?;
        }
        Ok(Seen { own, heard, _stream: case.http2_reset.then_some(stream) })
    }

    async fn judge(&self, proxy: Proxy, case: &Case, seen: Seen) -> Result<(), String> {
        let line = self.line_of(seen.own).await?;
        self.compare(proxy, case, &line, &seen.heard)
    }

    fn compare(&self, proxy: Proxy, case: &Case, line: &str, heard: &[u8]) -> Result<(), String> {
        let heard = String::from_utf8_lossy(heard).into_owned();
        let status = heard.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if !case.http2_reset && status != case.status {
            return Err(format!("status {status}, not {}: {line}: {heard:?}", case.status));
        }
        let fields: Vec<&str> = line.splitn(4, '\t').collect();
        if fields[1] != case.flags {
            return Err(format!("the log has {line}"));
        }
        if proxy == Proxy::Envoy {
            return Ok(());
        }
        let wanted = self.fill(case.reason.as_deref().unwrap_or("-"));
        if !like(&wanted, fields[3]) {
            return Err(format!("the log says {:?}, not {wanted:?}", fields[3]));
        }
        let header = heard.lines().find_map(|line| line.strip_prefix("x-why: "));
        // An answer that has begun cannot say why it ended.
        let expected = (case.status != 0 && !case.cut).then_some(wanted).filter(|wanted| wanted != "-");
        match (expected, header) {
            (None, None) => Ok(()),
            (Some(wanted), Some(header)) if like(&wanted, header) => Ok(()),
            (wanted, header) => Err(format!("the answer says {header:?}, not {wanted:?}")),
        }
    }

    /// Waits until an upstream that hangs has heard one more request.
    async fn upstream_heard(&self, before: usize) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.heard.load(Ordering::SeqCst) == before {
            if Instant::now() >= deadline {
                return Err("the upstream heard nothing".to_owned());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The line of the log that is about the connection of a client.
    async fn line_of(&self, client: SocketAddr) -> Result<String, String> {
        let key = format!("{client}\t");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.starts_with(&key)) {
                return Ok(line.to_owned());
            }
            if Instant::now() >= deadline {
                return Err(format!("no line of the log is about {client}:\n{log}"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether a text is like a pattern in which `{any}` stands for anything.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once("{any}") {
        None => pattern == text,
        Some((before, after)) => text.starts_with(before) && text.ends_with(after),
    }
}

/// RST_STREAM of stream 1 with CANCEL (RFC 9113, 6.4).
const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];

/// What the client says.
fn said(case: &Case) -> Vec<u8> {
    if case.http2_reset {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS, empty; HEADERS with END_HEADERS and END_STREAM: GET, http, path and authority spelt out (RFC 7541, 6.2.2).
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let mut block = vec![0x82, 0x86, 0x04, u8::try_from(case.path.len()).unwrap()];
        block.extend(case.path.as_bytes());
        block.extend([0x01, u8::try_from(case.host.len()).unwrap()]);
        block.extend(case.host.as_bytes());
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
        bytes.extend(block);
        return bytes;
    }
    match &case.say {
        Some(text) => text.clone().into_bytes(),
        None => format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", case.path, case.host).into_bytes(),
    }
}

async fn read_head(stream: &mut TcpStream, heard: &mut Vec<u8>) {
    while !heard.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => heard.push(byte),
            Err(_) => return,
        }
    }
}

/// An upstream's side of a connection.
async fn answer(mut stream: TcpStream, kind: Upstream, heard: Arc<AtomicUsize>) {
    if kind == Upstream::Resets {
        return reset_streams(stream).await;
    }
    let mut head = Vec::new();
    read_head(&mut stream, &mut head).await;
    if !head.ends_with(b"\r\n\r\n") {
        return;
    }
    let said: &[u8] = match kind {
        Upstream::Hangs => {
            heard.fetch_add(1, Ordering::SeqCst);
            b""
        }
        Upstream::Stops => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbit",
        Upstream::Babbles => b"good day to you\r\n\r\n",
        Upstream::Fails => b"HTTP/1.1 503 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        Upstream::Closes | Upstream::Resets => return,
    };
    if stream.write_all(said).await.is_ok() && kind != Upstream::Fails {
        let _ = stream.read_to_end(&mut head).await;
    }
}

/// Speaks just enough HTTP/2 to reset every stream that begins.
async fn reset_streams(mut stream: TcpStream) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err()
        || stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.is_err()
    {
        return;
    }
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut body = vec![0; length as usize];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        // HEADERS; the answer is RST_STREAM with INTERNAL_ERROR.
        if head[3] == 1 {
            let frame = [0, 0, 4, 3, 0, head[5], head[6], head[7], head[8], 0, 0, 0, 2];
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}
