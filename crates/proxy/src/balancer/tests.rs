//! Distribution of picks, by weight and by requests in flight.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::cluster::{
    Address, Consistent, Health,
    endpoints::{HostSpec, Layout, LocalityEndpoints},
};

fn address(n: usize) -> Address {
    Address::Socket(([10, 0, (n >> 8) as u8, n as u8], 80).into())
}

fn set(weights: &[u32]) -> EndpointSet {
    EndpointSet::of(weights.iter().enumerate().map(|(n, weight)| (address(n), *weight)))
}

fn counts(policy: &BalancerPolicy, set: &EndpointSet, picks: usize) -> HashMap<String, usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut balancer = Balancer::new();
    let mut counts = HashMap::new();
    for _ in 0..picks {
        let picked = balancer.pick(policy, set, &Selection::default(), &mut random).unwrap();
        *counts.entry(picked.label.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn nobody_to_pick() {
    for set in [set(&[]), EndpointSet::default()] {
        assert!(
            Balancer::new()
                .pick(&BalancerPolicy::RoundRobin, &set, &Selection::default(), &mut fastrand::Rng::new())
                .is_none()
        );
    }
}

#[test]
fn least_request_prefers_the_idle() {
    let set = set(&[1, 1]);
    let busy = &set.priorities[0].hosts[0];
    (0..10).for_each(|_| busy.begin());
    let counts = counts(&BalancerPolicy::LeastRequest { choices: Some(2), bias: 1000 }, &set, 4000);
    // Only when both draws hit it: a quarter.
    let share = counts["10.0.0.0:80"] as f64 / 4000.0;
    assert!((0.22..0.28).contains(&share), "{share}");
}

#[test]
fn weighted_least_request_divides_by_load() {
    let set = set(&[1, 3]);
    let counts = counts(&BalancerPolicy::LeastRequest { choices: Some(2), bias: 1000 }, &set, 4000);
    assert!((990..=1010).contains(&counts["10.0.0.0:80"]), "{counts:?}");
}

#[test]
fn weighted_round_robin_is_smooth() {
    let set = set(&[1, 5]);
    let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::with_seed(1));
    let mut since = 0;
    for _ in 0..600 {
        let picked =
            balancer.pick(&BalancerPolicy::RoundRobin, &set, &Selection::default(), &mut random).unwrap();
        since = if picked.weight() == 1 { 0 } else { since + 1 };
        // One more than the ratio: deadlines are floats.
        assert!(since <= 6);
    }
}

#[test]
fn a_new_set_is_taken_up() {
    let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::new());
    let old = set(&[1, 2, 3]);
    for _ in 0..10 {
        balancer.pick(&BalancerPolicy::RoundRobin, &old, &Selection::default(), &mut random);
    }
    let one = LocalityEndpoints {
        weight: 1,
        hosts: (0..2)
            .map(|n| HostSpec {
                logged: None,
                address: address(n),
                hostname: None,
                weight: 1,
                health: Health::Healthy,
                hash_key: None,
                metadata: None,
                check: None,
                leaving: false,
            })
            .collect(),
        ..LocalityEndpoints::default()
    };
    let new = EndpointSet::build(&[one], Layout::default(), &old);
    let picked: Vec<_> = (0..4)
        .map(|_| {
            balancer
                .pick(&BalancerPolicy::RoundRobin, &new, &Selection::default(), &mut random)
                .unwrap()
                .label
                .clone()
        })
        .collect();
    assert_eq!(picked[0], picked[2]);
    assert_ne!(picked[0], picked[1]);
}

#[test]
fn weighted_localities() {
    let locality = |n, weight| LocalityEndpoints {
        weight,
        hosts: vec![HostSpec {
            logged: None,
            address: address(n),
            hostname: None,
            weight: 1,
            health: Health::Healthy,
            hash_key: None,
            metadata: None,
            check: None,
            leaving: false,
        }],
        ..LocalityEndpoints::default()
    };
    let layout = Layout { locality_weighted: true, ..Layout::default() };
    let set = EndpointSet::build(
        &[locality(0, 80), locality(1, 20), locality(2, 0)],
        layout,
        &EndpointSet::default(),
    );
    let counts = counts(&BalancerPolicy::RoundRobin, &set, 10_000);
    assert!((7_850..8_150).contains(&counts["10.0.0.0:80"]), "{counts:?}");
    assert_eq!(counts.len(), 2);
}

fn avoiding(avoid: &[Arc<Endpoint>]) -> Selection<'_> {
    Selection { avoid, attempts: 3, ..Selection::default() }
}

fn hashed(kind: Consistent, weights: &[u32]) -> EndpointSet {
    let hosts = weights.iter().enumerate().map(|(n, weight)| HostSpec {
        logged: None,
        address: address(n),
        hostname: None,
        weight: *weight,
        health: Health::Healthy,
        hash_key: None,
        metadata: None,
        check: None,
        leaving: false,
    });
    let locality = LocalityEndpoints { weight: 1, hosts: hosts.collect(), ..LocalityEndpoints::default() };
    let layout = Layout { consistent: Some(kind), ..Layout::default() };
    EndpointSet::build(&[locality], layout, &EndpointSet::default())
}

const RING: Consistent = Consistent::Ring { min: 1024, max: 8 << 20, murmur: false, hostname: false };
const MAGLEV: Consistent = Consistent::Maglev { size: 65_537, hostname: false };

#[test]
fn a_hash_leads_to_one_host_and_weights_are_kept() {
    for kind in [RING, MAGLEV] {
        let (policy, set) = (BalancerPolicy::Consistent(kind), hashed(kind, &[1, 3]));
        let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::with_seed(3));
        let mut first = 0;
        for n in 0..4000u64 {
            let hash = Some(hash::xxh64(&n.to_le_bytes(), 0));
            let wanted = Selection { hash, ..Selection::default() };
            let picked = balancer.pick(&policy, &set, &wanted, &mut random).unwrap().clone();
            let again = balancer.pick(&policy, &set, &wanted, &mut random).unwrap();
            assert!(Arc::ptr_eq(&picked, again));
            first += usize::from(&*picked.label == "10.0.0.0:80");
            let avoid = [picked.clone()];
            let other = Selection { hash, avoid: &avoid, attempts: 40, ..Selection::default() };
            assert!(!Arc::ptr_eq(balancer.pick(&policy, &set, &other, &mut random).unwrap(), &picked));
        }
        assert!((850..1150).contains(&first), "{kind:?}: {first}");
    }
}

#[test]
fn few_hashes_move_when_a_host_goes() {
    for kind in [RING, MAGLEV] {
        let policy = BalancerPolicy::Consistent(kind);
        let (five, four) = (hashed(kind, &[1; 5]), hashed(kind, &[1; 4]));
        let mut moved = 0;
        for n in 0..2000u64 {
            let wanted = Selection { hash: Some(hash::xxh64(&n.to_le_bytes(), 0)), ..Selection::default() };
            let pick = |set| {
                let mut random = fastrand::Rng::with_seed(1);
                Balancer::new()
                    .pick(&policy, set, &wanted, &mut random)
                    .map(|host| host.label.clone())
                    .unwrap()
            };
            let before = pick(&five);
            moved += usize::from(&*before != "10.0.0.4:80" && before != pick(&four));
        }
        // Those of the host that went must move; hardly any other.
        assert!(moved < 400, "{kind:?}: {moved}");
    }
}

#[test]
fn tried_priorities_are_left_out() {
    let level = |n: usize| LocalityEndpoints {
        priority: n as u32,
        weight: 1,
        hosts: vec![HostSpec {
            logged: None,
            address: address(n),
            hostname: None,
            weight: 1,
            health: Health::Healthy,
            hash_key: None,
            metadata: None,
            check: None,
            leaving: false,
        }],
        locality: None,
    };
    let set = EndpointSet::build(&[level(0), level(1)], Layout::default(), &EndpointSet::default());
    let mut random = fastrand::Rng::with_seed(1);
    for (exclude, wanted) in [(&[][..], 0), (&[0], 1), (&[1], 0), (&[0, 1], 0)] {
        let wish = Selection { exclude, ..Selection::default() };
        let picked = Balancer::new().pick(&BalancerPolicy::RoundRobin, &set, &wish, &mut random).unwrap();
        assert_eq!(picked.priority, wanted, "{exclude:?}");
    }
}

#[test]
fn slow_start_grows() {
    let slow = SlowStart { window: std::time::Duration::from_secs(100), aggression: 1000, least: 1000 };
    let at = |seconds| slow.factor(std::time::Duration::from_secs(seconds));
    assert!((at(0) - 0.1).abs() < 1e-9 && (at(50) - 0.5).abs() < 1e-9 && (at(100) - 1.0).abs() < 1e-9);
    let set = set(&[1, 1]);
    let wish = Selection { slow_start: Some(slow), ..Selection::default() };
    let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::with_seed(1));
    let mut labels = HashMap::<_, usize>::new();
    for _ in 0..100 {
        let host = balancer.pick(&BalancerPolicy::RoundRobin, &set, &wish, &mut random).unwrap();
        *labels.entry(host.label.clone()).or_default() += 1;
    }
    // Both are as young.
    assert_eq!(labels.into_values().collect::<Vec<_>>(), [50, 50]);
}

#[test]
fn avoiding_gives_up_in_the_end() {
    let set = set(&[1, 1]);
    let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::new());
    let all = set.priorities[0].hosts.clone();
    let first = all[0].clone();
    let policy = BalancerPolicy::RoundRobin;
    for _ in 0..10 {
        let picked =
            balancer.pick(&policy, &set, &avoiding(std::slice::from_ref(&first)), &mut random).unwrap();
        assert!(!Arc::ptr_eq(picked, &first));
        assert!(balancer.pick(&policy, &set, &avoiding(&all), &mut random).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn shares_follow_weights(weights in prop::collection::vec(1u32..20, 2..8), seed: u64) {
        let set = set(&weights);
        let total: u32 = weights.iter().sum();
        let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::with_seed(seed));
        let cycles = 50;
        let mut counts: HashMap<_, u32> = HashMap::new();
        for _ in 0..total * cycles {
            let host = balancer.pick(&BalancerPolicy::RoundRobin, &set, &Selection::default(), &mut random).unwrap();
            *counts.entry(host.label.clone()).or_default() += 1;
        }
        for host in set.iter() {
            let (got, wanted) = (counts[&host.label], host.weight() * cycles);
            prop_assert!(got.abs_diff(wanted) <= host.weight() + 1, "{got} of {wanted}");
        }
        let picks = 20_000;
        let mut counts: HashMap<_, u32> = HashMap::new();
        for _ in 0..picks {
            let host = balancer.pick(&BalancerPolicy::Random, &set, &Selection::default(), &mut random).unwrap();
            *counts.entry(host.label.clone()).or_default() += 1;
        }
        for host in set.iter() {
            let share = f64::from(host.weight()) / f64::from(total);
            let sigma = (f64::from(picks) * share * (1.0 - share)).sqrt();
            let off = (f64::from(counts[&host.label]) - f64::from(picks) * share).abs();
            prop_assert!(off < 6.0 * sigma, "{off} of {sigma}");
        }
    }
}
