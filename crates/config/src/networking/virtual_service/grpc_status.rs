//! The statuses of gRPC as `fault.abort.grpcStatus` names them.
//!
//! Validation and translation ask here, so what is accepted is what has an effect.

/// The codes in the order of their numbers (<https://grpc.io/docs/guides/status-codes/>).
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of a status given by its name, in either spelling of `CANCELLED`, or by its number.
pub fn grpc_status(text: &str) -> Option<u32> {
    let text = if text == "CANCELED" { "CANCELLED" } else { text };
    let named = NAMES.iter().position(|name| *name == text);
    let at = named.or_else(|| text.parse().ok().filter(|number| *number < NAMES.len()))?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        assert_eq!(grpc_status("UNAVAILABLE"), Some(14));
        assert_eq!(grpc_status("14"), Some(14));
        assert_eq!(grpc_status("CANCELED"), Some(1));
        assert_eq!(grpc_status("CANCELLED"), Some(1));
        assert_eq!(grpc_status("17"), None);
        assert_eq!(grpc_status("nonsense"), None);
    }
}
