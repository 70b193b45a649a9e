//! Addresses and ports of a mesh on one machine. Asked by [`super::seats`] and [`super::run`].
//!
//! Each mesh claims a block `127.N.0.0/16` of loopback: workload `w` is `127.N.w.1` for others, and finds the services
//! it calls at `127.N.w.2` (HTTP, told apart by `Host`) and `127.N.w.3` upwards (one for each TCP service).
//!
//! Invariant: two meshes on one machine never share a block; the claim is a listening socket, so it ends with the process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

use crate::failure::Failure;

/// The blocks that are tried, the first free one is taken.
const BLOCKS: std::ops::RangeInclusive<u8> = 77..=199;
/// The port whose listening socket is the claim of a block.
const CLAIM_PORT: u16 = 15999;
/// Ports for apps and admin interfaces: below the range from which systems take the source ports of connections.
const PRIVATE_PORTS: std::ops::Range<u16> = 21_000..31_000;
/// Most workloads of one mesh.
pub(crate) const MOST_WORKLOADS: usize = 250;

/// A claimed block of loopback.
#[derive(Debug)]
pub(crate) struct Block {
    number: u8,
    next_port: u16,
    reserved: Vec<u16>,
    _claim: TcpListener,
}

impl Block {
    /// Claims the first free block. `reserved` are ports that something else of this mesh is about to listen on.
    pub(crate) fn claim(reserved: &[u16]) -> Result<Self> {
        for number in BLOCKS {
            let address = SocketAddr::from((Ipv4Addr::new(127, number, 255, 254), CLAIM_PORT));
            match TcpListener::bind(address) {
                Ok(claim) => return Ok(Self::new(number, reserved, claim)),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(no_loopback(address, &error).into()),
            }
        }
        Err(Failure::new("too many meshes run on this machine", "end one of them").into())
    }

    fn new(number: u8, reserved: &[u16], claim: TcpListener) -> Self {
        Self { number, next_port: first_port(number), reserved: reserved.to_vec(), _claim: claim }
    }

    /// Where others reach workload `index`.
    pub(crate) fn workload(&self, index: usize) -> Ipv4Addr {
        self.host(index, 1)
    }

    /// Where workload `index` finds all HTTP services.
    pub(crate) fn egress(&self, index: usize) -> Ipv4Addr {
        self.host(index, 2)
    }

    /// Where workload `index` finds the TCP service `service`; at most 250 of them.
    pub(crate) fn tcp_egress(&self, index: usize, service: usize) -> Option<Ipv4Addr> {
        let host = u8::try_from(service + 3).ok().filter(|host| *host < 255)?;
        Some(self.host(index, host))
    }

    fn host(&self, index: usize, host: u8) -> Ipv4Addr {
        let third = u8::try_from(index + 1).expect("invariant: a plan has at most MOST_WORKLOADS workloads");
        Ipv4Addr::new(127, self.number, third, host)
    }

    /// A port of 127.0.0.1 that nothing listens on.
    pub(crate) fn private_port(&mut self) -> Result<u16> {
        for _ in 0..PRIVATE_PORTS.len() {
            let port = self.next_port;
            self.next_port = if port + 1 < PRIVATE_PORTS.end { port + 1 } else { PRIVATE_PORTS.start };
            if !self.reserved.contains(&port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
                return Ok(port);
            }
        }
        Err(Failure::new("no free port left between 21000 and 31000", "").into())
    }

    /// `address`, with a free port instead of port 0. It is a private one: what is told a port and binds it later, or again after a
    /// crash, must not find that the kernel has given it to a connection.
    pub(crate) fn settle(&mut self, address: SocketAddr) -> Result<SocketAddr> {
        if address.port() != 0 {
            return Ok(address);
        }
        loop {
            let settled = SocketAddr::new(address.ip(), self.private_port()?);
            match TcpListener::bind(settled) {
                Ok(_) => return Ok(settled),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).with_context(|| format!("no free port at {address}")),
            }
        }
    }
}

/// Meshes start looking at different places, so that they seldom meet between looking and listening.
fn first_port(block: u8) -> u16 {
    let blocks = u16::from(BLOCKS.end() - BLOCKS.start() + 1);
    let each = (PRIVATE_PORTS.end - PRIVATE_PORTS.start) / blocks;
    PRIVATE_PORTS.start + u16::from(block - BLOCKS.start()) * each
}

fn no_loopback(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("cannot listen on {address}: {error}"),
        "a mesh of processes needs the loopback network 127.0.0.0/8, which Linux has and other systems have not",
    )
}

/// A listening socket for one of our own servers, with an error that names what it was for.
pub(crate) fn check_free(address: SocketAddr, what: &str, flag: &str) -> Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(
            format!("cannot listen on {address} for the {what}: {error}"),
            format!("choose another address with {flag} ADDR, or end what uses this one"),
        )
        .into()),
    }
}

/// The lowest port that this user may listen on: Linux keeps those below it for root.
pub(crate) fn lowest_port() -> u16 {
    if rustix::process::geteuid().is_root() {
        return 1;
    }
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    setting.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// The address that a client on this machine uses for a listener: loopback where it listens everywhere.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_meshes_have_two_blocks() {
        let (one, two) = (Block::claim(&[]).expect("a block"), Block::claim(&[]).expect("a block"));
        assert_ne!(one.workload(0), two.workload(0));
        assert_ne!(one.workload(0), one.workload(1));
    }

    #[test]
    fn no_port_is_one_of_those_for_connections() {
        let mut block = Block::claim(&[]).expect("a block");
        let settled = block.settle(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        assert!(PRIVATE_PORTS.contains(&settled.port()));
        let given = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        assert_eq!(block.settle(given).expect("a port"), given);
    }
}
