//! Mirrors: what a copy looks like, and that it never gets in the way.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::harness::{Setup, answer, echo, nobody, run, upstream};
use crate::{
    cluster::{Address, Cluster, ClusterSlot, EndpointSet},
    route::{Mirror, MirrorTarget},
};

fn mirror(to: std::net::SocketAddr, share: Option<(u32, u32)>) -> Mirror {
    let slot = Arc::new(ClusterSlot::new(1, "mirror".into()));
    slot.publish(Some(Arc::new(Cluster {
        metadata: None,
        name: "mirror".into(),
        stat_name: "mirror".into(),
        settings: Arc::default(),
        origin: None,
        outlier: None,
        health: None,
        local: None,
        endpoints: EndpointSet::of([(Address::Socket(to), 1)]).into(),
    })));
    Mirror { target: MirrorTarget::Cluster(slot), share, suffix: true, host: None }
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /p HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[test]
fn both_get_head_and_body() {
    run(async {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let copied = upstream(move |_, mut client| {
            let tell = tell.clone();
            async move {
                tell.send(client.message().await).unwrap();
                client.send(&answer("nobody reads this")).await;
            }
        })
        .await;
        let mut setup = Setup::new();
        setup.forward.mirrors = vec![mirror(copied, None), mirror(copied, Some((0, 100)))];
        let proxy = setup.start(&[echo().await]).await;
        let said = proxy.ask(&post("body")).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nbody"), "{said}");
        let copy = told.recv().await.unwrap();
        assert!(copy.starts_with("POST /p HTTP/1.1\r\nhost: a-shadow:80\r\n"), "{copy}");
        assert!(copy.contains("x-envoy-internal: true\r\n") && copy.ends_with("\r\n\r\nbody"), "{copy}");
        // A share of nothing copies nothing.
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_mirror_that_fails_or_hangs_is_not_felt() {
    run(async {
        let held = Rc::new(RefCell::new(Vec::new()));
        let hanging = upstream(move |_, client| {
            held.borrow_mut().push(client);
            async {}
        })
        .await;
        let mut setup = Setup::new();
        setup.forward.mirrors = vec![mirror(nobody(), None), mirror(hanging, None)];
        let proxy = setup.start(&[echo().await]).await;
        // More than a copy may lag behind.
        let body = "x".repeat(6 << 20);
        let said = proxy.ask(&post(&body)).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.len() > body.len());
    });
}
