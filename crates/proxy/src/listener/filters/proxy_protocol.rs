//! Reads a PROXY protocol header, version 1 (text) or 2 (binary).
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
//!
//! Called on a growing prefix. Invariant: a header that is malformed is never taken for "no header".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Parsed;
use crate::listener::HeaderVersions;

/// A header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many bytes it takes.
    pub(super) length: usize,
    /// Source and destination; `None` for LOCAL and UNKNOWN: the connection's own stay.
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest version 1 line with its line end.
const V1_MAX: usize = 107;

/// Looks at the first bytes of a connection. A header of a version that is not taken is not one.
pub(super) fn parse(prefix: &[u8], versions: HeaderVersions) -> Parsed<Header> {
    let starts = |with: &[u8]| {
        let common = prefix.len().min(with.len());
        prefix[..common] == with[..common]
    };
    if starts(V2) && !versions.no_version_2 {
        version_2(prefix)
    } else if starts(b"PROXY ") && !versions.no_version_1 {
        version_1(prefix)
    } else {
        Parsed::Other
    }
}

fn version_1(prefix: &[u8]) -> Parsed<Header> {
    let window = &prefix[..prefix.len().min(V1_MAX)];
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if prefix.len() < V1_MAX { Parsed::Incomplete } else { Parsed::Other };
    };
    let Ok(line) = std::str::from_utf8(&window[..end]) else { return Parsed::Other };
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Parsed::Done(Header { length: end + 2, addresses: None });
    }
    let addresses = (|| {
        let (source, destination) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (source_port, destination_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let as_said = match family? {
            "TCP4" => |ip: IpAddr| ip.is_ipv4(),
            "TCP6" => |ip: IpAddr| ip.is_ipv6(),
            _ => return None,
        };
        let fits = words.next().is_none() && as_said(source) && as_said(destination);
        let source = SocketAddr::new(source, source_port);
        fits.then_some((source, SocketAddr::new(destination, destination_port)))
    })();
    match addresses {
        Some(addresses) => Parsed::Done(Header { length: end + 2, addresses: Some(addresses) }),
        None => Parsed::Other,
    }
}

fn version_2(prefix: &[u8]) -> Parsed<Header> {
    let Some(&[version_command, family, high, low]) = prefix.get(12..16) else { return Parsed::Incomplete };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || version_command & 15 > 1 {
        return Parsed::Other;
    }
    let Some(body) = prefix.get(16..length) else { return Parsed::Incomplete };
    if version_command & 15 == 0 {
        return Parsed::Done(Header { length, addresses: None });
    }
    let addresses = match family {
        0x11 => ip_addresses::<4>(body).map(|(s, d, sp, dp)| {
            (SocketAddr::new(Ipv4Addr::from(s).into(), sp), SocketAddr::new(Ipv4Addr::from(d).into(), dp))
        }),
        0x21 => ip_addresses::<16>(body).map(|(s, d, sp, dp)| {
            (SocketAddr::new(Ipv6Addr::from(s).into(), sp), SocketAddr::new(Ipv6Addr::from(d).into(), dp))
        }),
        // UNSPEC and Unix sockets carry nothing we could use; datagrams do not arrive on a stream.
        0x00 | 0x31 => return Parsed::Done(Header { length, addresses: None }),
        _ => None,
    };
    match addresses {
        Some(addresses) => Parsed::Done(Header { length, addresses: Some(addresses) }),
        None => Parsed::Other,
    }
}

/// Two addresses of `N` bytes, two ports; extensions after them are skipped.
fn ip_addresses<const N: usize>(body: &[u8]) -> Option<([u8; N], [u8; N], u16, u16)> {
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((*source, *destination, port(0), port(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(prefix: &[u8]) -> Parsed<Header> {
        super::parse(prefix, HeaderVersions::default())
    }

    fn done(length: usize, addresses: Option<(&str, &str)>) -> Parsed<Header> {
        let addresses = addresses.map(|(s, d)| (s.parse().unwrap(), d.parse().unwrap()));
        Parsed::Done(Header { length, addresses })
    }

    #[test]
    fn version_1() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nGET /";
        assert_eq!(parse(line), done(40, Some(("192.0.2.1:1000", "192.0.2.2:80"))));
        assert_eq!(parse(&line[..20]), Parsed::Incomplete);
        assert_eq!(parse(b"PROXY UNKNOWN whatever\r\n"), done(24, None));
        assert_eq!(parse(b"PROXY TCP6 ::1 ::2 1 2\r\n"), done(24, Some(("[::1]:1", "[::2]:2"))));
        assert_eq!(parse(b"PROXY TCP4 ::1 ::2 1 2\r\n"), Parsed::Other);
        assert_eq!(parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000\r\n"), Parsed::Other);
        assert_eq!(parse(&[&b"PROXY "[..], &[b'x'; 120]].concat()), Parsed::Other);
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Parsed::Other);
    }

    #[test]
    fn version_2() {
        let header = |command: u8, family: u8, body: &[u8]| {
            [V2, &[command, family], &(body.len() as u16).to_be_bytes(), body].concat()
        };
        let body = [192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 80, 3, 0, 1, 9];
        let bytes = header(0x21, 0x11, &body);
        assert_eq!(parse(&bytes), done(32, Some(("192.0.2.1:7", "192.0.2.2:80"))));
        assert_eq!(parse(&bytes[..31]), Parsed::Incomplete);
        assert_eq!(parse(&header(0x20, 0, &[])), done(16, None));
        assert_eq!(parse(&header(0x21, 0x11, &body[..9])), Parsed::Other);
        assert_eq!(parse(&header(0x31, 0x11, &body)), Parsed::Other);
    }

    #[test]
    fn a_version_that_is_not_taken_is_no_header() {
        let line = b"PROXY UNKNOWN\r\n";
        let without_1 = HeaderVersions { no_version_1: true, ..HeaderVersions::default() };
        assert_eq!(super::parse(line, without_1), Parsed::Other);
        let without_2 = HeaderVersions { no_version_2: true, ..HeaderVersions::default() };
        assert_eq!(super::parse(line, without_2), done(15, None));
        assert_eq!(super::parse(V2, without_1), Parsed::Incomplete);
        assert_eq!(super::parse(V2, without_2), Parsed::Other);
    }
}
