//! TCP upstreams that say who they are, and a ClientHello to reach them by server name.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// Who speaks first on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The client; the upstream answers its first bytes with its name.
    Client,
    /// The upstream, with its name.
    Server,
}

/// A running TCP upstream; it ends when dropped.
pub struct Tcp {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tcp {
    /// Starts one on a free port of 127.0.0.1; each connection gets the name and a line end, and is closed.
    pub async fn start(name: &str, first: First) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("invariant: loopback has a free port");
        let address = listener.local_addr().expect("invariant: a bound socket has an address");
        let line = format!("{name}\n");
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let line = line.clone();
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    // A client that goes away is part of what tests do.
                    if first == First::Client && !matches!(stream.read(&mut bytes).await, Ok(n) if n > 0) {
                        return;
                    }
                    let _ = stream.write_all(line.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, task }
    }
}

/// A TLS 1.2 ClientHello with that server name (RFC 8446 4.1.2, RFC 6066 3), enough for whoever only looks.
pub fn client_hello(server_name: &str) -> Vec<u8> {
    let name = server_name.as_bytes();
    let length = |n: usize| u16::try_from(n).expect("invariant: test names are short").to_be_bytes();
    // server_name_list: type 0, name.
    let mut list = vec![0];
    list.extend(length(name.len()));
    list.extend(name);
    let mut extension = vec![0, 0];
    extension.extend(length(list.len() + 2));
    extension.extend(length(list.len()));
    extension.extend(&list);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session id, one cipher suite, no compression.
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    body.extend(length(extension.len()));
    body.extend(&extension);
    let mut hello = vec![1, 0];
    hello.extend(length(body.len()));
    hello.extend(&body);
    let mut record = vec![22, 3, 1];
    record.extend(length(hello.len()));
    record.extend(&hello);
    record
}
