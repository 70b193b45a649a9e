//! Filter chain matching, pure: what is known of a connection in, a chain out.

/// The chains of a listener, indexed by their match conditions.
#[derive(Debug, Default)]
pub struct FilterChains {}
