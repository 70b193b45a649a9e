//! What leaves: heads and bodies of streams to the queue, within windows.
//!
//! Invariant: a stream queues at most what both windows and the queue's limit let pass; only small whole bodies of our
//! own making wait in the stream itself.

use std::task::{Context, Poll};

use super::{
    Connection, QUEUE, Role,
    streams::{Key, State, Tail},
};
use crate::{
    error::{ResetReason, StreamError},
    http::{
        exchange::Next,
        h2::{
            frame::{self, Code, Kind},
            head,
            hpack::Encoder,
        },
        headers::{HeaderList, Known},
        message::{RequestHead, ResponseHead},
    },
};

/// How sending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes are queued.
    Bytes(usize),
    /// The peer wants no more; what is left goes nowhere.
    Unwanted,
}

impl Connection {
    /// A slot for a stream of ours.
    pub fn reserve(&mut self) -> Key {
        self.streams.take()
    }

    /// Opens a stream of ours with a request.
    pub fn send_request(&mut self, key: Key, head: &RequestHead, end: bool) {
        // Between reserving and sending the connection may have ended, or the peer have said GOAWAY.
        let refused = StreamError::new(self.side(), ResetReason::RemoteRefusedStreamReset);
        let stream = self.streams.get_mut(key);
        if let Some(error) = self.ended.or(self.peer_closing.then_some(refused)) {
            return stream.fail(error);
        }
        let id = self.next_id;
        self.next_id += 2;
        self.flood.opened();
        stream.id = id;
        stream.sent = end;
        stream.head_sent = true;
        stream.bodiless = head.is_head();
        stream.recv_window = i64::from(self.config.stream_window);
        stream.send_window = i64::from(self.peer.stream_window);
        stream.tunnel = head.upgrade.then(|| head.headers.get_str(Known::Upgrade)).flatten().map(Box::from);
        self.ids.insert(id, key);
        self.write_section(id, end, |encoder, out| head::write_request(head, encoder, out));
    }

    /// Sends a head or trailers as HEADERS and as many CONTINUATIONs as it takes.
    fn write_section(&mut self, id: u32, end: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let at = self.out.len();
        let end_stream = if end { frame::END_STREAM } else { 0 };
        frame::head(&mut self.out, 0, Kind::Headers, frame::END_HEADERS | end_stream, id);
        write(&mut self.encoder, &mut self.out);
        let len = self.out.len() - at - frame::HEAD;
        self.flood.queued();
        if len <= frame::MAX_PAYLOAD {
            self.out[at + 1..at + 3].copy_from_slice(&(len as u16).to_be_bytes());
        } else {
            let block = self.out.split_off(at + frame::HEAD);
            self.out.truncate(at);
            let mut parts = block.chunks(frame::MAX_PAYLOAD).peekable();
            let mut kind = Kind::Headers;
            let mut flags = end_stream;
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    flags |= frame::END_HEADERS;
                }
                frame::head(&mut self.out, part.len(), kind, flags, id);
                self.out.extend_from_slice(part);
                (kind, flags) = (Kind::Continuation, 0);
            }
        }
        self.tell();
    }

    /// True when the stream can still send.
    fn can_send(&self, key: Key) -> bool {
        let stream = self.streams.get(key);
        stream.error.is_none() && !stream.unwanted && !stream.sent && self.ended.is_none()
    }

    /// Queues a response's head; `end`: nothing follows.
    pub fn send_response(&mut self, key: Key, head: &ResponseHead, end: bool) {
        if !self.can_send(key) {
            return;
        }
        let stream = self.streams.get_mut(key);
        let id = stream.id;
        stream.head_sent |= !head.is_interim();
        stream.sent = end;
        self.write_section(id, end, |encoder, out| head::write_response(head, encoder, out));
        if end {
            self.half_closed(id, key);
        }
    }

    /// Queues trailers and the end, behind what still waits.
    pub fn send_trailers(&mut self, key: Key, trailers: &HeaderList) {
        if !self.can_send(key) {
            return;
        }
        let stream = self.streams.get_mut(key);
        if !stream.outbox.is_empty() {
            stream.tail = Tail::Trailers(Box::new(trailers.clone()));
            return;
        }
        let id = stream.id;
        stream.sent = true;
        if trailers.is_empty() {
            return self.end_stream(id, key);
        }
        self.write_section(id, true, |encoder, out| head::write_trailers(trailers, encoder, out));
        self.half_closed(id, key);
    }

    /// Queues the end.
    pub fn send_end(&mut self, key: Key) {
        if !self.can_send(key) {
            return;
        }
        let stream = self.streams.get_mut(key);
        if !stream.outbox.is_empty() {
            stream.tail = Tail::End;
            return;
        }
        stream.sent = true;
        let id = stream.id;
        self.end_stream(id, key);
    }

    fn end_stream(&mut self, id: u32, key: Key) {
        frame::head(&mut self.out, 0, Kind::Data, frame::END_STREAM, id);
        self.flood.queued_data();
        self.tell();
        self.half_closed(id, key);
    }

    /// Queues a whole small body and the end; what finds no window waits in the stream.
    pub fn send_last(&mut self, key: Key, body: &[u8]) {
        if !self.can_send(key) {
            return;
        }
        let n = self.queue_data(key, body, true);
        if n < body.len() {
            let stream = self.streams.get_mut(key);
            stream.outbox.extend_from_slice(&body[n..]);
            stream.tail = Tail::End;
            self.wait(key);
        }
    }

    /// Queues as much of a body as windows and the queue have room for; pending when that is nothing.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        body: &[u8],
        last: bool,
    ) -> Poll<Result<Sent, StreamError>> {
        let stream = self.streams.get(key);
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        if stream.unwanted || stream.sent {
            return Poll::Ready(Ok(Sent::Unwanted));
        }
        let n = self.queue_data(key, body, last);
        if n == 0 && !body.is_empty() {
            self.register(cx, key);
            self.wait(key);
            return Poll::Pending;
        }
        Poll::Ready(Ok(Sent::Bytes(n)))
    }

    /// Queues DATA; returns how much of `body` found room. With all of it goes the end, if it is the last.
    fn queue_data(&mut self, key: Key, body: &[u8], last: bool) -> usize {
        let stream = self.streams.get_mut(key);
        let room = QUEUE.saturating_sub(self.out.len() - self.written) as i64;
        let open = stream.send_window.min(self.send_window).min(room).max(0) as usize;
        let n = body.len().min(open);
        let whole = n == body.len() && last;
        if n == 0 && !whole {
            return 0;
        }
        stream.send_window -= n as i64;
        self.send_window -= n as i64;
        stream.sent = whole;
        let id = stream.id;
        let mut rest = &body[..n];
        loop {
            let (part, more) = rest.split_at(rest.len().min(frame::MAX_PAYLOAD));
            let end = if whole && more.is_empty() { frame::END_STREAM } else { 0 };
            frame::head(&mut self.out, part.len(), Kind::Data, end, id);
            self.out.extend_from_slice(part);
            self.flood.queued_data();
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        self.tell();
        if whole {
            self.half_closed(id, key);
        }
        n
    }

    /// Has the stream woken when the connection's window or the queue have room.
    fn wait(&mut self, key: Key) {
        let stream = self.streams.get_mut(key);
        if !stream.waits {
            stream.waits = true;
            self.waiting.push(key);
        }
    }

    /// Sends what waits in a stream, as far as it goes now.
    pub(super) fn send_rest(&mut self, key: Key) {
        let stream = self.streams.get_mut(key);
        if stream.outbox.is_empty() {
            return;
        }
        let body = std::mem::take(&mut stream.outbox);
        let tail = std::mem::take(&mut stream.tail);
        let n = self.queue_data(key, &body, matches!(tail, Tail::End));
        if n < body.len() {
            let stream = self.streams.get_mut(key);
            (stream.outbox, stream.tail) = (body[n..].to_vec(), tail);
            return self.wait(key);
        }
        if let Tail::Trailers(trailers) = tail {
            self.send_trailers(key, &trailers);
        }
    }

    /// The connection's window has grown, or the queue is empty: streams that waited go on.
    pub(super) fn window_opened(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        // Those that find it shut again come back to the end: nobody is always first.
        for key in std::mem::take(&mut self.waiting) {
            let stream = self.streams.get_mut(key);
            stream.waits = false;
            stream.wake();
            self.send_rest(key);
        }
    }

    /// Ready when nothing waits in the stream.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, key: Key) -> Poll<Result<(), StreamError>> {
        let stream = self.streams.get(key);
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        if stream.outbox.is_empty() || stream.unwanted {
            return Poll::Ready(Ok(()));
        }
        self.register(cx, key);
        Poll::Pending
    }

    /// Ready with the error that ended the stream.
    pub fn poll_error(&mut self, cx: &mut Context<'_>, key: Key) -> Poll<StreamError> {
        if let Some(error) = self.streams.get(key).error {
            return Poll::Ready(error);
        }
        self.register(cx, key);
        Poll::Pending
    }

    fn register(&mut self, cx: &mut Context<'_>, key: Key) {
        let waker = &mut self.streams.get_mut(key).waker;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// The body that has arrived; its bytes go to `data`, which must be empty.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        data: &mut Vec<u8>,
    ) -> Poll<Result<Next, StreamError>> {
        let stream = self.streams.get_mut(key);
        if stream.pop(data) {
            return Poll::Ready(Ok(Next::Data { last: stream.is_last() }));
        }
        if stream.received {
            return Poll::Ready(Ok(if stream.has_trailers { Next::Trailers } else { Next::End }));
        }
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        self.register(cx, key);
        Poll::Pending
    }

    /// True when nothing follows what was handed out.
    pub fn is_received(&self, key: Key) -> bool {
        let stream = self.streams.get(key);
        stream.received && stream.inbox.is_empty()
    }

    /// Takes the trailers.
    pub fn take_trailers(&mut self, key: Key, trailers: &mut HeaderList) {
        std::mem::swap(trailers, &mut self.streams.get_mut(key).trailers);
    }

    /// The next response head; `head` must be clear.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        let stream = self.streams.get_mut(key);
        if let Some(interim) = stream.interim.pop_front() {
            *head = interim;
            return Poll::Ready(Ok(()));
        }
        if stream.answered {
            std::mem::swap(head, &mut stream.response);
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        self.register(cx, key);
        Poll::Pending
    }

    /// Body bytes were passed on: the peer may send as many more.
    #[inline]
    pub fn release(&mut self, key: Key, n: usize) {
        self.give_back(n);
        let stream = self.streams.get_mut(key);
        stream.released += n as u32;
        if stream.released >= self.config.stream_window / 2 && !stream.received && stream.error.is_none() {
            let n = std::mem::take(&mut stream.released);
            stream.recv_window += i64::from(n);
            frame::write_window_update(&mut self.out, stream.id, n);
            self.flood.queued();
            self.tell();
        }
    }

    /// Likewise for the connection alone.
    pub(super) fn give_back(&mut self, n: usize) {
        self.released += n as u32;
        if self.released >= self.config.connection_window / 2 && self.ended.is_none() {
            let n = std::mem::take(&mut self.released);
            self.recv_window += i64::from(n);
            frame::write_window_update(&mut self.out, 0, n);
            self.flood.queued();
            self.tell();
        }
    }

    /// Ends a stream badly.
    pub fn abort(&mut self, key: Key, code: Code) {
        let stream = self.streams.get_mut(key);
        let (id, over) = (stream.id, stream.sent && stream.received);
        if !over && stream.error.is_none() {
            stream.error = Some(StreamError::new(crate::error::Side::Local, ResetReason::LocalReset));
            if self.ids.contains_key(&id) {
                self.reset_stream(id, code);
            }
        }
    }

    /// Gives a stream's slot back; resets it if it is not over. `taken`: body bytes that were handed out and not released.
    pub fn drop_stream(&mut self, key: Key, taken: usize) {
        let stream = self.streams.get_mut(key);
        let (id, unread) = (stream.id, stream.unread());
        let code = code_for(self.role, stream);
        if stream.waits {
            self.waiting.retain(|waiting| *waiting != key);
        }
        if self.ids.contains_key(&id) && id != 0 {
            self.reset_stream(id, code);
        }
        self.streams.give(key);
        if unread + taken > 0 {
            self.give_back(unread + taken);
        }
        if self.streams.is_empty() {
            self.tell();
        }
    }
}

/// What RST_STREAM says of a stream that is dropped.
fn code_for(role: Role, stream: &State) -> Code {
    match role {
        Role::Client => Code::CANCEL,
        // The answer is complete; the rest of the question is not wanted (RFC 9113, 8.1).
        Role::Server if stream.sent => Code::NO_ERROR,
        Role::Server => Code::INTERNAL_ERROR,
    }
}
