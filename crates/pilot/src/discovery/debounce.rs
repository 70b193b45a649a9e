//! When a change is acted on: after a short quiet time, at the latest after a long one, and at once when endpoints are lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Options;
use crate::source::State;

/// Waits for the next change to act on; how long it was held back. `None` when all sources have ended.
pub(super) async fn next(states: &[watch::Receiver<Arc<State>>], options: &Options) -> Option<Duration> {
    let mut seen = states.to_vec();
    changed(&mut seen).await?;
    let first = Instant::now();
    let latest = first + options.debounce_max;
    while !states.iter().any(|state| state.borrow().urgent && state.has_changed().unwrap_or(false)) {
        let quiet = (Instant::now() + options.debounce_after).min(latest);
        tokio::select! {
            () = sleep_until(quiet) => break,
            more = changed(&mut seen) => more?,
        }
    }
    Some(first.elapsed())
}

/// Waits for a change that `seen` has not seen; the receivers themselves stay as they are, for the reader.
async fn changed(seen: &mut [watch::Receiver<Arc<State>>]) -> Option<()> {
    if seen.is_empty() {
        return None;
    }
    let waits = seen.iter_mut().map(|state| Box::pin(state.changed()));
    let (result, ..) = select_all(waits).await;
    result.ok()
}
