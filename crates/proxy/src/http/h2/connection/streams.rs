//! The streams of a connection: their state, and the slab that keeps it.
//!
//! A slot is taken when a request arrives or when one is about to be sent, and given back when its
//! [`crate::http::h2::stream::Stream`] is dropped. Invariant: a slot that is given back holds nothing but memory.

use std::{collections::VecDeque, task::Waker};

use crate::{
    error::StreamError,
    http::{
        headers::HeaderList,
        message::{RequestHead, ResponseHead},
    },
};

/// A slot's number.
pub type Key = u32;

/// Memory beyond this (bytes) is not kept for the next stream.
const KEEP: usize = 16 * 1024;
/// Bytes of body in one piece.
const PIECE: usize = 64 * 1024;
/// Slots that are kept while free.
const KEPT_SLOTS: usize = 8;

/// What was queued while the window was shut, or follows it.
#[derive(Debug, Default)]
pub(super) enum Tail {
    /// More may come.
    #[default]
    Open,
    /// The end.
    End,
    /// Trailers and the end.
    Trailers(Box<HeaderList>),
}

/// One stream.
#[derive(Debug, Default)]
pub struct State {
    /// 0 until it is opened.
    pub(super) id: u32,
    /// Server: the request's head, until it is taken.
    pub(super) request: RequestHead,
    /// Client: the response's head, until it is taken.
    pub(super) response: ResponseHead,
    /// Client: `response` is there, and so is what came before it.
    pub(super) answered: bool,
    pub(super) interim: VecDeque<ResponseHead>,
    /// Client: what was asked has no body in its answer.
    pub(super) bodiless: bool,
    /// Client: an upgrade was asked for; then a 200 means 101.
    pub(super) tunnel: Option<Box<str>>,

    /// Body that has arrived and is not taken, in pieces that are freed as they are taken.
    pub(super) inbox: VecDeque<Vec<u8>>,
    /// A piece to fill again.
    spare: Vec<u8>,
    pub(super) trailers: HeaderList,
    pub(super) has_trailers: bool,
    /// END_STREAM has come.
    pub(super) received: bool,
    /// What `content-length` still expects.
    pub(super) expected: Option<u64>,
    pub(super) recv_window: i64,
    pub(super) released: u32,

    /// END_STREAM is queued.
    pub(super) sent: bool,
    /// The final head is queued.
    pub(super) head_sent: bool,
    pub(super) send_window: i64,
    pub(super) outbox: Vec<u8>,
    pub(super) tail: Tail,
    /// The peer wants no more, without blame.
    pub(super) unwanted: bool,
    /// Waits in `Connection::waiting`: true for as long as its key is there, so that it leaves with the stream.
    pub(super) waits: bool,

    pub(super) error: Option<StreamError>,
    pub(super) waker: Option<Waker>,
}

impl State {
    /// Wakes whoever works on the stream.
    #[inline]
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    pub(super) fn fail(&mut self, error: StreamError) {
        // An exchange that is over does not fail any more.
        if !(self.received && self.sent) {
            self.error.get_or_insert(error);
        }
        self.wake();
    }

    /// Keeps a piece of body.
    #[inline]
    pub(super) fn push(&mut self, body: &[u8]) {
        match self.inbox.back_mut() {
            _ if body.is_empty() => {}
            Some(last) if last.len() + body.len() <= PIECE => last.extend_from_slice(body),
            _ => {
                let mut piece = std::mem::take(&mut self.spare);
                piece.extend_from_slice(body);
                self.inbox.push_back(piece);
            }
        }
    }

    /// Hands the oldest piece out for an empty one; false when there is none.
    #[inline]
    pub(super) fn pop(&mut self, data: &mut Vec<u8>) -> bool {
        let Some(piece) = self.inbox.pop_front() else { return false };
        let used = std::mem::replace(data, piece);
        if used.capacity() <= KEEP {
            self.spare = used;
        }
        true
    }

    /// Bytes in the inbox.
    pub(super) fn unread(&self) -> usize {
        self.inbox.iter().map(Vec::len).sum()
    }

    /// Nothing more of a body follows what was handed out.
    pub(super) fn is_last(&self) -> bool {
        self.received && !self.has_trailers && self.inbox.is_empty()
    }

    fn clear(&mut self) {
        let mut kept = Self {
            request: std::mem::take(&mut self.request),
            response: std::mem::take(&mut self.response),
            inbox: std::mem::take(&mut self.inbox),
            spare: std::mem::take(&mut self.spare),
            trailers: std::mem::take(&mut self.trailers),
            ..Self::default()
        };
        kept.request.clear();
        kept.response.clear();
        kept.trailers.clear(KEEP);
        kept.inbox.clear();
        if kept.inbox.capacity() > KEPT_SLOTS {
            kept.inbox = VecDeque::new();
        }
        *self = kept;
    }
}

/// All streams, by key.
#[derive(Debug, Default)]
pub(super) struct Slab {
    #[allow(clippy::vec_box, reason = "they are large, and the slab grows while they are in use")]
    slots: Vec<Box<State>>,
    free: Vec<Key>,
}

impl Slab {
    /// A fresh stream.
    pub(super) fn take(&mut self) -> Key {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Box::default());
            (self.slots.len() - 1) as Key
        })
    }

    /// Gives a slot back.
    pub(super) fn give(&mut self, key: Key) {
        self.slots[key as usize].clear();
        self.free.push(key);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT_SLOTS {
            // All is quiet: keep a few.
            self.slots.truncate(KEPT_SLOTS);
            self.slots.shrink_to(KEPT_SLOTS);
            self.free = (0..KEPT_SLOTS as Key).collect();
        }
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> &State {
        &self.slots[key as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> &mut State {
        &mut self.slots[key as usize]
    }

    /// Streams in use.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All slots, free ones too: what is done to those is undone when they are taken.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut State> {
        self.slots.iter_mut().map(|slot| &mut **slot)
    }
}
