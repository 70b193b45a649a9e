//! The downstream HTTP/1 codec: request heads in, responses out, over one [`Transport`].
//!
//! [`crate::http::serve`] reads heads with it and hands it to the request phases as a [`Downstream`].
//! Invariant: a response head is written at most once per request, and nothing of the next request is parsed before
//! the response to this one is complete.

use std::task::{Context, Poll, ready};

use crate::{
    error::StreamError,
    http::{
        exchange::{Downstream, Wire},
        h1::{
            encode::{self, ConnectionHeader, Framing},
            exchange::OverTransport,
            parse::{self, Limits, Rejection},
            transport::Transport,
        },
        message::{Protocol, RequestHead, ResponseHead},
    },
};

/// A downstream connection.
#[derive(Debug)]
pub struct Server {
    transport: Transport,
    limits: Limits,
    accept_http_10: bool,
    /// Where a search for the end of an incomplete head goes on.
    scanned: usize,
    protocol: Protocol,
    to_head: bool,
    connect: bool,
    keep_alive: bool,
    aborted: bool,
}

/// How reading a head ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A request; its head is filled in.
    Request,
    /// The client has gone between requests.
    Closed,
    /// The client has gone within a head.
    Cut,
    /// Refused.
    Refused(Rejection),
}

impl Server {
    /// A connection on which nothing was read yet.
    pub fn new(transport: Transport, limits: Limits, accept_http_10: bool) -> Self {
        Self {
            transport,
            limits,
            accept_http_10,
            scanned: 0,
            protocol: Protocol::Http11,
            to_head: false,
            connect: false,
            keep_alive: true,
            aborted: false,
        }
    }

    /// The transport beneath.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// The byte stream and what was read from it, when another protocol is to take over.
    pub fn into_parts(self) -> (crate::stream::Stream, bytes::Bytes) {
        self.transport.into_parts()
    }

    /// True when bytes of a head have arrived.
    pub fn has_input(&self) -> bool {
        !self.transport.pending().is_empty()
    }

    /// True when the connection can serve another request after this one.
    pub fn can_continue(&self) -> bool {
        self.keep_alive && !self.aborted && self.transport.is_read() && self.transport.is_written()
    }

    /// True when the connection was aborted and must close without ceremony.
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Reads the next request head into `head`, which must be clear.
    pub fn poll_head(&mut self, cx: &mut Context<'_>, head: &mut RequestHead) -> Poll<Head> {
        loop {
            if self.transport.pending().len() > self.scanned {
                match self.parse(head) {
                    Ok(true) => return Poll::Ready(Head::Request),
                    Ok(false) => {}
                    Err(refused) => {
                        self.keep_alive = false;
                        return Poll::Ready(Head::Refused(refused));
                    }
                }
            }
            // One byte beyond the limit may be needed to see that it was passed.
            match ready!(self.transport.poll_fill(cx, self.limits.bytes + 1)) {
                Ok(n) if n > 0 => {}
                _ if self.has_input() => return Poll::Ready(Head::Cut),
                _ => return Poll::Ready(Head::Closed),
            }
        }
    }

    /// Parses what is there; false when it is incomplete.
    fn parse(&mut self, head: &mut RequestHead) -> Result<bool, Rejection> {
        let bytes = self.transport.pending();
        // After a first incomplete try, only the arrival of an empty line is worth another.
        if self.scanned > 0 && bytes.len() <= self.limits.bytes && !has_empty_line(bytes, self.scanned) {
            self.scanned = bytes.len();
            return Ok(false);
        }
        let Some(parsed) = parse::request(bytes, self.limits, self.accept_http_10, head)? else {
            self.scanned = bytes.len();
            head.clear();
            return Ok(false);
        };
        self.scanned = 0;
        self.transport.wire = Wire::default();
        self.transport.consume_head(parsed.len, parsed.fields);
        self.transport.begin_reading(head.body, false);
        self.protocol = head.protocol;
        self.to_head = head.is_head();
        self.connect = head.is_connect();
        self.keep_alive = parsed.keep_alive;
        Ok(true)
    }
}

/// True when an empty line (however ended) lies in `bytes`, of which `scanned` were seen before.
fn has_empty_line(bytes: &[u8], scanned: usize) -> bool {
    let from = scanned.saturating_sub(3);
    memchr::memchr_iter(b'\n', &bytes[from..])
        .any(|at| matches!(&bytes[from + at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

impl OverTransport for Server {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }
}

impl Downstream for Server {
    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        // HTTP/1.0 knows no interim responses.
        if self.protocol == Protocol::Http11 {
            let case = self.limits.names.unremembered();
            let out = self.transport.queue();
            encode::response(head, Framing::None, true, case, ConnectionHeader::None, out);
        }
    }

    fn send_head(&mut self, head: &ResponseHead, end: bool) {
        let http_10 = self.protocol == Protocol::Http10;
        let tunnel = head.status == 101 || (self.connect && (200..300).contains(&head.status));
        let framing = if tunnel { Framing::None } else { encode::framing(head, end, self.to_head, !http_10) };
        // A request body that nobody will read cannot be skipped cheaply.
        if framing == Framing::UntilClose {
            self.keep_alive = false;
        }
        let connection = match self.keep_alive || tunnel {
            false => ConnectionHeader::Close,
            true if http_10 => ConnectionHeader::KeepAlive,
            true => ConnectionHeader::None,
        };
        let bodiless = self.to_head || tunnel;
        let case = self.limits.names.unremembered();
        let queue = self.transport.queue();
        let fields = encode::response(head, framing, bodiless, case, connection, queue);
        self.transport.begin_writing(fields, framing);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.transport.poll_gone(cx)
    }

    fn abort(&mut self) {
        self.aborted = true;
        self.keep_alive = false;
    }

    fn close_after_response(&mut self) {
        self.keep_alive = false;
    }

    fn request_complete(&self) -> bool {
        self.transport.is_read()
    }

    fn body_bytes(&self) -> (u64, u64) {
        (self.transport.received, self.transport.sent)
    }

    fn wire(&self) -> Wire {
        self.transport.wire
    }

    fn become_tunnel(&mut self) {
        self.keep_alive = false;
        self.transport.tunnel();
    }
}
