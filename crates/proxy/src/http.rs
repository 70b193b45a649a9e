//! HTTP: codecs, messages, connection manager and router.
//!
//! The worker calls [`serve`] for every connection whose filter chain ends in the HTTP connection manager.
//! Invariant: what a request phase sees does not depend on the codec, only on [`exchange`] and [`message`].

pub mod buffer;
pub mod clock;
pub mod config;
pub mod connection_manager;
pub mod deadline;
pub mod exchange;
pub mod filters;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod message;
pub mod reason;
pub mod router;
mod serve;
#[cfg(test)]
mod tests;
pub mod worker;

pub use serve::serve;
pub use worker::Worker;
