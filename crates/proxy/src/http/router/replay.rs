//! The request body as a try sees it: what earlier tries sent first, then what still arrives.
//!
//! Only requests with a retry policy keep anything. Invariant: `data` is the whole body so far, or keeping was given
//! up and no further try is possible.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{
    error::StreamError,
    http::{
        exchange::{Downstream, Next, Source},
        headers::HeaderList,
        router::mirror::Copies,
    },
};

/// What is kept of a request body.
#[derive(Debug, Default)]
pub struct Replay {
    kept: Vec<u8>,
    /// How much of `kept` the current try has sent.
    sent: usize,
    /// Bytes that may be kept; `None` when nothing is kept any more.
    limit: Option<usize>,
    lost: bool,
}

impl Replay {
    /// Keeps up to `limit` bytes; `None` keeps nothing.
    pub fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// True when another try can send all that was consumed.
    pub fn is_complete(&self) -> bool {
        !self.lost
    }

    /// Starts the body over.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    fn consumed(&mut self, data: &[u8]) {
        match self.limit {
            Some(limit) if self.kept.len() + data.len() <= limit => {
                self.kept.extend_from_slice(data);
                self.sent = self.kept.len();
            }
            _ => {
                self.lost = true;
                self.limit = None;
                self.kept = Vec::new();
                self.sent = 0;
            }
        }
    }
}

/// The request body of the current try.
#[derive(Debug)]
pub struct RequestBody<'a, D> {
    /// Where more of it comes from.
    pub downstream: &'a mut D,
    /// What was kept.
    pub replay: &'a mut Replay,
    /// Who gets a copy of what is fresh.
    pub copies: Option<&'a Copies>,
}

impl<D: Downstream> RequestBody<'_, D> {
    fn is_replaying(&self) -> bool {
        self.replay.sent < self.replay.kept.len()
    }
}

impl<D: Downstream> Source for RequestBody<'_, D> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        if self.is_replaying() {
            return Poll::Ready(Ok(Next::Data { last: false }));
        }
        self.downstream.poll_body(cx)
    }

    fn data(&self) -> &[u8] {
        if self.is_replaying() { &self.replay.kept[self.replay.sent..] } else { self.downstream.data() }
    }

    fn consume(&mut self, n: usize) {
        if self.is_replaying() {
            self.replay.sent += n;
            return;
        }
        let data = self.downstream.data();
        let data = &data[..n.min(data.len())];
        self.replay.consumed(data);
        if let Some(copies) = self.copies {
            copies.push(Bytes::copy_from_slice(data));
        }
        self.downstream.consume(n);
    }

    fn take(&mut self, n: usize) -> Bytes {
        if !self.is_replaying() && self.replay.limit.is_none() {
            self.replay.lost = true;
            let bytes = self.downstream.take(n);
            if let Some(copies) = self.copies {
                copies.push(bytes.clone());
            }
            return bytes;
        }
        let n = n.min(self.data().len());
        let bytes = Bytes::copy_from_slice(&self.data()[..n]);
        self.consume(n);
        bytes
    }

    fn trailers(&mut self) -> &mut HeaderList {
        self.downstream.trailers()
    }
}
