//! Distribution of picks, by weight and by requests in flight.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::cluster::{
    Address, Health,
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
        let picked = balancer.pick(policy, set, &mut random).unwrap();
        *counts.entry(picked.label.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn nobody_to_pick() {
    for set in [set(&[]), EndpointSet::default()] {
        assert!(Balancer::new().pick(&BalancerPolicy::RoundRobin, &set, &mut fastrand::Rng::new()).is_none());
    }
}

#[test]
fn least_request_prefers_the_idle() {
    let set = set(&[1, 1]);
    let busy = &set.priorities[0].hosts[0];
    (0..10).for_each(|_| busy.begin());
    let counts = counts(&BalancerPolicy::LeastRequest { choices: 2 }, &set, 4000);
    // Only when both draws hit it: a quarter.
    let share = counts["10.0.0.0:80"] as f64 / 4000.0;
    assert!((0.22..0.28).contains(&share), "{share}");
}

#[test]
fn weighted_least_request_divides_by_load() {
    let set = set(&[1, 3]);
    let counts = counts(&BalancerPolicy::LeastRequest { choices: 2 }, &set, 4000);
    assert!((990..=1010).contains(&counts["10.0.0.0:80"]), "{counts:?}");
}

#[test]
fn weighted_round_robin_is_smooth() {
    let set = set(&[1, 5]);
    let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::with_seed(1));
    let mut since = 0;
    for _ in 0..600 {
        let picked = balancer.pick(&BalancerPolicy::RoundRobin, &set, &mut random).unwrap();
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
        balancer.pick(&BalancerPolicy::RoundRobin, &old, &mut random);
    }
    let one = LocalityEndpoints {
        weight: 1,
        hosts: (0..2)
            .map(|n| HostSpec { address: address(n), hostname: None, weight: 1, health: Health::Healthy })
            .collect(),
        ..LocalityEndpoints::default()
    };
    let new = EndpointSet::build(&[one], Layout::default(), &old);
    let picked: Vec<_> = (0..4)
        .map(|_| balancer.pick(&BalancerPolicy::RoundRobin, &new, &mut random).unwrap().label.clone())
        .collect();
    assert_eq!(picked[0], picked[2]);
    assert_ne!(picked[0], picked[1]);
}

#[test]
fn weighted_localities() {
    let locality = |n, weight| LocalityEndpoints {
        weight,
        hosts: vec![HostSpec { address: address(n), hostname: None, weight: 1, health: Health::Healthy }],
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

#[test]
fn avoiding_gives_up_in_the_end() {
    let set = set(&[1, 1]);
    let (mut balancer, mut random) = (Balancer::new(), fastrand::Rng::new());
    let first = set.priorities[0].hosts[0].clone();
    let policy = BalancerPolicy::RoundRobin;
    for _ in 0..10 {
        let picked =
            balancer.pick_avoiding(&policy, &set, &mut random, 3, |host| Arc::ptr_eq(host, &first)).unwrap();
        assert!(!Arc::ptr_eq(picked, &first));
        assert!(balancer.pick_avoiding(&policy, &set, &mut random, 3, |_| true).is_some());
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
            let host = balancer.pick(&BalancerPolicy::RoundRobin, &set, &mut random).unwrap();
            *counts.entry(host.label.clone()).or_default() += 1;
        }
        for host in set.iter() {
            let (got, wanted) = (counts[&host.label], host.weight() * cycles);
            prop_assert!(got.abs_diff(wanted) <= host.weight() + 1, "{got} of {wanted}");
        }
        let picks = 20_000;
        let mut counts: HashMap<_, u32> = HashMap::new();
        for _ in 0..picks {
            let host = balancer.pick(&BalancerPolicy::Random, &set, &mut random).unwrap();
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
