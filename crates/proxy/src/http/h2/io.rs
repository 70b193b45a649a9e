//! What `h2` reads from and writes to: the stream, with writes gathered until its driver has done a round.
//!
//! `h2` writes and flushes after every larger DATA frame; here that only fills a buffer, and the connection's driver
//! empties it once per wakeup with [`Gathered::poll_write_out`]. One write per round carries the frames of all streams.
//! Invariant: whoever polls `h2` polls the write-out before it waits.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Gathered bytes beyond which writes go to the socket at once.
const LIMIT: usize = 128 * 1024;
/// Capacity that is kept after a round that gathered little; bulk keeps what it has grown to.
const KEEP: usize = 16 * 1024;

/// The two handles share this.
#[derive(Debug)]
struct Shared {
    stream: Stream,
    /// Bytes that were read before `h2` came in.
    received: Bytes,
    out: Vec<u8>,
    written: usize,
}

/// The end that `h2` owns.
#[derive(Debug)]
pub struct Gathering(Rc<RefCell<Shared>>);

/// The end that the driver keeps.
#[derive(Debug)]
pub struct Gathered(Rc<RefCell<Shared>>);

/// Splits a stream, of which `received` was already read, into both ends.
pub fn gather(stream: Stream, received: Bytes) -> (Gathering, Gathered) {
    let shared = Rc::new(RefCell::new(Shared { stream, received, out: Vec::new(), written: 0 }));
    (Gathering(shared.clone()), Gathered(shared))
}

impl Gathered {
    /// Writes what is gathered.
    pub fn poll_write_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_write_out(cx)
    }
}

impl Shared {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        if self.written < KEEP && self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        self.written = 0;
        self.out.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.len() >= LIMIT { self.poll_write_out(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for Gathering {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        if !shared.received.is_empty() {
            let n = shared.received.len().min(buf.remaining());
            buf.put_slice(&shared.received.split_to(n));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut shared.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.0.borrow_mut();
        ready!(shared.poll_room(cx))?;
        shared.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.0.borrow_mut();
        ready!(shared.poll_room(cx))?;
        bufs.iter().for_each(|buf| shared.out.extend_from_slice(buf));
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The driver writes out; see the top.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        ready!(shared.poll_write_out(cx))?;
        Pin::new(&mut shared.stream).poll_shutdown(cx)
    }
}
