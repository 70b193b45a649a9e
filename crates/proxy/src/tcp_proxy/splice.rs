//! A kernel pipe between two sockets: bulk TCP moves through it without being copied to this process.
//!
//! A relay takes one when its largest buffer fills in one read. Invariant: what was spliced in is spliced out before
//! more is taken in.

use std::{
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use crate::stream::Stream;

/// Room asked for; the kernel's default limit for one pipe is 1 MiB.
const ROOM: usize = 512 * 1024;

/// An empty or partly filled pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    len: usize,
}

impl Pipe {
    /// `None` when the system gives none (out of descriptors, over the user's pipe memory): then bytes are copied.
    pub(super) fn new() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        // A smaller pipe works as well, only slower.
        let _ = fcntl_setpipe_size(&write, ROOM);
        Some(Self { read, write, len: 0 })
    }

    /// Bytes inside.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes in what the socket has; 0 at its end. Only when empty.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream) -> Poll<io::Result<usize>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                Ok(splice(from, None, &self.write, None, ROOM, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(n) => {
                    self.len += n;
                    return Poll::Ready(Ok(n));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves on what the socket takes.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                Ok(splice(&self.read, None, to, None, self.len, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.len -= n;
                    return Poll::Ready(Ok(n));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
