//! Access logs: a format compiled once, a record per request, a sink that never makes a request wait.
//!
//! The connection manager and the TCP proxy make a [`Record`] when something ends and give it to each [`AccessLog`];
//! header rules use [`Format`] for their values.
//! Invariant: what a log cannot do (an operator, a filter, a sink we do not know) is refused by name when it is compiled.

mod compile;
mod filter;
pub mod format;
mod json;
mod operator;
mod record;
mod sink;
mod time;

#[cfg(test)]
mod tests;

use self::{filter::Filter, json::JsonFormat, sink::FileSink};
pub use self::{
    format::Format,
    record::{Record, Times},
    sink::{flush, reopen},
};
use std::sync::Arc;

/// One configured access log: filter, format and sink.
#[derive(Debug, Clone)]
pub struct AccessLog {
    filter: Option<Filter>,
    layout: Layout,
    sink: Arc<FileSink>,
}

/// How a line looks.
#[derive(Debug, Clone)]
enum Layout {
    Text(Format),
    Json(JsonFormat),
}

impl AccessLog {
    /// Writes the record, if the filter lets it pass, to the buffer of worker `shard`.
    pub fn log(&self, record: &Record<'_>, shard: usize) {
        if self.filter.as_ref().is_some_and(|filter| !filter.passes(record)) {
            return;
        }
        self.sink.append(shard, |line| match &self.layout {
            Layout::Text(format) => format.write(line, record),
            Layout::Json(format) => format.write(line, record),
        });
    }
}
