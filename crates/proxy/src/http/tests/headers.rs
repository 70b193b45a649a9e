//! What the upstream and the client see of headers, as Envoy 1.40 sets them.

use super::harness::{Setup, echo, nobody, run};
use crate::{http::config::ServerHeader, route::HostRewrite, route::Rewrite};

#[test]
fn a_plain_request_goes_up_as_from_envoy() {
    run(async {
        let target = echo().await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: h.com\r\nX-Envoy-Max-Retries: 3\r\nKeep-Alive: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\nTE: gzip\r\n\r\n").await;
        let said = client.message().await;
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        let id = body.split_once("x-request-id: ").unwrap().1.split("\r\n").next().unwrap();
        assert_eq!(
            body,
            format!(
                "GET /a HTTP/1.1\r\nhost: h.com\r\nx-forwarded-proto: http\r\nx-request-id: {id}\r\n\
                 x-envoy-expected-rq-timeout-ms: 15000\r\nx-envoy-attempt-count: 1\r\n\r\n"
            )
        );
        assert!(head.starts_with("HTTP/1.1 200 OK\r\ncontent-length: "), "{head}");
        assert!(head.contains("\r\nx-envoy-upstream-service-time: "), "{head}");
        assert!(head.contains(" GMT\r\nserver: envoy"), "{head}");
    });
}

#[test]
fn at_the_edge_the_client_is_named_and_its_claims_are_replaced() {
    run(async {
        let target = echo().await;
        let mut setup = Setup::new();
        setup.manager.use_remote_address = true;
        setup.manager.server_header = ServerHeader::PassThrough;
        let proxy = setup.start(&[target]).await;
        let request = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\n\
                       x-request-id: mine\r\nx-envoy-internal: true\r\nx-envoy-upstream-rq-timeout-ms: 1\r\n\
                       connection: close\r\n\r\n";
        let said = proxy.ask(request).await;
        let ip = proxy.worker.local_ip();
        assert!(said.contains(&format!("\r\nx-forwarded-for: 1.2.3.4,{ip}\r\n")), "{said}");
        assert!(said.contains("\r\nx-forwarded-proto: http\r\n"), "{said}");
        assert!(said.contains("\r\nx-envoy-external-address: 127.0.0.1\r\n"), "{said}");
        for gone in ["mine", "x-envoy-internal", "x-envoy-upstream-rq-timeout-ms", "server: "] {
            assert!(!said.contains(gone), "{gone}: {said}");
        }
    });
}

#[test]
fn rewrites_leave_traces() {
    run(async {
        let target = echo().await;
        let mut setup = Setup::new();
        setup.forward.rewrite = Rewrite::Prefix { matched: 3, with: "/new".into() };
        setup.forward.host_rewrite = HostRewrite::Literal("other.com".into());
        setup.forward.append_x_forwarded_host = true;
        let proxy = setup.start(&[target]).await;
        let said = proxy.ask("GET /rw/../rw/1?q HTTP/1.1\r\nhost: h.com\r\nconnection: close\r\n\r\n").await;
        assert!(said.contains("GET /new/1?q HTTP/1.1\r\nhost: other.com\r\n"), "{said}");
        assert!(said.contains("\r\nx-forwarded-host: h.com\r\nx-envoy-original-host: h.com\r\n"), "{said}");
        assert!(said.contains("\r\nx-envoy-original-path: /rw/1?q\r\n"), "{said}");
    });
}

#[test]
fn local_replies_are_envoys() {
    run(async {
        let refused = nobody();
        for (targets, grpc, wanted) in [
            (
                vec![refused],
                "",
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 98\r\ncontent-type: text/plain\r\n",
            ),
            (vec![], "", "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\n"),
            (
                vec![],
                "content-type: application/grpc\r\n",
                "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n\
                 grpc-message: no healthy upstream\r\n",
            ),
        ] {
            let proxy = Setup::new().start(&targets).await;
            let said =
                proxy.ask(&format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{grpc}\r\n")).await;
            assert!(said.starts_with(wanted), "{said}");
        }
        let proxy = Setup::new().start(&[refused]).await;
        let said = proxy.ask("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(said.contains("content-length: 98\r\n") && said.ends_with("\r\n\r\n"), "{said}");
    });
}

#[test]
fn header_rules_read_what_is_known() {
    use crate::{
        access_log::Format,
        route::{AppendAction, HeaderOp},
    };
    run(async {
        let target = echo().await;
        let mut setup = Setup::new();
        let put = |name: &str, value: &str, append| HeaderOp::Put {
            name: name.into(),
            value: Format::compile(value).unwrap().omit_empty(),
            append,
            keep_empty: false,
        };
        setup.headers.request = vec![
            HeaderOp::Remove("x-gone".into()),
            put("x-plain", "plain", AppendAction::Append),
            put("x-agent", "%REQ(user-agent)%", AppendAction::AddIfAbsent),
            put("x-none", "%REQ(x-absent)%", AppendAction::Append),
            put(":path", "/other", AppendAction::Overwrite),
        ];
        setup.headers.response = vec![put("x-code", "%RESPONSE_CODE%", AppendAction::Overwrite)];
        let proxy = setup.start(&[target]).await;
        let request = "GET / HTTP/1.1\r\nhost: a\r\nuser-agent: me\r\nx-gone: 1\r\nconnection: close\r\n\r\n";
        let said = proxy.ask(request).await;
        assert!(said.contains("GET /other HTTP/1.1\r\n"), "{said}");
        assert!(said.contains("\r\nx-plain: plain\r\nx-agent: me\r\n"), "{said}");
        assert!(!said.contains("x-gone") && !said.contains("x-none"), "{said}");
        assert!(said.contains("\r\nx-code: 200\r\n"), "{said}");
    });
}
