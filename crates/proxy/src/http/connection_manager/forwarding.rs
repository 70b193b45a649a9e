//! Who the client is and what it may ask for: `x-forwarded-*`, `x-envoy-internal`, `x-envoy-external-address`, `via`.
//!
//! Called once per request by [`super`], in the order of Envoy's `ConnectionManagerUtility::mutateRequestHeaders`
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).
//! Invariant: a request that is not internal leaves with none of the headers that steer this proxy.

use std::net::{IpAddr, SocketAddr};

use crate::{
    http::{
        config::HttpConnectionManager,
        headers::{HeaderList, Known, mask},
        message::RequestHead,
    },
    stream::UNSPECIFIED,
};

/// What was found out about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The trusted client address: `%DOWNSTREAM_REMOTE_ADDRESS%`.
    pub address: SocketAddr,
    /// An internal request.
    pub internal: bool,
    /// A request from outside at the edge.
    pub edge: bool,
}

/// The connection as far as forwarding headers speak of it.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Its IP as text, made once per connection.
    pub remote_ip: &'a str,
    /// Our own IP as text, which stands in for a loopback peer.
    pub local_ip: &'a str,
    /// The connection is TLS.
    pub tls: bool,
}

/// Steering headers that no request from outside may carry.
const INTERNAL_ONLY: u128 = mask(&[
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyUpstreamAltStatName,
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyExpectedRqTimeoutMs,
    Known::XEnvoyForceTrace,
    Known::XEnvoyIpTags,
    Known::XEnvoyOriginalUrl,
    Known::XEnvoyHedgeOnPerTryTimeout,
]);

/// Headers that describe an internal caller; stripped at the edge.
const EDGE_STRIPPED: u128 = mask(&[
    Known::XEnvoyDecoratorOperation,
    Known::XEnvoyDownstreamServiceCluster,
    Known::XEnvoyDownstreamServiceNode,
]);

/// Sets the forwarding headers and says who the client is.
pub fn apply(head: &mut RequestHead, manager: &HttpConnectionManager, peer: Peer<'_>) -> Client {
    let headers = &mut head.headers;
    headers.remove(Known::XEnvoyInternal);
    let mut address = None;
    let mut single = true;
    if manager.use_remote_address {
        single = !headers.contains(Known::XForwardedFor);
        if manager.xff_trusted_hops > 0 {
            address = nth_from_last(headers, manager.xff_trusted_hops - 1);
        }
        // The client of a Unix socket has no address that could be told.
        if !manager.skip_xff_append && peer.remote != UNSPECIFIED {
            let ip = if peer.remote.ip().is_loopback() { peer.local_ip } else { peer.remote_ip };
            append_forwarded_for(headers, ip);
        }
        if manager.xff_trusted_hops == 0 || !headers.contains(Known::XForwardedProto) {
            headers.set(Known::XForwardedProto, scheme_of(peer.tls));
        }
    } else {
        address = nth_from_last(headers, manager.xff_trusted_hops);
    }
    if !headers.contains(Known::XForwardedProto) {
        headers.append(Known::XForwardedProto, scheme_of(peer.tls));
    }
    head.https = match &manager.scheme_overwrite {
        Some(scheme) => &**scheme == "https",
        None => headers.get(Known::XForwardedProto) == Some(b"https"),
    };
    let address = address.map_or(peer.remote, |ip| SocketAddr::new(ip, 0));
    let internal = single && address != UNSPECIFIED && is_internal(manager, address.ip());
    let edge = !internal && manager.use_remote_address;
    let client = Client { address, internal, edge };
    sanitize(headers, client, peer.remote_ip, peer.remote);
    if let Some(via) = &manager.via {
        append_via(headers, via);
    }
    client
}

/// `internal_address_config`; its default since Envoy 1.33 is that nobody is internal.
fn is_internal(manager: &HttpConnectionManager, ip: IpAddr) -> bool {
    manager.internal_ranges.iter().any(|range| range.contains(ip))
}

const fn scheme_of(tls: bool) -> &'static [u8] {
    if tls { b"https" } else { b"http" }
}

fn sanitize(headers: &mut HeaderList, client: Client, remote_ip: &str, remote: SocketAddr) {
    if client.internal {
        headers.set(Known::XEnvoyInternal, b"true");
        return;
    }
    headers.remove_mask(INTERNAL_ONLY);
    if client.edge {
        headers.remove_mask(EDGE_STRIPPED);
        if client.address == UNSPECIFIED {
            // A Unix socket.
        } else if client.address == remote {
            headers.set(Known::XEnvoyExternalAddress, remote_ip.as_bytes());
        } else {
            headers.set(Known::XEnvoyExternalAddress, client.address.ip().to_string().as_bytes());
        }
    }
}

fn append_forwarded_for(headers: &mut HeaderList, ip: &str) {
    match headers.joined("x-forwarded-for") {
        None => headers.append(Known::XForwardedFor, ip.as_bytes()),
        Some(before) => {
            let value = format!("{before},{ip}");
            headers.set(Known::XForwardedFor, value.as_bytes());
        }
    }
}

/// Adds ourselves to `via`.
pub fn append_via(headers: &mut HeaderList, via: &str) {
    match headers.joined("via") {
        None => headers.append(Known::Via, via.as_bytes()),
        Some(before) => {
            let value = format!("{before}, {via}");
            headers.set(Known::Via, value.as_bytes());
        }
    }
}

/// The address `skip` places before the last of `x-forwarded-for`; `None` unless it is one.
fn nth_from_last(headers: &HeaderList, skip: u32) -> Option<IpAddr> {
    if !headers.contains(Known::XForwardedFor) {
        return None;
    }
    let all = headers.joined("x-forwarded-for")?;
    all.rsplit(',').nth(skip as usize)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_from_the_last() {
        let mut headers = HeaderList::new();
        assert_eq!(nth_from_last(&headers, 0), None);
        headers.append(Known::XForwardedFor, b"1.1.1.1, 2.2.2.2");
        headers.append(Known::XForwardedFor, b"::3");
        assert_eq!(nth_from_last(&headers, 0), "::3".parse().ok());
        assert_eq!(nth_from_last(&headers, 2), "1.1.1.1".parse().ok());
        assert_eq!(nth_from_last(&headers, 3), None);
        append_forwarded_for(&mut headers, "4.4.4.4");
        assert_eq!(headers.joined("x-forwarded-for").as_deref(), Some("1.1.1.1, 2.2.2.2,::3,4.4.4.4"));
    }
}
