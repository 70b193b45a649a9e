//! Conversations over plain connections, with two proxies: every file of `conversations/` is a bootstrap with what clients say,
//! byte by byte, and what they must hear, run through `meltemi proxy` and through a real Envoy. What calls cannot show is
//! here: listener filters, Unix sockets, the PROXY protocol, tunnels, half-close.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path, time::Duration};

use meltemi_testkit::{
    echo::Echo,
    peers, ports,
    proxy::{Proxy, Running},
};
use regex::bytes::Regex;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about; for its reader.
    #[allow(dead_code, reason = "documentation inside the data")]
    about: String,
    /// Envoy bootstrap without admin. `{main}`, `{p1}`…`{p4}` and `{dead}` are free ports, `{folder}` is a folder; upstreams:
    /// `{echo}` answers what it hears, `{first}` says `hello` before it does, `{tunnel}` reads an HTTP head, answers 200, says
    /// the head again, and echoes (`{folder}/echo.sock` is the first of them at a Unix socket); `{http}` tells as JSON what
    /// was asked.
    bootstrap: String,
    conversations: Vec<Conversation>,
    /// Patterns of lines that the access log at `{folder}/access.log` must have in the end.
    #[serde(default)]
    logs: Vec<String>,
    /// Lines that `/stats` must have in the end; those of Envoy and ours alike.
    #[serde(default)]
    stats: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    name: String,
    /// A port, or the path of a Unix socket.
    to: String,
    steps: Vec<Step>,
    /// Why Envoy is not asked: what differs on purpose.
    #[serde(default)]
    differs: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Step {
    /// Say this.
    Say(String),
    /// Hear exactly this.
    Hear(String),
    /// Hear until this pattern matches all that was heard since the last step.
    HearLike(String),
    /// Say that nothing more will come.
    Finish,
    /// Wait until a line of the access log meets this pattern.
    UntilLogged(String),
    /// Hold another conversation to its end, while this connection stays.
    Beside(Beside),
    /// Hear the end of the connection, whatever is said before: true; or a reset counts as well.
    End(bool),
}

/// A conversation on a connection of its own, to a port.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Beside {
    to: String,
    steps: Vec<Step>,
}

struct World {
    words: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
    _http: Echo,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let http = Echo::start("http").await;
        let mut words = vec![("{folder}", folder.path().display().to_string())];
        for name in ["{main}", "{p1}", "{p2}", "{p3}", "{p4}", "{dead}"] {
            words.push((name, ports::free().to_string()));
        }
        for (name, kind) in [("{echo}", Kind::Echo), ("{first}", Kind::First), ("{tunnel}", Kind::Tunnel)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            words.push((name, listener.local_addr().unwrap().port().to_string()));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, kind));
                }
            });
        }
        let listener = UnixListener::bind(folder.path().join("echo.sock")).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Kind::Echo));
            }
        });
        words.push(("{http}", http.address.port().to_string()));
        Self { words, folder, _http: http }
    }

    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Echo,
    First,
    Tunnel,
}

/// An upstream's side; a client that leaves is part of it.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, kind: Kind) {
    if kind == Kind::First && stream.write_all(b"hello").await.is_err() {
        return;
    }
    if kind == Kind::Tunnel {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let answer = [&b"HTTP/1.1 200 OK\r\nx-tunnel: yes\r\n\r\n"[..], &head].concat();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
    let (mut read, mut write) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meltemi_holds_every_conversation() {
    let problems = run_all(Proxy::Meltemi).await;
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_holds_every_conversation() {
    if peers::require("envoy").is_none() {
        return;
    }
    let problems = run_all(Proxy::Envoy).await;
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// `CONVERSATIONS=tunnels` runs one file.
async fn run_all(proxy: Proxy) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let only = std::env::var("CONVERSATIONS").ok();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut problems = Vec::new();
    let mut held = 0;
    for path in files {
        let title = path.file_stem().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| *only != title) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let file: File =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        held += file.conversations.len();
        problems
            .extend(run_file(proxy, &file).await.into_iter().map(|problem| format!("{title}: {problem}")));
    }
    assert!(held > 0, "no conversations in {}", folder.display());
    problems
}

async fn run_file(proxy: Proxy, file: &File) -> Vec<String> {
    let world = World::new().await;
    let running =
        proxy.start(env!("CARGO_BIN_EXE_meltemi"), &world.fill(&file.bootstrap), world.folder.path()).await;
    let mut problems = Vec::new();
    for conversation in &file.conversations {
        if proxy == Proxy::Envoy && conversation.differs.is_some() {
            continue;
        }
        let to = world.fill(&conversation.to);
        let held = match to.parse() {
            Ok(port) => match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => hold(stream, &conversation.steps, &world).await,
                Err(error) => Err(error.to_string()),
            },
            Err(_) => match connect_unix(&to).await {
                Ok(stream) => hold(stream, &conversation.steps, &world).await,
                Err(error) => Err(error.to_string()),
            },
        };
        problems.extend(held.err().map(|problem| format!("{}: {problem}", conversation.name)));
    }
    problems.extend(missing_logs(&world, &file.logs).await);
    problems.extend(missing_stats(&running, &world, &file.stats).await);
    problems
}

async fn connect_unix(path: &str) -> std::io::Result<UnixStream> {
    match path.strip_prefix('@') {
        Some(name) => UnixStream::connect(format!("\0{name}")).await,
        None => UnixStream::connect(path).await,
    }
}

async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    steps: &[Step],
    world: &World,
) -> Result<(), String> {
    for (at, step) in steps.iter().enumerate() {
        let taken = tokio::time::timeout(PATIENCE, take(&mut stream, step, world)).await;
        match taken {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => return Err(format!("step {}: {problem}", at + 1)),
            Err(_) => return Err(format!("step {}: nothing came", at + 1)),
        }
    }
    Ok(())
}

async fn take<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    step: &Step,
    world: &World,
) -> Result<(), String> {
    match step {
        Step::Say(text) => {
            let bytes = bytes(&world.fill(text));
            stream.write_all(&bytes).await.map_err(|error| format!("cannot say: {error}"))
        }
        Step::Hear(text) => {
            let wanted = bytes(&world.fill(text));
            let mut heard = Vec::new();
            while heard.len() < wanted.len() && wanted.starts_with(&heard) {
                let byte =
                    stream.read_u8().await.map_err(|error| format!("heard {} and {error}", show(&heard)))?;
                heard.push(byte);
            }
            if heard == wanted {
                return Ok(());
            }
            // The rest of what came tells more.
            let mut rest = vec![0; 4096];
            let n = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut rest)).await;
            heard.extend_from_slice(&rest[..n.map_or(0, |n| n.unwrap_or(0))]);
            Err(format!("wanted {}, heard {}", show(&wanted), show(&heard)))
        }
        Step::HearLike(pattern) => {
            let pattern = world.fill(pattern);
            let wanted = Regex::new(&pattern).map_err(|error| error.to_string())?;
            let mut heard = Vec::new();
            while !wanted.is_match(&heard) {
                match stream.read_u8().await {
                    Ok(byte) => heard.push(byte),
                    Err(error) => return Err(format!("wanted {pattern}, heard {}, {error}", show(&heard))),
                }
                if heard.len() > 64 * 1024 {
                    return Err(format!("wanted {pattern}, heard {}", show(&heard)));
                }
            }
            Ok(())
        }
        Step::UntilLogged(pattern) => {
            let missing = missing_logs(world, std::slice::from_ref(pattern)).await;
            missing.into_iter().next().map_or(Ok(()), Err)
        }
        Step::Beside(beside) => {
            let port: u16 = world.fill(&beside.to).parse().map_err(|_| "not a port".to_owned())?;
            let other = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
            Box::pin(hold(other, &beside.steps, world)).await.map_err(|problem| format!("beside: {problem}"))
        }
        Step::Finish => stream.shutdown().await.map_err(|error| error.to_string()),
        Step::End(clean) => {
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest).await {
                Err(error) if *clean => Err(error.to_string()),
                _ if rest.is_empty() || !*clean => Ok(()),
                _ => Err(format!("wanted the end, heard {}", show(&rest))),
            }
        }
    }
}

/// `\r\n`, `\0` and `\xNN` in the text are those bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first().unwrap();
        rest = after;
        bytes.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b'0' => 0,
            b'x' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    bytes
}

fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// Patterns that no line of the access log meets, once it has had time to be written.
async fn missing_logs(world: &World, patterns: &[String]) -> Vec<String> {
    let patterns: Vec<_> = patterns.iter().map(|pattern| world.fill(pattern)).collect();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let log = fs::read_to_string(world.folder.path().join("access.log")).unwrap_or_default();
        let missing: Vec<_> = patterns
            .iter()
            .filter(|pattern| {
                let wanted = regex::Regex::new(pattern).unwrap();
                !log.lines().any(|line| wanted.is_match(line))
            })
            .map(|pattern| format!("no line of the log is like {pattern}:\n{log}"))
            .collect();
        if missing.is_empty() || tokio::time::Instant::now() >= deadline {
            return missing;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lines that `/stats` does not have, once what they count has had time to happen.
async fn missing_stats(running: &Running, world: &World, wanted: &[String]) -> Vec<String> {
    let wanted: Vec<_> = wanted.iter().map(|line| world.fill(line)).collect();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let stats = running.get("/stats").await.body;
        let stats: Vec<_> = stats.lines().collect();
        let missing = wanted.iter().filter(|line| !stats.contains(&line.as_str()));
        let missing: Vec<_> = missing
            .map(|line| {
                let name = line.split(": ").next().unwrap_or_default();
                let close = stats.iter().find(|line| line.starts_with(name));
                format!("/stats has not {line:?} but {close:?}")
            })
            .collect();
        if missing.is_empty() || tokio::time::Instant::now() >= deadline {
            return missing;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
