//! Load: wrk for HTTP/1.1, h2load for HTTP/2, our own sockets for idle connections and one large body.
//!
//! Invariant: every load ends by itself after its length plus ten seconds at most; one answer that is not 2xx fails it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};

/// How long one read or connect of our own sockets may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a load generator saw.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    /// Microseconds.
    pub(super) p50: f64,
    /// Microseconds.
    pub(super) p99: f64,
}

/// A command on one core that is ended from outside if it hangs.
pub(super) fn pinned(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// A generator: pinned, and ended by timeout(1) when it is ten seconds late.
fn bounded(core: u32, length: Duration, program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg((length + PATIENCE).as_secs().to_string());
    command.args(["taskset", "-c", &core.to_string()]).arg(program);
    command
}

/// Runs wrk.
pub(super) fn wrk(core: u32, wrk: &Path, ask: &Ask<'_>, length: Duration) -> anyhow::Result<Seen> {
    let mut command = bounded(core, length, wrk);
    command.args([
        "-t1",
        "--latency",
        &format!("-c{}", ask.connections),
        &format!("-d{}s", length.as_secs()),
    ]);
    if let Some(script) = ask.script {
        command.arg("-s").arg(script);
    }
    command.args(["-H", "x-bench: tenth", "-H", &format!("Host: {}", ask.host)]).arg(ask.url());
    let text = output(&mut command)?;
    let bad = ["Non-2xx", "Socket errors"];
    ensure!(!bad.iter().any(|bad| text.contains(bad)), "wrk saw errors:\n{text}");
    parse_wrk(&text).with_context(|| format!("wrk said:\n{text}"))
}

/// Runs h2load; percentiles come from its log of each request.
pub(super) fn h2load(
    core: u32,
    h2load: &Path,
    ask: &Ask<'_>,
    length: Duration,
    log: &Path,
) -> anyhow::Result<Seen> {
    let mut command = bounded(core, length, h2load);
    command.args(["-t1", "-m4", &format!("-c{}", ask.connections), &format!("-D{}", length.as_secs())]);
    command.arg(format!("--log-file={}", log.display())).args(["-H", "x-bench: tenth"]).arg(ask.url());
    // h2load appends.
    if log.exists() {
        std::fs::remove_file(log)?;
    }
    let text = output(&mut command)?;
    let (requests, per_second) = parse_h2load(&text).with_context(|| format!("h2load said:\n{text}"))?;
    let mut times = Vec::new();
    for line in std::fs::read_to_string(log)?.lines() {
        let mut fields = line.split('\t').skip(1);
        ensure!(fields.next() == Some("200"), "h2load saw an answer that is not 200: {line}");
        times.push(fields.next().context("h2load's log has no time")?.parse::<f64>()?);
    }
    times.sort_by(f64::total_cmp);
    ensure!(!times.is_empty(), "h2load saw no answer:\n{text}");
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Ok(Seen { requests, per_second, p50: at(0.5), p99: at(0.99) })
}

/// What to ask for.
pub(super) struct Ask<'a> {
    pub(super) port: u16,
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) connections: u32,
    /// wrk's, which then says path and host of each request.
    pub(super) script: Option<&'a Path>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(port: u16, path: &'a str, host: &'a str, connections: u32) -> Self {
        Self { port, path, host, connections, script: None }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

fn parse_wrk(text: &str) -> Option<Seen> {
    let second = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    let requests = text.lines().find(|line| line.contains(" requests in "))?;
    Some(Seen {
        requests: requests.split_ascii_whitespace().next()?.parse().ok()?,
        per_second: second("Requests/sec:")?.parse().ok()?,
        p50: microseconds(second("50%")?)?,
        p99: microseconds(second("99%")?)?,
    })
}

/// `817.00us`, `1.23ms`, `2.00s`.
fn microseconds(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[split..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        _ => return None,
    };
    Some(text[..split].parse::<f64>().ok()? * factor)
}

/// Requests and requests per second.
fn parse_h2load(text: &str) -> Option<(f64, f64)> {
    let finished = text.lines().find(|line| line.starts_with("finished in "))?;
    let requests = text.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let succeeded = requests.split(", ").find_map(|part| part.strip_suffix(" succeeded"))?;
    let per_second = finished.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    Some((succeeded.parse().ok()?, per_second.parse().ok()?))
}

/// Opens connections one by one, each with one answered request, and hands them over idle.
pub(super) fn idle_connections(port: u16, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    (0..count).map(|n| one_request(port).with_context(|| format!("connection {n}"))).collect()
}

fn one_request(port: u16) -> anyhow::Result<TcpStream> {
    let mut stream = connect(port)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\nx-bench: tenth\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The body is 100 times the same letter that no header ends with.
    while !answer.ends_with(b"mmmmmmmm") {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "answered {:?}", String::from_utf8_lossy(&answer));
    Ok(stream)
}

/// Fetches a body of `length` bytes and counts them; returns when the last has come.
pub(super) fn large_body(port: u16, path: &str, length: u64) -> anyhow::Result<()> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bench\r\nx-bench: tenth\r\nconnection: close\r\n\r\n")?;
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        total += read as u64;
    }
    ensure!(
        total >= length && total < length + 16_384,
        "{total} bytes came, {length} and a head were expected"
    );
    Ok(())
}

/// Sends a body of `length` bytes and waits for the answer, which must be 200.
pub(super) fn large_upload(port: u16, path: &str, length: u64) -> anyhow::Result<()> {
    let mut stream = connect(port)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: bench\r\nx-bench: tenth\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    )?;
    let buffer = vec![b'u'; 256 * 1024];
    let mut left = length;
    while left > 0 {
        let n = left.min(buffer.len() as u64) as usize;
        stream.write_all(&buffer[..n]).context("the proxy took no more")?;
        left -= n as u64;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"HTTP/1.1 200", "answered {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// A connection with patience.
pub(super) fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wrk() {
        let text = "Running 3s test\n  Thread Stats   Avg\n     50%    0.85ms\n     75%  1.00ms\n     99%  817.00us\n  \
                    30000 requests in 3.00s, 2.3MB read\nRequests/sec:  10000.50\nTransfer/sec: 1MB\n";
        let seen = parse_wrk(text).unwrap();
        assert_eq!(seen, Seen { requests: 30000.0, per_second: 10000.5, p50: 850.0, p99: 817.0 });
        assert_eq!(parse_wrk("unable to connect"), None);
    }

    #[test]
    fn reads_h2load() {
        let text = "finished in 1.00s, 144512.00 req/s, 17.78MB/s\nrequests: 144512 total, 144576 started, \
                    144512 done, 144511 succeeded, 0 failed\n";
        assert_eq!(parse_h2load(text), Some((144_511.0, 144_512.0)));
    }
}
