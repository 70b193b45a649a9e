//! Read buffers, borrowed from the worker only while bytes lie in them.
//!
//! Both HTTP/1 codecs read into [`Buffer`]s. A buffer grows through three sizes as full reads show bulk traffic.
//! Invariant: a connection that waits for its peer holds no more than what the peer has sent.

use std::cell::RefCell;

/// Sizes in bytes and how many of each a worker keeps.
const CLASSES: [(usize, usize); 3] = [(16 * 1024, 64), (64 * 1024, 16), (256 * 1024, 8)];

/// Free buffers of a worker, by size; the one used last is used first, while it is in the cache.
#[derive(Debug, Default)]
pub struct Buffers {
    free: [RefCell<Vec<Box<[u8]>>>; 3],
}

/// Bytes that were read and not yet consumed: `data[start..end]`.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Box<[u8]>,
    start: usize,
    end: usize,
    /// The size to borrow next.
    class: u8,
}

impl Buffers {
    fn take(&self, class: usize) -> Box<[u8]> {
        let free = self.free[class].borrow_mut().pop();
        free.unwrap_or_else(|| vec![0; CLASSES[class].0].into_boxed_slice())
    }

    fn give(&self, data: Box<[u8]>) {
        let Some(class) = CLASSES.iter().position(|(size, _)| *size == data.len()) else { return };
        let mut free = self.free[class].borrow_mut();
        if free.len() < CLASSES[class].1 {
            free.push(data);
        }
    }
}

impl Buffer {
    /// Unconsumed bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Number of unconsumed bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Takes `n` bytes off the front.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room behind the data, borrowing memory or moving the data to the front when needed. Empty when `limit` bytes
    /// lie unconsumed.
    pub(crate) fn room(&mut self, buffers: &Buffers, limit: usize) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = buffers.take(usize::from(self.class));
        }
        if self.end == self.data.len() {
            if self.start > 0 {
                self.data.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else if self.data.len() < limit {
                self.grow(buffers);
            }
        }
        &mut self.data[self.end..]
    }

    /// Says that `n` bytes were read into [`Self::room`].
    #[inline]
    pub(crate) fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.data.len());
    }

    /// Moves on to the next size, if there is one: the last read filled this one.
    pub(crate) fn grow(&mut self, buffers: &Buffers) {
        let class = CLASSES.iter().position(|(size, _)| *size > self.data.len());
        let mut data = match class {
            Some(class) => {
                self.class = class as u8;
                buffers.take(class)
            }
            // Heads may be configured to be larger than the largest class.
            None => vec![0; self.data.len() * 2].into_boxed_slice(),
        };
        let len = self.len();
        data[..len].copy_from_slice(self.bytes());
        buffers.give(std::mem::replace(&mut self.data, data));
        (self.start, self.end) = (0, len);
    }

    /// The peer keeps us waiting: gives the memory back, but for what little may lie in it, which moves to a block of its
    /// own size. The next read borrows as much as the last.
    pub(crate) fn wait(&mut self, buffers: &Buffers) {
        if self.data.len() < CLASSES[0].0 || self.len() > self.data.len() / 4 {
            return;
        }
        let kept: Box<[u8]> = self.bytes().into();
        (self.start, self.end) = (0, kept.len());
        buffers.give(std::mem::replace(&mut self.data, kept));
    }

    /// Capacity in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.data.len()
    }

    /// Gives the memory back; only when empty.
    #[inline]
    pub(crate) fn release(&mut self, buffers: &Buffers) {
        self.class = 0;
        if self.start == self.end && !self.data.is_empty() {
            buffers.give(std::mem::take(&mut self.data));
            (self.start, self.end) = (0, 0);
        }
    }
}
