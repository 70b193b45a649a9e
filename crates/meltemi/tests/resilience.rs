//! Changes and losses under load: no request may fail, whatever happens to the configuration or the control plane.
//!
//! `MELTEMI_TEST_RPS` sets the rate; the default suits an unoptimised build on two cores.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "bookinfo/mesh.rs"]
#[allow(dead_code, reason = "shared with the table of expectations, which uses other parts of it")]
mod mesh;

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use meltemi_testkit::{
    client::{Client, Response},
    load::{Load, Report},
    peers,
};
use mesh::Mesh;

const V1: &str = "networking/virtual-service-all-v1.yaml";
const V3: &str = "networking/virtual-service-reviews-v3.yaml";
const PATH: &str = "/api/v1/products/0/reviews";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_under_load_fails_no_request_of_meltemis_proxies() {
    edit_under_load("meltemi").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_under_load_fails_no_request_of_envoys() {
    let Some(envoy) = peers::require("envoy") else { return };
    edit_under_load(&envoy.display().to_string()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_control_plane_fails_no_request() {
    let mesh = Mesh::start("meltemi");
    mesh.routes_file(V1);
    until_answered_by(&mesh, "v1").await;
    let load = tokio::spawn(load(&mesh, Duration::from_secs(8)).run(version));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lost = control_plane(&mesh);
    kill(lost);
    let returned = until(|| control_plane_id(&mesh).filter(|id| *id != lost)).await;
    assert_ne!(returned, lost);
    mesh.routes_file(V3);
    until_answered_by(&mesh, "v3").await;
    no_failure(&load.await.unwrap());
}

async fn edit_under_load(proxy: &str) {
    let mesh = Mesh::start(proxy);
    mesh.routes_file(V1);
    until_answered_by(&mesh, "v1").await;
    let started = Instant::now();
    let load = tokio::spawn(load(&mesh, Duration::from_secs(10)).run(version));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let edited = started.elapsed();
    mesh.routes_file(V3);
    let report = load.await.unwrap();
    no_failure(&report);
    let last_old =
        report.answers.iter().filter(|(_, version)| *version == "v1").map(|(at, _)| *at).max().unwrap();
    let first_new = report.answers.iter().filter(|(_, version)| *version == "v3").map(|(at, _)| *at).min();
    let took = last_old.saturating_sub(edited);
    println!("{} requests, none failed; the edit was in force everywhere after {took:?}", report.sent);
    assert!(first_new.is_some(), "the edit never came into force");
    // A second where nothing else runs (the bench measures that); a loaded machine takes its time.
    assert!(took < Duration::from_secs(5), "an old answer {took:?} after the edit");
}

fn load(mesh: &Mesh, duration: Duration) -> Load {
    let rate = std::env::var("MELTEMI_TEST_RPS").ok().and_then(|rate| rate.parse().ok()).unwrap_or(200);
    let url = format!("http://{}{PATH}", mesh.gateway);
    Load { url, headers: Vec::new(), rate, duration, connections: 16 }
}

/// Which version of reviews answered.
fn version(response: &Response) -> Result<&'static str, String> {
    let wrong = || format!("{} {}", response.status, response.body);
    if response.status != 200 {
        return Err(wrong());
    }
    let found =
        ["v1", "v2", "v3"].into_iter().find(|version| response.body.contains(&format!("reviews-{version}")));
    found.ok_or_else(wrong)
}

fn no_failure(report: &Report) {
    assert!(report.sent > 0, "no load");
    assert_eq!(report.failed, 0, "{} of {} failed: {:#?}", report.failed, report.sent, report.failures);
}

async fn until_answered_by(mesh: &Mesh, wanted: &str) {
    let (client, url) = (Client::default(), format!("http://{}{PATH}", mesh.gateway));
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut streak = 0;
    while streak < 20 {
        let answer = client.get(&url, &[]).await.map_err(|error| error.to_string());
        let answer = answer.and_then(|response| version(&response).map(str::to_owned));
        streak = if answer.as_deref() == Ok(wanted) { streak + 1 } else { 0 };
        assert!(Instant::now() < deadline, "still {answer:?}, not {wanted}");
    }
}

fn control_plane(mesh: &Mesh) -> u32 {
    control_plane_id(mesh).expect("a control plane among the demo's children")
}

fn control_plane_id(mesh: &Mesh) -> Option<u32> {
    mesh.children().into_iter().find(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"control-plane")
    })
}

async fn until<T>(probe: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn kill(id: u32) {
    assert!(Command::new("kill").args(["-s", "KILL", &id.to_string()]).status().unwrap().success());
}
