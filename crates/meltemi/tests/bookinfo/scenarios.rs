//! The table: which of the sample's files are in force, what is asked, what must come back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use meltemi_testkit::client::{Client, Response};

use crate::mesh::Mesh;

/// One state of the mesh.
struct Scenario {
    /// Gateway file.
    gateway: &'static str,
    /// Routes file.
    routes: &'static str,
    /// What is asked; the first one becomes true within [`PATIENCE`] of the edit, the others hold from then on.
    expectations: &'static [Expectation],
}

struct Expectation {
    ask: Ask,
    outcome: Outcome,
}

/// A request.
struct Ask {
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

/// What must come back.
enum Outcome {
    /// This version of reviews answers, every time of twenty.
    Always(&'static str),
    /// This version answers once at least: the edit is in force.
    Once(&'static str),
    /// Shares of versions over 5,000 requests, within three standard deviations.
    Shares(&'static [(&'static str, f64)]),
    /// The status.
    Status(u16),
    /// The status and where to go.
    Redirect(u16, &'static str),
    /// 200 with this text.
    Contains(&'static str),
    /// 200 with this text, sooner than this.
    Soon(&'static str, Duration),
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Requests whose answers are counted.
const REQUESTS: usize = 5_000;
const CLIENTS: usize = 16;

const REVIEWS: &str = "/api/v1/products/0/reviews";
const GATEWAY: &str = "networking/bookinfo-gateway.yaml";

/// The one scenario that needs a slow service; it is started when it is wanted.
const TIMEOUT: &str = "networking/virtual-service-reviews-timeout.yaml";

const fn ask(path: &'static str) -> Ask {
    Ask { path, headers: &[] }
}

const fn with(headers: &'static [(&'static str, &'static str)]) -> Ask {
    Ask { path: REVIEWS, headers }
}

const fn expect(ask: Ask, outcome: Outcome) -> Expectation {
    Expectation { ask, outcome }
}

const SAFARI: &str =
    "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15";

const SCENARIOS: &[Scenario] = &[
    Scenario {
        gateway: GATEWAY,
        routes: "networking/virtual-service-all-v1.yaml",
        expectations: &[
            expect(ask("/productpage"), Outcome::Contains("<code id=\"reviews-version\">v1</code>")),
            expect(ask(REVIEWS), Outcome::Always("v1")),
            expect(ask("/api/v1/products/0"), Outcome::Contains("William Shakespeare")),
            expect(ask("/api/v1/products/0/ratings"), Outcome::Contains("Reviewer1")),
            expect(ask("/nowhere"), Outcome::Status(404)),
        ],
    },
    Scenario {
        gateway: GATEWAY,
        routes: "networking/virtual-service-reviews-v3.yaml",
        expectations: &[
            expect(ask("/productpage"), Outcome::Contains("data-color=\"red\"")),
            expect(ask(REVIEWS), Outcome::Always("v3")),
        ],
    },
    Scenario {
        gateway: GATEWAY,
        routes: "networking/virtual-service-reviews-90-10.yaml",
        expectations: &[
            expect(ask(REVIEWS), Outcome::Once("v1")),
            expect(ask(REVIEWS), Outcome::Shares(&[("v1", 0.9), ("v2", 0.1)])),
        ],
    },
    Scenario {
        gateway: GATEWAY,
        routes: "networking/virtual-service-reviews-jason-v2-v3.yaml",
        expectations: &[
            expect(ask(REVIEWS), Outcome::Once("v3")),
            expect(with(&[("end-user", "jason")]), Outcome::Always("v2")),
            expect(with(&[("cookie", "session=jason")]), Outcome::Always("v2")),
            expect(with(&[("end-user", "jasons")]), Outcome::Always("v3")),
            expect(ask(REVIEWS), Outcome::Always("v3")),
        ],
    },
    Scenario {
        gateway: GATEWAY,
        routes: "networking/virtual-service-reviews-safari.yaml",
        expectations: &[
            expect(with(&[("user-agent", SAFARI)]), Outcome::Once("v1")),
            expect(with(&[("user-agent", SAFARI)]), Outcome::Always("v1")),
            expect(with(&[("user-agent", "curl/8.5.0")]), Outcome::Always("v3")),
        ],
    },
    Scenario {
        gateway: "networking/bookinfo-gateway-host.yaml",
        routes: "networking/virtual-service-reviews-v3.yaml",
        expectations: &[
            expect(ask("/productpage"), Outcome::Status(404)),
            expect(
                Ask { path: "/productpage", headers: &[("host", "bookinfo.example.com")] },
                Outcome::Contains("The Comedy of Errors"),
            ),
            expect(
                Ask { path: "/productpage", headers: &[("host", "other.example.com")] },
                Outcome::Status(404),
            ),
        ],
    },
    Scenario {
        gateway: "networking/bookinfo-gateway-services.yaml",
        routes: "networking/virtual-service-reviews-v3.yaml",
        expectations: &[
            expect(ask("/ratings/0"), Outcome::Contains("\"Reviewer2\":4")),
            expect(ask("/reviews/0"), Outcome::Contains("\"podname\":\"reviews-v")),
            expect(ask("/productpage"), Outcome::Contains("The Comedy of Errors")),
        ],
    },
    Scenario {
        gateway: "networking/bookinfo-gateway-rewrite.yaml",
        routes: "networking/virtual-service-reviews-v3.yaml",
        expectations: &[
            expect(ask("/books/reviews/0"), Outcome::Contains("\"podname\":\"reviews-v")),
            expect(ask("/book"), Outcome::Redirect(302, "/productpage")),
            expect(ask("/ratings/0"), Outcome::Status(404)),
        ],
    },
    Scenario {
        gateway: GATEWAY,
        routes: TIMEOUT,
        expectations: &[expect(
            ask("/productpage"),
            Outcome::Soon("Error fetching product reviews!", Duration::from_secs(6)),
        )],
    },
];

/// Runs the whole table.
pub(crate) async fn run(mesh: &Mesh) {
    let client = Client::default();
    let status = mesh.proxy_status();
    assert_eq!(status.lines().count(), 8, "a header and seven proxies:\n{status}");
    for scenario in SCENARIOS {
        if scenario.routes == TIMEOUT {
            mesh.more_processes("bookinfo-ratings-delay.yaml");
        }
        mesh.gateway_file(scenario.gateway);
        mesh.routes_file(scenario.routes);
        let what = format!("{} + {}", scenario.gateway, scenario.routes);
        if let Some(first) = scenario.expectations.first() {
            eventually(mesh, &client, first).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        }
        let lasting = |expectation: &&Expectation| !matches!(expectation.outcome, Outcome::Once(_));
        for expectation in scenario.expectations.iter().filter(lasting) {
            let fault = check(mesh, &client, expectation).await.err();
            assert!(fault.is_none(), "{what}: {:?} {}", expectation.ask.headers, fault.unwrap_or_default());
        }
    }
    let status = mesh.proxy_status();
    assert!(!status.contains("REJECTED"), "every proxy takes all that it is sent:\n{status}");
}

/// Waits until the expectation holds eight times in a row: before an edit is in force, chance may fulfil it once.
async fn eventually(mesh: &Mesh, client: &Client, expectation: &Expectation) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let wanted = if matches!(expectation.outcome, Outcome::Once(_) | Outcome::Soon(..)) { 1 } else { 8 };
    let mut in_a_row = 0;
    while in_a_row < wanted {
        match check(mesh, client, expectation).await {
            Ok(()) => in_a_row += 1,
            Err(fault) if Instant::now() > deadline => return Err(format!("{fault} (after {PATIENCE:?})")),
            Err(_) => {
                in_a_row = 0;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    Ok(())
}

async fn check(mesh: &Mesh, client: &Client, expectation: &Expectation) -> Result<(), String> {
    let Expectation { ask, outcome } = expectation;
    match outcome {
        Outcome::Shares(shares) => return check_shares(mesh, ask, shares).await,
        Outcome::Always(wanted) => {
            for _ in 0..20 {
                same(ask.path, &version(&send(mesh, client, ask).await?)?, wanted)?;
            }
            return Ok(());
        }
        _ => {}
    }
    let started = Instant::now();
    let response = send(mesh, client, ask).await?;
    let took = started.elapsed();
    let status = response.status.as_u16();
    match outcome {
        Outcome::Once(wanted) => same(ask.path, &version(&response)?, wanted),
        Outcome::Status(wanted) => same(ask.path, &status, wanted),
        Outcome::Redirect(wanted, to) => {
            let location =
                response.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let path = location
                .split_once("://")
                .map_or(location, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
            same(ask.path, &(status, path), &(*wanted, *to))
        }
        Outcome::Contains(text) => contains(ask.path, &response, text),
        Outcome::Soon(text, limit) => {
            contains(ask.path, &response, text)?;
            if took <= *limit { Ok(()) } else { Err(format!("{}: took {took:?}", ask.path)) }
        }
        Outcome::Shares(_) | Outcome::Always(_) => Ok(()),
    }
}

async fn send(mesh: &Mesh, client: &Client, ask: &Ask) -> Result<Response, String> {
    let url = format!("http://{}{}", mesh.gateway, ask.path);
    client.get(&url, ask.headers).await.map_err(|failure| format!("{}: {failure}", ask.path))
}

/// Three standard deviations are passed by chance once in some hundred times, but not twice in a row.
async fn check_shares(mesh: &Mesh, ask: &Ask, shares: &[(&str, f64)]) -> Result<(), String> {
    match measure_shares(mesh, ask, shares).await? {
        Some(_) => measure_shares(mesh, ask, shares).await?.map_or(Ok(()), Err),
        None => Ok(()),
    }
}

/// What is not as the shares say, within three standard deviations.
async fn measure_shares(mesh: &Mesh, ask: &Ask, shares: &[(&str, f64)]) -> Result<Option<String>, String> {
    let clients = (0..CLIENTS).map(|_| async {
        let client = Client::default();
        let mut versions = Vec::new();
        for _ in 0..REQUESTS.div_ceil(CLIENTS) {
            versions.push(version(&send(mesh, &client, ask).await?)?);
        }
        Ok::<_, String>(versions)
    });
    let mut versions = Vec::new();
    for got in join_all(clients).await {
        versions.extend(got?);
    }
    let total = versions.len() as f64;
    for (wanted, share) in shares {
        let count = versions.iter().filter(|version| version == wanted).count() as f64;
        let deviation = (total * share * (1.0 - share)).sqrt();
        if (count - total * share).abs() > 3.0 * deviation {
            let found = format!("{wanted}: {count} of {total}, {share} wanted, deviation {deviation:.1}");
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Which version of reviews answered, from productpage's JSON.
fn version(response: &Response) -> Result<String, String> {
    let found = response.body.split("\"version\":\"").nth(1).and_then(|rest| rest.split('"').next());
    found.map(str::to_owned).ok_or_else(|| format!("no version in {}: {}", response.status, response.body))
}

fn contains(path: &str, response: &Response, text: &str) -> Result<(), String> {
    if response.status.as_u16() == 200 && response.body.contains(text) {
        return Ok(());
    }
    Err(format!("{path}: wanted {text:?}, got {}: {}", response.status, response.body))
}

fn same<A: PartialEq<B> + std::fmt::Debug, B: std::fmt::Debug>(
    path: &str,
    got: &A,
    wanted: &B,
) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{path}: wanted {wanted:?}, got {got:?}")) }
}
