//! Whatever a peer sends after its preface: no panic, in either role, whole or in pieces, and bounded output.

#![no_main]

use std::{cell::RefCell, rc::Rc};

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::http::{
    config::FloodLimits,
    h2::{
        connection::{Config, Connection, Role},
        frame, head,
        stream::Stream,
    },
    message::RequestHead,
};

const CONFIG: Config = Config {
    max_streams: 4,
    stream_window: 65_535,
    connection_window: 65_535,
    head: head::Limits { bytes: 8192, fields: 20 },
    extended_connect: true,
    flood: FloodLimits::DEFAULT,
};

fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let connection = Rc::new(RefCell::new(Connection::new(role, CONFIG, Default::default())));
    let mut input = Vec::new();
    if role == Role::Server {
        input.extend_from_slice(frame::PREFACE);
    }
    frame::write_settings(&mut input, &[]);
    input.extend_from_slice(data);
    let mut streams = Vec::new();
    if role == Role::Client {
        let mut head = RequestHead::default();
        head.set_method("GET");
        head.set_path("/");
        for _ in 0..3 {
            let key = connection.borrow_mut().reserve();
            streams.push(Stream::new(connection.clone(), key));
            connection.borrow_mut().send_request(key, &head, how & 2 == 0);
        }
    }
    let mut done = 0;
    let step = 1 + (how >> 2) as usize * 7;
    for end in (0..input.len()).step_by(step).chain([input.len()]) {
        if end > done {
            done += connection.borrow_mut().receive(&input[done..end]);
        }
        let accepted = std::iter::from_fn(|| connection.borrow_mut().accept()).collect::<Vec<_>>();
        streams.extend(accepted.into_iter().map(|key| Stream::new(connection.clone(), key)));
        if streams.len() > 8 {
            streams.drain(..4);
        }
        let mut connection = connection.borrow_mut();
        assert!(connection.output().len() < 1 << 20);
        let n = connection.output().len();
        connection.wrote(n / 2);
    }
});
