//! One HTTP/1 connection's bytes: reading into a borrowed buffer, body framing both ways, queued and direct writes.
//!
//! Both codecs own one and add heads to it. Data goes from the source's read buffer straight to the other side's
//! socket; only what is small is copied, so that it leaves with its head in one write.
//! Invariant: with no message in flight it holds no buffers.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    error::{Side, StreamError},
    http::{
        Worker,
        buffer::Buffer,
        exchange::{Next, Source, Wire},
        h1::{encode, encode::Framing, parse},
        headers::HeaderList,
        message::BodyLength,
    },
    stats::Meter,
    stream::Stream,
};

/// Bodies up to this size are copied behind their head instead of being written from where they lie.
const COALESCE: usize = 8 * 1024;
/// Read buffers of bodies grow up to this.
const MAX_BODY_BUFFER: usize = 256 * 1024;

/// Where the arriving body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Complete; with trailers or without.
    Done { trailers: bool },
    /// `content-length`: so many bytes to come.
    Length(u64),
    /// A chunk-size line comes next.
    ChunkSize,
    /// So many bytes of this chunk to come.
    ChunkData(u64),
    /// The CRLF behind a chunk.
    ChunkEnd,
    /// The trailer section.
    Trailers,
    /// Everything until the connection ends (also tunnels).
    UntilClose,
}

/// Where the leaving body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Done,
    Length(u64),
    /// So many bytes are left of the chunk whose size is already queued.
    Chunk(usize),
    Raw,
}

/// A connection with its buffers and framing.
#[derive(Debug)]
pub struct Transport {
    stream: Stream,
    worker: Rc<Worker>,
    side: Side,
    input: Buffer,
    output: Vec<u8>,
    written: usize,
    reading: Reading,
    writing: Writing,
    limits: parse::Limits,
    trailers: HeaderList,
    end_of_stream: bool,
    filled: bool,
    /// Of raw bytes: the end of ours is told by closing our direction.
    half_closes: bool,
    meter: Meter,
    /// Body bytes that were consumed.
    pub received: u64,
    /// Body bytes that were taken for writing.
    pub sent: u64,
    /// All bytes of the messages at hand.
    pub wire: Wire,
}

impl Transport {
    /// A fresh connection, `side` being the peer.
    pub fn new(stream: Stream, worker: Rc<Worker>, side: Side, limits: parse::Limits) -> Self {
        Self {
            stream,
            worker,
            side,
            input: Buffer::default(),
            output: Vec::new(),
            written: 0,
            reading: Reading::Done { trailers: false },
            writing: Writing::Done,
            limits,
            trailers: HeaderList::new(),
            end_of_stream: false,
            filled: false,
            half_closes: false,
            meter: Meter::None,
            received: 0,
            sent: 0,
            wire: Wire::default(),
        }
    }

    /// Counts its bytes from now on.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// The byte stream beneath.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whose this is.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The byte stream and what was read from it.
    pub(crate) fn into_parts(self) -> (Stream, bytes::Bytes) {
        let received = bytes::Bytes::copy_from_slice(self.input.bytes());
        (self.stream, received)
    }

    /// Bytes that have arrived and belong to nobody yet: a head, or the next pipelined one.
    pub(crate) fn pending(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Takes a parsed head off, whose fields Envoy counts as so many bytes.
    pub(crate) fn consume_head(&mut self, n: usize, fields: u32) {
        self.input.consume(n);
        self.wire.received += n as u64;
        self.wire.head_received = fields;
    }

    /// True when the peer has ended its direction.
    pub(crate) fn is_end_of_stream(&self) -> bool {
        self.end_of_stream
    }

    /// Sets how the body that follows a parsed head is framed.
    pub(crate) fn begin_reading(&mut self, body: BodyLength, until_close: bool) {
        self.reading = match body {
            BodyLength::None => Reading::Done { trailers: false },
            BodyLength::Exact(length) => Reading::Length(length),
            BodyLength::Unknown if until_close => Reading::UntilClose,
            BodyLength::Unknown => Reading::ChunkSize,
        };
        self.received = 0;
        if !self.trailers.is_empty() {
            self.trailers.clear(0);
        }
    }

    /// True when the arriving message was consumed to its end.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.reading, Reading::Done { .. } | Reading::Length(0))
    }

    /// True when the leaving message was queued to its end and written.
    pub(crate) fn is_written(&self) -> bool {
        matches!(self.writing, Writing::Done | Writing::Length(0)) && self.written == self.output.len()
    }

    /// Both directions become raw bytes.
    pub(crate) fn tunnel(&mut self) {
        self.reading = Reading::UntilClose;
        self.writing = Writing::Raw;
        self.half_closes = true;
    }

    /// The write queue, for a head; then [`Self::begin_writing`].
    pub(crate) fn queue(&mut self) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = self.worker.take_output();
        }
        &mut self.output
    }

    /// Sets how the body that follows a queued head, whose fields took so many bytes, is framed.
    pub(crate) fn begin_writing(&mut self, fields: usize, framing: Framing) {
        self.wire.head_sent = fields as u32;
        self.writing = match framing {
            Framing::None => Writing::Done,
            Framing::Length(length) => Writing::Length(length),
            Framing::Chunked => Writing::Chunk(0),
            Framing::UntilClose => Writing::Raw,
        };
        self.sent = 0;
    }

    /// Gives buffers back, when nothing lies in them.
    pub(crate) fn release(&mut self) {
        self.input.release(&self.worker.buffers);
        self.filled = false;
        if self.output.is_empty() && self.output.capacity() > 0 {
            self.worker.give_output(std::mem::take(&mut self.output));
        }
    }

    /// Reads once. `Ok(0)`: the peer has ended its direction.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        if self.end_of_stream {
            return Poll::Ready(Ok(0));
        }
        // Do not borrow memory for a connection that has nothing to say.
        match self.stream.poll_read_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => {
                self.input.wait(&self.worker.buffers);
                return Poll::Pending;
            }
        }
        if self.filled && self.input.capacity() < limit {
            self.input.grow(&self.worker.buffers);
        }
        let room = self.input.room(&self.worker.buffers, limit);
        if room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let size = room.len();
        let mut buf = ReadBuf::new(room);
        // `poll_read`, not `try_read`: it knows that a short read has emptied the socket, which saves the next one.
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
        let n = buf.filled().len();
        if n == 0 {
            self.input.wait(&self.worker.buffers);
        }
        ready!(result)?;
        self.filled = n == size;
        self.meter.read(n);
        self.input.filled(n);
        self.end_of_stream = n == 0;
        Poll::Ready(Ok(n))
    }

    /// Ready when the peer ended or broke the connection; reads pipelined bytes as far as they fit.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        loop {
            if self.end_of_stream {
                return Poll::Ready(StreamError::terminated(self.side, None));
            }
            if self.input.len() >= self.limits.bytes {
                return Poll::Pending;
            }
            match ready!(self.poll_fill(cx, self.limits.bytes)) {
                Ok(_) => {}
                Err(error) => {
                    self.end_of_stream = true;
                    return Poll::Ready(StreamError::terminated(self.side, Some(&error)));
                }
            }
        }
    }

    fn fill_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let result = ready!(self.poll_fill(cx, MAX_BODY_BUFFER));
        match result {
            Ok(0) if self.reading == Reading::UntilClose => {
                self.reading = Reading::Done { trailers: false };
                Poll::Ready(Ok(()))
            }
            Ok(0) => Poll::Ready(Err(StreamError::terminated(self.side, None))),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(StreamError::terminated(self.side, Some(&error)))),
        }
    }

    /// What comes next of the arriving body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        loop {
            match self.reading {
                Reading::Done { trailers: true } => return Poll::Ready(Ok(Next::Trailers)),
                Reading::Done { trailers: false } | Reading::Length(0) => return Poll::Ready(Ok(Next::End)),
                Reading::Length(left) if self.input.len() > 0 => {
                    return Poll::Ready(Ok(Next::Data { last: self.input.len() as u64 >= left }));
                }
                Reading::ChunkData(left) if self.input.len() > 0 => {
                    return Poll::Ready(Ok(Next::Data { last: self.ends_behind(left) }));
                }
                Reading::UntilClose if self.input.len() > 0 => {
                    return Poll::Ready(Ok(Next::Data { last: false }));
                }
                Reading::ChunkSize | Reading::ChunkEnd | Reading::Trailers => {
                    if self.advance()? {
                        continue;
                    }
                }
                Reading::Length(_) | Reading::ChunkData(_) | Reading::UntilClose => {}
            }
            ready!(self.fill_body(cx))?;
        }
    }

    /// True when the last chunk, without trailers, lies complete behind the `left` bytes of this one.
    fn ends_behind(&self, left: u64) -> bool {
        let bytes = self.input.bytes();
        left < bytes.len() as u64 && bytes[left as usize..].starts_with(b"\r\n0\r\n\r\n")
    }

    /// Moves over chunk framing; false when more bytes are needed.
    fn advance(&mut self) -> Result<bool, StreamError> {
        let fail = |side| move |refused: parse::Rejection| StreamError::protocol(side, refused.details);
        let bytes = self.input.bytes();
        let taken = match self.reading {
            Reading::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.reading = Reading::ChunkSize;
                    Some(2)
                }
                [] | [b'\r'] => None,
                _ => return Err(StreamError::protocol(self.side, "http1.codec_error")),
            },
            Reading::ChunkSize => match parse::chunk_size(bytes).map_err(fail(self.side))? {
                Some((len, 0)) => {
                    self.reading = Reading::Trailers;
                    Some(len)
                }
                Some((len, size)) => {
                    self.reading = Reading::ChunkData(size);
                    Some(len)
                }
                None => None,
            },
            _ if bytes.starts_with(b"\r\n") => {
                self.reading = Reading::Done { trailers: false };
                Some(2)
            }
            _ => {
                let len = parse::trailers(bytes, self.limits, &mut self.trailers).map_err(fail(self.side))?;
                if let Some(len) = len {
                    // As in heads; without the empty line.
                    self.wire.head_received += len.saturating_sub(2 + self.trailers.len()) as u32;
                    self.reading = Reading::Done { trailers: !self.trailers.is_empty() };
                }
                len
            }
        };
        if let Some(len) = taken {
            self.input.consume(len);
            self.wire.received += len as u64;
        }
        Ok(taken.is_some())
    }

    /// Body bytes that have arrived.
    pub(crate) fn data(&self) -> &[u8] {
        let bytes = self.input.bytes();
        match self.reading {
            Reading::Length(left) | Reading::ChunkData(left) => {
                &bytes[..(bytes.len() as u64).min(left) as usize]
            }
            Reading::UntilClose => bytes,
            _ => &[],
        }
    }

    /// Takes body bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.received += n as u64;
        self.wire.received += n as u64;
        self.input.consume(n);
        match &mut self.reading {
            Reading::Length(left) => *left -= (n as u64).min(*left),
            Reading::ChunkData(left) => {
                *left -= (n as u64).min(*left);
                if *left == 0 {
                    self.reading = Reading::ChunkEnd;
                    if self.input.bytes().starts_with(b"\r\n0\r\n\r\n") {
                        self.input.consume(7);
                        self.wire.received += 7;
                        self.reading = Reading::Done { trailers: false };
                    }
                }
            }
            _ => {}
        }
    }

    /// The trailers of the arriving message.
    pub(crate) fn trailers(&mut self) -> &mut HeaderList {
        &mut self.trailers
    }

    /// See [`crate::http::exchange::Sink::poll_send`].
    pub(crate) fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>> {
        let available = source.data().len();
        let n = match self.writing {
            Writing::Done => 0,
            Writing::Raw => available,
            Writing::Length(left) => (available as u64).min(left) as usize,
            Writing::Chunk(0) => {
                encode::chunk_size(available, self.queue());
                self.writing = Writing::Chunk(available);
                available
            }
            Writing::Chunk(left) => available.min(left),
        };
        if n == 0 {
            // More than was announced, or a body where there is none: dropped, the message is complete.
            source.consume(available);
            return Poll::Ready(Ok(()));
        }
        let tail: &[u8] = match self.writing {
            Writing::Chunk(left) if left == n && last && n == available => b"\r\n0\r\n\r\n",
            Writing::Chunk(left) if left == n => b"\r\n",
            _ => b"",
        };
        if self.output.len() - self.written + n <= COALESCE {
            let queue = self.queue();
            queue.extend_from_slice(&source.data()[..n]);
            queue.extend_from_slice(tail);
            source.consume(n);
            self.took(n, tail.len() > 2);
            return Poll::Ready(Ok(()));
        }
        let taken = ready!(self.poll_write_through(cx, &source.data()[..n], tail))?;
        source.consume(taken);
        self.took(taken, taken == n && tail.len() > 2);
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, n: usize, end: bool) {
        self.sent += n as u64;
        self.writing = match self.writing {
            Writing::Length(left) => Writing::Length(left - n as u64),
            Writing::Chunk(_) if end => Writing::Done,
            Writing::Chunk(left) => Writing::Chunk(left - n),
            other => other,
        };
    }

    /// Writes the queue, then `data`, then `tail`; returns how much of `data` left. A cut tail is queued.
    fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        tail: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        loop {
            let queued = self.output.len() - self.written;
            let slices = [IoSlice::new(&self.output[self.written..]), IoSlice::new(data), IoSlice::new(tail)];
            let slices = if queued == 0 { &slices[1..] } else { &slices[..] };
            let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
            let mut n = self.check(result)?;
            let head = n.min(queued);
            self.wrote(head);
            n -= head;
            let body = n.min(data.len());
            n -= body;
            if body == data.len() && n < tail.len() {
                self.queue().extend_from_slice(&tail[n..]);
            }
            if body > 0 {
                return Poll::Ready(Ok(body));
            }
        }
    }

    /// True while the head that was queued last lies there whole. A queue that was written is empty.
    pub(crate) fn is_untouched(&self) -> bool {
        self.written == 0 && !self.output.is_empty() && self.sent == 0
    }

    fn wrote(&mut self, n: usize) {
        self.written += n;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    fn check(&mut self, result: io::Result<usize>) -> Result<usize, StreamError> {
        match result {
            Ok(0) => Err(StreamError::terminated(self.side, None)),
            Ok(n) => {
                self.meter.wrote(n);
                self.wire.sent += n as u64;
                Ok(n)
            }
            Err(error) => Err(StreamError::terminated(self.side, Some(&error))),
        }
    }

    /// Queues a small body and the end.
    pub(crate) fn send_last(&mut self, body: &[u8]) {
        match self.writing {
            Writing::Done => return,
            Writing::Chunk(_) if !body.is_empty() => {
                encode::chunk_size(body.len(), self.queue());
                let queue = self.queue();
                queue.extend_from_slice(body);
                queue.extend_from_slice(b"\r\n");
            }
            _ => self.queue().extend_from_slice(body),
        }
        self.sent += body.len() as u64;
        if let Writing::Length(left) = &mut self.writing {
            *left -= (body.len() as u64).min(*left);
        }
        self.send_end();
    }

    /// Queues trailers, where the framing has room for them, and the end.
    pub(crate) fn send_trailers(&mut self, trailers: &HeaderList) {
        if let Writing::Chunk(_) = self.writing {
            let queue = self.queue();
            queue.extend_from_slice(b"0\r\n");
            let from = queue.len();
            trailers.encode(queue);
            let fields = queue.len() - from;
            queue.extend_from_slice(b"\r\n");
            self.wire.head_sent += fields as u32;
            self.writing = Writing::Done;
        } else {
            self.send_end();
        }
    }

    /// Queues the end. A body that is shorter than announced leaves the message open, so that the connection closes.
    pub(crate) fn send_end(&mut self) {
        match self.writing {
            Writing::Chunk(_) => {
                self.queue().extend_from_slice(b"0\r\n\r\n");
                self.writing = Writing::Done;
            }
            Writing::Raw => self.writing = Writing::Done,
            Writing::Length(_) | Writing::Done => {}
        }
    }

    /// Writes what is queued.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while self.written < self.output.len() {
            let result = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]));
            let n = self.check(result)?;
            self.wrote(n);
        }
        if self.half_closes && self.writing == Writing::Done {
            self.half_closes = false;
            // The peer may be gone already; then its own direction says so.
            let _ = self.stream.shutdown_write();
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our direction and waits, for the caller's time limit, until the peer has ended its own: data that it still
    /// sends would make the kernel reset the connection and take our last response with it.
    pub(crate) async fn linger(&mut self) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        poll_fn(|cx| {
            loop {
                self.input.consume(self.input.len());
                match ready!(self.poll_fill(cx, self.limits.bytes)) {
                    Ok(n) if n > 0 => {}
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}
