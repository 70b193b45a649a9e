//! What arrives: frames to stream states, by the rules of RFC 9113, 5 to 8.
//!
//! Invariant: a header block is decoded whatever becomes of its stream, so both ends keep the same table.

use super::{Block, Closing, Connection, Role, SHUTDOWN_PING, Violation, reset_error, streams::Key};
use crate::{
    error::{ResetReason, StreamError},
    http::{
        h2::{
            frame::{self, Code, Head, Kind, Setting},
            head::{self, Refusal},
        },
        headers::{HeaderList, Known},
        message::{BodyLength, RequestHead},
    },
};

/// Interim heads that wait for a stream to take them; further ones are dropped.
const INTERIM: usize = 8;

impl Connection {
    /// Works off whole frames at the start of `bytes`; returns how many bytes are done with.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        if let Err(violation) = self.receive_all(&mut rest) {
            self.violate(violation);
        }
        if self.ended.is_some() {
            return bytes.len();
        }
        bytes.len() - rest.len()
    }

    fn receive_all(&mut self, rest: &mut &[u8]) -> Result<(), Violation> {
        if !self.preface.is_empty() {
            let n = rest.len().min(self.preface.len());
            if rest[..n] != self.preface[..n] {
                return Err(Violation::protocol("http2.invalid_preface"));
            }
            self.preface = &self.preface[n..];
            *rest = &rest[n..];
        }
        while let Some(head) = Head::read(rest) {
            if head.len > frame::MAX_PAYLOAD {
                return Err(Violation::new(Code::FRAME_SIZE_ERROR, "http2.frame_size"));
            }
            let Some(payload) = rest.get(frame::HEAD..frame::HEAD + head.len) else { break };
            *rest = &rest[frame::HEAD + head.len..];
            self.frame(head, payload)?;
            self.flood.check_queue(&self.stats)?;
        }
        Ok(())
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if !self.settings_seen && (head.kind != Kind::Settings || head.has(frame::ACK)) {
            return Err(Violation::protocol("http2.no_settings"));
        }
        if let Some(block) = &self.block
            && (head.kind != Kind::Continuation || head.id != block.id)
        {
            return Err(Violation::protocol("http2.unfinished_headers"));
        }
        match head.kind {
            Kind::Data => self.data(head, payload),
            Kind::Headers => self.headers(head, payload),
            Kind::Continuation => self.continuation(head, payload),
            Kind::Priority => self.priority(head),
            Kind::Reset => self.reset(head, payload),
            Kind::Settings => self.settings(head, payload),
            Kind::PushPromise => Err(Violation::protocol("http2.push")),
            Kind::Ping => self.pinged(head, payload),
            Kind::GoAway => self.peer_goes_away(head, payload),
            Kind::WindowUpdate => self.window_update(head, payload),
            Kind::Unknown => Ok(()),
        }
    }

    /// True when no stream of this id was ever opened.
    fn is_idle(&self, id: u32) -> bool {
        match (id % 2 == 1, self.role) {
            (true, Role::Server) => id > self.last_id,
            (true, Role::Client) => id >= self.next_id,
            (false, _) => true,
        }
    }

    /// The open stream that a frame is for; `None` when it is closed.
    #[inline]
    fn stream(&self, head: Head) -> Result<Option<Key>, Violation> {
        if let Some(key) = self.ids.get(&head.id) {
            return Ok(Some(*key));
        }
        if head.id == 0 || self.is_idle(head.id) {
            return Err(Violation::protocol("http2.idle_stream"));
        }
        Ok(None)
    }

    /// The peer did something to one stream that it may not: RST_STREAM.
    fn stream_error(
        &mut self,
        id: u32,
        key: Option<Key>,
        code: Code,
        details: &'static str,
    ) -> Result<(), Violation> {
        self.stats.rx_messaging_error.inc();
        self.reset_stream(id, code);
        if let Some(key) = key {
            let error = StreamError::protocol(self.side(), details);
            self.streams.get_mut(key).fail(error);
        }
        self.flood.ended_badly()
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let body = frame::unpadded(head, payload).ok_or(Violation::protocol("http2.padding"))?;
        let end = head.has(frame::END_STREAM);
        self.flood.payload(body.is_empty() && !end, &self.stats)?;
        self.recv_window -= payload.len() as i64;
        if self.recv_window < 0 {
            return Err(Violation::new(Code::FLOW_CONTROL_ERROR, "http2.flow_control"));
        }
        let Some(key) = self.stream(head)? else {
            self.give_back(payload.len());
            if self.reset.contains(&head.id) {
                self.stray -= payload.len() as i64;
                return match self.stray {
                    0.. => Ok(()),
                    _ => Err(Violation::new(Code::FLOW_CONTROL_ERROR, "http2.flow_control")),
                };
            }
            return match head.id > self.served() {
                true => Ok(()),
                false => self.stream_error(head.id, None, Code::STREAM_CLOSED, "http2.stream_closed"),
            };
        };
        let stream = self.streams.get_mut(key);
        if stream.received {
            self.give_back(payload.len());
            return self.stream_error(head.id, Some(key), Code::STREAM_CLOSED, "http2.stream_closed");
        }
        stream.recv_window -= payload.len() as i64;
        if stream.recv_window < 0 {
            self.give_back(payload.len());
            return self.stream_error(head.id, Some(key), Code::FLOW_CONTROL_ERROR, "http2.flow_control");
        }
        let expected = stream.expected.map(|left| left.checked_sub(body.len() as u64));
        let wrong = match expected {
            Some(None) => true,
            Some(Some(left)) => end && left > 0,
            None => false,
        };
        let headless = self.role == Role::Client && !stream.answered;
        if wrong || headless || (stream.bodiless && !body.is_empty()) {
            self.give_back(payload.len());
            let details = "http2.violation.of.messaging.rule";
            return self.stream_error(head.id, Some(key), Code::PROTOCOL_ERROR, details);
        }
        stream.expected = expected.flatten();
        stream.push(body);
        stream.received = end;
        stream.wake();
        let padding = payload.len() - body.len();
        if padding > 0 {
            self.release(key, padding);
        }
        if end {
            self.half_closed(head.id, key);
        }
        Ok(())
    }

    /// The highest stream that we still look at.
    fn served(&self) -> u32 {
        match (self.closing, self.role) {
            (Closing::Final, Role::Server) => self.last_id,
            _ => u32::MAX,
        }
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let mut block = frame::unpadded(head, payload).ok_or(Violation::protocol("http2.padding"))?;
        if head.has(frame::PRIORITY) {
            let (priority, rest) = block.split_at_checked(5).ok_or(FRAME_SIZE)?;
            if frame::number(priority).is_some_and(|on| on & 0x7fff_ffff == head.id) {
                return Err(Violation::protocol("http2.self_dependency"));
            }
            block = rest;
        }
        let end_stream = head.has(frame::END_STREAM);
        self.flood.payload(block.is_empty() && !end_stream && !head.has(frame::END_HEADERS), &self.stats)?;
        if head.id.is_multiple_of(2) {
            return Err(Violation::protocol("http2.invalid_stream_id"));
        }
        if head.has(frame::END_HEADERS) {
            return self.section(head.id, end_stream, block);
        }
        self.block = Some(Block { id: head.id, end_stream, bytes: block.to_vec(), frames: 1 });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let end = head.has(frame::END_HEADERS);
        self.flood.payload(payload.is_empty() && !end, &self.stats)?;
        let Some(mut block) = self.block.take() else {
            return Err(Violation::protocol("http2.unexpected_continuation"));
        };
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        let limit = self.config.head.bytes;
        if block.bytes.len() > limit + frame::MAX_PAYLOAD || block.frames > 8 + limit / 1024 {
            self.stats.header_overflow.inc();
            return Err(Violation::new(Code::ENHANCE_YOUR_CALM, "http2.too_many_continuations"));
        }
        if end {
            return self.section(block.id, block.end_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole field section.
    fn section(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Violation> {
        match self.ids.get(&id).copied() {
            Some(key) => match self.role {
                Role::Client if !self.streams.get(key).answered => self.response(id, key, end, block),
                _ => self.trailers(id, key, end, block),
            },
            None if self.is_idle(id) && self.role == Role::Server => self.request(id, end, block),
            None => {
                self.skip(block)?;
                if self.is_idle(id) {
                    return Err(Violation::protocol("http2.idle_stream"));
                }
                match self.role == Role::Client || self.reset.contains(&id) || id > self.served() {
                    true => Ok(()),
                    false => Err(Violation::new(Code::STREAM_CLOSED, "http2.stream_closed")),
                }
            }
        }
    }

    /// Decodes a block that nobody wants.
    fn skip(&mut self, block: &[u8]) -> Result<(), Violation> {
        self.decoder.decode(block, |_| {}).map_err(compression)
    }

    fn request(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Violation> {
        self.flood.opened();
        if id > self.served() {
            return self.skip(block);
        }
        self.last_id = id;
        if self.ids.len() >= self.config.max_streams as usize {
            self.skip(block)?;
            self.stats.stream_refused_errors.inc();
            self.reset_stream(id, Code::REFUSED_STREAM);
            return self.flood.ended_badly();
        }
        let key = self.streams.take();
        let stream = self.streams.get_mut(key);
        let mut request = head::Request::new(&mut stream.request, self.config.head);
        if let Err(error) = self.decoder.decode(block, |field| request.field(field)) {
            self.streams.give(key);
            return Err(compression(error));
        }
        let finished = request.finish().and_then(|pseudos| {
            head::finish_request(&mut stream.request, &pseudos, end, self.config.extended_connect)
        });
        stream.id = id;
        stream.received = end;
        stream.recv_window = i64::from(self.config.stream_window);
        stream.send_window = i64::from(self.peer.stream_window);
        match finished {
            Ok(()) => {
                stream.expected = exact(stream.request.body);
                self.ids.insert(id, key);
                self.accepted.push_back(key);
                Ok(())
            }
            Err(Refusal::TooLarge) => {
                self.stats.header_overflow.inc();
                stream.request.clear();
                stream.request.size = TOO_LARGE;
                self.ids.insert(id, key);
                self.accepted.push_back(key);
                Ok(())
            }
            Err(Refusal::Malformed(details)) => {
                self.streams.give(key);
                self.stream_error(id, None, Code::PROTOCOL_ERROR, details)
            }
        }
    }

    fn response(&mut self, id: u32, key: Key, end: bool, block: &[u8]) -> Result<(), Violation> {
        let stream = self.streams.get_mut(key);
        let mut response = head::Response::new(&mut stream.response, self.config.head);
        self.decoder.decode(block, |field| response.field(field)).map_err(compression)?;
        let finished = response
            .finish()
            .and_then(|status| head::finish_response(&mut stream.response, status, end, stream.bodiless));
        match finished {
            Ok(()) => {}
            Err(Refusal::TooLarge) => {
                self.stats.header_overflow.inc();
                let details = "http2.too_large_response_headers";
                return self.stream_error(id, Some(key), Code::ENHANCE_YOUR_CALM, details);
            }
            Err(Refusal::Malformed(details)) => {
                return self.stream_error(id, Some(key), Code::PROTOCOL_ERROR, details);
            }
        }
        if stream.response.is_interim() {
            let interim = std::mem::take(&mut stream.response);
            if stream.interim.len() < INTERIM {
                stream.interim.push_back(interim);
            }
            stream.wake();
            return Ok(());
        }
        stream.answered = true;
        stream.received = end;
        stream.bodiless |= stream.response.status == 204 || stream.response.status == 304;
        stream.expected = if stream.bodiless { None } else { exact(stream.response.body) };
        if stream.response.status == 200
            && let Some(protocol) = stream.tunnel.take()
        {
            let head = &mut stream.response;
            head.status = 101;
            head.headers.append(Known::Upgrade, protocol.as_bytes());
            head.headers.remove(Known::ContentLength);
            stream.expected = None;
        }
        stream.wake();
        if end {
            self.half_closed(id, key);
        }
        Ok(())
    }

    fn trailers(&mut self, id: u32, key: Key, end: bool, block: &[u8]) -> Result<(), Violation> {
        let stream = self.streams.get_mut(key);
        let mut late = HeaderList::new();
        let list = if stream.received { &mut late } else { &mut stream.trailers };
        let mut trailers = head::Trailers::new(list, self.config.head);
        self.decoder.decode(block, |field| trailers.field(field)).map_err(compression)?;
        let finished = trailers.finish();
        if stream.received {
            return self.stream_error(id, Some(key), Code::STREAM_CLOSED, "http2.stream_closed");
        }
        let short = stream.expected.is_some_and(|left| left > 0);
        match finished {
            Ok(()) if end && !short => {}
            Err(Refusal::TooLarge) => {
                self.stats.header_overflow.inc();
                return self.stream_error(id, Some(key), Code::ENHANCE_YOUR_CALM, "http2.too_large_trailers");
            }
            _ => {
                let details = "http2.violation.of.messaging.rule";
                return self.stream_error(id, Some(key), Code::PROTOCOL_ERROR, details);
            }
        }
        self.stats.trailers.inc();
        stream.has_trailers = !stream.trailers.is_empty();
        stream.received = true;
        stream.wake();
        self.half_closed(id, key);
        Ok(())
    }

    /// A direction has ended; when both have, the id is closed.
    pub(super) fn half_closed(&mut self, id: u32, key: Key) {
        let stream = self.streams.get(key);
        if stream.received && stream.sent {
            self.ids.remove(&id);
        }
    }

    fn priority(&mut self, head: Head) -> Result<(), Violation> {
        if head.id == 0 {
            return Err(Violation::protocol("http2.invalid_stream_id"));
        }
        self.flood.prioritized(&self.stats)?;
        match (head.len, self.ids.get(&head.id).copied()) {
            (5, _) => Ok(()),
            (_, key) => self.stream_error(head.id, key, Code::FRAME_SIZE_ERROR, "http2.frame_size"),
        }
    }

    fn reset(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let code = frame::number(payload).filter(|_| payload.len() == 4).map(Code).ok_or(FRAME_SIZE)?;
        let Some(key) = self.stream(head)? else { return Ok(()) };
        self.stats.rx_reset.inc();
        self.ids.remove(&head.id);
        let error = reset_error(self.side(), code);
        let stream = self.streams.get_mut(key);
        // The answer is complete and the rest of the question is not wanted (RFC 9113, 8.1).
        if self.role == Role::Client && code == Code::NO_ERROR && stream.received {
            stream.unwanted = true;
            stream.wake();
            return Ok(());
        }
        let premature = !(stream.received && stream.sent);
        stream.fail(error);
        match premature && self.role == Role::Server {
            true => self.flood.ended_badly(),
            false => Ok(()),
        }
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.id != 0 {
            return Err(Violation::protocol("http2.invalid_stream_id"));
        }
        if head.has(frame::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(FRAME_SIZE) };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(FRAME_SIZE);
        }
        self.settings_seen = true;
        for setting in frame::settings(payload) {
            self.apply(setting)?;
        }
        frame::head(&mut self.out, 0, Kind::Settings, frame::ACK, 0);
        self.flood.queued_control();
        self.tell();
        Ok(())
    }

    fn apply(&mut self, setting: Setting) -> Result<(), Violation> {
        match setting {
            Setting::HeaderTableSize(size) => self.encoder.set_limit(size as usize),
            Setting::MaxConcurrentStreams(most) => self.peer.max_streams = most,
            Setting::InitialWindowSize(size) => return self.resize_windows(size),
            Setting::EnablePush(0) => {}
            Setting::EnablePush(1) if self.role == Role::Server => {}
            Setting::EnablePush(_) => return Err(Violation::protocol("http2.invalid_setting")),
            Setting::MaxFrameSize(size) if !(1 << 14..1 << 24).contains(&size) => {
                return Err(Violation::protocol("http2.invalid_setting"));
            }
            Setting::EnableConnectProtocol(on) if on > 1 => {
                return Err(Violation::protocol("http2.invalid_setting"));
            }
            // We never send larger frames; what the peer says of its heads is advice.
            Setting::MaxFrameSize(_) | Setting::EnableConnectProtocol(_) | Setting::MaxHeaderListSize(_) => {}
        }
        Ok(())
    }

    fn resize_windows(&mut self, size: u32) -> Result<(), Violation> {
        if i64::from(size) > frame::MAX_WINDOW {
            return Err(Violation::new(Code::FLOW_CONTROL_ERROR, "http2.invalid_setting"));
        }
        let more = i64::from(size) - i64::from(self.peer.stream_window);
        self.peer.stream_window = size;
        for key in self.ids.values().copied().collect::<Vec<_>>() {
            let stream = self.streams.get_mut(key);
            stream.send_window += more;
            if stream.send_window > frame::MAX_WINDOW {
                return Err(Violation::new(Code::FLOW_CONTROL_ERROR, "http2.flow_control"));
            }
            self.send_rest(key);
            self.streams.get_mut(key).wake();
        }
        Ok(())
    }

    fn pinged(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.id != 0 {
            return Err(Violation::protocol("http2.invalid_stream_id"));
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| FRAME_SIZE)?;
        if head.has(frame::ACK) {
            if self.ping.0 == Some(payload) {
                self.ping.0 = None;
            }
            if self.closing == Closing::Said && payload == SHUTDOWN_PING {
                self.close();
                self.tell();
            }
            return Ok(());
        }
        frame::write_ping(&mut self.out, frame::ACK, payload);
        self.flood.queued_control();
        self.tell();
        Ok(())
    }

    fn peer_goes_away(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.id != 0 {
            return Err(Violation::protocol("http2.invalid_stream_id"));
        }
        let last = frame::number(payload).filter(|_| payload.len() >= 8).ok_or(FRAME_SIZE)? & 0x7fff_ffff;
        self.peer_closing = true;
        if self.role == Role::Client {
            // The peer says that it never looked at these.
            let error = StreamError::new(self.side(), ResetReason::RemoteRefusedStreamReset);
            let unseen: Vec<_> =
                self.ids.iter().filter(|(id, _)| **id > last).map(|(id, key)| (*id, *key)).collect();
            for (id, key) in unseen {
                self.ids.remove(&id);
                self.streams.get_mut(key).fail(error);
            }
        }
        self.tell();
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let more = frame::number(payload).filter(|_| payload.len() == 4).ok_or(FRAME_SIZE)?;
        let more = i64::from(more & 0x7fff_ffff);
        self.flood.window_updated(&self.stats)?;
        if head.id == 0 {
            self.send_window += more;
            if more == 0 {
                return Err(Violation::protocol("http2.window_update"));
            }
            if self.send_window > frame::MAX_WINDOW {
                return Err(Violation::new(Code::FLOW_CONTROL_ERROR, "http2.flow_control"));
            }
            self.window_opened();
            return Ok(());
        }
        let Some(key) = self.stream(head)? else { return Ok(()) };
        let stream = self.streams.get_mut(key);
        stream.send_window += more;
        if more == 0 {
            return self.stream_error(head.id, Some(key), Code::PROTOCOL_ERROR, "http2.window_update");
        }
        if stream.send_window > frame::MAX_WINDOW {
            return self.stream_error(head.id, Some(key), Code::FLOW_CONTROL_ERROR, "http2.flow_control");
        }
        self.send_rest(key);
        self.streams.get_mut(key).wake();
        Ok(())
    }
}

/// `RequestHead::size` of a head that was too large to be kept.
pub(crate) const TOO_LARGE: u32 = u32::MAX;

const FRAME_SIZE: Violation = Violation::new(Code::FRAME_SIZE_ERROR, "http2.frame_size");

fn compression(error: crate::http::h2::hpack::CompressionError) -> Violation {
    Violation::new(Code::COMPRESSION_ERROR, error.0)
}

fn exact(body: BodyLength) -> Option<u64> {
    match body {
        BodyLength::Exact(length) => Some(length),
        _ => None,
    }
}

impl Connection {
    /// Takes the head of an accepted request, leaving `head`'s memory in its place; false when it was too large.
    pub fn take_request(&mut self, key: Key, head: &mut RequestHead) -> bool {
        let stream = self.streams.get_mut(key);
        std::mem::swap(&mut stream.request, head);
        head.size != TOO_LARGE
    }
}
