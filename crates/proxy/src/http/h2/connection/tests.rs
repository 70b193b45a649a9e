//! Connections without sockets: what a peer may not do and what that costs it, windows, floods, endings.

mod endings;
mod ends;
mod heads;
mod orders;
mod violations;
mod windows;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use proptest::prelude::*;

use super::{Config, Connection, Role, send::Sent, streams::Key};
use crate::{
    error::ResetReason,
    http::{
        config::FloodLimits,
        exchange::Next,
        h2::{
            frame::{self, Code, Head, Kind, Setting},
            head::Limits,
            hpack::{Encoder, table},
            stream::Stream,
        },
        headers::{HeaderList, Known},
        message::{RequestHead, ResponseHead},
    },
    stats::groups::Http2Stats,
};

const CONFIG: Config = Config {
    max_streams: 3,
    stream_window: 65_535,
    connection_window: 100_000,
    head: Limits { bytes: 4096, fields: 10 },
    extended_connect: false,
    flood: FloodLimits::DEFAULT,
};

const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const OK: &[(&str, &str)] = &[(":status", "200")];

/// A connection and its peer, who writes frames by hand.
struct Peer {
    connection: Rc<RefCell<Connection>>,
    stats: Arc<Http2Stats>,
    encoder: Encoder,
    input: Vec<u8>,
}

/// The waker of a task: whether it was told to run.
struct Told(AtomicBool);

impl Told {
    fn new(told: bool) -> Self {
        Self(AtomicBool::new(told))
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The task runs now.
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Peer {
    /// After both prefaces.
    fn new(role: Role, config: Config) -> Self {
        let stats = Arc::<Http2Stats>::default();
        let connection = Rc::new(RefCell::new(Connection::new(role, config, stats.clone())));
        let mut peer = Self { connection, stats, encoder: Encoder::default(), input: Vec::new() };
        if role == Role::Server {
            peer.input.extend_from_slice(frame::PREFACE);
        }
        frame::write_settings(&mut peer.input, &[]);
        peer.flush();
        peer.frames();
        peer
    }

    fn server() -> Self {
        Self::new(Role::Server, CONFIG)
    }

    fn client() -> Self {
        Self::new(Role::Client, CONFIG)
    }

    fn frame(&mut self, kind: Kind, flags: u8, id: u32, payload: &[u8]) -> &mut Self {
        frame::head(&mut self.input, payload.len(), kind, flags, id);
        self.input.extend_from_slice(payload);
        self
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let kind = table::kind(name.as_bytes());
            self.encoder.encode(kind, name.as_bytes(), value.as_bytes(), &mut block);
        }
        block
    }

    fn headers(&mut self, id: u32, end: bool, fields: &[(&str, &str)]) -> &mut Self {
        let block = self.block(fields);
        let end = if end { frame::END_STREAM } else { 0 };
        self.frame(Kind::Headers, frame::END_HEADERS | end, id, &block)
    }

    fn data(&mut self, id: u32, end: bool, data: &[u8]) -> &mut Self {
        self.frame(Kind::Data, if end { frame::END_STREAM } else { 0 }, id, data)
    }

    fn window(&mut self, id: u32, more: u32) -> &mut Self {
        self.frame(Kind::WindowUpdate, 0, id, &more.to_be_bytes())
    }

    fn setting(&mut self, setting: Setting) -> &mut Self {
        frame::write_settings(&mut self.input, &[setting]);
        self
    }

    /// Hands what was written to the connection, in two pieces.
    fn flush(&mut self) {
        let middle = self.input.len() / 2;
        let done = self.connection.borrow_mut().receive(&self.input[..middle]);
        let end = self.connection.borrow_mut().receive(&self.input[done..]);
        assert_eq!(done + end, self.input.len(), "whole frames are worked off");
        self.input.clear();
    }

    /// What the connection has written since: frame heads with payloads.
    fn frames(&mut self) -> Vec<(Head, Vec<u8>)> {
        self.flush();
        let mut connection = self.connection.borrow_mut();
        let mut rest = connection.output();
        rest = rest.strip_prefix(frame::PREFACE).unwrap_or(rest);
        let mut frames = Vec::new();
        while let Some(head) = Head::read(rest) {
            frames.push((head, rest[frame::HEAD..frame::HEAD + head.len].to_vec()));
            rest = &rest[frame::HEAD + head.len..];
        }
        let n = connection.output().len();
        connection.wrote(n);
        frames
    }

    /// (kind, stream, code) of every RST_STREAM and GOAWAY.
    fn faults(&mut self) -> Vec<(Kind, u32, Code)> {
        let code = |payload: &[u8]| Code(frame::number(payload).unwrap());
        let frames = self.frames().into_iter();
        frames
            .filter_map(|(head, payload)| match head.kind {
                Kind::Reset => Some((Kind::Reset, head.id, code(&payload))),
                Kind::GoAway => Some((Kind::GoAway, frame::number(&payload).unwrap(), code(&payload[4..]))),
                _ => None,
            })
            .collect()
    }

    fn goaway(&mut self) -> Option<Code> {
        self.faults().iter().find(|fault| fault.0 == Kind::GoAway).map(|fault| fault.2)
    }

    fn accept(&mut self) -> Option<Stream> {
        self.flush();
        let key = self.connection.borrow_mut().accept()?;
        Some(Stream::new(self.connection.clone(), key))
    }

    /// A stream of a server with its request.
    fn request(&mut self, id: u32, end: bool, fields: &[(&str, &str)]) -> (Stream, RequestHead) {
        self.headers(id, end, fields);
        let stream = self.accept().expect("a request");
        let mut head = RequestHead::default();
        assert!(self.connection.borrow_mut().take_request(stream.key(), &mut head));
        (stream, head)
    }

    /// A stream of a client.
    fn ask(&mut self, method: &str, end: bool) -> Stream {
        let mut head = RequestHead::default();
        head.set_method(method);
        head.set_path("/");
        head.set_authority("a");
        let key = self.connection.borrow_mut().reserve();
        self.connection.borrow_mut().send_request(key, &head, end);
        Stream::new(self.connection.clone(), key)
    }

    fn response(&mut self, stream: &Stream) -> Result<ResponseHead, ResetReason> {
        self.flush();
        let mut head = ResponseHead::default();
        match self.connection.borrow_mut().poll_response(&mut cx(), stream.key(), &mut head) {
            Poll::Ready(Ok(())) => Ok(head),
            Poll::Ready(Err(error)) => Err(error.reason),
            Poll::Pending => panic!("no response"),
        }
    }

    fn respond(&self, stream: &Stream, end: bool) {
        let head = ResponseHead { status: 200, ..ResponseHead::default() };
        self.connection.borrow_mut().send_response(stream.key(), &head, end);
    }

    fn send(&self, key: Key, body: &[u8], last: bool) -> Poll<Sent> {
        self.connection.borrow_mut().poll_send(&mut cx(), key, body, last).map(Result::unwrap)
    }
}

/// All that lies in the stream, and how it goes on.
fn body(stream: &mut Stream) -> (Vec<u8>, Option<Next>) {
    let mut all = Vec::new();
    loop {
        match stream.poll_body(&mut cx()) {
            Poll::Ready(Ok(Next::Data { .. })) => {
                all.extend_from_slice(stream.data());
                stream.consume(stream.data().len());
            }
            Poll::Ready(Ok(end)) => return (all, Some(end)),
            Poll::Ready(Err(_)) | Poll::Pending => return (all, None),
        }
    }
}
