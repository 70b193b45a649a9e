//! Reads server name and ALPN out of a TLS ClientHello (RFC 8446 §4.1.2), which may span several records.
//!
//! Called on a growing prefix by the TLS inspector. Invariant: looks at untrusted bytes only through [`Bytes`], which
//! never reads past the end.

use std::sync::Arc;

use super::Parsed;

/// What the ClientHello asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// `server_name` extension, lower case.
    pub(super) server_name: Option<String>,
    /// `application_layer_protocol_negotiation`, in the client's order.
    pub(super) application_protocols: Vec<Arc<str>>,
}

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// RFC 8446 §5.1: a record's payload, with what implementations tolerate.
const MAX_RECORD: usize = 16 * 1024 + 256;

/// Looks at the first bytes of a connection.
pub(super) fn parse(prefix: &[u8]) -> Parsed<ClientHello> {
    let mut handshake = Vec::new();
    let mut rest = Bytes(prefix);
    loop {
        if let Some(message) = whole_message(&handshake) {
            let Some(body) = message else { return Parsed::Other };
            // What the extensions hold is the TLS stack's to judge; here a malformed one just says nothing.
            return Parsed::Done(client_hello(Bytes(body)).unwrap_or_default());
        }
        let Some(kind) = rest.u8() else { return Parsed::Incomplete };
        if kind != HANDSHAKE_RECORD {
            return Parsed::Other;
        }
        let Some(major) = rest.u8() else { return Parsed::Incomplete };
        if major != 3 {
            return Parsed::Other;
        }
        let (Some(_minor), Some(length)) = (rest.u8(), rest.u16()) else { return Parsed::Incomplete };
        if length == 0 || usize::from(length) > MAX_RECORD {
            return Parsed::Other;
        }
        let available = rest.0.len().min(usize::from(length));
        handshake.extend_from_slice(&rest.0[..available]);
        rest.0 = &rest.0[available..];
        if available < usize::from(length) {
            // The message may end before its record does, but records are whole in practice: wait.
            return match handshake.first() {
                Some(&kind) if kind != CLIENT_HELLO => Parsed::Other,
                _ => Parsed::Incomplete,
            };
        }
    }
}

/// `None`: more bytes are needed; `Some(None)`: not a ClientHello; else its body.
fn whole_message(handshake: &[u8]) -> Option<Option<&[u8]>> {
    let mut bytes = Bytes(handshake);
    if bytes.u8()? != CLIENT_HELLO {
        return Some(None);
    }
    let length = usize::from(bytes.u8()?) << 16 | usize::from(bytes.u16()?);
    Some(Some(bytes.0.get(..length)?))
}

fn client_hello(mut body: Bytes<'_>) -> Option<ClientHello> {
    body.take(2 + 32)?;
    let session = body.u8()?;
    body.take(usize::from(session))?;
    let suites = body.u16()?;
    body.take(usize::from(suites))?;
    let compressions = body.u8()?;
    body.take(usize::from(compressions))?;
    let mut hello = ClientHello::default();
    let Some(length) = body.u16() else { return Some(hello) };
    let mut extensions = Bytes(body.take(usize::from(length))?);
    while let Some(kind) = extensions.u16() {
        let length = extensions.u16()?;
        let extension = Bytes(extensions.take(usize::from(length))?);
        match kind {
            SERVER_NAME => hello.server_name = server_name(extension),
            ALPN => hello.application_protocols = application_protocols(extension)?,
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(mut extension: Bytes<'_>) -> Option<String> {
    let length = extension.u16()?;
    let mut list = Bytes(extension.take(usize::from(length))?);
    while let Some(kind) = list.u8() {
        let length = list.u16()?;
        let name = list.take(usize::from(length))?;
        if kind == 0 {
            return std::str::from_utf8(name).ok().map(str::to_ascii_lowercase);
        }
    }
    None
}

fn application_protocols(mut extension: Bytes<'_>) -> Option<Vec<Arc<str>>> {
    let length = extension.u16()?;
    let mut list = Bytes(extension.take(usize::from(length))?);
    let mut protocols = Vec::new();
    while let Some(length) = list.u8() {
        let name = list.take(usize::from(length))?;
        protocols.extend(std::str::from_utf8(name).ok().map(Arc::from));
    }
    Some(protocols)
}

/// A cursor over untrusted bytes.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
    }

    fn hello(records_of: usize) -> Vec<u8> {
        let sni = extension(0, b"\0\x12\0\0\x0fWWW.example.com");
        let alpn = extension(16, b"\0\x0c\x02h2\x08http/1.1");
        let extensions = [sni, extension(43, &[2, 3, 4]), alpn].concat();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let record = |part: &[u8]| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
        message.chunks(records_of).flat_map(record).collect()
    }

    #[test]
    fn reads_names_from_one_record_and_from_many() {
        for records_of in [1, 7, 4096] {
            let bytes = hello(records_of);
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "{end}");
            }
            let Parsed::Done(hello) = parse(&bytes) else { panic!("not done") };
            assert_eq!(hello.server_name.as_deref(), Some("www.example.com"));
            assert_eq!(hello.application_protocols, ["h2".into(), "http/1.1".into()] as [Arc<str>; 2]);
        }
    }

    #[test]
    fn other_protocols_are_told_by_their_first_bytes() {
        assert_eq!(parse(b"G"), Parsed::Other);
        assert_eq!(parse(&[22, 2]), Parsed::Other);
        assert_eq!(parse(&[22, 3, 1, 0, 9, 2]), Parsed::Other);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            parse(&bytes);
            let mut near = hello(64);
            near.truncate(bytes.len().max(10));
            for (at, byte) in bytes.drain(..).enumerate().filter(|(at, _)| at % 9 == 0) {
                if let Some(place) = near.get_mut(at) {
                    *place = byte;
                }
            }
            parse(&near);
        }
    }
}
