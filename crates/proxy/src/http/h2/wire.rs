//! A connection's socket: reads feed its state, and what that queues is written out.
//!
//! Both drivers own one. Invariant: buffers are borrowed from the worker, and one that waits for its peer holds what came of a frame.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Connection, frame};
use crate::{
    http::{Worker, buffer::Buffer},
    stats::Meter,
    stream::Stream,
};

/// The socket and what was read from it and not worked off: at most a frame.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    input: Buffer,
    worker: Rc<Worker>,
    meter: Meter,
}

impl Wire {
    /// A socket.
    pub fn new(stream: Stream, worker: Rc<Worker>, meter: Meter) -> Self {
        Self { stream, input: Buffer::default(), worker, meter }
    }

    /// The byte stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Bytes that somebody else has read.
    pub fn replay(&mut self, received: &Bytes, connection: &mut Connection) {
        let mut rest = &received[..];
        while !rest.is_empty() {
            let room = self.input.room(&self.worker.buffers, frame::HEAD + frame::MAX_PAYLOAD);
            let n = rest.len().min(room.len());
            room[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.feed(n, connection);
        }
    }

    fn feed(&mut self, n: usize, connection: &mut Connection) {
        self.input.filled(n);
        let done = connection.receive(self.input.bytes());
        self.input.consume(done);
        self.input.release(&self.worker.buffers);
    }

    /// Reads once and works off what came. Ready with true while there may be more, with false at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<io::Result<bool>> {
        let full = frame::HEAD + frame::MAX_PAYLOAD;
        let room = self.input.room(&self.worker.buffers, full);
        let size = room.len();
        let mut buf = ReadBuf::new(room);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len());
        let n = match read {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                self.input.wait(&self.worker.buffers);
                return Poll::Pending;
            }
        };
        if n == 0 {
            return Poll::Ready(Ok(false));
        }
        self.meter.read(n);
        if n == size && self.input.capacity() < 4 * full {
            // There is more than fits: bulk.
            self.input.filled(n);
            self.input.grow(&self.worker.buffers);
            self.feed(0, connection);
        } else {
            self.feed(n, connection);
        }
        Poll::Ready(Ok(true))
    }

    /// Writes what is queued; ready when all of it is gone.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<io::Result<()>> {
        while !connection.output().is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, connection.output()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => {
                    self.meter.wrote(n);
                    connection.wrote(n);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Borrows memory for the queue.
    pub fn lend(&self, connection: &mut Connection) {
        if connection.output_capacity() == 0 {
            connection.swap_output(&mut self.worker.take_output());
        }
    }

    /// Gives the queue's memory back, if nothing lies in it.
    pub fn release(&self, connection: &mut Connection) {
        if connection.output_capacity() > 0 && connection.output().is_empty() {
            let mut out = Vec::new();
            connection.swap_output(&mut out);
            self.worker.give_output(out);
        }
    }

    /// Ends our direction.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads and forgets until the peer has ended, so that our last words arrive before the kernel may reset.
    pub fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}
