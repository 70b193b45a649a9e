//! Clients that leave and servers that break, through all ways that HTTP takes: answers that end well are right, those that must be
//! there are, and when all is quiet nothing is left behind.
//!
//! What happens is drawn from seeds; a failure names its exchange.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use meltemi_testkit::{
    ports,
    proxy::{Proxy, Running},
};
use tokio::time::timeout;

use clients::{Client, Version};

#[path = "storm/changes.rs"]
mod changes;
#[path = "storm/clients.rs"]
mod clients;
#[path = "storm/server.rs"]
mod server;
#[path = "storm/streams.rs"]
mod streams;

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// With `content-length`.
    Whole,
    Chunked,
    /// In parts, with pauses.
    Slow,
    /// With interim answers before.
    Interim,
    /// Ended by the close of the connection.
    UntilClose,
    /// Before it has read what was sent; then it reads that too.
    Early,
    /// The same, but it closes instead.
    EarlyClose,
    /// Half of what it promised, then it closes.
    Short,
    /// Half of what it promised, then it resets.
    Reset,
    /// It closes without a word.
    Silent,
    /// Something else than HTTP.
    Garbage,
    /// Never.
    Hang,
}

impl Manner {
    const ALL: [Self; 12] = [
        Self::Whole,
        Self::Chunked,
        Self::Slow,
        Self::Interim,
        Self::UntilClose,
        Self::Early,
        Self::EarlyClose,
        Self::Short,
        Self::Reset,
        Self::Silent,
        Self::Garbage,
        Self::Hang,
    ];

    /// A client that stays to the end gets all of the answer.
    fn must_arrive(self, upload: usize) -> bool {
        match self {
            Self::Whole | Self::Chunked | Self::Slow | Self::Interim | Self::UntilClose => true,
            // Who answers early ends the exchange: what a client is still sending may meet a closed connection.
            Self::Early | Self::EarlyClose => upload == 0,
            _ => false,
        }
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It sends and reads all.
    Stays,
    /// It leaves after so many milliseconds, wherever it is.
    Leaves(u64),
    /// It leaves when half of its body is sent.
    StopsSending,
    /// It reads one piece of the answer and leaves.
    StopsReading,
}

/// One exchange. Its path tells the server all about it.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    seed: u64,
    manner: Manner,
    patience: Patience,
    upload: usize,
    answer: usize,
}

impl Exchange {
    fn drawn(rng: &mut fastrand::Rng) -> Self {
        let sizes = [0, 0, 1, 100, 100, 5_000, 70_000, 300_000];
        let manner = match rng.u8(0..10) {
            // Half of the servers are well.
            0..5 => Manner::ALL[rng.usize(0..5)],
            _ => Manner::ALL[rng.usize(0..Manner::ALL.len())],
        };
        let patience = match rng.u8(0..10) {
            0..7 => Patience::Stays,
            7 => Patience::Leaves(rng.u64(0..30)),
            8 => Patience::StopsSending,
            _ => Patience::StopsReading,
        };
        let size = |rng: &mut fastrand::Rng| sizes[rng.usize(0..sizes.len())];
        Self { seed: rng.u64(0..1 << 40), manner, patience, upload: size(rng), answer: size(rng) }
    }

    fn path(&self) -> String {
        format!("/{:?}/{}/{}", self.manner, self.seed, self.answer)
    }

    fn of_path(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let name = parts.next()?;
        let manner = *Manner::ALL.iter().find(|manner| format!("{manner:?}") == name)?;
        let seed = parts.next()?.parse().ok()?;
        let answer = parts.next()?.parse().ok()?;
        Some(Self { seed, manner, patience: Patience::Stays, upload: 0, answer })
    }

    fn body(&self) -> Vec<u8> {
        bytes(self.seed, self.answer)
    }

    /// Panics if it may not end like this.
    fn check(&self, outcome: &Outcome, place: &str) {
        let must = self.patience == Patience::Stays && self.manner.must_arrive(self.upload);
        match outcome {
            Outcome::Answered(200, body) => {
                assert!(*body == self.body(), "{place}: {} other bytes", body.len())
            }
            Outcome::Left => {}
            Outcome::Answered(502..=504, _) | Outcome::Broken(_) if !must => {}
            Outcome::Answered(status, _) => panic!("{place} was answered {status}"),
            Outcome::Broken(why) => panic!("{place} broke: {why}"),
        }
    }
}

/// Bytes that are of one exchange alone.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let piece: [u8; 61] = std::array::from_fn(|_| rng.u8(..));
    (0..len).map(|n| piece[n % piece.len()] ^ (n / 61) as u8).collect()
}

/// How an exchange ended for its client.
#[derive(Debug)]
enum Outcome {
    /// With an answer that came to its end.
    Answered(u16, Vec<u8>),
    /// The client left.
    Left,
    /// Before its end, for this reason.
    Broken(String),
}

/// No exchange takes longer: the proxy gives up after two seconds. A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

const YAML: &str = include_str!("storm/bootstrap.yaml");

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Clients that do all they can think of, half of them with either version, until all are through.
async fn storm(to: &[u16]) {
    const TASKS: usize = 64;
    const EXCHANGES: usize = 60;

    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..TASKS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, to[seed / 2 % to.len()]));
        let version = if seed % 2 == 0 { Version::Http1 } else { Version::Http2 };
        tasks.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed as u64);
            let mut client = Client::new(version, address);
            let (mut ended, mut before) = ([0, 0, 0], String::from("nothing"));
            for n in 0..EXCHANGES {
                let exchange = Exchange::drawn(&mut rng);
                let place = format!("task {seed}, {version:?}, exchange {n}, {exchange:?}, after {before}");
                let Ok(outcome) = timeout(PATIENCE, client.run(&exchange)).await else {
                    panic!("{place} hangs")
                };
                exchange.check(&outcome, &place);
                ended[match outcome {
                    Outcome::Answered(..) => 0,
                    Outcome::Left => 1,
                    Outcome::Broken(_) => 2,
                }] += 1;
                before = format!("{exchange:?}");
            }
            ended
        });
    }
    let mut ended = [0, 0, 0];
    while let Some(task) = tasks.join_next().await {
        for (sum, n) in ended.iter_mut().zip(task.unwrap()) {
            *sum += n;
        }
    }
    // All three were many: else this shows nothing.
    assert!(ended.iter().all(|n| *n > TASKS * EXCHANGES / 20), "answered, left, broken: {ended:?}");
}

/// Waits until all is quiet. `stays`: gauges of what may go on.
async fn nothing_stays(proxy: &Running, descriptors_before: usize, stays: &[&str]) {
    // Connections that wait to be used again.
    let may_stay = |name: &str| {
        name.ends_with("upstream_cx_active") || stays.iter().any(|prefix| name.starts_with(prefix))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = proxy.stats("").await;
        let in_use = |(name, value): &(&String, &i64)| name.ends_with("_active") && **value != 0;
        let left: Vec<_> = stats.iter().filter(in_use).filter(|(name, _)| !may_stay(name)).collect();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "still in use: {left:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stats = proxy.stats("cluster.").await;
    let pooled: i64 =
        stats.iter().filter(|(name, _)| name.ends_with("upstream_cx_active")).map(|(_, value)| value).sum();
    let (before, after) = (descriptors_before, descriptors(proxy.process.id()));
    assert!(
        after <= before + 2 * pooled as usize + 4,
        "{before} descriptors before, {after} after, {pooled} connections pooled"
    );
    let said = proxy.process.said();
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_well_is_right_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let server = server::start("127.0.0.1").await;
    let [direct, chain, back] = [ports::free(), ports::free(), ports::free()];
    let yaml = YAML
        .replace("SERVER", &server.port().to_string())
        .replace("BACK", &back.to_string())
        .replace("CHAIN", &chain.to_string())
        .replace("DIRECT", &direct.to_string());
    let proxy = Proxy::Meltemi.start(env!("CARGO_BIN_EXE_meltemi"), &yaml, folder.path()).await;
    let before = descriptors(proxy.process.id());
    storm(&[direct, chain]).await;
    // The proxy's own connections between two of its listeners.
    let back = format!("listener.127.0.0.1_{back}.");
    nothing_stays(&proxy, before, &[&back, "http.back.downstream_cx", "listener_manager."]).await;
}

/// The same through a gateway whose rules, endpoints and pools change all the while: no exchange may be hurt by that.
#[tokio::test(flavor = "multi_thread")]
async fn changes_hurt_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = folder.path().join("mesh");
    fs::create_dir(&mesh).unwrap();
    let servers = [server::start("127.0.0.1").await, server::start("127.0.0.2").await];
    let port = ports::free();
    let files = changes::Files { folder: &mesh, servers, port };
    files.write_first();
    let (_control_plane, xds) = changes::control_plane(&mesh);
    let proxy = changes::gateway(folder.path(), &xds).await;
    changes::serves(port).await;
    let before = descriptors(proxy.process.id());
    let ports = [port];
    tokio::select! {
        () = storm(&ports) => {}
        () = files.change() => unreachable!("it does not end by itself"),
    }
    nothing_stays(&proxy, before, &["listener_manager."]).await;
    // There were changes of every kind: else this shows nothing.
    for kind in ["cluster_manager.cluster_modified", "cluster.outbound|80||storm.example.membership_change"] {
        assert!(proxy.stat(kind).await > 5, "{kind}");
    }
}

/// TCP passes as it is, whatever either side does.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_whole_both_ways() {
    const TASKS: u64 = 24;
    const CONNECTIONS: usize = 60;

    let folder = tempfile::tempdir().unwrap();
    let (server, mut wrong) = streams::serve().await;
    let port = ports::free();
    let yaml = include_str!("storm/tcp.yaml")
        .replace("SERVER", &server.port().to_string())
        .replace("PORT", &port.to_string());
    let proxy = Proxy::Meltemi.start(env!("CARGO_BIN_EXE_meltemi"), &yaml, folder.path()).await;
    let before = descriptors(proxy.process.id());
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..TASKS {
        tasks.spawn(streams::connect(to, seed, CONNECTIONS));
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    nothing_stays(&proxy, before, &["listener_manager."]).await;
    assert_eq!(wrong.try_recv().ok(), None);
}
