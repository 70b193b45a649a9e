//! What people rely on beyond single fields: names, order, visibility, reading.

use super::{Row, joined};

mod corners;
mod reading;
mod rules;
mod services;
mod sidecars_and_logs;

const LENGTH: usize = reading::ROWS.len()
    + rules::ROWS.len()
    + services::ROWS.len()
    + corners::ROWS.len()
    + sidecars_and_logs::ROWS.len();

pub(super) const ROWS: &[Row] =
    &joined::<LENGTH>(&[reading::ROWS, rules::ROWS, services::ROWS, corners::ROWS, sidecars_and_logs::ROWS]);
