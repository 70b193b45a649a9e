//! A byte stream to a peer: TCP or a Unix socket, behind one concrete type so that no call is virtual.
//!
//! The listener side hands them to the terminal filters, [`crate::upstream`] and [`crate::tcp_proxy`] open them.
//! Invariant: readiness is tokio's; `try_*` never blocks and never waits.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready},
    net::{TcpStream, UnixStream},
};

use crate::{
    cluster::{Address, Keepalive},
    listener::address,
};

/// An open connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with TCP_NODELAY set.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// Either, of which the first bytes were read by listener filters: they are read again first.
    Replayed(Box<Replayed>),
}

/// An accepted connection.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

/// A stream with bytes to read before those of the socket.
#[derive(Debug)]
pub struct Replayed {
    /// What is left of them.
    prefix: RefCell<Bytes>,
    stream: Socket,
}

impl Socket {
    /// Waits for readability.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Reads what is there; `WouldBlock` when nothing is, 0 at the end.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buf),
            Self::Unix(stream) => stream.try_read(buf),
        }
    }

    /// Our address; the unspecified one for Unix sockets.
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(stream) => stream.local_addr().unwrap_or(UNSPECIFIED),
            Self::Unix(_) => UNSPECIFIED,
        }
    }
}

impl Replayed {
    /// Copies from the prefix; `None` when it is used up.
    fn replay(&self, buf: &mut [u8]) -> Option<usize> {
        let mut prefix = self.prefix.borrow_mut();
        if prefix.is_empty() || buf.is_empty() {
            return None;
        }
        let n = prefix.len().min(buf.len());
        buf[..n].copy_from_slice(&prefix[..n]);
        prefix.advance(n);
        Some(n)
    }

    fn is_used_up(&self) -> bool {
        self.prefix.borrow().is_empty()
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Replayed(replayed) => match &replayed.stream {
                Socket::Tcp($stream) => $call,
                Socket::Unix($stream) => $call,
            },
        }
    };
}

impl Stream {
    /// An accepted connection, of which `prefix` was already read.
    pub fn accepted(stream: Socket, prefix: Vec<u8>) -> Self {
        match prefix.is_empty() {
            true => match stream {
                Socket::Tcp(stream) => Self::Tcp(stream),
                Socket::Unix(stream) => Self::Unix(stream),
            },
            false => Self::Replayed(Box::new(Replayed { prefix: RefCell::new(prefix.into()), stream })),
        }
    }

    /// Opens a connection; the caller sets the time limit.
    pub async fn connect(address: &Address, source: Option<SocketAddr>) -> io::Result<Self> {
        match address {
            Address::Socket(addr) => connect_tcp(*addr, source).await.map(Self::Tcp),
            Address::Pipe(path) => connect_unix(path).await.map(Self::Unix),
        }
    }

    /// Waits until the stream can do what `interest` asks.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        if matches!(self, Self::Replayed(replayed) if !replayed.is_used_up()) && interest.is_readable() {
            return Ok(Ready::READABLE);
        }
        either!(self, s => s.ready(interest).await)
    }

    /// Reads what is there; `WouldBlock` when nothing is, 0 at the end.
    #[inline]
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if let Self::Replayed(replayed) = self
            && let Some(n) = replayed.replay(buf)
        {
            return Ok(n);
        }
        either!(self, s => s.try_read(buf))
    }

    /// Reads what is there into spare capacity.
    #[inline]
    pub fn try_read_buf<B: bytes::BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        if let Self::Replayed(replayed) = self {
            let mut prefix = replayed.prefix.borrow_mut();
            if !prefix.is_empty() {
                let n = prefix.len().min(buf.remaining_mut());
                buf.put(prefix.split_to(n));
                return Ok(n);
            }
        }
        either!(self, s => s.try_read_buf(buf))
    }

    /// Writes what fits; `WouldBlock` when nothing does.
    #[inline]
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        either!(self, s => s.try_write(buf))
    }

    /// Writes what fits of several buffers.
    #[inline]
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.try_write_vectored(bufs))
    }

    /// Polls for readability.
    #[inline]
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self, Self::Replayed(replayed) if !replayed.is_used_up()) {
            return Poll::Ready(Ok(()));
        }
        either!(self, s => s.poll_read_ready(cx))
    }

    /// Polls for writability.
    #[inline]
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_write_ready(cx))
    }

    /// Waits for readability.
    pub async fn readable(&self) -> io::Result<()> {
        if matches!(self, Self::Replayed(replayed) if !replayed.is_used_up()) {
            return Ok(());
        }
        either!(self, s => s.readable().await)
    }

    /// Waits for writability.
    pub async fn writable(&self) -> io::Result<()> {
        either!(self, s => s.writable().await)
    }

    /// Runs a system call when the stream is ready for `interest`, clearing readiness on `WouldBlock`.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        either!(self, s => s.try_io(interest, call))
    }

    /// Ends our direction: the peer reads an end of stream. Nothing is waited for.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket().shutdown(std::net::Shutdown::Write)
    }

    /// The socket's options.
    pub fn socket(&self) -> SockRef<'_> {
        either!(self, s => SockRef::from(s))
    }

    /// True when the kernel's socket carries bytes unchanged, so that `splice` may move them.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Replayed(replayed) if !replayed.is_used_up())
    }

    fn is_unix(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Unix(_) => true,
            Self::Replayed(replayed) => matches!(replayed.stream, Socket::Unix(_)),
        }
    }

    /// Our address; the unspecified one for Unix sockets.
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(s) => s.local_addr().unwrap_or(UNSPECIFIED),
            Self::Replayed(r) => r.stream.local_addr(),
            Self::Unix(_) => UNSPECIFIED,
        }
    }

    /// The peer's address; the unspecified one for Unix sockets.
    pub fn peer_addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(s) => s.peer_addr().unwrap_or(UNSPECIFIED),
            Self::Replayed(r) => match &r.stream {
                Socket::Tcp(s) => s.peer_addr().unwrap_or(UNSPECIFIED),
                Socket::Unix(_) => UNSPECIFIED,
            },
            Self::Unix(_) => UNSPECIFIED,
        }
    }

    /// Turns TCP keepalive on as the cluster asks.
    pub fn set_keepalive(&self, keepalive: &Keepalive) -> io::Result<()> {
        if self.is_unix() {
            return Ok(());
        }
        self.socket().set_tcp_keepalive(&self::keepalive(keepalive))
    }
}

/// Probes as the system wants them said.
pub fn keepalive(keepalive: &Keepalive) -> socket2::TcpKeepalive {
    let mut options = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        options = options.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        options = options.with_retries(probes);
    }
    options
}

/// What a stream without an IP address reports.
pub const UNSPECIFIED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

async fn connect_tcp(addr: SocketAddr, source: Option<SocketAddr>) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect(addr).await?,
        Some(source) => {
            let socket = match addr {
                SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            socket.bind(source)?;
            socket.connect(addr).await?
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    if !path.as_os_str().as_bytes().starts_with(b"@") {
        return UnixStream::connect(path).await;
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Connecting to a Unix socket is done, or refused, at once.
    socket.connect(&address::unix(path)?)?;
    UnixStream::from_std(socket.into())
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, s => s.as_fd())
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Replayed(r) => {
                let prefix = r.prefix.get_mut();
                if prefix.is_empty() {
                    return match &mut r.stream {
                        Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
                        Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
                    };
                }
                let n = prefix.len().min(buf.remaining());
                buf.put_slice(&prefix.split_to(n));
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// As `either`, with the stream pinned.
macro_rules! pinned {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Replayed(replayed) => match &mut replayed.stream {
                Socket::Tcp(stream) => {
                    let $stream = Pin::new(stream);
                    $call
                }
                Socket::Unix(stream) => {
                    let $stream = Pin::new(stream);
                    $call
                }
            },
        }
    };
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        pinned!(self, s => s.poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pinned!(self, s => s.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned!(self, s => s.poll_shutdown(cx))
    }
}
