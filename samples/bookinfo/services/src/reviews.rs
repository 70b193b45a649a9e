//! `reviews`: two reviews; v1 without stars, v2 with black and v3 with red ones, which it asks `ratings` for.
//!
//! Invariant: ratings that cannot be had are said to be missing; the reviews themselves are always answered.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::Options;
use crate::headers::forwarded;
use crate::server::{Answer, Answering, Call, Service, json as answer, not_found};
use crate::upstream::Upstream;

const REVIEWS: [(&str, &str); 2] = [
    ("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
    (
        "Reviewer2",
        "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
    ),
];

/// The service.
#[derive(Debug)]
pub(crate) struct Reviews {
    ratings: Upstream,
    color: Option<&'static str>,
    version: String,
    pod: String,
}

impl Reviews {
    pub(crate) fn new(options: &Options) -> Self {
        let color = match options.version.as_str() {
            "v2" => Some("black"),
            "v3" => Some("red"),
            _ => None,
        };
        let ratings = Upstream::from_environment("ratings");
        Self { ratings, color, version: options.version.clone(), pod: options.pod.clone() }
    }

    async fn reviews(&self, id: &str, headers: &HeaderMap) -> Answer {
        if id.parse::<u32>().is_err() {
            return answer(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" }));
        }
        let stars = match self.color {
            Some(color) => Some((color, self.stars(id, color, headers).await)),
            None => None,
        };
        let reviews: Vec<Value> =
            REVIEWS.iter().map(|(reviewer, text)| review(reviewer, text, stars.as_ref())).collect();
        let body = json!({
            "id": id, "podname": self.pod, "clustername": "null", "version": self.version, "reviews": reviews,
        });
        answer(StatusCode::OK, &body)
    }

    /// Istio's sample waits 10 s with black stars and 2.5 s with red ones: its fault injection task depends on it.
    async fn stars(&self, id: &str, color: &str, headers: &HeaderMap) -> Option<Value> {
        let timeout = if color == "black" { Duration::from_secs(10) } else { Duration::from_millis(2500) };
        match self.ratings.get(&format!("/ratings/{id}"), &forwarded(headers), timeout).await {
            Ok(mut found) => Some(found["ratings"].take()),
            Err(error) => {
                eprintln!("ratings: {error}");
                None
            }
        }
    }
}

fn review(reviewer: &str, text: &str, stars: Option<&(&'static str, Option<Value>)>) -> Value {
    let mut review = json!({ "reviewer": reviewer, "text": text });
    let count = |ratings: &Value| ratings.get(reviewer).and_then(Value::as_i64);
    match stars {
        None => {}
        Some((color, Some(ratings))) => {
            review["rating"] = json!({ "stars": count(ratings).unwrap_or(-1), "color": color });
        }
        Some((_, None)) => review["rating"] = json!({ "error": "Ratings service is currently unavailable" }),
    }
    review
}

impl Service for Reviews {
    fn call(&self, call: Call) -> Answering<'_> {
        Box::pin(async move {
            match call.path.strip_prefix("/reviews/") {
                Some(id) => self.reviews(id, &call.headers).await,
                None if call.path == "/health" => {
                    answer(StatusCode::OK, &json!({ "status": "Reviews is healthy" }))
                }
                None => not_found(),
            }
        })
    }
}
