//! Access logs: a format compiled once, a record per request, a file or a service that never makes a request wait.
//!
//! The connection manager and the TCP proxy make a [`Record`] when something ends and give it to each [`AccessLog`];
//! header rules use [`Format`] for their values.
//! Invariant: what a log cannot do (an operator, a filter, a sink we do not know) is refused by name when it is compiled.

mod compile;
pub mod facts;
mod filter;
pub mod format;
pub mod grpc;
mod json;
mod operator;
mod quote;
mod record;
mod sink;
mod time;

#[cfg(test)]
mod tests;

use self::{filter::Filter, grpc::GrpcSink, json::JsonFormat, sink::FileSink};
pub use self::{
    format::Format,
    record::{Kind, Record, Times},
    sink::{flush, reopen},
};
use std::{rc::Rc, sync::Arc};

use crate::http::Worker;

/// One configured access log: filter, format and sink.
#[derive(Debug, Clone)]
pub struct AccessLog {
    filter: Option<Filter>,
    destination: Destination,
}

/// Where records go.
#[derive(Debug, Clone)]
enum Destination {
    File(Layout, Arc<FileSink>),
    Grpc(Arc<GrpcSink>),
}

/// How a line looks.
#[derive(Debug, Clone)]
enum Layout {
    Text(Format),
    Json(JsonFormat),
}

impl AccessLog {
    /// Writes the record, if the filter lets it pass, to the worker's buffer.
    pub fn log(&self, record: &Record<'_>, worker: &Rc<Worker>) {
        if self.filter.as_ref().is_some_and(|filter| !filter.passes(record)) {
            return;
        }
        match &self.destination {
            Destination::File(layout, sink) => sink.append(worker.index, |line| match layout {
                Layout::Text(format) => format.write(line, record),
                Layout::Json(format) => format.write(line, record),
            }),
            Destination::Grpc(sink) => sink.append(record, worker),
        }
    }
}
