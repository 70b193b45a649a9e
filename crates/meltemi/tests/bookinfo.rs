//! Bookinfo's real traffic through a gateway and sidecars, steered by the sample's own files: one table of expectations,
//! shot at Meltemi's proxies and at Envoys.
//!
//! Invariant: both kinds of proxies run the same scenarios from the same files.

#[path = "bookinfo/mesh.rs"]
mod mesh;
#[path = "bookinfo/scenarios.rs"]
mod scenarios;

use meltemi_testkit::peers;
use mesh::Mesh;

#[tokio::test(flavor = "multi_thread")]
async fn meltemis_proxies_meet_the_expectations() {
    scenarios::run(&Mesh::start("meltemi")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_meet_the_expectations() {
    let Some(envoy) = peers::require("envoy") else { return };
    scenarios::run(&Mesh::start(&envoy.display().to_string())).await;
}

#[test]
fn ctrl_c_ends_everything() {
    let mut mesh = Mesh::start("meltemi");
    let children = mesh.children();
    assert!(children.len() >= 14, "6 apps, 7 proxies, control plane, reaper: {children:?}");
    mesh.process.signal("INT");
    let status = mesh.process.wait(std::time::Duration::from_secs(60)).expect("it ends");
    assert!(status.success(), "{status}");
    mesh::gone(&children);
}

#[test]
fn nothing_survives_a_kill() {
    let mut mesh = Mesh::start("meltemi");
    let children = mesh.children();
    mesh.process.signal("KILL");
    mesh.process.wait(std::time::Duration::from_secs(30)).expect("it ends");
    mesh::gone(&children);
}
