//! A backend that takes one large request body and says how long it was.
//!
//! `round` starts one for `upload-1gb`: nginx would answer before it has read everything.
//! Invariant: it serves one connection and ends.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, bail};

/// How long it waits for more.
const PATIENCE: Duration = Duration::from_secs(20);

/// The backend, listening.
pub(super) struct Sink {
    pub(super) port: u16,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Sink {
    /// Listens; answers the first request once `length` bytes of body have come.
    pub(super) fn start(length: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let thread = std::thread::spawn(move || serve(listener.accept()?.0, length));
        Ok(Self { port, thread })
    }

    /// The bytes of body that came, once the connection is over.
    pub(super) fn finish(self) -> anyhow::Result<u64> {
        self.thread.join().map_err(|_| anyhow::anyhow!("the sink panicked"))?
    }
}

fn serve(mut stream: TcpStream, length: u64) -> anyhow::Result<u64> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 256 * 1024];
    let mut head = Vec::new();
    let end = loop {
        let read = stream.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..read]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if read == 0 || head.len() > 64 * 1024 {
            bail!("no request head came");
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    if !text.contains(&format!("content-length: {length}\r\n")) {
        bail!("the request does not announce {length} bytes:\n{text}");
    }
    let mut total = (head.len() - end) as u64;
    while total < length {
        match stream.read(&mut buffer).context("reading the body")? {
            0 => break,
            read => total += read as u64,
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok(total)
}
