//! The header by which an endpoint is told whose connection this is: the PROXY protocol, version 1 (text) or 2 (binary).
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
//!
//! Written once, first thing on a new connection, where the cluster (`upstream_proxy_protocol` transport) or a CONNECT
//! route asks for it. Invariant: both addresses are of one family, or none is told.

use std::net::SocketAddr;

use crate::stream::UNSPECIFIED;

/// `ProxyProtocolConfig.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of the connection that a new one is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

impl Ends {
    /// Made for nobody's connection: checks, copies of requests; or for one that came by a Unix socket.
    pub const NOBODY: Self = Self { source: UNSPECIFIED, destination: UNSPECIFIED };
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

impl Version {
    /// The header. `own` are the ends of the new connection, which version 1 tells for nobody, as Envoy does.
    pub fn header(self, told: Ends, own: Ends) -> Vec<u8> {
        match self {
            Self::V1 if told == Ends::NOBODY => text(own),
            Self::V1 => text(told),
            Self::V2 => binary(told),
        }
    }
}

fn text(Ends { source, destination }: Ends) -> Vec<u8> {
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return b"PROXY UNKNOWN\r\n".to_vec(),
    };
    let (ips, ports) = ((source.ip(), destination.ip()), (source.port(), destination.port()));
    format!("PROXY {family} {} {} {} {}\r\n", ips.0, ips.1, ports.0, ports.1).into_bytes()
}

fn binary(told: Ends) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    match (told.source, told.destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) if told != Ends::NOBODY => {
            header.extend([0x21, 0x11, 0, 12]);
            header.extend(source.ip().octets());
            header.extend(destination.ip().octets());
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(source.ip().octets());
            header.extend(destination.ip().octets());
        }
        _ => {
            // LOCAL: the connection's own addresses count.
            header.extend([0x20, 0, 0, 0]);
            return header;
        }
    }
    header.extend(told.source.port().to_be_bytes());
    header.extend(told.destination.port().to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        let own = ends("10.0.0.1:1", "10.0.0.2:2");
        let v4 = ends("192.0.2.1:1000", "192.0.2.2:80");
        let v6 = ends("[::1]:1000", "[::2]:80");
        let mixed = ends("192.0.2.1:1000", "[::2]:80");
        for (told, line) in [
            (v4, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"),
            (v6, "PROXY TCP6 ::1 ::2 1000 80\r\n"),
            (mixed, "PROXY UNKNOWN\r\n"),
            (Ends::NOBODY, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        ] {
            assert_eq!(String::from_utf8(Version::V1.header(told, own)).unwrap(), line);
        }
        let tail = |told| Version::V2.header(told, own)[12..].to_vec();
        let expected = [0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 3, 0xe8, 0, 80];
        assert_eq!(tail(v4), expected);
        assert_eq!(tail(v6).len(), 4 + 36);
        assert_eq!((tail(mixed), tail(Ends::NOBODY)), (vec![0x20, 0, 0, 0], vec![0x20, 0, 0, 0]));
    }
}
