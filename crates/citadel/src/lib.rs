//! The certificate authority. Nothing lives here yet: proxies speak plaintext so far.
