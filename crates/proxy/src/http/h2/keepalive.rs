//! PINGs that tell a connection whose peer is gone from one that is only quiet (`connection_keepalive`).
//!
//! Both drivers hold one where it is configured. Invariant: at most one PING of ours is without its answer, and a peer that
//! does not answer in time is taken for gone.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::connection::Connection;
use crate::http::{
    clock,
    config::Http2Keepalive,
    deadline::{Deadline, Deadlines},
};

/// The state of a connection's keepalive.
#[derive(Debug)]
pub struct Keepalive {
    settings: Http2Keepalive,
    deadline: Deadline,
    /// When the answer to a PING is due.
    due: Option<Instant>,
}

impl Keepalive {
    /// One that begins with a pause; `None` where nothing is configured.
    pub fn new(settings: Option<Http2Keepalive>, deadlines: &Rc<Deadlines>) -> Option<Box<Self>> {
        let settings = settings?;
        let mut keepalive = Self { settings, deadline: deadlines.register(), due: None };
        keepalive.pause();
        Some(Box::new(keepalive))
    }

    /// Asks now whether the peer is there: a stream begins after a long silence.
    pub fn probe(&mut self, connection: &mut Connection, silence: Duration) {
        if self.due.is_none() && self.settings.idle_interval.is_some_and(|limit| silence >= limit) {
            self.ask(connection);
        }
    }

    /// Sends what is due; false when the peer has not answered in time.
    pub fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> bool {
        if self.due.is_some() && !connection.awaits_pong() {
            self.due = None;
            self.pause();
        }
        loop {
            let Poll::Ready(()) = self.deadline.poll(cx) else { return true };
            if self.due.is_some() {
                connection.count_keepalive_timeout();
                return false;
            }
            self.ask(connection);
        }
    }

    fn ask(&mut self, connection: &mut Connection) {
        connection.ping();
        let due = clock::now() + self.settings.timeout;
        self.due = Some(due);
        self.deadline.set(Some(due));
    }

    /// Until the next PING: the interval and a random part of it more.
    fn pause(&mut self) {
        let next = self.settings.interval.map(|interval| {
            let spread = interval.as_micros() as u64 / 10_000 * u64::from(self.settings.jitter);
            clock::now() + interval + Duration::from_micros(fastrand::u64(..=spread))
        });
        self.deadline.set(next);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Waker};

    use super::*;
    use crate::http::{
        config::FloodLimits,
        h2::{
            connection::{Config, Role},
            frame, head,
        },
    };

    fn connection() -> Connection {
        let config = Config {
            max_streams: 1,
            stream_window: 65_535,
            connection_window: 65_535,
            head: head::Limits { bytes: 1000, fields: 10 },
            extended_connect: false,
            flood: FloodLimits::default(),
        };
        let mut connection = Connection::new(Role::Client, config, Arc::default());
        let said = connection.output().len();
        connection.wrote(said);
        connection
    }

    fn keepalive(interval: Option<Duration>, timeout: Duration) -> (Box<Keepalive>, Rc<Deadlines>) {
        let deadlines = Rc::<Deadlines>::default();
        let settings = Http2Keepalive { interval, timeout, jitter: 0, idle_interval: Some(Duration::ZERO) };
        (Keepalive::new(Some(settings), &deadlines).unwrap(), deadlines)
    }

    #[test]
    fn a_peer_that_answers_is_asked_again_and_one_that_does_not_is_gone() {
        let mut connection = connection();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut keepalive, _all) = keepalive(Some(Duration::ZERO), Duration::from_secs(60));
        assert!(keepalive.poll(&mut cx, &mut connection) && connection.awaits_pong());
        let ping = connection.output().to_vec();
        connection.wrote(ping.len());
        let mut settings = Vec::new();
        frame::write_settings(&mut settings, &[]);
        connection.receive(&settings);
        let mut pong = Vec::new();
        frame::write_ping(&mut pong, frame::ACK, ping[frame::HEAD..].try_into().unwrap());
        connection.receive(&pong);
        assert!(!connection.awaits_pong());
        assert!(keepalive.poll(&mut cx, &mut connection) && connection.awaits_pong());
        keepalive.due = Some(clock::now());
        keepalive.deadline.set(keepalive.due);
        assert!(!keepalive.poll(&mut cx, &mut connection));
    }

    #[test]
    fn silence_is_broken_by_a_question() {
        let mut connection = connection();
        let (mut keepalive, _all) = keepalive(None, Duration::from_secs(60));
        keepalive.probe(&mut connection, Duration::from_secs(1));
        assert!(connection.awaits_pong());
    }
}
