//! Adapters between a Kubernetes API server and the other parts. Nothing lives here yet: files are the only source so far.
