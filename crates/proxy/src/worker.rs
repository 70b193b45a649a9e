//! Worker threads: each a current-thread runtime with its own listening sockets and pools.
