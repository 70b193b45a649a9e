//! The state of an HTTP/2 connection without its socket: bytes in, bytes out, streams between.
//!
//! [`super::server`] and `crate::upstream::h2` own one each behind an `Rc<RefCell<_>>`; [`super::stream::Stream`] is one
//! stream's end of it. Everything that arrives is worked off at once, everything that leaves is appended to one buffer
//! that the connection's task writes out once per turn.
//! Invariant: what a peer can make us hold is bounded: by windows (bodies), by the limits of a head, by the number of
//! streams, and by [`flood`]'s counts for everything else.

pub mod flood;
mod receive;
pub mod send;
pub mod streams;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, task::Waker};

use rustc_hash::FxHashMap;

use self::{
    flood::Flood,
    streams::{Key, Slab},
};
use super::{
    frame::{self, Code, Setting},
    hpack::{Decoder, Encoder},
};
use crate::{
    error::{ResetReason, Side, StreamError},
    http::config::FloodLimits,
    stats::groups::Http2Stats,
};

/// Bytes that may be queued for the peer before bodies wait.
const QUEUE: usize = 64 * 1024;
/// Streams that we reset and remember, since frames for them may still be on their way.
const REMEMBERED: usize = 128;
/// Streams that a peer takes before its SETTINGS come (what RFC 9113 asks it to take at least).
const ASSUMED_STREAMS: u32 = 100;
/// The payload of the PING that follows our first GOAWAY.
const SHUTDOWN_PING: [u8; 8] = *b"shutdown";

/// Which end we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The peer sends requests.
    Server,
    /// We send them.
    Client,
}

/// What we tell the peer, and hold it to.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// `max_concurrent_streams`: streams that the peer may have open.
    pub max_streams: u32,
    /// `initial_stream_window_size`
    pub stream_window: u32,
    /// `initial_connection_window_size`
    pub connection_window: u32,
    /// Limits of a head.
    pub head: super::head::Limits,
    /// Extended CONNECT (RFC 8441) is allowed.
    pub extended_connect: bool,
    /// Against floods.
    pub flood: FloodLimits,
}

/// What the peer told us.
#[derive(Debug, Clone, Copy)]
struct Peer {
    max_streams: u32,
    stream_window: u32,
}

/// A header block whose end has not come.
#[derive(Debug)]
struct Block {
    id: u32,
    end_stream: bool,
    bytes: Vec<u8>,
    frames: usize,
}

/// An error of the whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// What GOAWAY says.
    pub code: Code,
    /// Why, in Envoy's words where it has some.
    pub details: &'static str,
}

impl Violation {
    const fn new(code: Code, details: &'static str) -> Self {
        Self { code, details }
    }

    const fn protocol(details: &'static str) -> Self {
        Self::new(Code::PROTOCOL_ERROR, details)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Config,
    stats: Arc<Http2Stats>,
    peer: Peer,
    /// How much of the client's preface is still to come.
    preface: &'static [u8],
    settings_seen: bool,
    decoder: Decoder,
    encoder: Encoder,
    block: Option<Block>,
    /// Bytes for the peer, of which `written` are gone.
    out: Vec<u8>,
    written: usize,
    /// What the peer still takes.
    send_window: i64,
    /// What the peer may still send, and what it will be told of.
    recv_window: i64,
    released: u32,
    streams: Slab,
    ids: FxHashMap<u32, Key>,
    /// The peer's highest stream.
    last_id: u32,
    /// Our next stream.
    next_id: u32,
    /// Streams whose requests have arrived and which nobody has taken.
    accepted: VecDeque<Key>,
    /// Streams that wait for the connection's window or for room in the queue.
    waiting: Vec<Key>,
    reset: VecDeque<u32>,
    /// What the peer may have sent of streams before it heard that we reset them: no more than their windows let it.
    stray: i64,
    flood: Flood,
    closing: Closing,
    /// The peer said GOAWAY: no new streams of ours.
    peer_closing: bool,
    ended: Option<StreamError>,
    /// The task that writes, if it has to be told that there is something.
    driver: Option<Waker>,
    told: bool,
    /// Our last PING, until it is answered; its number.
    ping: (Option<[u8; 8]>, u64),
}

/// How far our own GOAWAY has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// Said with the highest id; streams that were on their way are still served until the PING comes back.
    Said,
    /// Said with the last stream that we serve.
    Final,
}

impl Connection {
    /// A connection; our preface and settings are queued.
    pub fn new(role: Role, config: Config, stats: Arc<Http2Stats>) -> Self {
        let mut connection = Self {
            role,
            stats,
            peer: Peer { max_streams: ASSUMED_STREAMS, stream_window: frame::DEFAULT_WINDOW },
            preface: if role == Role::Server { frame::PREFACE } else { &[] },
            settings_seen: false,
            decoder: Decoder::new(4096),
            encoder: Encoder::default(),
            block: None,
            out: Vec::new(),
            written: 0,
            send_window: i64::from(frame::DEFAULT_WINDOW),
            recv_window: i64::from(config.connection_window),
            released: 0,
            streams: Slab::default(),
            ids: FxHashMap::default(),
            last_id: 0,
            next_id: 1,
            accepted: VecDeque::new(),
            waiting: Vec::new(),
            reset: VecDeque::new(),
            stray: 0,
            flood: Flood::new(config.flood),
            closing: Closing::No,
            peer_closing: false,
            ended: None,
            driver: None,
            told: false,
            ping: (None, 0),
            config,
        };
        connection.introduce();
        connection
    }

    fn introduce(&mut self) {
        let config = &self.config;
        let mut settings = vec![
            Setting::InitialWindowSize(config.stream_window),
            Setting::MaxHeaderListSize(u32::try_from(config.head.bytes).unwrap_or(u32::MAX)),
        ];
        match self.role {
            Role::Client => {
                self.out.extend_from_slice(frame::PREFACE);
                settings.push(Setting::EnablePush(0));
            }
            Role::Server => {
                settings.push(Setting::MaxConcurrentStreams(config.max_streams));
                if config.extended_connect {
                    settings.push(Setting::EnableConnectProtocol(1));
                }
            }
        }
        frame::write_settings(&mut self.out, &settings);
        let more = config.connection_window.saturating_sub(frame::DEFAULT_WINDOW);
        if more > 0 {
            frame::write_window_update(&mut self.out, 0, more);
        }
    }

    /// Whose errors the peer's are.
    fn side(&self) -> Side {
        match self.role {
            Role::Server => Side::Downstream,
            Role::Client => Side::Upstream,
        }
    }

    /// The task that writes; it is woken when there is something to write and it is not running.
    pub fn set_driver(&mut self, waker: &Waker) {
        self.told = false;
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    /// Says that there is something to write.
    #[inline]
    fn tell(&mut self) {
        if let Some(driver) = &self.driver
            && !self.told
        {
            self.told = true;
            driver.wake_by_ref();
        }
    }

    /// Bytes for the peer.
    pub fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Says that so many bytes of [`Self::output`] are written; the streams that waited for room go on.
    pub fn wrote(&mut self, n: usize) {
        self.written = (self.written + n).min(self.out.len());
        if self.written == self.out.len() {
            (self.written, _) = (0, self.out.clear());
            self.flood.written_out();
            self.window_opened();
        }
    }

    /// Lends the queue's memory, while it is empty.
    pub fn swap_output(&mut self, with: &mut Vec<u8>) {
        if self.out.is_empty() && with.is_empty() {
            std::mem::swap(&mut self.out, with);
        }
    }

    /// Memory of the queue.
    pub fn output_capacity(&self) -> usize {
        self.out.capacity()
    }

    /// The next request that has arrived.
    pub fn accept(&mut self) -> Option<Key> {
        self.accepted.pop_front()
    }

    /// Streams that somebody holds.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Streams that may be open at once, as the peer has it.
    pub fn peer_max_streams(&self) -> usize {
        self.peer.max_streams as usize
    }

    /// True when a stream of ours may be opened.
    pub fn is_open(&self) -> bool {
        self.ended.is_none() && !self.peer_closing && self.closing == Closing::No && self.next_id < 1 << 30
    }

    /// How the connection ended, if it has.
    pub fn ended(&self) -> Option<StreamError> {
        self.ended
    }

    /// Says GOAWAY; streams that are open finish. A server first lets the client know, so that no request that is on
    /// its way is lost (RFC 9113, 6.8).
    pub fn go_away(&mut self) {
        if self.closing != Closing::No || self.ended.is_some() {
            return;
        }
        self.stats.goaway_sent.inc();
        match self.role {
            Role::Client => {
                self.closing = Closing::Final;
                frame::write_goaway(&mut self.out, 0, Code::NO_ERROR);
            }
            Role::Server => {
                self.closing = Closing::Said;
                frame::write_goaway(&mut self.out, frame::MAX_WINDOW as u32, Code::NO_ERROR);
                frame::write_ping(&mut self.out, 0, SHUTDOWN_PING);
            }
        }
        self.tell();
    }

    /// Asks the peer whether it is there.
    pub fn ping(&mut self) {
        let (waits, number) = &mut self.ping;
        *number += 1;
        let payload = number.to_be_bytes();
        *waits = Some(payload);
        frame::write_ping(&mut self.out, 0, payload);
        self.tell();
    }

    /// True until the last [`Self::ping`] is answered.
    pub fn awaits_pong(&self) -> bool {
        self.ping.0.is_some()
    }

    /// A PING was not answered in time: the connection is of no more use.
    pub fn count_keepalive_timeout(&mut self) {
        self.stats.keepalive_timeout.inc();
    }

    /// True when GOAWAY was said and nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.closing == Closing::Final && self.streams.is_empty()
    }

    /// Names the last stream that we serve.
    pub fn close(&mut self) {
        if self.closing != Closing::Final && self.ended.is_none() {
            self.closing = Closing::Final;
            frame::write_goaway(&mut self.out, self.last_id, Code::NO_ERROR);
        }
    }

    /// The peer is gone: every stream fails.
    pub fn terminate(&mut self, error: Option<&std::io::Error>) {
        self.end(StreamError::terminated(self.side(), error));
    }

    /// The peer broke the rules: GOAWAY, and every stream fails.
    fn violate(&mut self, violation: Violation) {
        self.stats.goaway_sent.inc();
        frame::write_goaway(&mut self.out, self.last_id, violation.code);
        self.end(StreamError::protocol(self.side(), violation.details));
    }

    fn end(&mut self, error: StreamError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error);
        self.closing = Closing::Final;
        self.ids.clear();
        self.block = None;
        for stream in self.streams.iter_mut() {
            stream.fail(error);
        }
        self.tell();
    }

    /// Ends a stream of ours by RST_STREAM.
    fn reset_stream(&mut self, id: u32, code: Code) {
        if self.ended.is_some() {
            return;
        }
        self.stats.tx_reset.inc();
        frame::write_reset(&mut self.out, id, code);
        self.flood.queued_control();
        if self.reset.len() == REMEMBERED {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
        let window = i64::from(self.config.stream_window);
        let left = self.ids.remove(&id).map_or(window, |key| self.streams.get(key).recv_window.max(0));
        self.stray = self.stray.saturating_add(left);
        self.tell();
    }
}

/// How a reset by the peer looks to the request phases.
fn reset_error(side: Side, code: Code) -> StreamError {
    match code {
        Code::REFUSED_STREAM => StreamError::new(side, ResetReason::RemoteRefusedStreamReset),
        Code::PROTOCOL_ERROR | Code::FRAME_SIZE_ERROR | Code::COMPRESSION_ERROR => {
            let error = StreamError::new(side, ResetReason::RemoteReset);
            StreamError { details: "http2.remote_reset", ..error }
        }
        _ => StreamError::new(side, ResetReason::RemoteReset),
    }
}
