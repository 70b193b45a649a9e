//! The TCP proxy: bytes both ways between a downstream connection and an endpoint.
//!
//! The worker calls [`serve`] for connections whose filter chain ends here.

mod relay;
mod splice;

use std::{rc::Rc, sync::Arc};

use crate::{
    http::Worker,
    listener::{TcpProxy, connection::Connection},
    stream::Stream,
};

/// Serves a connection until it ends.
pub async fn serve(stream: Stream, connection: Connection, proxy: Arc<TcpProxy>, worker: Rc<Worker>) {
    drop((stream, connection, proxy, worker));
}
