//! Large bodies from socket to socket: the kernel moves them and this process never sees them.
//!
//! [`crate::http::router`]'s relay asks for it once the head and what came with it are on their way, where both sides are
//! plain HTTP/1 with a `content-length`. Invariant: what is in the pipe has left the source's account and has not
//! entered the sink's, so a message with a filled pipe is not written.

use std::task::{Context, Poll, ready};

use super::transport::{Reading, Transport, Writing};
use crate::{error::StreamError, stream::pipe::Pipe};

/// Bodies of which less is left are copied: a pipe costs some system calls.
const LEAST: u64 = 128 * 1024;
/// Bytes that may lie in the pipe, as in the largest buffer.
const ROOM: u64 = 256 * 1024;

/// Whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Reading failed.
    Source,
    /// Writing failed.
    Sink,
}

impl Transport {
    /// True when the rest of the body that `from` reads may pass to us unseen.
    #[inline]
    pub(crate) fn takes_bulk(&self, from: &Self) -> bool {
        if self.pipe.is_some() {
            return true;
        }
        let (Reading::Length(left), Writing::Length(room)) = (from.reading, self.writing) else {
            return false;
        };
        left >= LEAST && room >= left && from.has_only_body_to_come() && self.stream().is_plain()
    }

    /// Moves what there is; ready when the body is through, or the kernel gives no pipe.
    pub(crate) fn poll_bulk(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Self,
        moved: &mut bool,
    ) -> Poll<Result<(), (End, StreamError)>> {
        ready!(self.poll_flush(cx)).map_err(|error| (End::Sink, error))?;
        let pipe = self.pipe.take().or_else(|| self.worker().take_pipe());
        let Some(mut pipe) = pipe else { return Poll::Ready(Ok(())) };
        let done = self.poll_pipe(cx, from, &mut pipe, moved);
        match pipe.len() {
            0 => self.worker().give_pipe(pipe),
            _ => self.pipe = Some(pipe),
        }
        done
    }

    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Self,
        pipe: &mut Pipe,
        moved: &mut bool,
    ) -> Poll<Result<(), (End, StreamError)>> {
        loop {
            while pipe.len() > 0 {
                let drained = ready!(pipe.poll_drain(cx, self.stream()));
                let n = drained.map_err(|error| (End::Sink, self.terminated(Some(&error))))?;
                self.passed_out(n);
                *moved = true;
            }
            let Reading::Length(left @ 1..) = from.reading else { return Poll::Ready(Ok(())) };
            match ready!(pipe.poll_fill(cx, from.stream(), left.min(ROOM) as usize)) {
                Ok(0) => return Poll::Ready(Err((End::Source, from.ended()))),
                Ok(n) => from.passed_in(n),
                Err(error) => return Poll::Ready(Err((End::Source, from.terminated(Some(&error))))),
            }
        }
    }
}
