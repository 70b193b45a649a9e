//! `/logging`: levels by component, listed and changed.
//!
//! Invariant: the answer ends in the levels that are in force.

use std::fmt::Write;

use http::StatusCode;

use super::{Answer, Query, text};
use crate::logs;

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)\n\
    usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
    usage: /logging?level=<level> (change all levels)\n\
    levels: trace debug info warning error critical off \n";

/// Changes what the query says, and lists.
pub(super) fn answer(query: &Query<'_>) -> Answer {
    let changes = query.pairs();
    let changes = match changes.as_slice() {
        [(name, paths)] if name == "paths" => paths
            .split(',')
            .map(|path| path.split_once(':').unwrap_or((path, "")))
            .map(|(name, level)| (name.to_owned(), level.to_owned()))
            .collect(),
        _ => changes,
    };
    let changed = if changes.is_empty() { Ok(()) } else { logs::change(&changes) };
    let mut list = String::from("active loggers:\n");
    for (name, level) in logs::levels() {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "  {name}: {}", level.name());
    }
    match changed {
        Ok(()) => text(StatusCode::OK, list + "\n"),
        Err(refused) => text(StatusCode::BAD_REQUEST, format!("{refused}\n\n{USAGE}{list}\n")),
    }
}
