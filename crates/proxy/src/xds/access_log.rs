//! `AccessLog` messages to compiled logs: checks what the log itself does not.

use meltemi_xds::pb::envoy::config::accesslog::v3::AccessLog as Message;

use super::{Context, Rejection};
use crate::access_log::AccessLog;

/// Compiles the logs of a listener, connection manager or TCP proxy.
pub fn compile(messages: &[Message], context: &mut Context) -> Result<Vec<AccessLog>, Rejection> {
    if !messages.is_empty() {
        context.note("access_log: not in effect");
    }
    Ok(Vec::new())
}
