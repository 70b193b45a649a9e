//! Addresses of both ends of both connections, whole or in part.
//!
//! Invariant: whatever length a network is given, it is one of the address's.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use super::write::text;
use crate::{access_log::record::Record, cluster, stream::UNSPECIFIED};

/// Which, and what of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    which: Which,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    UpstreamLocal,
    UpstreamRemote,
    Local,
    Remote,
    DirectRemote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Both,
    WithoutPort,
    /// `address/length`.
    Network(u32),
    Port,
    /// Of Envoy's internal listeners: empty.
    EndpointId,
}

const NAMES: &[(&str, Which)] = &[
    ("UPSTREAM_LOCAL_", Which::UpstreamLocal),
    ("UPSTREAM_REMOTE_", Which::UpstreamRemote),
    ("DOWNSTREAM_LOCAL_", Which::Local),
    ("DOWNSTREAM_REMOTE_", Which::Remote),
    ("DOWNSTREAM_DIRECT_REMOTE_", Which::DirectRemote),
    ("DOWNSTREAM_DIRECT_LOCAL_", Which::Local),
];

impl Address {
    /// By the command's name; `None`: it is about no address.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Option<Self>, String> {
        let found = NAMES.iter().find_map(|(prefix, which)| Some((name.strip_prefix(prefix)?, which)));
        let Some((rest, which)) = found else { return Ok(None) };
        let part = match (rest, argument.filter(|argument| !argument.is_empty())) {
            ("ADDRESS", None) => Part::Both,
            ("ADDRESS_WITHOUT_PORT", None) => Part::WithoutPort,
            ("ADDRESS_WITHOUT_PORT", Some(length)) => {
                Part::Network(length.parse().map_err(|_| "the length of a network is no number")?)
            }
            ("PORT", None) => Part::Port,
            ("ADDRESS_ENDPOINT_ID", None) => Part::EndpointId,
            ("ADDRESS" | "PORT" | "ADDRESS_ENDPOINT_ID", Some(_)) => {
                return Err("takes no argument".to_owned());
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { which: *which, part }))
    }

    /// True for ports, which are numbers.
    pub(super) fn is_port(self) -> bool {
        self.part == Part::Port
    }

    /// Appends it.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        let address = match self.which {
            Which::UpstreamLocal => record.upstream_local,
            Which::Local => record.local,
            Which::Remote => record.remote,
            Which::DirectRemote => record.direct_remote,
            Which::UpstreamRemote => match record.endpoint.map(|endpoint| &endpoint.address) {
                Some(cluster::Address::Socket(address)) => *address,
                Some(cluster::Address::Pipe(path)) => return text(out, &path.to_string_lossy()),
                None => return false,
            },
        };
        match (address, self.part) {
            (UNSPECIFIED, Part::Port) => false,
            // Both ends of a connection that came by a Unix socket.
            (UNSPECIFIED, _) => self.which != Which::UpstreamLocal && text(out, record.pipe),
            (_, Part::EndpointId) => true,
            (address, part) => write(out, address, part),
        }
    }
}

fn write(out: &mut Vec<u8>, address: SocketAddr, part: Part) -> bool {
    // A vector takes everything.
    match part {
        Part::Both => write!(out, "{address}"),
        Part::WithoutPort => write!(out, "{}", address.ip()),
        Part::Port => write!(out, "{}", address.port()),
        Part::Network(length) => {
            let (network, length) = network(address.ip(), length);
            write!(out, "{network}/{length}")
        }
        Part::EndpointId => Ok(()),
    }
    .is_ok()
}

/// The address with only its first bits, which are all when it has fewer.
fn network(address: IpAddr, length: u32) -> (IpAddr, u32) {
    match address {
        IpAddr::V4(address) => {
            let length = length.min(32);
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (IpAddr::V4((address.to_bits() & mask).into()), length)
        }
        IpAddr::V6(address) => {
            let length = length.min(128);
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            (IpAddr::V6((address.to_bits() & mask).into()), length)
        }
    }
}
