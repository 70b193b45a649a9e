//! Who sits where: the addresses and ports that a workload keeps for as long as the mesh runs. Asked by [`super::plan`].
//!
//! Invariant: a seat never changes and is never given to another, so an edit of the files moves nobody.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::addresses::{Block, MOST_WORKLOADS};
use crate::failure::Failure;

/// Namespace and name of a workload.
pub(crate) type Key = (String, String);

/// The fixed part of a seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    /// Where others reach the workload.
    pub(crate) address: Ipv4Addr,
    /// Where it finds HTTP services.
    pub(crate) egress: Ipv4Addr,
    /// Where its proxy's admin interface listens.
    pub(crate) admin: SocketAddr,
}

/// All seats of a mesh.
#[derive(Debug)]
pub(crate) struct Seats {
    block: Block,
    taken: BTreeMap<Key, (usize, Seat)>,
    app_ports: BTreeMap<(Key, String), u16>,
    tcp: BTreeMap<Key, Vec<(String, u16)>>,
}

impl Seats {
    /// The seats of a block of loopback addresses that no other mesh has. `reserved` ports are given to nobody.
    pub(crate) fn claim(reserved: &[u16]) -> Result<Self> {
        let block = Block::claim(reserved)?;
        Ok(Self { block, taken: BTreeMap::new(), app_ports: BTreeMap::new(), tcp: BTreeMap::new() })
    }

    /// `address`, with a free port instead of port 0.
    pub(crate) fn settle(&mut self, address: SocketAddr) -> Result<SocketAddr> {
        self.block.settle(address)
    }

    /// The seat of a workload, a new one if it has none.
    pub(crate) fn take(&mut self, key: &Key) -> Result<Seat> {
        if let Some((_, seat)) = self.taken.get(key) {
            return Ok(*seat);
        }
        let index = self.taken.len();
        if index >= MOST_WORKLOADS {
            let hint = "run fewer replicas, or several meshes";
            return Err(Failure::new(
                format!("a mesh on one machine has at most {MOST_WORKLOADS} workloads"),
                hint,
            )
            .into());
        }
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, self.block.private_port()?));
        let seat = Seat { address: self.block.workload(index), egress: self.block.egress(index), admin };
        self.taken.insert(key.clone(), (index, seat));
        Ok(seat)
    }

    /// The port of 127.0.0.1 at which the workload's app listens for its port of that name.
    pub(crate) fn app_port(&mut self, key: &Key, name: &str) -> Result<u16> {
        let place = (key.clone(), name.to_owned());
        if let Some(port) = self.app_ports.get(&place) {
            return Ok(*port);
        }
        let port = self.block.private_port()?;
        self.app_ports.insert(place, port);
        Ok(port)
    }

    /// Where a workload that has a seat finds a TCP service.
    pub(crate) fn tcp_egress(&mut self, key: &Key, host: &str, port: u16) -> Result<Ipv4Addr> {
        let index = self.taken.get(key).map(|(index, _)| *index).unwrap_or_default();
        let services = self.tcp.entry(key.clone()).or_default();
        let at = services.iter().position(|known| known.0 == host && known.1 == port).unwrap_or_else(|| {
            services.push((host.to_owned(), port));
            services.len() - 1
        });
        let none_left =
            || Failure::new("a mesh on one machine has at most 250 TCP services", "name fewer services");
        Ok(self.block.tcp_egress(index, at).ok_or_else(none_left)?)
    }
}
