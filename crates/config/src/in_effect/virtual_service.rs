//! VirtualService, in the order of its reference.

use super::{Row, joined};

/// A test of what the pilot makes of fields.
macro_rules! test {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/virtual_service.rs::", $name)
    };
}

/// The same for what rules do beside sending on.
macro_rules! rule {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/rule.rs::", $name)
    };
}

/// The same for connections.
macro_rules! bytes {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/bytes.rs::", $name)
    };
}

mod actions;
mod connections;
mod hosts_and_matches;

const LENGTH: usize = hosts_and_matches::ROWS.len() + actions::ROWS.len() + connections::ROWS.len();

pub(super) const ROWS: &[Row] =
    &joined::<LENGTH>(&[hosts_and_matches::ROWS, actions::ROWS, connections::ROWS]);
