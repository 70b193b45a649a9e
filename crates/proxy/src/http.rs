//! HTTP: codecs, messages, connection manager and router.
//!
//! The worker calls [`serve`] for every connection whose filter chain ends in the HTTP connection manager.
//! Invariant: what a request phase sees does not depend on the codec, only on [`exchange`] and [`message`].

pub mod buffer;
pub mod clock;
pub mod config;
pub mod deadline;
pub mod exchange;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod message;
pub mod worker;

use std::{rc::Rc, sync::Arc};

pub use worker::Worker;

use crate::{http::config::HttpConnectionManager, listener::connection::Connection, stream::Stream};

/// Serves a downstream connection until it ends.
pub async fn serve(
    stream: Stream,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    worker: Rc<Worker>,
) {
    worker.start();
    drop((stream, connection, manager));
}
