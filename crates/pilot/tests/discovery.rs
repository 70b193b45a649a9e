//! A running pilot and its real clients: Envoy in both forms of the protocol, grpcio, and the protocol by hand.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

#[path = "discovery/envoy.rs"]
mod envoy;
#[path = "discovery/grpc.rs"]
mod grpc;
#[path = "discovery/pilot.rs"]
mod pilot;
#[path = "discovery/protocol.rs"]
mod protocol;
#[path = "discovery/services.rs"]
mod services;
