//! Counts that no honest peer reaches, with Envoy's limits and names.
//!
//! [`super::Connection`] counts every frame that costs us more than it costs the peer.
//! Invariant: each check names the statistic that counts its alarms.

use super::{Code, Violation};
use crate::{http::config::FloodLimits, stats::groups::Http2Stats};

/// The counts of one connection.
#[derive(Debug)]
pub struct Flood {
    limits: FloodLimits,
    frames: u32,
    control: u32,
    empty: u32,
    priority: u64,
    window_updates: u64,
    data_sent: u64,
    streams: u64,
    premature: u64,
}

/// The details of the one alarm that the connection manager counts: `downstream_rq_too_many_premature_resets`.
pub const TOO_MANY_RESETS: &str = "http2.too_many_premature_resets";

const fn calm(details: &'static str) -> Violation {
    Violation::new(Code::ENHANCE_YOUR_CALM, details)
}

impl Flood {
    /// Nothing counted yet.
    pub fn new(limits: FloodLimits) -> Self {
        Self {
            limits,
            frames: 0,
            control: 0,
            empty: 0,
            priority: 0,
            window_updates: 0,
            data_sent: 0,
            streams: 0,
            premature: 0,
        }
    }

    /// A frame was queued.
    #[inline]
    pub fn queued(&mut self) {
        self.frames += 1;
    }

    /// A frame was queued that the peer made us send.
    pub fn queued_control(&mut self) {
        self.frames += 1;
        self.control += 1;
    }

    /// A DATA frame was queued.
    #[inline]
    pub fn queued_data(&mut self) {
        self.frames += 1;
        self.data_sent += 1;
    }

    /// The queue is empty.
    #[inline]
    pub fn written_out(&mut self) {
        (self.frames, self.control) = (0, 0);
    }

    /// True when answers should be written out before more is read.
    pub fn is_pressing(&self) -> bool {
        self.control > self.limits.outbound_control_frames / 4
            || self.frames > self.limits.outbound_frames / 4
    }

    /// Looks at what is queued.
    #[inline]
    pub fn check_queue(&self, stats: &Http2Stats) -> Result<(), Violation> {
        if self.control > self.limits.outbound_control_frames {
            stats.outbound_control_flood.inc();
            return Err(calm("http2.outbound_control_frames_flood"));
        }
        if self.frames > self.limits.outbound_frames {
            stats.outbound_flood.inc();
            return Err(calm("http2.outbound_frames_flood"));
        }
        Ok(())
    }

    /// DATA, HEADERS or CONTINUATION came; `idle`: without payload and without an end.
    #[inline]
    pub fn payload(&mut self, idle: bool, stats: &Http2Stats) -> Result<(), Violation> {
        if !idle {
            self.empty = 0;
            return Ok(());
        }
        self.empty += 1;
        if self.empty > self.limits.empty_frames {
            stats.inbound_empty_frames_flood.inc();
            return Err(calm("http2.inbound_empty_frames_flood"));
        }
        Ok(())
    }

    /// A stream was opened, by either side.
    #[inline]
    pub fn opened(&mut self) {
        self.streams += 1;
    }

    /// PRIORITY came.
    pub fn prioritized(&mut self, stats: &Http2Stats) -> Result<(), Violation> {
        self.priority += 1;
        if self.priority > u64::from(self.limits.priority_frames_per_stream) * (1 + self.streams) {
            stats.inbound_priority_frames_flood.inc();
            return Err(calm("http2.inbound_priority_frames_flood"));
        }
        Ok(())
    }

    /// WINDOW_UPDATE came.
    #[inline]
    pub fn window_updated(&mut self, stats: &Http2Stats) -> Result<(), Violation> {
        self.window_updates += 1;
        let per_data = u64::from(self.limits.window_updates_per_data_frame);
        if self.window_updates > 5 + 2 * (self.streams + per_data * self.data_sent) {
            stats.inbound_window_update_frames_flood.inc();
            return Err(calm("http2.inbound_window_update_frames_flood"));
        }
        Ok(())
    }

    /// A stream ended badly before its answer was complete, by the peer's doing: its RST_STREAM, or ours for its faults.
    pub fn ended_badly(&mut self) -> Result<(), Violation> {
        self.premature += 1;
        let limit = u64::from(self.limits.premature_resets);
        if self.premature * 2 >= limit && self.premature * 2 > self.streams {
            return Err(calm(TOO_MANY_RESETS));
        }
        Ok(())
    }
}
