//! Zone-aware routing: requests stay in the proxy's own locality as far as its share of the upstream's hosts allows.
//!
//! [`crate::upstream::cluster::ClusterState`] works out [`Routing`] once per change of either cluster's hosts and draws once per
//! request. Pure but for random numbers. Invariant: Envoy's rules and numbers
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/zone_aware>).

use std::sync::Arc;

use crate::cluster::{Endpoint, EndpointSet, Health, Locality, ZoneAware};

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// All to the own locality.
    Direct,
    /// A part to the own locality, the rest where others have more than their share.
    Residual {
        /// Of ten thousand.
        own: u64,
        /// What the localities up to each one have more than their share, summed; the own one, first, has nothing.
        residual: Vec<u64>,
    },
}

/// Why localities do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// One locality, or no healthy host in the own one.
    Alone,
    /// Fewer healthy hosts than `min_cluster_size`.
    TooSmall,
    /// The proxy's own cluster says nothing of localities, or is in panic.
    LocalNotOk,
}

/// How a request was sent, for statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All stay.
    Directly,
    /// This one stays.
    Sampled,
    /// This one goes elsewhere.
    Across,
    /// This one goes anywhere: nobody has more than their share.
    Anywhere,
}

/// The hosts of one locality.
#[derive(Debug, Default, Clone)]
pub struct Zone {
    /// Which.
    pub locality: Option<Arc<Locality>>,
    /// The healthy ones.
    pub healthy: Vec<Arc<Endpoint>>,
}

/// The hosts of the first priority by locality, the own one first; `None` where it has none.
pub fn zones(set: &EndpointSet, own: &Locality) -> Option<Vec<Zone>> {
    let mut zones: Vec<Zone> = Vec::new();
    for host in &set.priorities.first()?.hosts {
        let at = zones.iter().position(|zone| zone.locality == host.locality);
        let at = at.unwrap_or_else(|| {
            zones.push(Zone { locality: host.locality.clone(), healthy: Vec::new() });
            zones.len() - 1
        });
        if host.health() == Health::Healthy {
            zones[at].healthy.push(host.clone());
        }
    }
    let at = zones.iter().position(|zone| zone.locality.as_deref() == Some(own))?;
    zones[..=at].rotate_right(1);
    Some(zones)
}

/// What two clusters' hosts make of the routing.
pub fn work_out(
    settings: &ZoneAware,
    upstream: Option<&[Zone]>,
    local: Option<&[Zone]>,
    local_in_panic: bool,
) -> Result<Routing, Unfit> {
    let upstream = upstream.filter(|zones| zones.len() > 1 && !zones[0].healthy.is_empty());
    let upstream = upstream.ok_or(Unfit::Alone)?;
    let all: usize = upstream.iter().map(|zone| zone.healthy.len()).sum();
    if (all as u64) < settings.min_cluster_size {
        return Err(Unfit::TooSmall);
    }
    let local = local.filter(|zones| !zones[0].healthy.is_empty() && !local_in_panic);
    let local = local.ok_or(Unfit::LocalNotOk)?;
    let shares = |zones: &[Zone], of: &Option<Arc<Locality>>| {
        let all: usize = zones.iter().map(|zone| zone.healthy.len()).sum();
        let here = zones.iter().find(|zone| zone.locality == *of).map_or(0, |zone| zone.healthy.len());
        10_000 * here as u64 / all.max(1) as u64
    };
    let pairs: Vec<(u64, u64)> = upstream
        .iter()
        .map(|zone| (shares(local, &zone.locality), shares(upstream, &zone.locality)))
        .collect();
    let (ours, theirs) = pairs[0];
    if settings.force_direct || theirs >= ours {
        return Ok(Routing::Direct);
    }
    let mut sum = 0;
    let residual = pairs.iter().enumerate().map(|(at, (ours, theirs))| {
        sum += if at == 0 { 0 } else { theirs.saturating_sub(*ours) };
        sum
    });
    Ok(Routing::Residual { own: theirs * 10_000 / ours.max(1), residual: residual.collect() })
}

impl Routing {
    /// The locality for a request.
    pub fn draw(&self, random: &mut fastrand::Rng) -> (usize, Sent) {
        let Self::Residual { own, residual } = self else { return (0, Sent::Directly) };
        if random.u64(..10_000) < *own {
            return (0, Sent::Sampled);
        }
        match residual.last() {
            Some(all) if *all > 0 => {
                let at = random.u64(..*all);
                (residual.iter().position(|sum| at < *sum).unwrap_or(0), Sent::Across)
            }
            _ => (random.usize(..residual.len().max(1)), Sent::Anywhere),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Address;

    fn zone(name: &str, hosts: usize) -> Zone {
        let locality = Arc::new(Locality { zone: name.into(), ..Locality::default() });
        let host = |n: usize| {
            let address = Address::Socket(([127, 0, 0, 1], n as u16).into());
            Arc::new(Endpoint::new(address, None, 1, Health::Healthy))
        };
        Zone { locality: Some(locality), healthy: (0..hosts).map(host).collect() }
    }

    fn settings(min_cluster_size: u64) -> ZoneAware {
        ZoneAware { enabled: 10_000, min_cluster_size, fail_on_panic: false, force_direct: false }
    }

    fn routing(local: &[usize], upstream: &[usize]) -> Result<Routing, Unfit> {
        let name = |at: usize| ["a", "b", "c"][at];
        let zones = |counts: &[usize]| -> Vec<Zone> {
            counts.iter().enumerate().map(|(at, hosts)| zone(name(at), *hosts)).collect()
        };
        work_out(&settings(6), Some(&zones(upstream)), Some(&zones(local)), false)
    }

    #[test]
    fn shares() {
        assert_eq!(routing(&[1, 1], &[3, 3]), Ok(Routing::Direct));
        assert_eq!(routing(&[1, 1], &[5, 1]), Ok(Routing::Direct));
        // A fifth here where there is half of the clients: two fifths of the requests stay.
        let some = Routing::Residual { own: 4000, residual: vec![0, 3000] };
        assert_eq!(routing(&[5, 5], &[2, 8]), Ok(some));
        let three = Routing::Residual { own: 5000, residual: vec![0, 0, 2500] };
        assert_eq!(routing(&[2, 1, 1], &[2, 2, 4]), Ok(three));
        assert_eq!(routing(&[1, 1], &[2, 3]), Err(Unfit::TooSmall));
        assert_eq!(routing(&[1, 1], &[6]), Err(Unfit::Alone));
        assert_eq!(routing(&[1, 1], &[0, 6]), Err(Unfit::Alone));
        assert_eq!(routing(&[0, 1], &[3, 3]), Err(Unfit::LocalNotOk));
    }

    #[test]
    fn draws() {
        let mut random = fastrand::Rng::with_seed(7);
        let routing = Routing::Residual { own: 2500, residual: vec![0, 0, 3000, 4000] };
        let mut counts = [0_i32; 4];
        for _ in 0..40_000 {
            counts[routing.draw(&mut random).0] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, expected) in [(counts[0], 10_000), (counts[2], 22_500), (counts[3], 7_500)] {
            assert!((count - expected).abs() < 600, "{counts:?}");
        }
        let none = Routing::Residual { own: 0, residual: vec![0, 0] };
        assert_eq!(none.draw(&mut random).1, Sent::Anywhere);
        assert_eq!(Routing::Direct.draw(&mut random), (0, Sent::Directly));
    }
}
