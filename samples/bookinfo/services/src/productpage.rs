//! `productpage`: the page with everything on it, its login, and the JSON behind it. It asks `details` and `reviews`.
//!
//! Invariant: what an upstream fails to say becomes a visible line on the page; the page itself is always answered.

mod page;
mod session;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::Options;
use crate::headers::forwarded;
use crate::server::{Answer, Answering, Call, Service, html, json as answer, not_found, text};
use crate::upstream::{CallError, Upstream};

/// How long details, reviews and ratings may take, each try; as in Istio's sample.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The service.
#[derive(Debug)]
pub(crate) struct Productpage {
    details: Upstream,
    reviews: Upstream,
    ratings: Upstream,
    pod: String,
}

/// One call as the page shows it.
struct Answered {
    result: Result<Value, CallError>,
}

impl Productpage {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            details: Upstream::from_environment("details"),
            reviews: Upstream::from_environment("reviews"),
            ratings: Upstream::from_environment("ratings"),
            pod: options.pod.clone(),
        }
    }

    async fn productpage(&self, call: &Call) -> Answer {
        let user = session::user(&call.headers);
        let headers = outgoing(&call.headers);
        let (details, reviews) = tokio::join!(self.details(0, &headers), self.reviews(0, &headers));
        html(page::productpage(&page::View { user: user.as_deref(), pod: &self.pod, details, reviews }))
    }

    async fn details(&self, id: u32, headers: &HeaderMap) -> Answered {
        Answered { result: self.details.get(&format!("/details/{id}"), headers, TIMEOUT).await }
    }

    /// Tries twice, as Istio's sample does on purpose: its fault injection task shows the wait that comes of it.
    async fn reviews(&self, id: u32, headers: &HeaderMap) -> Answered {
        let path = format!("/reviews/{id}");
        let mut result = self.reviews.get(&path, headers, TIMEOUT).await;
        if result.is_err() {
            result = self.reviews.get(&path, headers, TIMEOUT).await;
        }
        Answered { result }
    }

    async fn ratings(&self, id: u32, headers: &HeaderMap) -> Answered {
        Answered { result: self.ratings.get(&format!("/ratings/{id}"), headers, TIMEOUT).await }
    }

    async fn api(&self, path: &str, call: &Call) -> Answer {
        let headers = outgoing(&call.headers);
        let mut parts = path.trim_matches('/').split('/');
        let id = match parts.next() {
            None | Some("") => return answer(StatusCode::OK, &json!([product()])),
            Some(id) => id.parse::<u32>(),
        };
        let Ok(id) = id else {
            return answer(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" }));
        };
        match parts.next() {
            None => relay(self.details(id, &headers).await, "details"),
            Some("reviews") => relay(self.reviews(id, &headers).await, "reviews"),
            Some("ratings") => relay(self.ratings(id, &headers).await, "ratings"),
            Some(_) => not_found(),
        }
    }
}

/// The upstream's JSON, or its failure under the status it failed with.
fn relay(answered: Answered, what: &str) -> Answer {
    let status = match answered.result {
        Ok(value) => return answer(StatusCode::OK, &value),
        Err(CallError::Status(status)) => status,
        Err(CallError::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        Err(CallError::Connection | CallError::Body) => StatusCode::BAD_GATEWAY,
    };
    answer(
        status,
        &json!({ "error": format!("Sorry, product {what} are currently unavailable for this book.") }),
    )
}

fn product() -> Value {
    json!({ "id": 0, "title": page::TITLE, "descriptionHtml": page::DESCRIPTION })
}

/// What the upstreams are told: tracing, and who is logged in.
fn outgoing(incoming: &HeaderMap) -> HeaderMap {
    let mut headers = forwarded(incoming);
    if let Some(user) = session::user(incoming).and_then(|user| HeaderValue::from_str(&user).ok()) {
        headers.insert(HeaderName::from_static("end-user"), user);
    }
    headers
}

fn login(call: &Call) -> Answer {
    let Some(user) = session::from_form(&call.body) else {
        return text(StatusCode::BAD_REQUEST, "please type a user name of letters, digits, and . _ - @\n");
    };
    back_to_page(&session::cookie(&user))
}

fn back_to_page(cookie: &str) -> Answer {
    let mut answer = text(StatusCode::FOUND, "see /productpage\n");
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/productpage"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

impl Service for Productpage {
    fn call(&self, call: Call) -> Answering<'_> {
        Box::pin(async move {
            if let Some(rest) = call.path.strip_prefix("/api/v1/products") {
                return self.api(rest, &call).await;
            }
            match call.path.as_str() {
                "/" | "/index.html" => html(page::index()),
                "/productpage" => self.productpage(&call).await,
                "/login" if call.method == Method::POST => login(&call),
                "/login" | "/logout" => back_to_page(session::END),
                "/health" => text(StatusCode::OK, "Product page is healthy\n"),
                _ => not_found(),
            }
        })
    }
}
