//! The floor: a program that copies bytes between a client and a backend connection of its own and reads none of them.
//!
//! `bench` runs it as the peer `relay` in `http1`: per request two reads and two writes of loopback TCP, which is what
//! the kernel charges every proxy. Invariant: nothing is done here that a proxy could leave out.

use std::{
    io::{ErrorKind, Read, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use rustix::event::epoll;

/// Options of the hidden verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port to listen on.
    #[arg(long)]
    port: u16,
    /// Port of the backend.
    #[arg(long)]
    backend: u16,
}

/// The listener's mark among events.
const LISTENER: u64 = u64::MAX;

/// Serves until it is ended from outside.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    // A connection and its partner lie side by side: n and n ^ 1.
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut events = [MaybeUninit::uninit(); 256];
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let (events, _) = epoll::wait(&epoll, &mut events, None)?;
        for event in events {
            match event.data.u64() {
                LISTENER => {
                    while let Ok((client, _)) = listener.accept() {
                        let backend = TcpStream::connect((Ipv4Addr::LOCALHOST, args.backend))?;
                        for stream in [client, backend] {
                            stream.set_nodelay(true)?;
                            stream.set_nonblocking(true)?;
                            let data = epoll::EventData::new_u64(connections.len() as u64);
                            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                            epoll::add(&epoll, &stream, data, flags)?;
                            connections.push(Some(stream));
                        }
                    }
                }
                at => pass_on(&mut connections, at as usize, &mut buffer),
            }
        }
    }
}

/// One read, one write: small messages only. Whatever goes wrong ends both connections.
fn pass_on(connections: &mut [Option<TcpStream>], at: usize, buffer: &mut [u8]) {
    let (Some(from), Some(to)) = (&connections[at], &connections[at ^ 1]) else { return };
    let (mut from, mut to) = (from, to);
    match from.read(buffer) {
        Ok(n) if n > 0 && to.write_all(&buffer[..n]).is_ok() => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        _ => {
            connections[at] = None;
            connections[at ^ 1] = None;
        }
    }
}
