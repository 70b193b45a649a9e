//! Upstream connections: connecting, pooling per worker, HTTP/1 and HTTP/2 streams over them.
