//! Bytes both ways between two streams until both ends are done: half-close, idle time-out, flow control.
//!
//! Driven by the connection's one task. A direction holds at most one buffer and reads no more before all of it is
//! written, which is the flow control; buffers grow with bulk traffic and go back to the worker when nothing flows.
//! Invariant: an idle relay holds no buffer and no pipe.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{splice::Pipe, tunnel::earliest};
use crate::{
    http::{
        Worker,
        buffer::{Buffer, Buffers},
        clock,
        deadline::Deadline,
    },
    stream::Stream,
};

/// Buffers grow up to this.
const LARGEST: usize = 256 * 1024;
/// Reads in a row before other connections get their turn.
const TURNS: u32 = 16;

/// Why a relay ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both directions came to their end.
    Complete,
    /// Nothing flowed for the idle timeout.
    Idle,
    /// It went on for as long as it may.
    TooLong,
    /// The downstream socket failed.
    Downstream(io::Error),
    /// The upstream socket failed.
    Upstream(io::Error),
}

/// Two streams and what flows between them.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    worker: &'a Worker,
    downstream: &'a mut Stream,
    upstream: &'a mut Stream,
    up: Flow,
    down: Flow,
    idle_timeout: Option<Duration>,
    until: Option<Instant>,
    largest: usize,
    progress: Option<Rc<Cell<(u64, u64)>>>,
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    buffer: Buffer,
    pipe: Option<Pipe>,
    /// Bytes that have gone all the way.
    total: u64,
    read_end: bool,
    done: bool,
}

/// Which socket an error came from.
enum Fault {
    From(io::Error),
    To(io::Error),
}

impl<'a> Relay<'a> {
    /// Nothing has flowed yet.
    pub(crate) fn new(
        worker: &'a Worker,
        downstream: &'a mut Stream,
        upstream: &'a mut Stream,
        idle_timeout: Option<Duration>,
    ) -> Self {
        let (up, down) = (Flow::default(), Flow::default());
        Self {
            worker,
            downstream,
            upstream,
            up,
            down,
            idle_timeout,
            until: None,
            largest: LARGEST,
            progress: None,
        }
    }

    /// Ends at that moment, whatever flows.
    pub(crate) fn until(self, until: Option<Instant>) -> Self {
        Self { until, ..self }
    }

    /// A direction holds about that much at most: `per_connection_buffer_limit_bytes`.
    pub(crate) fn holding(self, limit: usize) -> Self {
        Self { largest: limit.min(LARGEST), ..self }
    }

    /// Says there how much has flowed.
    pub(crate) fn tell(&mut self, progress: Option<Rc<Cell<(u64, u64)>>>) {
        self.progress = progress;
    }

    /// Bytes that the upstream has said already; a greeting fits the smallest buffer.
    pub(crate) fn begin_with(&mut self, greeting: &[u8]) {
        if greeting.is_empty() {
            return;
        }
        let room = self.down.buffer.room(&self.worker.buffers, LARGEST);
        let n = greeting.len().min(room.len());
        room[..n].copy_from_slice(&greeting[..n]);
        self.down.buffer.filled(n);
    }

    /// (bytes from downstream, bytes to downstream).
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.up.total, self.down.total)
    }

    /// Runs to the end.
    pub(crate) async fn run(&mut self) -> End {
        let deadline = self.worker.deadlines.register();
        let mut seen = u64::MAX;
        poll_fn(|cx| self.poll(cx, &deadline, &mut seen)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, deadline: &Deadline, seen: &mut u64) -> Poll<End> {
        let room = (&self.worker.buffers, self.largest);
        let up = self.up.poll(cx, self.downstream, self.upstream, room);
        match up {
            Poll::Ready(Err(Fault::From(error))) => return Poll::Ready(End::Downstream(error)),
            Poll::Ready(Err(Fault::To(error))) => return Poll::Ready(End::Upstream(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        let down = self.down.poll(cx, self.upstream, self.downstream, room);
        match down {
            Poll::Ready(Err(Fault::From(error))) => return Poll::Ready(End::Upstream(error)),
            Poll::Ready(Err(Fault::To(error))) => return Poll::Ready(End::Downstream(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if let Some(progress) = &self.progress {
            progress.set(self.totals());
        }
        if self.up.done && self.down.done {
            return Poll::Ready(End::Complete);
        }
        if self.idle_timeout.is_none() && self.until.is_none() {
            return Poll::Pending;
        }
        let total = self.up.total + self.down.total;
        if total != *seen {
            *seen = total;
            let idle = self.idle_timeout.map(|limit| clock::now() + limit);
            deadline.set(earliest(idle, self.until));
        }
        deadline.poll(cx).map(|()| match self.until {
            Some(until) if clock::now() >= until => End::TooLong,
            _ => End::Idle,
        })
    }
}

impl Flow {
    /// Ready when this direction has ended, after telling the receiving side.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        (buffers, largest): (&Buffers, usize),
    ) -> Poll<Result<(), Fault>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURNS {
            ready!(self.poll_write(cx, to))?;
            if self.read_end {
                self.done = true;
                self.pipe = None;
                self.buffer.release(buffers);
                // The receiver may be gone already; then its own direction says so.
                let _ = to.shutdown_write();
                return Poll::Ready(Ok(()));
            }
            if self.read(cx, from, (buffers, largest))?.is_pending() {
                self.pipe = None;
                self.buffer.release(buffers);
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<Result<(), Fault>> {
        if let Some(pipe) = &mut self.pipe {
            while pipe.len() > 0 {
                self.total += ready!(pipe.poll_drain(cx, to)).map_err(Fault::To)? as u64;
            }
        }
        while self.buffer.len() > 0 {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, self.buffer.bytes())).map_err(Fault::To)?;
            self.buffer.consume(n);
            self.total += n as u64;
        }
        Poll::Ready(Ok(()))
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        (buffers, largest): (&Buffers, usize),
    ) -> Result<Poll<()>, Fault> {
        if let Some(pipe) = &mut self.pipe {
            let Poll::Ready(filled) = pipe.poll_fill(cx, from) else { return Ok(Poll::Pending) };
            self.read_end = filled.map_err(Fault::From)? == 0;
            return Ok(Poll::Ready(()));
        }
        let mut room = ReadBuf::new(self.buffer.room(buffers, largest));
        let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut room) else {
            return Ok(Poll::Pending);
        };
        read.map_err(Fault::From)?;
        let (n, full) = (room.filled().len(), room.remaining() == 0);
        self.buffer.filled(n);
        self.read_end = n == 0;
        if full && self.buffer.capacity() < largest {
            self.buffer.grow(buffers);
        } else if full && largest == LARGEST && from.is_plain() {
            self.pipe = Pipe::new();
        }
        Ok(Poll::Ready(()))
    }
}
