//! Which route tables a sidecar has: a seat is a table's name and what decides which hosts are in it. Found by [`super::outbound`],
//! filled by [`super::route`].

use meltemi_config::Host;

use crate::model::route::RouteConfiguration;

/// A route table of a sidecar, and what decides which hosts are in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Which egress listener of the scope it belongs to.
    pub egress: usize,
    /// Port of the listener.
    pub port: u32,
    /// Whether the listener opens its port, so that its own address is the destination.
    pub explicit: bool,
    /// The one service it is for, if it is not shared.
    pub service: Option<Host>,
    /// Whether it is for all ports of all services: the authority says which port; without one it is 80.
    pub proxies: bool,
}

impl Seat {
    /// The table without virtual hosts. Where the authority says the port, the port counts.
    pub fn bare(&self) -> RouteConfiguration {
        RouteConfiguration { name: self.name.clone(), virtual_hosts: Vec::new(), ignore_port: !self.proxies }
    }
}
