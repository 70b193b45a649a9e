//! Requests for subsets that are there, that are not, and what they get instead.

use std::cell::Cell;

use super::*;
use crate::cluster::{
    Address, Health,
    endpoints::{
        HostSpec, Layout, LocalityEndpoints,
        subsets::{Fallback, Selector, Settings},
    },
    metadata::Value,
};

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn fields(pairs: &[(&str, Value)]) -> Fields {
    Fields::new(pairs.iter().map(|(name, value)| (Arc::from(*name), value.clone())))
}

fn selector(keys: &[&str], fallback: Option<SelectorFallback>) -> Selector {
    Selector { keys: keys.iter().map(|key| Arc::from(*key)).collect(), fallback, single_host: false }
}

fn settings() -> Settings {
    Settings {
        fallback: Fallback::None,
        default: Fields::default(),
        selectors: vec![selector(&["stage"], None), selector(&["stage", "version"], None)],
        locality_weighted: false,
        scales_weights: false,
        panic_any: false,
        list_as_any: false,
        heeds_fallback_list: false,
    }
}

/// Hosts 1, 2, 3…: of these metadata.
fn set(settings: Settings, hosts: &[Fields]) -> EndpointSet {
    let host = |(at, metadata): (usize, &Fields)| HostSpec {
        logged: None,
        address: Address::Socket(([127, 0, 0, 1], at as u16 + 1).into()),
        hostname: None,
        weight: 1,
        health: Health::Healthy,
        hash_key: None,
        metadata: Some(Arc::new(metadata.clone())),
        check: None,
        leaving: false,
    };
    let hosts = hosts.iter().enumerate().map(host).collect();
    let locality = LocalityEndpoints { weight: 1, hosts, ..LocalityEndpoints::default() };
    let layout = Layout { subsets: Some(Arc::new(settings)), ..Layout::default() };
    EndpointSet::build(&[locality], layout, &EndpointSet::default())
}

fn hosts() -> Vec<Fields> {
    vec![
        fields(&[("stage", text("prod")), ("version", text("1"))]),
        fields(&[("stage", text("prod")), ("version", text("2"))]),
        fields(&[("stage", text("dev"))]),
        fields(&[("stage", Value::List(vec![text("dev"), text("test")]))]),
    ]
}

/// The ports of the hosts among which is picked; none when nothing is.
fn candidates(set: &EndpointSet, asked: Option<&Criteria>) -> (Vec<u16>, ClusterStats) {
    let stats = ClusterStats::default();
    let seen = Cell::new(Vec::new());
    choose(set.subsets.as_ref().unwrap(), asked, &stats, &mut |_, hosts| {
        let port = |host: &Arc<Endpoint>| host.label.rsplit(':').next().unwrap().parse().unwrap();
        seen.set(hosts.iter().map(port).collect());
        hosts.iter().next().cloned()
    });
    (seen.take(), stats)
}

fn asked(pairs: &[(&str, Value)]) -> Option<Criteria> {
    Criteria::new(fields(pairs))
}

#[test]
fn all_keys_of_a_selector_and_no_other() {
    let set = set(settings(), &hosts());
    let ports = |pairs: &[(&str, Value)]| candidates(&set, asked(pairs).as_ref()).0;
    assert_eq!(ports(&[("stage", text("prod"))]), [1, 2]);
    assert_eq!(ports(&[("version", text("2")), ("stage", text("prod"))]), [2]);
    assert!(ports(&[("version", text("2"))]).is_empty(), "no selector for that key alone");
    assert!(ports(&[("stage", text("none"))]).is_empty());
    assert!(ports(&[("stage", Value::Number(1))]).is_empty());
    assert!(candidates(&set, None).0.is_empty());
    // A list is a value like any other.
    assert!(ports(&[("stage", text("test"))]).is_empty());
    assert_eq!(set.subsets.as_ref().unwrap().active(), 5);
}

#[test]
fn lists_may_stand_for_each_of_their_values() {
    let set = set(Settings { list_as_any: true, ..settings() }, &hosts());
    let ports = |value: &str| candidates(&set, asked(&[("stage", text(value))]).as_ref()).0;
    assert_eq!((ports("test"), ports("dev")), (vec![4], vec![3, 4]));
}

#[test]
fn what_the_cluster_falls_back_to() {
    let default = fields(&[("version", text("1"))]);
    let none = asked(&[("stage", text("none"))]);
    for (fallback, ports) in
        [(Fallback::None, vec![]), (Fallback::Any, vec![1, 2, 3, 4]), (Fallback::Default, vec![1])]
    {
        let set = set(Settings { fallback, default: default.clone(), ..settings() }, &hosts());
        let (found, stats) = candidates(&set, none.as_ref());
        assert_eq!(found, ports, "{fallback:?}");
        assert_eq!(stats.lb_subsets_fallback.get(), u64::from(!ports.is_empty()));
        assert_eq!(candidates(&set, None).0, ports);
    }
    let nobody = fields(&[("version", text("9"))]);
    let panics = Settings { fallback: Fallback::Default, default: nobody, panic_any: true, ..settings() };
    let (found, stats) = candidates(&set(panics, &hosts()), None);
    assert_eq!((found.len(), stats.lb_subsets_fallback_panic.get()), (4, 1));
}

#[test]
fn what_selectors_fall_back_to() {
    let like = |fallback| Some(SelectorFallback::Like(fallback));
    let keys = Some(SelectorFallback::Keys(vec!["stage".into()]));
    let both = [("stage", text("prod")), ("version", text("9"))];
    for (fallback, ports) in [
        (like(Fallback::None), vec![]),
        (like(Fallback::Any), vec![1, 2, 3, 4]),
        (keys, vec![1, 2]),
        (None, vec![3]),
    ] {
        let selectors = vec![selector(&["stage"], None), selector(&["stage", "version"], fallback)];
        let default = fields(&[("stage", text("dev"))]);
        let set = set(Settings { selectors, fallback: Fallback::Default, default, ..settings() }, &hosts());
        assert_eq!(candidates(&set, asked(&both).as_ref()).0, ports);
    }
}

#[test]
fn requests_may_bring_fallbacks() {
    let list = Value::List(vec![
        Value::Struct(fields(&[("stage", text("none"))])),
        Value::Struct(fields(&[("stage", text("dev"))])),
    ]);
    let asked = asked(&[("stage", text("prod")), ("fallback_list", list)]);
    let heeds = set(Settings { heeds_fallback_list: true, ..settings() }, &hosts());
    assert_eq!(candidates(&heeds, asked.as_ref()).0, [3]);
    let ignores = set(settings(), &hosts());
    assert!(candidates(&ignores, asked.as_ref()).0.is_empty());
}

#[test]
fn one_host_for_each_value() {
    let mut settings = settings();
    settings.selectors = vec![Selector { single_host: true, ..selector(&["stage"], None) }];
    let set = set(settings, &hosts());
    assert_eq!(candidates(&set, asked(&[("stage", text("prod"))]).as_ref()).0, [1]);
}

#[test]
fn localities_keep_their_weights_or_a_part_of_them() {
    let weights = |locality_weighted, scales_weights| {
        let settings = Settings { locality_weighted, scales_weights, ..settings() };
        let host = |port: u16, stage: &str| HostSpec {
            logged: None,
            address: Address::Socket(([127, 0, 0, 1], port).into()),
            hostname: None,
            weight: 1,
            health: Health::Healthy,
            hash_key: None,
            metadata: Some(Arc::new(fields(&[("stage", text(stage))]))),
            check: None,
            leaving: false,
        };
        let locality = |weight, hosts| LocalityEndpoints { weight, hosts, ..LocalityEndpoints::default() };
        let localities = [
            locality(30, vec![host(1, "prod"), host(2, "dev"), host(3, "dev")]),
            locality(70, vec![host(4, "prod")]),
        ];
        let layout =
            Layout { subsets: Some(Arc::new(settings)), locality_weighted: true, ..Layout::default() };
        let set = EndpointSet::build(&localities, layout, &EndpointSet::default());
        let subsets = set.subsets.as_ref().unwrap();
        let prod = subsets.find(&fields(&[("stage", text("prod"))])).unwrap();
        let groups = &subsets.set(prod).unwrap().priorities[0].healthy;
        groups.iter().map(|group| group.weight).collect::<Vec<_>>()
    };
    // One group where localities do not count; shares are in hundredths.
    assert_eq!(weights(false, false), [1]);
    assert_eq!(weights(true, false), [3000, 7000]);
    assert_eq!(weights(true, true), [1000, 7000]);
}
