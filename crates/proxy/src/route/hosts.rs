//! Host to virtual host: exact, longest suffix wildcard, longest prefix wildcard, `*`.

/// The domains of a route table.
#[derive(Debug, Default)]
pub struct HostIndex {}
