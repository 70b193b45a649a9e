//! Zone-aware routing of one cluster on one worker: worked out when hosts change, drawn from for each request.
//!
//! Invariant: what is worked out belongs to the two endpoint sets whose versions are noted.

use crate::{
    balancer::zones::{self, Routing, Sent, Unfit},
    cluster::{ClusterSettings, EndpointSet, Group, Local, ZoneAware},
    stats::groups::ClusterStats,
};

/// What was worked out.
#[derive(Debug, Default)]
pub(super) struct Zones {
    versions: Option<(u64, u64)>,
    routing: Option<Routing>,
    /// The upstream's healthy hosts by locality, the own one first; `None` for none.
    groups: Vec<Option<Group>>,
}

impl Zones {
    /// The locality for a request, if localities matter to it.
    pub(super) fn choose(
        &mut self,
        aware: &ZoneAware,
        local: &Local,
        set: &EndpointSet,
        settings: &ClusterSettings,
        stats: &ClusterStats,
        random: &mut fastrand::Rng,
    ) -> Option<(usize, &Group)> {
        self.follow(aware, local, set, settings, stats);
        let routing = self.routing.as_ref()?;
        // A level in panic, or one that others share its load with, chooses among all as ever.
        if set.priorities.first().is_none_or(|level| level.panic) || random.u32(..10_000) >= aware.enabled {
            return None;
        }
        let (at, sent) = routing.draw(random);
        match sent {
            Sent::Directly => stats.lb_zone_routing_all_directly.inc(),
            Sent::Sampled => stats.lb_zone_routing_sampled.inc(),
            Sent::Across => stats.lb_zone_routing_cross_zone.inc(),
            Sent::Anywhere => {
                stats.lb_zone_routing_cross_zone.inc();
                stats.lb_zone_no_capacity_left.inc();
            }
        }
        Some((at, self.groups.get(at)?.as_ref()?))
    }

    fn follow(
        &mut self,
        aware: &ZoneAware,
        local: &Local,
        set: &EndpointSet,
        settings: &ClusterSettings,
        stats: &ClusterStats,
    ) {
        let cluster = local.cluster.load();
        let others = cluster.as_ref().map(|cluster| cluster.endpoints.load());
        let versions = (set.version, others.as_ref().map_or(0, |others| others.version));
        if self.versions.replace(versions) == Some(versions) {
            return;
        }
        stats.lb_recalculate_zone_structures.inc();
        let upstream = zones::zones(set, &local.locality);
        let here = others.as_ref().and_then(|others| zones::zones(others, &local.locality));
        let in_panic = here.as_ref().is_some_and(|zones| {
            let healthy: usize = zones.iter().map(|zone| zone.healthy.len()).sum();
            let all =
                others.as_ref().and_then(|others| others.priorities.first()).map_or(0, |l| l.hosts.len());
            healthy * 100 < all * settings.panic_threshold as usize
        });
        let routing = zones::work_out(aware, upstream.as_deref(), here.as_deref(), in_panic);
        match routing {
            Err(Unfit::TooSmall) => stats.lb_zone_cluster_too_small.inc(),
            Err(Unfit::LocalNotOk) => stats.lb_local_cluster_not_ok.inc(),
            Err(Unfit::Alone) | Ok(_) => {}
        }
        self.routing = routing.ok();
        let groups = upstream.unwrap_or_default().into_iter().map(|zone| zone.healthy);
        self.groups = groups.map(|hosts| (!hosts.is_empty()).then(|| Group::new(hosts, 1))).collect();
    }
}
