//! `details`: facts about the book. It has no upstream.
//!
//! Invariant: the JSON is that of Istio's sample, so that its documents and scripts apply.

use http::StatusCode;
use serde_json::json;

use crate::server::{Answering, Call, Service, json as answer, not_found};

/// The service; it has no state.
#[derive(Debug)]
pub(crate) struct Details;

impl Service for Details {
    fn call(&self, call: Call) -> Answering<'_> {
        let reply = match call.path.strip_prefix("/details/") {
            Some(id) => match id.parse::<u32>() {
                Ok(id) => answer(StatusCode::OK, &book(id)),
                Err(_) => {
                    answer(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" }))
                }
            },
            None if call.path == "/health" => {
                answer(StatusCode::OK, &json!({ "status": "Details is healthy" }))
            }
            None => not_found(),
        };
        Box::pin(std::future::ready(reply))
    }
}

fn book(id: u32) -> serde_json::Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}
