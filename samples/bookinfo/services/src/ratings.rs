//! `ratings`: stars per reviewer; POST changes them. Istio's faulty versions are here too.
//!
//! Invariant: state is per process and in memory; a restart forgets it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Options;
use crate::server::{Answer, Answering, Call, Service, json as answer, not_found};

/// The service.
#[derive(Debug)]
pub(crate) struct Ratings {
    fault: Fault,
    calls: AtomicU64,
    stars: Mutex<BTreeMap<u32, BTreeMap<String, i64>>>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// `v-faulty`: every second request is 503.
    Unavailable,
    /// `v-delayed`: every request is seven seconds late.
    Delayed,
}

impl Ratings {
    pub(crate) fn new(options: &Options) -> Self {
        let fault = match options.version.as_str() {
            "v-faulty" => Fault::Unavailable,
            "v-delayed" => Fault::Delayed,
            _ => Fault::None,
        };
        Self { fault, calls: AtomicU64::new(0), stars: Mutex::default() }
    }

    async fn ratings(&self, call: &Call, id: &str) -> Answer {
        let Ok(id) = id.parse::<u32>() else {
            return answer(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product ID" }));
        };
        match call.method {
            Method::GET => self.get(id).await,
            Method::POST => self.post(id, &call.body),
            _ => answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "use GET or POST" })),
        }
    }

    async fn get(&self, id: u32) -> Answer {
        let second = self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        match self.fault {
            Fault::Unavailable if second => {
                return answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "Service unavailable" }));
            }
            Fault::Delayed => tokio::time::sleep(Duration::from_secs(7)).await,
            Fault::Unavailable | Fault::None => {}
        }
        answer(StatusCode::OK, &json!({ "id": id, "ratings": self.of(id) }))
    }

    fn post(&self, id: u32, body: &[u8]) -> Answer {
        let Ok(Value::Object(given)) = serde_json::from_slice(body) else {
            return answer(StatusCode::BAD_REQUEST, &json!({ "error": "please provide valid ratings JSON" }));
        };
        let given: Option<BTreeMap<String, i64>> =
            given.into_iter().map(|(k, v)| Some((k, v.as_i64()?))).collect();
        let Some(given) = given else {
            return answer(StatusCode::BAD_REQUEST, &json!({ "error": "ratings are whole numbers" }));
        };
        if let Ok(mut stars) = self.stars.lock() {
            stars.insert(id, given);
        }
        answer(StatusCode::OK, &json!({ "id": id, "ratings": self.of(id) }))
    }

    fn of(&self, id: u32) -> BTreeMap<String, i64> {
        let changed = self.stars.lock().ok().and_then(|stars| stars.get(&id).cloned());
        changed.unwrap_or_else(|| [("Reviewer1".to_owned(), 5), ("Reviewer2".to_owned(), 4)].into())
    }
}

impl Service for Ratings {
    fn call(&self, call: Call) -> Answering<'_> {
        Box::pin(async move {
            match call.path.strip_prefix("/ratings/") {
                Some(id) => self.ratings(&call, id).await,
                None if call.path == "/health" => {
                    answer(StatusCode::OK, &json!({ "status": "Ratings is healthy" }))
                }
                None => not_found(),
            }
        })
    }
}
