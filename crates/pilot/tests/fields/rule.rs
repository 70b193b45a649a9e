//! VirtualService: what a rule does beside sending on: copies, faults, answers to other origins, delegation, careful retries.

use meltemi_xds::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use meltemi_xds::pb::envoy::extensions::filters::http::fault::v3::{HttpFault, fault_abort::ErrorType};

use super::*;

/// The only route of a rule that sends to ratings.
fn rule(mut fields: serde_json::Value) -> route::Route {
    fields["route"] = to("ratings");
    Mesh::new(&rules(json!([fields]))).routes().remove(0)
}

fn share(fraction: &meltemi_xds::pb::envoy::r#type::v3::FractionalPercent) -> String {
    format!("{} {}", fraction.numerator, fraction.denominator().as_str_name())
}

#[test]
fn mirrors_and_their_shares() {
    let mirrors = |fields: serde_json::Value| {
        let route = rule(fields);
        let policies = &forwards(&route).request_mirror_policies;
        let policy = |policy: &route::route_action::RequestMirrorPolicy| {
            let fraction = policy.runtime_fraction.as_ref().unwrap().default_value.as_ref().unwrap();
            assert!(!policy.trace_sampled.unwrap().value);
            format!("{} {}", policy.cluster, share(fraction))
        };
        policies.iter().map(policy).collect::<Vec<_>>()
    };
    let reviews = |share: &str| format!("{REVIEWS} {share}");
    let mirror = json!({"host": "reviews"});
    assert_eq!(mirrors(json!({"mirror": mirror})), [reviews("100 HUNDRED")]);
    assert_eq!(mirrors(json!({"mirror": mirror, "mirrorPercent": 5})), [reviews("5 HUNDRED")]);
    let set = json!({"mirror": mirror, "mirrorPercentage": {"value": 0.5}});
    assert_eq!(mirrors(set), [reviews("5000 MILLION")]);
    let zero = json!({"mirror": mirror, "mirrorPercentage": {"value": 0}});
    assert!(mirrors(zero).is_empty());
    let two = json!({"mirrors": [
        {"destination": {"host": "reviews", "subset": "v2"}},
        {"destination": {"host": "details.other.svc.cluster.local"}, "percentage": {"value": 1}},
        {"destination": {"host": "ratings"}, "percentage": {"value": 0}},
    ]});
    let wanted = [
        "outbound|9080|v2|reviews.default.svc.cluster.local 100 HUNDRED",
        "outbound|9080||details.other.svc.cluster.local 10000 MILLION",
    ];
    assert_eq!(mirrors(two), wanted);
}

#[test]
fn faults() {
    let fault = |fault: serde_json::Value| {
        let route = rule(json!({"fault": fault}));
        let config = route.typed_per_filter_config.get("envoy.filters.http.fault").cloned();
        config.map(|config| meltemi_xds::unpack::<HttpFault>(&config).unwrap())
    };
    let both = fault(json!({
        "delay": {"fixedDelay": "5s", "percentage": {"value": 0.1}},
        "abort": {"httpStatus": 418, "percentage": {"value": 50}},
    }));
    let both = both.unwrap();
    let delay = both.delay.unwrap();
    assert_eq!(share(&delay.percentage.unwrap()), "1000 MILLION");
    assert!(format!("{:?}", delay.fault_delay_secifier).contains("seconds: 5"));
    let abort = both.abort.unwrap();
    assert_eq!(abort.error_type, Some(ErrorType::HttpStatus(418)));
    assert_eq!(share(&abort.percentage.unwrap()), "500000 MILLION");
    let grpc = fault(json!({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 1}}})).unwrap();
    assert_eq!(grpc.abort.unwrap().error_type, Some(ErrorType::GrpcStatus(14)));
    let old = fault(json!({"delay": {"fixedDelay": "1s", "percent": 7}})).unwrap();
    assert_eq!(share(&old.delay.unwrap().percentage.unwrap()), "7 HUNDRED");
}

#[test]
fn answers_to_other_origins() {
    let cors = |policy: serde_json::Value| {
        let route = rule(json!({"corsPolicy": policy}));
        let config = &route.typed_per_filter_config["envoy.filters.http.cors"];
        meltemi_xds::unpack::<CorsPolicy>(config).unwrap()
    };
    let policy = cors(json!({
        "allowOrigins": [{"exact": "https://a"}, {"prefix": "https://b"}, {"regex": ".*c"}],
        "allowMethods": ["GET", "POST"], "allowHeaders": ["x-a", "x-b"], "exposeHeaders": ["x-c"],
        "maxAge": "1h", "allowCredentials": true, "unmatchedPreflights": "IGNORE",
    }));
    assert_eq!(policy.allow_origin_string_match.len(), 3);
    let texts = [&policy.allow_methods, &policy.allow_headers, &policy.expose_headers, &policy.max_age];
    assert_eq!(texts, ["GET,POST", "x-a,x-b", "x-c", "3600"]);
    assert!(policy.allow_credentials.unwrap().value);
    assert!(!policy.forward_not_matching_preflights.unwrap().value);
    let old = cors(json!({"allowOrigin": ["https://a"]}));
    assert_eq!(old.allow_origin_string_match.len(), 1);
    assert!(old.forward_not_matching_preflights.unwrap().value);
}

/// A VirtualService for reviews whose one rule delegates to `team`, and `team`.
fn delegated(root: serde_json::Value, team: serde_json::Value, export: serde_json::Value) -> String {
    let mut root = root;
    root["delegate"] = json!({"name": "team", "namespace": "other"});
    let team = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "team", "namespace": "other"},
        "spec": {"http": team, "exportTo": export},
    });
    format!("{}\n---\n{team}", rules(json!([root, {"name": "rest", "route": to("reviews")}])))
}

#[test]
fn a_rule_delegates_to_those_of_another_resource() {
    let root = json!({"name": "r", "timeout": "3s", "match": [
        {"uri": {"prefix": "/a"}, "headers": {"x": {"exact": "1"}}}
    ]});
    let team = json!([
        {"name": "deep", "match": [{"name": "m", "uri": {"prefix": "/a/b"}}], "route": to("details")},
        {"name": "foreign", "match": [{"uri": {"prefix": "/b"}}], "route": to("details")},
        {"timeout": "1s", "route": to("details.other.svc.cluster.local")},
    ]);
    let routes = Mesh::new(&delegated(root, team, json!(["*"]))).routes();
    let names: Vec<_> = routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["r-deep.m", "r", "rest"], "what the rule would not take is left out");
    let deep = &routes[0];
    let condition = deep.r#match.as_ref().unwrap();
    assert_eq!(condition.path_specifier, Some(PathSpecifier::Prefix("/a/b".into())));
    assert_eq!(condition.headers.len(), 1, "the conditions of both hold");
    // A short name belongs to the namespace of who wrote it.
    assert_eq!(cluster_of(deep), "outbound|9080||details.other.svc.cluster.local");
    assert_eq!(forwards(deep).timeout.unwrap().seconds, 3);
    assert_eq!(forwards(&routes[1]).timeout.unwrap().seconds, 1, "what the delegate says wins");
}

#[test]
fn a_delegate_that_is_not_exported_is_left_out() {
    let names = |export: serde_json::Value| {
        let root = json!({"match": [{"uri": {"prefix": "/a"}}]});
        let team = json!([{"name": "lent", "route": to("details")}]);
        let routes = Mesh::new(&delegated(root, team, export)).routes();
        routes.into_iter().map(|route| route.name).collect::<Vec<_>>()
    };
    assert_eq!(names(json!(["default"])), ["lent", "rest"]);
    assert_eq!(names(json!(["."])), ["rest"]);
    assert_eq!(names(json!([])), ["lent", "rest"]);
}

#[test]
fn careful_retries_for_proxies_that_know_them() {
    let safe = |annotation: &str, setting: &str, knows: bool| {
        let resource = rules(json!([{"route": to("ratings")}]));
        let named = format!("\"metadata\":{{\"annotations\":{{\"meltemi.dev/retries\":\"{annotation}\"}},");
        let resource = resource.replace("\"metadata\":{", &named);
        let text = format!("defaultConfig: {{proxyMetadata: {{MELTEMI_RETRIES: {setting}}}}}");
        let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", &text);
        assert!(findings.is_empty(), "{findings:?}");
        let mesh = Mesh::with(&resource, config);
        let mut node = Mesh::sidecar();
        if knows {
            node.metadata.extensions = vec!["meltemi.retry.safe".into()];
        }
        let host = mesh.virtual_host(&node, "9080", "reviews.default.svc.cluster.local:9080").unwrap();
        let policy = forwards(&host.routes[0]).retry_policy.clone().unwrap();
        assert_eq!(host.routes[0].metadata.as_ref().unwrap().filter_metadata.contains_key("meltemi"), knows);
        policy.retry_host_predicate.iter().any(|predicate| predicate.name == "meltemi.retry.safe")
    };
    for (annotation, setting, knows, wanted) in [
        ("safe", "istio", true, true),
        ("safe", "istio", false, false),
        ("istio", "safe", true, false),
        ("", "safe", true, false),
    ] {
        assert_eq!(safe(annotation, setting, knows), wanted, "{annotation} {setting} {knows}");
    }
}

#[test]
fn routes_to_the_workload_are_retried_before_it_read_anything() {
    let policy = |port: &str| {
        let resource = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: own, namespace: default}}\n\
             spec: {{clusterIP: 10.0.0.9, selector: {{app: productpage}}, ports: [{{name: {port}, port: 7070}}]}}\n"
        );
        let mesh = Mesh::new(&resource);
        let listeners = mesh.listeners(&Mesh::sidecar());
        let inbound = listeners.iter().find(|listener| listener.name == "virtualInbound").unwrap();
        let chain = inbound.chains.iter().find(|chain| chain.condition.port == Some(7070)).unwrap();
        let model::listener::Terminal::Http(http) = &chain.terminal else { panic!("{chain:?}") };
        let model::listener::Routes::Inline(routes) = &http.routes else { panic!("{http:?}") };
        match &routes.virtual_hosts[0].routes[0].action {
            model::route::Action::Forward(forward) => forward.retry.clone(),
            other => panic!("{other:?}"),
        }
    };
    let http = policy("http").unwrap();
    assert_eq!((http.on.as_str(), http.attempts), ("reset-before-request", 2));
    assert_eq!(policy("grpc"), None);
}
