//! Bytes both ways over TCP: both sides know what has to come, and either may end it in its own way.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    time::timeout,
};

use super::{PATIENCE, bytes};

/// How one connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Both send all, shut their side and read to the end.
    Both,
    /// The server sends only when it has read to the end.
    AfterTheEnd,
    /// The server resets when it has sent half.
    ServerResets,
    /// The server closes when it has sent half, unread bytes or not.
    ServerCloses,
    /// The client leaves after so many milliseconds.
    ClientLeaves(u64),
    /// The client resets after as many.
    ClientResets(u64),
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    manner: Manner,
    seed: u64,
    up: usize,
    down: usize,
    /// The reader of this end takes its time.
    slow_client: bool,
    slow_server: bool,
}

impl Plan {
    fn drawn(rng: &mut fastrand::Rng) -> Self {
        let sizes = [0, 1, 100, 4096, 70_000, 500_000, 2_000_000];
        let manner = match rng.u8(0..10) {
            0..4 => Manner::Both,
            4..6 => Manner::AfterTheEnd,
            6 => Manner::ServerResets,
            7 => Manner::ServerCloses,
            8 => Manner::ClientLeaves(rng.u64(0..20)),
            _ => Manner::ClientResets(rng.u64(0..20)),
        };
        let size = |rng: &mut fastrand::Rng| sizes[rng.usize(0..sizes.len())];
        let (up, down) = (size(rng), size(rng));
        let (slow_client, slow_server) = (rng.u8(0..8) == 0, rng.u8(0..8) == 0);
        Self { manner, seed: rng.u64(0..1 << 40), up, down, slow_client, slow_server }
    }

    /// Tells the server all about it.
    fn head(self) -> [u8; 32] {
        let manner = match self.manner {
            Manner::Both => 0,
            Manner::AfterTheEnd => 1,
            Manner::ServerResets => 2,
            Manner::ServerCloses => 3,
            Manner::ClientLeaves(_) | Manner::ClientResets(_) => 4,
        };
        let numbers =
            [self.seed, self.up as u64, self.down as u64, manner + 16 * u64::from(self.slow_server)];
        let mut head = [0; 32];
        for (place, number) in head.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        head
    }

    fn of_head(head: &[u8; 32]) -> Self {
        let mut numbers = head.chunks_exact(8).map(|number| u64::from_be_bytes(number.try_into().unwrap()));
        let mut next = || numbers.next().unwrap();
        let (seed, up, down, manner) = (next(), next() as usize, next() as usize, next());
        let kinds = [Manner::Both, Manner::AfterTheEnd, Manner::ServerResets, Manner::ServerCloses];
        let kind = kinds.get(manner as usize % 16).copied().unwrap_or(Manner::ClientLeaves(0));
        Self { manner: kind, seed, up, down, slow_client: false, slow_server: manner >= 16 }
    }

    fn must_arrive(self) -> bool {
        matches!(self.manner, Manner::Both | Manner::AfterTheEnd)
    }
}

/// Reads to the end and says whether all of it was `wanted`.
async fn read(from: &mut tcp::ReadHalf<'_>, wanted: &[u8], slow: bool) -> io::Result<bool> {
    let (mut buffer, mut at) = (vec![0; 30_000], 0);
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(at == wanted.len());
        }
        if wanted.get(at..at + n) != Some(&buffer[..n]) {
            return Ok(false);
        }
        at += n;
        if slow {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A server that checks what comes; its address, and how many it found wrong.
pub(crate) async fn serve() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, wrong) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut head = [0; 32];
                let mut stream = stream;
                if stream.read_exact(&mut head).await.is_err() {
                    return;
                }
                let plan = Plan::of_head(&head);
                match answer(stream, plan).await {
                    Ok(true) => {}
                    Err(_) if !plan.must_arrive() => {}
                    // What a client that left had sent is a part of it at least.
                    Ok(false) if matches!(plan.manner, Manner::ClientLeaves(_)) => {}
                    outcome => tell.send(format!("the server of {plan:?}: {outcome:?}")).unwrap(),
                }
            });
        }
    });
    (address, wrong)
}

async fn answer(mut stream: TcpStream, plan: Plan) -> io::Result<bool> {
    let (up, down) = (bytes(plan.seed, plan.up), bytes(plan.seed + 1, plan.down));
    let (mut from, mut to) = stream.split();
    match plan.manner {
        Manner::AfterTheEnd => {
            let right = read(&mut from, &up, plan.slow_server).await?;
            to.write_all(&down).await?;
            to.shutdown().await?;
            Ok(right)
        }
        Manner::ServerResets => {
            to.write_all(&down[..down.len() / 2]).await?;
            stream.set_zero_linger()?;
            Ok(true)
        }
        Manner::ServerCloses => {
            to.write_all(&down[..down.len() / 2]).await?;
            Ok(true)
        }
        _ => {
            let sends = async {
                to.write_all(&down).await?;
                to.shutdown().await
            };
            let (right, sent) = tokio::join!(read(&mut from, &up, plan.slow_server), sends);
            sent?;
            right
        }
    }
}

/// Connects again and again; panics where bytes are wrong or missing.
pub(crate) async fn connect(to: SocketAddr, seed: u64, connections: usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for n in 0..connections {
        let plan = Plan::drawn(&mut rng);
        let place = format!("task {seed}, connection {n}, {plan:?}");
        let work = timeout(PATIENCE, exchange(to, plan));
        let outcome = work.await.unwrap_or_else(|_| panic!("{place} hangs"));
        if plan.must_arrive() {
            assert!(matches!(outcome, Ok(true)), "{place}: {outcome:?}");
        }
    }
}

async fn exchange(to: SocketAddr, plan: Plan) -> io::Result<bool> {
    let mut stream = TcpStream::connect(to).await?;
    let (up, down) = (bytes(plan.seed, plan.up), bytes(plan.seed + 1, plan.down));
    let (mut from, mut into) = stream.split();
    let sends = async {
        into.write_all(&plan.head()).await?;
        into.write_all(&up).await?;
        into.shutdown().await
    };
    let both = async {
        let (right, sent) = tokio::join!(read(&mut from, &down, plan.slow_client), sends);
        sent?;
        right
    };
    match plan.manner {
        Manner::ClientLeaves(after) => timeout(Duration::from_millis(after), both).await.unwrap_or(Ok(true)),
        Manner::ClientResets(after) => {
            let outcome = timeout(Duration::from_millis(after), both).await.unwrap_or(Ok(true));
            stream.set_zero_linger()?;
            outcome
        }
        _ => both.await,
    }
}
