//! Moving a body from a source to a sink, with backpressure and as few writes as possible.
//!
//! The router polls one relay per direction from the same task.
//! Invariant: a sink is flushed before its relay waits, and a source is read only when the sink took what it had.

use std::task::{Context, Poll, ready};

use crate::{
    error::StreamError,
    http::exchange::{Next, Sink, Source},
};

/// Which end of a relay broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Reading.
    Source(StreamError),
    /// Writing.
    Sink(StreamError),
}

/// How far a relay has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Relay {
    /// The body is on its way.
    #[default]
    Body,
    /// All is queued; the queue is not empty yet.
    Flush,
    /// All was written.
    Done,
}

impl Relay {
    /// True when everything was written.
    pub fn is_done(self) -> bool {
        self == Self::Done
    }

    /// Moves what can be moved. `moved` is set when anything was.
    pub fn poll<S: Source, K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut K,
        moved: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        while *self == Self::Body {
            match source.poll_body(cx) {
                Poll::Pending => {
                    // Whether or not the queue empties, more body is what we wait for.
                    if let Poll::Ready(Err(error)) = sink.poll_flush(cx) {
                        return Poll::Ready(Err(Broken::Sink(error)));
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => {
                    // What came before the break still goes on, as far as that takes no waiting.
                    let _ = sink.poll_flush(cx);
                    return Poll::Ready(Err(Broken::Source(error)));
                }
                Poll::Ready(Ok(Next::Data { last })) => {
                    ready!(sink.poll_send(cx, source, last)).map_err(Broken::Sink)?;
                    *moved = true;
                    if last && source.data().is_empty() {
                        sink.send_end();
                        *self = Self::Flush;
                    }
                }
                Poll::Ready(Ok(Next::Trailers)) => {
                    sink.send_trailers(source.trailers());
                    *self = Self::Flush;
                }
                Poll::Ready(Ok(Next::End)) => {
                    sink.send_end();
                    *self = Self::Flush;
                }
            }
        }
        if *self == Self::Flush {
            ready!(sink.poll_flush(cx)).map_err(Broken::Sink)?;
            *moved = true;
            *self = Self::Done;
        }
        Poll::Ready(Ok(()))
    }
}
