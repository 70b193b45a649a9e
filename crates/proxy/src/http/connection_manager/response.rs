//! The last changes to every response head, ours or the upstream's: `server`, `date`, `via`, request id.
//!
//! Invariant: nothing that belongs to the upstream hop is left in it.

use crate::http::{
    config::ServerHeader,
    connection_manager::{Exchange, Session, forwarding},
    headers::{Known, mask},
};

const HOP_BY_HOP: u128 = mask(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::XEnvoyDecoratorOperation,
]);

/// Makes `exchange.response` ready to be sent.
pub fn finalize(session: &Session, exchange: &mut Exchange) {
    let manager = &*session.manager;
    let headers = &mut exchange.response.headers;
    headers.remove_mask(HOP_BY_HOP);
    if exchange.response.status != 101 {
        headers.remove(Known::Upgrade);
    }
    if manager.request_id_in_response
        && let Some(id) = exchange.request.headers.get(Known::XRequestId)
    {
        headers.set(Known::XRequestId, id);
    }
    if let Some(via) = &manager.via {
        forwarding::append_via(headers, via);
    }
    if !headers.contains(Known::Date) {
        session.worker.clock.with_date(|date| headers.append(Known::Date, date));
    }
    match manager.server_header {
        ServerHeader::Overwrite => headers.set(Known::Server, manager.server_name.as_bytes()),
        ServerHeader::AppendIfAbsent if !headers.contains(Known::Server) => {
            headers.append(Known::Server, manager.server_name.as_bytes());
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
}
