//! A response body at a limited rate: the fault filter's `response_rate_limit`.
//!
//! The filter leaves a [`Throttle`] for the router, which reads the upstream's body through it.
//! Invariant: over any stretch of time no more passes than the rate allows and one second's worth that was saved up.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::{
    error::StreamError,
    http::{
        exchange::{Next, Source},
        headers::HeaderList,
    },
};

/// How often there is more, as in Envoy.
const TICK: Duration = Duration::from_millis(50);

/// What may still pass now, and when there is more.
#[derive(Debug)]
pub struct Throttle {
    /// Bytes that a tick adds.
    each: u64,
    /// Bytes that may be saved up: a second's.
    most: u64,
    left: u64,
    /// The tick up to which bytes were added.
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Throttle {
    /// So many KiB a second.
    pub fn new(kbps: u64) -> Self {
        let most = kbps.max(1).saturating_mul(1024);
        let now = Instant::now();
        // As in Envoy, it begins with what one tick brings.
        let each = (most / (1000 / TICK.as_millis() as u64)).max(1);
        Self { each, most, left: each, since: now, sleep: Box::pin(tokio::time::sleep_until(now)) }
    }

    /// A body under this throttle.
    pub fn slow<'a, S>(&'a mut self, source: &'a mut S) -> Slow<'a, S> {
        Slow { throttle: self, source }
    }

    fn refill(&mut self, now: Instant) {
        let ticks = now.duration_since(self.since).as_millis() / TICK.as_millis();
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.since += TICK.saturating_mul(ticks);
        self.left = self.left.saturating_add(self.each.saturating_mul(ticks.into())).min(self.most);
    }

    /// Ready when anything may pass.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.refill(Instant::now());
        while self.left == 0 {
            self.sleep.as_mut().reset(self.since + TICK);
            std::task::ready!(self.sleep.as_mut().poll(cx));
            self.refill(Instant::now());
        }
        Poll::Ready(())
    }
}

/// A source under a throttle.
#[derive(Debug)]
pub struct Slow<'a, S> {
    throttle: &'a mut Throttle,
    source: &'a mut S,
}

impl<S: Source> Source for Slow<'_, S> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        let Next::Data { last } = std::task::ready!(self.source.poll_body(cx))? else {
            // Ends cost nothing; asking again gives the same.
            return self.source.poll_body(cx);
        };
        std::task::ready!(self.throttle.poll(cx));
        let whole = self.source.data().len() as u64 <= self.throttle.left;
        Poll::Ready(Ok(Next::Data { last: last && whole }))
    }

    fn data(&self) -> &[u8] {
        let data = self.source.data();
        let most = usize::try_from(self.throttle.left).unwrap_or(usize::MAX);
        &data[..data.len().min(most)]
    }

    fn consume(&mut self, n: usize) {
        self.throttle.left = self.throttle.left.saturating_sub(n as u64);
        self.source.consume(n);
    }

    fn take(&mut self, n: usize) -> Bytes {
        let n = n.min(self.data().len());
        self.throttle.left = self.throttle.left.saturating_sub(n as u64);
        self.source.take(n)
    }

    fn trailers(&mut self) -> &mut HeaderList {
        self.source.trailers()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    struct Body(Vec<u8>, HeaderList);

    impl Source for Body {
        fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
            Poll::Ready(Ok(if self.0.is_empty() { Next::End } else { Next::Data { last: true } }))
        }

        fn data(&self) -> &[u8] {
            &self.0
        }

        fn consume(&mut self, n: usize) {
            self.0.drain(..n);
        }

        fn trailers(&mut self) -> &mut HeaderList {
            &mut self.1
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_little_at_once_and_then_as_the_rate_allows() {
        let mut throttle = Throttle::new(10);
        let mut body = Body(vec![0; 30 * 1024], HeaderList::new());
        let started = Instant::now();
        let mut first = 0;
        loop {
            let next = poll_fn(|cx| throttle.slow(&mut body).poll_body(cx)).await.unwrap();
            let mut slow = throttle.slow(&mut body);
            let n = slow.data().len();
            if started.elapsed().is_zero() {
                first += n;
            }
            match next {
                Next::Data { last } => {
                    slow.consume(n);
                    assert_eq!(last, body.0.is_empty());
                }
                _ => break,
            }
        }
        assert_eq!(first, 512);
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(2900) && took < Duration::from_millis(3100), "{took:?}");
    }
}
