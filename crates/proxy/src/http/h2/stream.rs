//! One stream's end of a connection, the same for both roles: a body that arrives and one that leaves.
//!
//! [`super::server::Stream`] and `crate::upstream::h2::Stream` wrap it. Dropping it resets what is not over.
//! Invariant: window is given back to the peer only as the other side of the exchange takes the data.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::connection::{Connection, send::Sent, streams::Key};
use crate::{
    error::StreamError,
    http::{
        exchange::{Next, Source},
        headers::HeaderList,
    },
};

/// A connection that streams share.
pub type Shared = Rc<RefCell<Connection>>;

/// A stream.
#[derive(Debug)]
pub struct Stream {
    pub(super) connection: Shared,
    pub(super) key: Key,
    /// What was handed out of the body; `at` of it are consumed.
    data: Vec<u8>,
    at: usize,
    last: bool,
    trailers: HeaderList,
    /// Body bytes consumed so far.
    pub received: u64,
    /// Body bytes queued so far.
    pub sent: u64,
}

impl Stream {
    /// The holder of a slot.
    pub fn new(connection: Shared, key: Key) -> Self {
        let (data, trailers) = (Vec::new(), HeaderList::new());
        Self { connection, key, data, at: 0, last: false, trailers, received: 0, sent: 0 }
    }

    /// The connection.
    pub fn connection(&self) -> &Shared {
        &self.connection
    }

    /// The slot.
    pub fn key(&self) -> Key {
        self.key
    }

    /// True when everything arrived and was consumed.
    pub fn is_complete(&self) -> bool {
        self.at == self.data.len() && self.connection.borrow().is_received(self.key)
    }

    /// As [`Source::poll_body`].
    #[inline]
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        if self.at < self.data.len() {
            return Poll::Ready(Ok(Next::Data { last: self.last }));
        }
        self.data.clear();
        self.at = 0;
        let mut connection = self.connection.borrow_mut();
        let next = ready!(connection.poll_body(cx, self.key, &mut self.data))?;
        match next {
            Next::Data { last } => self.last = last,
            Next::Trailers if self.trailers.is_empty() => {
                connection.take_trailers(self.key, &mut self.trailers);
            }
            Next::Trailers | Next::End => {}
        }
        Poll::Ready(Ok(next))
    }

    /// As [`Source::data`].
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.data[self.at..]
    }

    /// As [`Source::consume`].
    #[inline]
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.data.len() - self.at);
        self.at += n;
        self.received += n as u64;
        self.connection.borrow_mut().release(self.key, n);
    }

    /// As [`Source::trailers`].
    pub fn trailers(&mut self) -> &mut HeaderList {
        &mut self.trailers
    }

    /// As `Sink::poll_send`.
    #[inline]
    pub fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>> {
        let sent = self.connection.borrow_mut().poll_send(cx, self.key, source.data(), last);
        match ready!(sent)? {
            Sent::Bytes(n) => {
                self.sent += n as u64;
                source.consume(n);
            }
            Sent::Unwanted => source.consume(source.data().len()),
        }
        Poll::Ready(Ok(()))
    }

    /// As `Sink::send_last`.
    pub fn send_last(&mut self, body: &[u8]) {
        self.sent += body.len() as u64;
        self.connection.borrow_mut().send_last(self.key, body);
    }

    /// As `Sink::send_trailers`.
    pub fn send_trailers(&mut self, trailers: &HeaderList) {
        self.connection.borrow_mut().send_trailers(self.key, trailers);
    }

    /// As `Sink::send_end`.
    pub fn send_end(&mut self) {
        self.connection.borrow_mut().send_end(self.key);
    }

    /// As `Sink::poll_flush`: what is queued is the connection's to write.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.borrow_mut().poll_flush(cx, self.key)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let taken = self.data.len() - self.at;
        self.connection.borrow_mut().drop_stream(self.key, taken);
    }
}

/// Implements `Source` and `Sink` for a wrapper by passing on to its stream.
macro_rules! delegate_body {
    ($wrapper:ty, $field:ident) => {
        impl crate::http::exchange::Source for $wrapper {
            #[inline]
            fn poll_body(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<crate::http::exchange::Next, crate::error::StreamError>> {
                self.$field.poll_body(cx)
            }

            #[inline]
            fn data(&self) -> &[u8] {
                self.$field.data()
            }

            #[inline]
            fn consume(&mut self, n: usize) {
                self.$field.consume(n);
            }

            fn trailers(&mut self) -> &mut crate::http::headers::HeaderList {
                self.$field.trailers()
            }
        }

        impl crate::http::exchange::Sink for $wrapper {
            #[inline]
            fn poll_send<S: crate::http::exchange::Source>(
                &mut self,
                cx: &mut std::task::Context<'_>,
                source: &mut S,
                last: bool,
            ) -> std::task::Poll<Result<(), crate::error::StreamError>> {
                self.$field.poll_send(cx, source, last)
            }

            fn send_last(&mut self, body: &[u8]) {
                self.$field.send_last(body);
            }

            fn send_trailers(&mut self, trailers: &crate::http::headers::HeaderList) {
                self.$field.send_trailers(trailers);
            }

            fn send_end(&mut self) {
                self.$field.send_end();
            }

            #[inline]
            fn poll_flush(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), crate::error::StreamError>> {
                self.$field.poll_flush(cx)
            }
        }
    };
}

pub(crate) use delegate_body;
