//! Endpoints across updates: who stays the same, priorities, panic.

use super::*;

fn hosts(healths: &[Health], net: u8) -> Vec<HostSpec> {
    let host = |(n, health): (usize, &Health)| HostSpec {
        logged: None,
        address: Address::Socket(([10, net, 0, n as u8], 80).into()),
        hostname: None,
        weight: 1,
        health: *health,
        hash_key: None,
        metadata: None,
        check: None,
        leaving: false,
    };
    healths.iter().enumerate().map(host).collect()
}

/// (priority, healthy, degraded, unhealthy) per level.
fn build(levels: &[(usize, usize, usize)]) -> EndpointSet {
    let localities: Vec<_> = levels
        .iter()
        .enumerate()
        .map(|(priority, (healthy, degraded, unhealthy))| {
            let mut healths = vec![Health::Healthy; *healthy];
            healths.extend(vec![Health::Degraded; *degraded]);
            healths.extend(vec![Health::Unhealthy; *unhealthy]);
            let hosts = hosts(&healths, priority as u8);
            LocalityEndpoints { priority: priority as u32, weight: 1, hosts, locality: None }
        })
        .collect();
    EndpointSet::build(&localities, Layout::default(), &EndpointSet::default())
}

/// The tables of Envoy's documentation on priority levels and degraded endpoints.
#[test]
fn loads_are_envoys() {
    for (levels, wanted) in [
        (vec![(100, 0, 0), (100, 0, 0)], vec![(100, 0), (0, 0)]),
        (vec![(72, 0, 28), (100, 0, 0)], vec![(100, 0), (0, 0)]),
        (vec![(71, 0, 29), (100, 0, 0)], vec![(99, 0), (1, 0)]),
        (vec![(50, 0, 50), (100, 0, 0)], vec![(70, 0), (30, 0)]),
        (vec![(25, 0, 75), (100, 0, 0)], vec![(35, 0), (65, 0)]),
        (vec![(0, 0, 100), (100, 0, 0)], vec![(0, 0), (100, 0)]),
        (vec![(25, 0, 75), (25, 0, 75)], vec![(50, 0), (50, 0)]),
        (vec![(0, 100, 0)], vec![(0, 100)]),
        (vec![(25, 75, 0)], vec![(35, 65)]),
    ] {
        let set = build(&levels);
        let loads: Vec<_> =
            set.priorities.iter().map(|level| (level.healthy_load, level.degraded_load)).collect();
        assert_eq!(loads, wanted, "{levels:?}");
    }
}

#[test]
fn panic_uses_everyone() {
    let set = build(&[(1, 0, 3)]);
    assert!(set.priorities[0].panic);
    assert_eq!(set.priorities[0].healthy[0].hosts.len(), 4);
    assert_eq!(set.priorities[0].healthy_load, 100);

    let set = build(&[(0, 0, 4)]);
    assert_eq!((set.priorities[0].healthy_load, set.priorities[0].healthy[0].hosts.len()), (100, 4));

    let set = build(&[(2, 0, 2)]);
    assert!(!set.priorities[0].panic);
    assert_eq!(set.priorities[0].healthy[0].hosts.len(), 2);

    // The other level can take all: no panic.
    let set = build(&[(1, 0, 9), (10, 0, 0)]);
    assert!(!set.priorities[0].panic);
}

#[test]
fn no_panic_when_disabled() {
    let locality = LocalityEndpoints {
        weight: 1,
        hosts: hosts(&[Health::Unhealthy], 0),
        ..LocalityEndpoints::default()
    };
    let layout = Layout { panic_threshold: 0, ..Layout::default() };
    let set = EndpointSet::build(&[locality], layout, &EndpointSet::default());
    assert_eq!((set.priorities[0].healthy_load, set.priorities[0].healthy.len()), (0, 0));
}

#[test]
fn endpoints_keep_their_identity() {
    let old = build(&[(2, 0, 0)]);
    old.priorities[0].hosts[0].begin();
    let mut specs = hosts(&[Health::Healthy, Health::Unhealthy, Health::Healthy], 0);
    specs[0].weight = 9;
    let locality = LocalityEndpoints { weight: 1, hosts: specs, ..LocalityEndpoints::default() };
    let new = EndpointSet::build(&[locality], Layout::default(), &old);
    assert_eq!(new.version, old.version + 1);
    let (before, after) = (&old.priorities[0].hosts, &new.priorities[0].hosts);
    assert!(Arc::ptr_eq(&before[0], &after[0]) && Arc::ptr_eq(&before[1], &after[1]));
    assert_eq!((after[0].active(), after[0].weight(), after[1].health()), (1, 9, Health::Unhealthy));
    assert_eq!(new.priorities[0].healthy[0].hosts.len(), 2);
}
