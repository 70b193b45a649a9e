//! Sidecar injection into pod specs. Nothing lives here yet.
