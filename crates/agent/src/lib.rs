//! What stands beside a proxy: bootstrap and supervision.
