//! VirtualService.

use super::*;

/// The only route besides the catch-all, made by one match.
fn matched(condition: serde_json::Value) -> route::RouteMatch {
    let mesh = Mesh::new(&rules(json!([{"match": [condition], "route": to("ratings")}])));
    let routes = mesh.routes();
    assert_eq!(routes.len(), 1, "{routes:#?}");
    routes[0].r#match.clone().unwrap()
}

fn string(pattern: &str, value: &str) -> String {
    format!("{pattern}:{value}")
}

/// A string matcher in one word.
fn word(matcher: &meltemi_xds::pb::envoy::r#type::matcher::v3::StringMatcher) -> String {
    use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
    match matcher.match_pattern.as_ref().unwrap() {
        MatchPattern::Exact(text) => string("exact", text),
        MatchPattern::Prefix(text) => string("prefix", text),
        MatchPattern::SafeRegex(regex) => string("regex", &regex.regex),
        other => panic!("{other:?}"),
    }
}

/// A header matcher in one word.
fn header(matcher: &route::HeaderMatcher) -> (String, String, bool) {
    let condition = match matcher.header_match_specifier.as_ref().unwrap() {
        HeaderMatchSpecifier::PresentMatch(true) => "present".to_owned(),
        HeaderMatchSpecifier::StringMatch(matcher) => word(matcher),
        other => panic!("{other:?}"),
    };
    (matcher.name.clone(), condition, matcher.invert_match)
}

fn headers(condition: serde_json::Value) -> Vec<(String, String, bool)> {
    matched(condition).headers.iter().map(header).collect()
}

#[test]
fn hosts_choose_the_virtual_host() {
    // A short name belongs to the namespace of the resource; other hosts are not touched.
    let mesh = Mesh::new(&rules(json!([{"route": to("ratings")}])));
    assert_eq!(cluster_of(&mesh.routes()[0]), "outbound|9080||ratings.default.svc.cluster.local");
    let ratings =
        mesh.virtual_host(&Mesh::sidecar(), "9080", "ratings.default.svc.cluster.local:9080").unwrap();
    assert_eq!(ratings.routes[0].name, "default");
    assert_eq!(cluster_of(&ratings.routes[0]), "outbound|9080||ratings.default.svc.cluster.local");
}

#[test]
fn wildcard_hosts_cover_services() {
    let wild = rules(json!([{"route": to("ratings")}]))
        .replace("[\"reviews\"]", "[\"*.default.svc.cluster.local\"]");
    let mesh = Mesh::new(&wild);
    assert_eq!(cluster_of(&mesh.routes()[0]), "outbound|9080||ratings.default.svc.cluster.local");
}

#[test]
fn gateways_unset_means_mesh() {
    let with = |gateways: &str| {
        Mesh::new(
            &rules(json!([{"route": to("ratings")}])).replace("\"hosts\"", &format!("{gateways}\"hosts\"")),
        )
    };
    let goes_to_ratings = |mesh: Mesh| cluster_of(&mesh.routes()[0]).contains("ratings");
    assert!(goes_to_ratings(with("")));
    assert!(goes_to_ratings(with("\"gateways\": [\"mesh\", \"gw\"],")));
    assert!(!goes_to_ratings(with("\"gateways\": [\"gw\"],")));
}

#[test]
fn export_to_hides_from_other_namespaces() {
    let with = |export: &str| {
        Mesh::new(
            &rules(json!([{"route": to("ratings")}]))
                .replace("\"hosts\"", &format!("\"exportTo\": [{export}], \"hosts\"")),
        )
    };
    let seen_in = |mesh: &Mesh, namespace: &str| {
        let node = Mesh::node("sidecar", namespace, json!({}));
        let host = mesh.virtual_host(&node, "9080", "reviews.default.svc.cluster.local:9080").unwrap();
        cluster_of(&host.routes[0]).contains("ratings")
    };
    for (export, own, other) in [("\"*\"", true, true), ("\".\"", true, false), ("\"other\"", false, true)] {
        let mesh = with(export);
        assert_eq!((seen_in(&mesh, "default"), seen_in(&mesh, "other")), (own, other), "{export}");
    }
    assert!(!seen_in(&with("\"~\""), "default"));
}

#[test]
fn routes_keep_their_order_and_end_at_a_catch_all() {
    let mesh = Mesh::new(&rules(json!([
        {"name": "a", "match": [{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}], "route": to("ratings")},
        {"name": "all", "route": to("reviews")},
        {"name": "never", "match": [{"uri": {"prefix": "/c"}}], "route": to("ratings")},
    ])));
    let names: Vec<_> = mesh.routes().into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["a", "a", "all"]);
}

#[test]
fn names_of_route_and_match_are_joined() {
    let mesh = Mesh::new(&rules(json!([
        {"name": "a", "match": [{"name": "m", "uri": {"exact": "/a"}}], "route": to("ratings")},
        {"name": "b", "route": to("reviews")},
    ])));
    let names: Vec<_> = mesh.routes().into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["a.m", "b"]);
}

#[test]
fn uri_matches() {
    let path = |condition| matched(condition).path_specifier.unwrap();
    assert_eq!(path(json!({"uri": {"exact": "/a"}})), PathSpecifier::Path("/a".into()));
    assert_eq!(path(json!({"uri": {"prefix": "/a"}})), PathSpecifier::Prefix("/a".into()));
    let PathSpecifier::SafeRegex(regex) = path(json!({"uri": {"regex": "/a.*"}})) else {
        panic!("not a regex")
    };
    assert_eq!(regex.regex, "/a.*");
    let cases = |condition| matched(condition).case_sensitive.unwrap().value;
    assert!(cases(json!({"uri": {"exact": "/a"}})));
    assert!(!cases(json!({"uri": {"exact": "/a"}, "ignoreUriCase": true})));
}

#[test]
fn method_scheme_and_authority_match() {
    let all = headers(
        json!({"method": {"exact": "GET"}, "scheme": {"exact": "https"}, "authority": {"prefix": "a"}}),
    );
    let names: Vec<_> = all.iter().map(|(name, condition, _)| format!("{name} {condition}")).collect();
    assert_eq!(names, [":method exact:GET", ":authority prefix:a", ":scheme exact:https"]);
}

#[test]
fn header_matches() {
    let all = headers(json!({"headers": {
        "End-User": {"exact": "jason"}, "a": {}, "b": {"regex": "*"}, "c": {"regex": ".*x"}, "d": {"prefix": "p"}
    }}));
    let wanted = [
        ("a", "present"),
        ("b", "present"),
        ("c", "regex:.*x"),
        ("d", "prefix:p"),
        ("end-user", "exact:jason"),
    ];
    assert_eq!(all, wanted.map(|(name, condition)| (name.to_owned(), condition.to_owned(), false)));
}

#[test]
fn headers_that_must_not_match() {
    let condition = matched(json!({"withoutHeaders": {"a": {"exact": "x"}, "b": {}}}));
    let all: Vec<_> = condition.headers.iter().map(header).collect();
    assert_eq!(all, [("a".into(), "exact:x".into(), true), ("b".into(), "present".into(), true)]);
    // A missing header does not match, so the rule does.
    assert!(condition.headers[0].treat_missing_header_as_empty);
}

#[test]
fn query_parameters_match() {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let condition = matched(json!({"queryParams": {"a": {"exact": "1"}, "b": {}}}));
    let [a, b] = &condition.query_parameters[..] else { panic!("{condition:?}") };
    let Some(Specifier::StringMatch(matcher)) = &a.query_parameter_match_specifier else { panic!("{a:?}") };
    assert_eq!((a.name.as_str(), word(matcher)), ("a", "exact:1".to_owned()));
    assert_eq!(b.query_parameter_match_specifier, Some(Specifier::PresentMatch(true)));
}

/// Conditions that are known beforehand decide whether the route is there at all.
#[test]
fn port_source_and_gateway_conditions() {
    let holds = |condition: serde_json::Value| {
        let mesh = Mesh::new(&rules(
            json!([{"match": [condition], "route": to("ratings")}, {"route": to("reviews")}]),
        ));
        mesh.routes().len() == 2
    };
    for (condition, wanted) in [
        (json!({"port": 9080}), true),
        (json!({"port": 80}), false),
        (json!({"sourceLabels": {"app": "productpage"}, "uri": {"prefix": "/x"}}), true),
        (json!({"sourceLabels": {"app": "other"}, "uri": {"prefix": "/x"}}), false),
        (json!({"sourceNamespace": "default", "uri": {"prefix": "/x"}}), true),
        (json!({"sourceNamespace": "other", "uri": {"prefix": "/x"}}), false),
        (json!({"gateways": ["mesh"], "uri": {"prefix": "/x"}}), true),
        (json!({"gateways": ["gw"], "uri": {"prefix": "/x"}}), false),
        // Beside gateways, the source does not count.
        (json!({"gateways": ["mesh"], "sourceNamespace": "other", "uri": {"prefix": "/x"}}), true),
    ] {
        // A port condition alone takes every request of that port: then it is the only route.
        let found = holds(condition.clone()) || condition == json!({"port": 9080});
        assert_eq!(found, wanted, "{condition}");
    }
}

#[test]
fn destinations_name_clusters() {
    let mut destination = to("details.other.svc.cluster.local");
    let cluster = |destination: &serde_json::Value| {
        let mesh = Mesh::new(&rules(json!([{"route": destination}])));
        cluster_of(&mesh.routes()[0]).to_owned()
    };
    assert_eq!(cluster(&destination), "outbound|9080||details.other.svc.cluster.local");
    destination[0]["destination"]["subset"] = json!("v1");
    assert_eq!(cluster(&destination), "outbound|9080|v1|details.other.svc.cluster.local");
    destination[0]["destination"]["port"] = json!({"number": 81});
    assert_eq!(cluster(&destination), "outbound|81|v1|details.other.svc.cluster.local");
    // A host nobody knows still names a cluster: requests get 503 NC.
    assert_eq!(cluster(&to("nowhere")), "outbound|9080||nowhere.default.svc.cluster.local");
}

#[test]
fn weights_are_relative_and_zero_is_left_out() {
    let weighted = |weights: &[i32]| {
        let route: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| json!({"destination": {"host": format!("h{index}")}, "weight": weight}))
            .collect();
        let mesh = Mesh::new(&rules(json!([{"route": route}])));
        match forwards(&mesh.routes()[0]).cluster_specifier.clone() {
            Some(ClusterSpecifier::Cluster(_)) => vec![],
            Some(ClusterSpecifier::WeightedClusters(all)) => {
                all.clusters.iter().map(|cluster| cluster.weight.unwrap().value).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(weighted(&[90, 10]), [90, 10]);
    assert_eq!(weighted(&[1, 2, 3]), [1, 2, 3]);
    assert_eq!(weighted(&[1, 0, 3]), [1, 3]);
    assert_eq!(weighted(&[0]), [] as [u32; 0]);
    assert_eq!(weighted(&[5, 0]), [] as [u32; 0]);
}

#[test]
fn header_changes_of_route_and_destination() {
    let mesh = Mesh::new(&rules(json!([{
        "headers": {
            "request": {"set": {"a": "1", "host": "x.example.com"}, "add": {"b": "2"}, "remove": ["c"]},
            "response": {"set": {"d": "4"}, "remove": ["e"]},
        },
        "route": [{"destination": {"host": "ratings"}, "headers": {"request": {"add": {"f": "6"}}}}],
    }])));
    let route = &mesh.routes()[0];
    let named = |options: &[meltemi_xds::pb::envoy::config::core::v3::HeaderValueOption]| {
        let name = |option: &meltemi_xds::pb::envoy::config::core::v3::HeaderValueOption| {
            let header = option.header.clone().unwrap();
            format!("{}={} {}", header.key, header.value, option.append_action().as_str_name())
        };
        options.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        named(&route.request_headers_to_add),
        ["a=1 OVERWRITE_IF_EXISTS_OR_ADD", "b=2 APPEND_IF_EXISTS_OR_ADD", "f=6 APPEND_IF_EXISTS_OR_ADD"]
    );
    assert_eq!(route.request_headers_to_remove, ["c"]);
    assert_eq!(named(&route.response_headers_to_add), ["d=4 OVERWRITE_IF_EXISTS_OR_ADD"]);
    assert_eq!(route.response_headers_to_remove, ["e"]);
    let authority = HostRewriteSpecifier::HostRewriteLiteral("x.example.com".into());
    assert_eq!(forwards(route).host_rewrite_specifier, Some(authority));
}

#[test]
fn redirects() {
    use route::redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier};
    let redirect = |redirect: serde_json::Value| {
        let mesh = Mesh::new(&rules(json!([{"redirect": redirect}])));
        match mesh.routes()[0].action.clone() {
            Some(Action::Redirect(action)) => action,
            other => panic!("{other:?}"),
        }
    };
    let full = redirect(
        json!({"uri": "/new", "authority": "a", "scheme": "https", "port": 8443, "redirectCode": 308}),
    );
    assert_eq!(full.path_rewrite_specifier, Some(PathRewriteSpecifier::PathRedirect("/new".into())));
    assert_eq!(full.scheme_rewrite_specifier, Some(SchemeRewriteSpecifier::SchemeRedirect("https".into())));
    assert_eq!((full.host_redirect.as_str(), full.port_redirect), ("a", 8443));
    assert_eq!(full.response_code().as_str_name(), "PERMANENT_REDIRECT");
    assert_eq!(redirect(json!({"authority": "a"})).response_code().as_str_name(), "MOVED_PERMANENTLY");
    let prefix = redirect(json!({"prefixRewrite": "/p"}));
    assert_eq!(prefix.path_rewrite_specifier, Some(PathRewriteSpecifier::PrefixRewrite("/p".into())));
    assert_eq!(redirect(json!({"scheme": "http", "derivePort": "FROM_REQUEST_PORT"})).port_redirect, 9080);
    assert_eq!(redirect(json!({"scheme": "http", "derivePort": "FROM_PROTOCOL_DEFAULT"})).port_redirect, 0);
}

#[test]
fn direct_responses() {
    use meltemi_xds::pb::envoy::config::core::v3::data_source::Specifier;
    let response = |body: serde_json::Value| {
        let mesh = Mesh::new(&rules(json!([{"directResponse": {"status": 418, "body": body}}])));
        match mesh.routes()[0].action.clone() {
            Some(Action::DirectResponse(action)) => {
                (action.status, action.body.and_then(|body| body.specifier))
            }
            other => panic!("{other:?}"),
        }
    };
    let text = Some(Specifier::InlineString("hello".into()));
    assert_eq!(response(json!({"string": "hello"})), (418, text.clone()));
    assert_eq!(response(json!({"bytes": "aGVsbG8="})), (418, text));
    assert_eq!(response(json!(null)), (418, None));
}

#[test]
fn rewrites() {
    let action = |rewrite: serde_json::Value| {
        let rule =
            json!([{"match": [{"uri": {"prefix": "/a"}}], "rewrite": rewrite, "route": to("ratings")}]);
        forwards(&Mesh::new(&rules(rule)).routes()[0]).clone()
    };
    assert_eq!(action(json!({"uri": "/b"})).prefix_rewrite, "/b");
    let host = HostRewriteSpecifier::HostRewriteLiteral("x".into());
    assert_eq!(action(json!({"authority": "x"})).host_rewrite_specifier, Some(host));
    let regex =
        action(json!({"uriRegexRewrite": {"match": "^/a/(.*)", "rewrite": "/b/\\1"}})).regex_rewrite.unwrap();
    assert_eq!((regex.pattern.unwrap().regex, regex.substitution), ("^/a/(.*)".into(), "/b/\\1".into()));
}

#[allow(deprecated, reason = "Envoy's successor of the field switches the timeout off")]
fn max_grpc_timeout(action: &route::RouteAction) -> Option<meltemi_xds::pb::google::protobuf::Duration> {
    action.max_grpc_timeout
}

#[test]
fn timeouts() {
    let timeout = |rule: serde_json::Value| {
        let action = forwards(&Mesh::new(&rules(json!([rule]))).routes()[0]).clone();
        let timeout = action.timeout.unwrap();
        assert_eq!(max_grpc_timeout(&action), Some(timeout));
        (timeout.seconds, timeout.nanos)
    };
    assert_eq!(timeout(json!({"route": to("ratings"), "timeout": "1m0.5s"})), (60, 500_000_000));
    // Istio's default is none, not Envoy's 15 s.
    assert_eq!(timeout(json!({"route": to("ratings")})), (0, 0));
}

#[test]
fn retries() {
    let policy = |retries: serde_json::Value| {
        let rule = json!([{"route": to("ratings"), "retries": retries}]);
        forwards(&Mesh::new(&rules(rule)).routes()[0]).retry_policy.clone()
    };
    let set = policy(json!({
        "attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx,503", "backoff": "100ms",
        "retryRemoteLocalities": true, "retryIgnorePreviousHosts": false,
    }))
    .unwrap();
    assert_eq!(set.num_retries.unwrap().value, 3);
    assert_eq!(set.per_try_timeout.unwrap().seconds, 2);
    assert_eq!(
        (set.retry_on.as_str(), &set.retriable_status_codes[..]),
        ("5xx,retriable-status-codes", &[503][..])
    );
    assert_eq!(set.retry_back_off.unwrap().base_interval.unwrap().nanos, 100_000_000);
    assert!(set.retry_priority.is_some() && set.retry_host_predicate.is_empty());
    assert_eq!(policy(json!({"attempts": 0})), None);
    let default = policy(json!(null)).unwrap();
    assert_eq!(default.num_retries.unwrap().value, 2);
    assert_eq!(
        default.retry_on,
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(default.retry_host_predicate.len(), 1);
}

#[test]
fn the_oldest_of_two_for_one_host_wins() {
    let older = rules(json!([{"name": "older", "route": to("ratings")}]));
    let older = older
        .replace("\"name\":\"reviews\"", "\"name\":\"z\",\"creationTimestamp\":\"2020-01-01T00:00:00Z\"");
    let younger = rules(json!([{"name": "younger", "route": to("ratings")}]));
    let younger = younger
        .replace("\"name\":\"reviews\"", "\"name\":\"a\",\"creationTimestamp\":\"2021-01-01T00:00:00Z\"");
    let mesh = Mesh::new(&format!("{younger}\n---\n{older}"));
    let names: Vec<_> = mesh.routes().into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["older"]);
}

#[test]
fn tcp_routes_to_weighted_destinations() {
    let resource = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "ratings"},
        "spec": {"hosts": ["ratings"], "tcp": [{"match": [{"port": 9090}], "route": to("reviews")}]},
    });
    let mesh = Mesh::new(&resource.to_string());
    // reviews has one port only, so that is the one meant.
    let listeners = mesh.listeners(&Mesh::sidecar());
    let admin = listeners.iter().find(|listener| listener.port == 9090).expect("the TCP port has a listener");
    assert!(format!("{:?}", admin.chains).contains(REVIEWS), "{admin:?}");
}

#[test]
fn services_are_found_by_all_their_names() {
    let domains = |namespace: &str| {
        let node = Mesh::node("sidecar", namespace, json!({}));
        Mesh::new("").virtual_host(&node, "9080", "reviews.default.svc.cluster.local:9080").unwrap().domains
    };
    let full = ["reviews.default.svc.cluster.local", "reviews.default.svc", "reviews.default", "10.0.0.1"];
    for name in full {
        assert!(domains("default").iter().any(|domain| domain == name), "{name}: {:?}", domains("default"));
        assert!(domains("other").iter().any(|domain| domain == name), "{name}: {:?}", domains("other"));
    }
    assert!(domains("default").contains(&"reviews".to_owned()));
    assert!(!domains("other").contains(&"reviews".to_owned()));
}

#[test]
fn the_most_specific_pattern_alone_is_for_a_service() {
    let named = |name: &str, host: &str, http: serde_json::Value| {
        let resource = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"hosts": [host], "http": http},
        });
        format!("{resource}\n---\n")
    };
    let status = |status: u32| json!([{"directResponse": {"status": status}}]);
    let first = |resources: &str| Mesh::new(resources).routes()[0].name.clone();
    let answers = |resources: &str| match &Mesh::new(resources).routes()[0].action {
        Some(Action::DirectResponse(response)) => response.status,
        other => panic!("{other:?}"),
    };
    let wide = named("a", "*.svc.cluster.local", status(201));
    let narrow = named("b", "*.default.svc.cluster.local", status(202));
    let second = named("c", "*.default.svc.cluster.local", status(203));
    let exact = named("d", "reviews.default.svc.cluster.local", status(204));
    assert_eq!(answers(&wide), 201);
    assert_eq!(answers(&format!("{wide}{narrow}{second}")), 202);
    assert_eq!(answers(&format!("{wide}{narrow}{second}{exact}")), 204);
    // Where it has no rule for this client, the service has none: less specific ones do not count.
    let elsewhere = json!([{"match": [{"sourceLabels": {"app": "x"}}], "directResponse": {"status": 205}}]);
    let narrow = named("b", "*.default.svc.cluster.local", elsewhere.clone());
    assert_eq!(first(&format!("{wide}{narrow}")), "default");
    // Of several for the host itself the first that has one is taken.
    let other = named("c", "reviews.default.svc.cluster.local", elsewhere);
    assert_eq!(answers(&format!("{wide}{other}{exact}")), 204);
}
