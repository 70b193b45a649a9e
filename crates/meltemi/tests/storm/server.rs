//! A server of HTTP/1.1 that does what the path says.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Exchange, Manner};

/// Serves at an address for as long as the test runs.
pub(crate) async fn start(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // A client that is gone is no fault of the server.
                let _ = serve(Connection { stream, buffer: Vec::new() }).await;
            });
        }
    });
    address
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What is to be read behind a head.
enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn line_end(&mut self, end: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|bytes| bytes == end) {
                return Ok(at + end.len());
            }
            self.more().await?;
        }
    }

    async fn head(&mut self) -> io::Result<(Exchange, Body)> {
        let end = self.line_end(b"\r\n\r\n").await?;
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap().to_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let body = match field("content-length:") {
            Some(length) => Body::Length(length.parse().unwrap()),
            None if field("transfer-encoding:").is_some() => Body::Chunked,
            None => Body::Length(0),
        };
        // Names of manners are not in lower case.
        let path = head.split(' ').nth(1).unwrap();
        let exchange = Manner::ALL.iter().find_map(|manner| {
            let name = format!("{manner:?}");
            let rest = path.strip_prefix('/')?.strip_prefix(&name.to_lowercase())?;
            rest.starts_with('/').then(|| Exchange::of_path(&format!("/{name}{rest}")))?
        });
        Ok((exchange.expect("a path of ours"), body))
    }

    async fn read_body(&mut self, body: Body) -> io::Result<()> {
        match body {
            Body::Length(mut length) => {
                while length > 0 {
                    let n = length.min(self.buffer.len());
                    self.buffer.drain(..n);
                    length -= n;
                    if length > 0 {
                        self.more().await?;
                    }
                }
            }
            Body::Chunked => loop {
                let end = self.line_end(b"\r\n").await?;
                let line = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                while self.buffer.len() < size + 2 {
                    self.more().await?;
                }
                self.buffer.drain(..size + 2);
                if size == 0 {
                    break;
                }
            },
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn promise(&mut self, length: usize) -> io::Result<()> {
        self.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await
    }
}

async fn serve(mut connection: Connection) -> io::Result<()> {
    loop {
        let (exchange, upload) = connection.head().await?;
        let answer = exchange.body();
        let upload = match exchange.manner {
            Manner::Early | Manner::EarlyClose => Some(upload),
            _ => {
                connection.read_body(upload).await?;
                None
            }
        };
        match exchange.manner {
            Manner::Whole | Manner::Early => {
                connection.promise(answer.len()).await?;
                connection.write(&answer).await?;
                if let Some(upload) = upload {
                    connection.read_body(upload).await?;
                }
            }
            Manner::Interim => {
                connection.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await?;
                connection.write(b"HTTP/1.1 102 Processing\r\n\r\n").await?;
                connection.promise(answer.len()).await?;
                connection.write(&answer).await?;
            }
            Manner::Slow => {
                connection.promise(answer.len()).await?;
                for part in answer.chunks(answer.len() / 4 + 1) {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    connection.write(part).await?;
                }
            }
            Manner::Chunked => {
                let mut rng = fastrand::Rng::with_seed(exchange.seed);
                connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                let mut rest = &answer[..];
                while !rest.is_empty() {
                    let (part, more) = rest.split_at(rng.usize(1..20_000).min(rest.len()));
                    connection.write(format!("{:x}\r\n", part.len()).as_bytes()).await?;
                    connection.write(part).await?;
                    connection.write(b"\r\n").await?;
                    rest = more;
                }
                connection.write(b"0\r\nx-end: yes\r\n\r\n").await?;
            }
            Manner::UntilClose => {
                connection.write(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                connection.write(&answer).await?;
                return connection.stream.shutdown().await;
            }
            Manner::EarlyClose => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                connection.write(head.as_bytes()).await?;
                connection.write(&answer).await?;
                return connection.stream.shutdown().await;
            }
            Manner::Short => {
                connection.promise(answer.len() + 10).await?;
                return connection.write(&answer[..answer.len() / 2]).await;
            }
            Manner::Reset => {
                connection.promise(answer.len() + 10).await?;
                connection.write(&answer[..answer.len() / 2]).await?;
                return connection.stream.set_zero_linger();
            }
            Manner::Silent => return Ok(()),
            Manner::Garbage => return connection.write(b"220 mail.example.com ESMTP\r\n\r\n").await,
            Manner::Hang => {
                // Until the proxy has had enough.
                connection.more().await?;
            }
        }
    }
}
