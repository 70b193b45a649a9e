//! HTTP: connection manager, codecs, messages.

pub mod config;
