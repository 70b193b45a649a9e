//! Ejection by streaks and by rates, its limits, and the way back; the clock is an argument.

use super::{detector::Round, *};
use crate::cluster::{Address, EndpointSet, Health};

fn settings() -> Settings {
    Settings { max_ejection_percent: 50, ..Settings::default() }
}

fn cluster(hosts: u8, settings: Settings) -> Arc<Cluster> {
    let address = |n| (Address::Socket(([10, 0, 0, n], 80).into()), 1);
    Arc::new(Cluster {
        metadata: None,
        name: "c".into(),
        stat_name: "c".into(),
        settings: Arc::default(),
        origin: None,
        outlier: Some(Box::new(Detector::new(settings, None))),
        health: None,
        local: None,
        endpoints: EndpointSet::of((0..hosts).map(address)).into(),
    })
}

struct World {
    cluster: Arc<Cluster>,
    events: mpsc::Receiver<(Arc<Endpoint>, Kind)>,
    now: Instant,
}

impl World {
    fn new(hosts: u8, settings: Settings) -> Self {
        let cluster = cluster(hosts, settings);
        let events = cluster.outlier.as_ref().unwrap().receiver.lock().unwrap().take().unwrap();
        Self { cluster, events, now: Instant::now() }
    }

    fn host(&self, n: usize) -> Arc<Endpoint> {
        self.cluster.endpoints.load().iter().nth(n).unwrap().clone()
    }

    fn report(&mut self, n: usize, outcome: Outcome, times: usize) {
        let host = self.host(n);
        let detector = self.cluster.outlier.as_ref().unwrap();
        (0..times).for_each(|_| detector.count(&host, outcome));
        while let Ok((host, kind)) = self.events.try_recv() {
            Round { cluster: &self.cluster, detector, now: self.now }.consecutive(&host, kind);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let detector = self.cluster.outlier.as_ref().unwrap();
        Round { cluster: &self.cluster, detector, now: self.now }.interval();
    }

    fn healthy(&self) -> usize {
        self.cluster.endpoints.load().priorities[0].healthy.iter().map(|group| group.hosts.len()).sum()
    }

    fn stats(&self) -> &OutlierStats {
        &self.cluster.outlier.as_ref().unwrap().stats
    }
}

#[test]
fn a_streak_ejects_and_time_brings_back() {
    let mut world = World::new(4, settings());
    world.report(0, Outcome::Status(500), 4);
    world.report(0, Outcome::Status(200), 1);
    world.report(0, Outcome::Status(500), 4);
    assert_eq!(world.healthy(), 4);
    world.report(0, Outcome::Status(500), 1);
    assert!(world.host(0).is_ejected());
    assert_eq!((world.healthy(), world.host(0).health()), (3, Health::Unhealthy));
    world.pass(Duration::from_secs(29));
    assert!(world.host(0).is_ejected());
    world.pass(Duration::from_secs(1));
    assert_eq!((world.host(0).is_ejected(), world.healthy()), (false, 4));
    // The second time lasts twice as long.
    world.report(0, Outcome::Failed, 5);
    world.pass(Duration::from_secs(59));
    assert!(world.host(0).is_ejected());
    world.pass(Duration::from_secs(1));
    assert!(!world.host(0).is_ejected());
    assert_eq!(world.stats().ejections_enforced_total.get(), 2);
    assert_eq!(world.stats().ejections_active.get(), 0);
}

#[test]
fn not_too_many_are_out() {
    let mut world = World::new(4, settings());
    for host in 0..4 {
        world.report(host, Outcome::Status(503), 5);
    }
    // Both streaks of each of the other two, enforced or not.
    assert_eq!((world.healthy(), world.stats().ejections_overflow.get()), (2, 4));
    let mut world = World::new(4, Settings { max_ejection_percent: 10, ..settings() });
    world.report(0, Outcome::Status(503), 5);
    assert!(!world.host(0).is_ejected());
    let mut world = World::new(4, Settings { max_ejection_percent: 10, always_one: true, ..settings() });
    world.report(0, Outcome::Status(503), 5);
    assert!(world.host(0).is_ejected());
}

#[test]
fn origins_are_told_apart_if_asked() {
    let split = Settings { split: true, consecutive_local: (2, 100), ..settings() };
    let mut world = World::new(2, split);
    world.report(0, Outcome::Failed, 1);
    world.report(0, Outcome::Connected, 1);
    world.report(0, Outcome::Failed, 1);
    assert!(!world.host(0).is_ejected());
    world.report(0, Outcome::TimedOut, 1);
    assert!(world.host(0).is_ejected());
    assert_eq!(world.stats().ejections_enforced_consecutive_local_origin_failure.get(), 1);
}

#[test]
fn rates_are_compared() {
    let rates = Settings { consecutive_5xx: (0, 0), consecutive_gateway: (0, 0), ..settings() };
    let mut world = World::new(6, rates.clone());
    for host in 0..6 {
        world.report(host, Outcome::Status(200), 100);
    }
    world.report(5, Outcome::Status(500), 100);
    world.pass(Duration::from_secs(10));
    assert!(world.host(5).is_ejected() && !world.host(0).is_ejected());
    assert_eq!(world.host(5).monitor.get().unwrap().success_rates()[0], Some(50.0));

    let failures =
        Settings { enforcing_success_rate: (0, 0), enforcing_failure_percentage: (100, 100), ..rates };
    let mut world = World::new(6, failures);
    for host in 0..6 {
        world.report(host, Outcome::Status(200), 50);
    }
    world.report(1, Outcome::Status(500), 450);
    world.pass(Duration::from_secs(10));
    assert!(world.host(1).is_ejected());
    assert_eq!(world.stats().ejections_enforced_failure_percentage.get(), 1);
}
