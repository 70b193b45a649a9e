//! HTTP/1.1 by hand: the exact bytes out, the answer as it came. For what a well-behaved client cannot send.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// One response as read from the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// Body, chunking undone.
    pub body: String,
    /// True when the peer closed the connection afterwards.
    pub closed: bool,
}

/// Sends the bytes on a fresh connection and reads one final response (1xx are skipped). An immediate close is `status` 0.
///
/// # Errors
/// When that is not done within `patience`, or the connection fails before the answer is whole.
pub async fn exchange(to: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Answer> {
    let no_body = bytes.starts_with(b"HEAD ");
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        // Who is refused before all is said may be unable to say the rest; the answer is there all the same.
        let said = stream.write_all(bytes).await;
        let answer = read(&mut stream, no_body).await;
        said.or_else(|error| if answer.is_ok() { Ok(()) } else { Err(error) })?;
        answer
    };
    match timeout(patience, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no complete answer in time")),
    }
}

/// Asks for a path with nothing but a host, and for the connection to be closed.
///
/// # Errors
/// As [`exchange`].
pub async fn get(to: SocketAddr, path: &str, patience: Duration) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    exchange(to, request.as_bytes(), patience).await
}

async fn read(stream: &mut TcpStream, no_body: bool) -> io::Result<Answer> {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = until(stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n")).await? else {
            return Ok(Answer { closed: true, ..Answer::default() });
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let mut answer = parse_head(&head)?;
        if answer.status / 100 == 1 && answer.status != 101 {
            continue;
        }
        if !no_body && !matches!(answer.status, 101 | 204 | 304) {
            read_body(stream, &mut buffer, &mut answer).await?;
        }
        answer.closed |=
            header(&answer, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        return Ok(answer);
    }
}

/// The value of a header, whatever its case.
pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn parse_head(head: &str) -> io::Result<Answer> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("not a response head: {head:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(bad)?;
    let headers = lines
        .map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .ok_or_else(bad)
        })
        .collect::<io::Result<_>>()?;
    Ok(Answer { status, headers, ..Answer::default() })
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, answer: &mut Answer) -> io::Result<()> {
    let body = if header(answer, "transfer-encoding").is_some() {
        read_chunks(stream, buffer).await?
    } else if let Some(length) = header(answer, "content-length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        exactly(stream, buffer, length).await?
    } else {
        stream.read_to_end(buffer).await?;
        answer.closed = true;
        std::mem::take(buffer)
    };
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(())
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line =
            until(stream, buffer, |bytes| find(bytes, b"\r\n")).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = String::from_utf8_lossy(&buffer[..line]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
            .map_err(io::Error::other)?;
        buffer.drain(..line + 2);
        body.extend(exactly(stream, buffer, size).await?);
        exactly(stream, buffer, 2).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn exactly(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    until(stream, buffer, |bytes| (bytes.len() >= length).then_some(length))
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(buffer.drain(..length).collect())
}

/// Reads until `found` says where; `None` at the end of the stream.
async fn until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    found: impl Fn(&[u8]) -> Option<usize>,
) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = found(buffer) {
            return Ok(Some(at));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
