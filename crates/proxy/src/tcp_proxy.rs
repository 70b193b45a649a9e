//! TCP proxying: bytes from a downstream connection to an endpoint and back.
