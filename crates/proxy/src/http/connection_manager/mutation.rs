//! Header rules of routes: which levels apply, in which order, and what each operation does.
//!
//! Invariant: the order is Envoy's: the most specific level first and the table last, so that the table wins, unless
//! `most_specific_header_mutations_wins` turns it round.

use std::borrow::Cow;

use crate::{
    http::{
        connection_manager::{Exchange, Session, session},
        headers::HeaderList,
        message::RequestHead,
    },
    route::{AppendAction, HeaderOp, HeaderRules, Route, RouteTable, VirtualHost, WeightedCluster},
};

/// The levels that apply to one request, in order of application.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    levels: [Option<&'a HeaderRules>; 4],
}

impl<'a> Levels<'a> {
    /// The levels of a matched route.
    pub fn new(
        table: &'a RouteTable,
        host: &'a VirtualHost,
        route: &'a Route,
        part: Option<&'a WeightedCluster>,
    ) -> Self {
        let part = part.map(|part| &part.headers);
        let mut levels = [part, Some(&route.headers), Some(&host.headers), Some(&table.headers)];
        if table.most_specific_headers_win {
            levels.reverse();
        }
        Self { levels }
    }

    /// The operations of each level, in order of application.
    pub fn rules(&self) -> impl Iterator<Item = &'a HeaderRules> {
        self.levels.into_iter().flatten()
    }

    /// Applies the request operations.
    pub fn apply_request(&self, session: &Session, exchange: &mut Exchange) {
        for rules in self.levels.into_iter().flatten() {
            for op in &rules.request {
                let value = value_of(op, session, exchange);
                apply_to_request(op, value, &mut exchange.request);
            }
        }
    }

    /// Applies the response operations.
    pub fn apply_response(&self, session: &Session, exchange: &mut Exchange) {
        for rules in self.levels.into_iter().flatten() {
            for op in &rules.response {
                let value = value_of(op, session, exchange);
                apply(op, value, &mut exchange.response.headers);
            }
        }
    }
}

/// The value to put; `None` for removals and for values that are empty and not to be kept.
fn value_of<'a>(op: &'a HeaderOp, session: &Session, exchange: &Exchange) -> Option<Cow<'a, [u8]>> {
    let HeaderOp::Put { value, keep_empty, .. } = op else { return None };
    let text = match value.literal() {
        Some(text) => Cow::Borrowed(text.as_bytes()),
        None => {
            let mut text = session::render(value, session, exchange);
            // What came from the network was checked, but operators may yield more than that.
            text.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            Cow::Owned(text)
        }
    };
    (*keep_empty || !text.is_empty()).then_some(text)
}

/// Pseudo headers are the head's own parts.
fn apply_to_request(op: &HeaderOp, value: Option<Cow<'_, [u8]>>, head: &mut RequestHead) {
    let (HeaderOp::Put { name, .. } | HeaderOp::Remove(name)) = op;
    if !name.starts_with(':') && &**name != "host" {
        return apply(op, value, &mut head.headers);
    }
    let Some(Ok(value)) = value.as_deref().map(std::str::from_utf8) else { return };
    match &**name {
        ":authority" | "host" => head.set_authority(value),
        ":path" => head.set_path(value),
        ":method" => head.set_method(value),
        ":scheme" => head.https = value == "https",
        _ => {}
    }
}

fn apply(op: &HeaderOp, value: Option<Cow<'_, [u8]>>, headers: &mut HeaderList) {
    match op {
        HeaderOp::Remove(name) => headers.remove_named(name.as_bytes()),
        HeaderOp::Put { name, append, .. } => {
            let Some(value) = value else { return };
            let present = headers.get_named(name).is_some();
            match append {
                AppendAction::Append => headers.append_named(name.as_bytes(), &value),
                AppendAction::AddIfAbsent if present => {}
                AppendAction::OverwriteIfExists if !present => {}
                _ => headers.set_named(name.as_bytes(), &value),
            }
        }
    }
}
