//! Upstreams, clients and peers for tests.
