//! Sidecar.

use super::{Row, not_yet};

pub(super) const ROWS: &[Row] =
    &[not_yet("", "SC-001…SC-027", "every proxy sees all that is exported to its namespace")];
