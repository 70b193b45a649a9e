//! `AccessLog` lists to compiled logs, each with its place in the resource.

use meltemi_xds::pb::envoy::config::accesslog::v3::AccessLog as Message;

use super::{At, Context, Rejection};
use crate::access_log::AccessLog;

/// Compiles the logs of a listener, connection manager or TCP proxy.
pub fn compile(messages: &[Message], context: &mut Context) -> Result<Vec<AccessLog>, Rejection> {
    let logs = messages.iter().enumerate();
    logs.map(|(at, message)| AccessLog::compile(message, context).at_index("access_log", at)).collect()
}
