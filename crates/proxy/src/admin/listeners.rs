//! `/listeners`: the addresses that are really bound, as text or `envoy.admin.v3.Listeners`.
//!
//! Invariant: one line per listener and address.

use meltemi_xds::{
    json,
    pb::envoy::{
        admin::v3::{ListenerStatus, Listeners},
        config::core::v3::{Address, Pipe, SocketAddress, address, socket_address::PortSpecifier},
    },
};

use super::{Admin, Answer, Query};
use crate::cluster;

impl Admin {
    pub(super) fn listeners(&self, query: &Query<'_>) -> Answer {
        let mut lines = String::new();
        let mut message = Listeners::default();
        for (listener, _) in self.workers.listeners() {
            let mut addresses = self.workers.addresses(&listener.name);
            if addresses.is_empty() {
                // Reached only by hand-off: nothing is bound.
                addresses.clone_from(&listener.addresses);
            }
            for address in &addresses {
                lines.push_str(&format!("{}::{address}\n", listener.name));
            }
            let mut addresses = addresses.iter().map(|listening| address(&listening.into()));
            message.listener_statuses.push(ListenerStatus {
                name: listener.name.to_string(),
                local_address: addresses.next(),
                additional_local_addresses: addresses.collect(),
            });
        }
        match query.wants_json() {
            true => super::json(json::to_pretty(&message)),
            false => super::text(http::StatusCode::OK, lines),
        }
    }
}

/// An address as a message.
pub(super) fn address(listening: &cluster::Address) -> Address {
    let address = match listening {
        cluster::Address::Socket(address) => address,
        cluster::Address::Pipe(path) => {
            let pipe = Pipe { path: path.to_string_lossy().into_owned(), ..Pipe::default() };
            return Address { address: Some(address::Address::Pipe(pipe)) };
        }
    };
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}
