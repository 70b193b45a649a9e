//! Bodies over HTTP/2 streams, the same for both roles: what arrives and what leaves.
//!
//! The downstream stream and the upstream stream are each made of one [`Incoming`] and one [`Outgoing`].
//! Invariant: received data counts against the peer's window until it is consumed.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};

use super::headers;
use crate::{
    error::{ResetReason, Side, StreamError},
    http::{
        exchange::{Next, Source},
        headers::HeaderList,
    },
};

/// So many bytes of a body are handed to `h2` whether the peer's window is open or not: what a stream may hold in
/// memory beyond its granted capacity.
const UNASKED: u64 = 16 * 1024;

/// An arriving body.
#[derive(Debug)]
pub struct Incoming {
    side: Side,
    stream: Option<RecvStream>,
    data: Bytes,
    end: Option<Next>,
    trailers: HeaderList,
    /// Body bytes consumed so far.
    pub received: u64,
}

impl Incoming {
    /// Whose data arrives; the stream may come later ([`Self::begin`]).
    pub fn new(side: Side, stream: Option<RecvStream>) -> Self {
        Self { side, stream, data: Bytes::new(), end: None, trailers: HeaderList::new(), received: 0 }
    }

    /// The head has come; the body follows.
    pub fn begin(&mut self, stream: RecvStream) {
        self.stream = Some(stream);
    }

    /// True when everything arrived and was consumed.
    pub fn is_complete(&self) -> bool {
        self.end.is_some()
            || (self.data.is_empty() && self.stream.as_ref().is_some_and(RecvStream::is_end_stream))
    }

    /// As [`Source::poll_body`].
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(Next::End)) };
        while self.data.is_empty() {
            if let Some(end) = self.end {
                return Poll::Ready(Ok(end));
            }
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => self.data = data,
                Some(Err(error)) => return Poll::Ready(Err(stream_error(self.side, &error))),
                None => {
                    let trailers = ready!(stream.poll_trailers(cx));
                    let trailers = trailers.map_err(|error| stream_error(self.side, &error))?;
                    if let Some(trailers) = &trailers {
                        headers::copy_in(trailers, &mut self.trailers);
                    }
                    self.end = Some(if trailers.is_some() { Next::Trailers } else { Next::End });
                }
            }
        }
        Poll::Ready(Ok(Next::Data { last: stream.is_end_stream() }))
    }

    /// As [`Source::data`].
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// As [`Source::consume`].
    pub fn consume(&mut self, n: usize) {
        self.data.advance(n);
        self.release(n);
    }

    /// As [`Source::take`], without a copy.
    pub fn take(&mut self, n: usize) -> Bytes {
        let taken = self.data.split_to(n.min(self.data.len()));
        self.release(taken.len());
        taken
    }

    /// As [`Source::trailers`].
    pub fn trailers(&mut self) -> &mut HeaderList {
        &mut self.trailers
    }

    fn release(&mut self, n: usize) {
        self.received += n as u64;
        if let Some(stream) = &mut self.stream {
            // Fails only when the stream is gone, and then its window is of no interest.
            let _ = stream.flow_control().release_capacity(n);
        }
    }
}

/// A leaving body.
#[derive(Debug)]
pub struct Outgoing {
    side: Side,
    stream: Option<SendStream<Bytes>>,
    /// The peer has said that it wants no more, without blame (RESET with NO_ERROR).
    unwanted: bool,
    /// The end was sent along with the last data; saying it again says nothing.
    ended: bool,
    failed: Option<StreamError>,
    /// Body bytes handed on so far.
    pub sent: u64,
}

impl Outgoing {
    /// Whose errors these are; the stream comes with the head.
    pub fn new(side: Side) -> Self {
        Self { side, stream: None, unwanted: false, ended: false, failed: None, sent: 0 }
    }

    /// The head is queued; data may follow.
    pub fn begin(&mut self, stream: SendStream<Bytes>) {
        self.stream = Some(stream);
    }

    /// Remembers a failure for the next poll.
    pub fn fail(&mut self, error: StreamError) {
        self.failed.get_or_insert(error);
    }

    /// As `Sink::poll_send`.
    pub fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>> {
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        let len = source.data().len();
        let Some(stream) = self.stream.as_mut().filter(|_| !self.unwanted) else {
            source.consume(len);
            return Poll::Ready(Ok(()));
        };
        if len == 0 {
            if last {
                self.send(Bytes::new(), true);
            }
            return Poll::Ready(Ok(()));
        }
        // `h2` queues what it has no window for: a short body need not ask first.
        if self.sent + len as u64 <= UNASKED {
            self.send(source.take(len), last);
            return Poll::Ready(Ok(()));
        }
        stream.reserve_capacity(len);
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(self.refused(error.reason(), &error, source)),
                // The stream can no longer send: say why, if the peer said.
                None => match stream.poll_reset(cx) {
                    Poll::Ready(Err(error)) => return Poll::Ready(self.refused(None, &error, source)),
                    Poll::Ready(Ok(reason)) => {
                        return Poll::Ready(self.refused(Some(reason), &reason.into(), source));
                    }
                    Poll::Pending => return Poll::Ready(Err(reset(self.side, Reason::CANCEL))),
                },
            }
        }
        let n = stream.capacity().min(len);
        let data = source.take(n);
        self.send(data, last && n == len);
        Poll::Ready(Ok(()))
    }

    /// The peer takes no more: an error, unless it said so politely; then the rest goes nowhere.
    fn refused<S: Source>(
        &mut self,
        reason: Option<Reason>,
        error: &h2::Error,
        source: &mut S,
    ) -> Result<(), StreamError> {
        match reason {
            Some(Reason::NO_ERROR) if !error.is_go_away() => {
                self.unwanted = true;
                source.consume(source.data().len());
                Ok(())
            }
            Some(reason) if error.is_reset() || !error.is_go_away() => Err(reset(self.side, reason)),
            _ => Err(stream_error(self.side, error)),
        }
    }

    /// Queues data whatever the window; for what is small or was granted.
    pub fn send(&mut self, data: Bytes, last: bool) {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.ended) else { return };
        self.sent += data.len() as u64;
        self.ended = last;
        if let Err(error) = stream.send_data(data, last) {
            self.send_failed(&error);
        }
    }

    /// Queues trailers and the end.
    pub fn send_trailers(&mut self, trailers: &HeaderList) {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.ended) else { return };
        self.ended = true;
        let sent = match headers::write_trailers(trailers) {
            Ok(trailers) => stream.send_trailers(trailers),
            Err(_) => stream.send_trailers(http::HeaderMap::new()),
        };
        if let Err(error) = sent {
            self.send_failed(&error);
        }
    }

    fn send_failed(&mut self, error: &h2::Error) {
        match error.is_remote() && error.reason() == Some(Reason::NO_ERROR) {
            true => self.unwanted = true,
            false => self.fail(stream_error(self.side, error)),
        }
    }

    /// As `Sink::poll_flush`: everything lies with `h2`, whose driver was woken.
    pub fn poll_flush(&mut self) -> Poll<Result<(), StreamError>> {
        Poll::Ready(self.failed.map_or(Ok(()), Err))
    }

    /// Ready when the peer reset the stream or the connection ended.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        match ready!(stream.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(reset(self.side, reason)),
            Err(error) => Poll::Ready(stream_error(self.side, &error)),
        }
    }

    /// Resets the stream.
    pub fn abort(&mut self, reason: Reason) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(reason);
        }
    }
}

/// How a reset by the peer looks to the request phases.
pub fn reset(side: Side, reason: Reason) -> StreamError {
    let reason = match reason {
        Reason::REFUSED_STREAM => ResetReason::RemoteRefusedStreamReset,
        Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR | Reason::COMPRESSION_ERROR => {
            return StreamError {
                details: "http2.remote_reset",
                ..StreamError::new(side, ResetReason::RemoteReset)
            };
        }
        _ => ResetReason::RemoteReset,
    };
    StreamError::new(side, reason)
}

/// What `h2` reports, in our words.
pub fn stream_error(side: Side, error: &h2::Error) -> StreamError {
    if let Some(io) = error.get_io() {
        return StreamError::terminated(side, Some(io));
    }
    match error.reason() {
        // A GOAWAY fails only the streams that the peer says it never looked at.
        Some(_) if error.is_go_away() && error.is_remote() => {
            StreamError::new(side, ResetReason::RemoteRefusedStreamReset)
        }
        Some(reason) if error.is_remote() => reset(side, reason),
        Some(_) => StreamError::protocol(side, "http2.violation"),
        None => StreamError::terminated(side, None),
    }
}
