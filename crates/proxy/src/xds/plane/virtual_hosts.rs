//! VHDS in the plane: virtual hosts that come one by one, named `ROUTE/HOST`, into the tables of their route
//! configurations.
//!
//! As Envoy 1.40 does it over delta ADS: one wildcard subscription for all route configurations that say `vhds`.
//! Invariant: a response changes each table it touches once, and a virtual host that is refused leaves its older form.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use meltemi_xds::{client, type_url};

use super::State;
use crate::{
    http::config::RouteSlot,
    route::lazy::LazyHost,
    xds::{
        Rejection, refuse, route,
        view::{Kind, Version},
    },
};

/// How long a route configuration waits after others got their virtual hosts: the server may have none for it.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// What a response does to one table.
#[derive(Debug, Default)]
struct Change {
    /// New forms by resource name.
    put: Vec<(Arc<str>, Version, Arc<LazyHost>)>,
    removed: Vec<Arc<str>>,
}

impl State {
    /// Subscribes, and has the route configuration wait for its virtual hosts.
    pub(super) fn want_virtual_hosts(&mut self, slot: &Arc<RouteSlot>) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.subscribe_all(type_url::VIRTUAL_HOST);
        }
        let slot = Arc::downgrade(slot);
        self.itself.after(super::INITIAL_FETCH, move |_| {
            if let Some(slot) = slot.upgrade() {
                slot.incomplete.store(false, Ordering::Relaxed);
            }
        });
    }

    /// Applies a whole response.
    pub(super) fn update_virtual_hosts(&mut self, update: client::Update) -> Vec<client::Rejection> {
        let mut refused = Vec::new();
        let mut changes: BTreeMap<Arc<str>, Change> = BTreeMap::new();
        for resource in update.resources {
            let name = self.context.intern_shared(&resource.name);
            let Some(route) = self.route_of(&name) else { continue };
            let version = Version::new(resource.version, resource.value, std::time::SystemTime::now());
            if resource.type_url != type_url::VIRTUAL_HOST {
                let reason = format!("expected {}, found {}", type_url::VIRTUAL_HOST, resource.type_url);
                refused.push(self.refuse_host(&name, &version, &Rejection::new(reason)));
                continue;
            }
            match self.compile_host(&route, &name, &version) {
                Ok(Some(host)) => {
                    let change = changes.entry(route).or_default();
                    change.put.push((name, version, host));
                }
                Ok(None) => {}
                Err(error) => refused.push(self.refuse_host(&name, &version, &error)),
            }
        }
        for name in update.removed {
            if let Some(route) = self.route_of(&name) {
                changes.entry(route).or_default().removed.push(name.into());
            }
        }
        for (route, change) in changes {
            self.change_table(&route, change, &mut refused);
        }
        self.settle_stragglers();
        refused
    }

    /// The route configuration that a virtual host belongs to, if it is one that wants them.
    fn route_of(&self, name: &str) -> Option<Arc<str>> {
        let (route, _) = name.rsplit_once('/')?;
        let (route, state) = self.routes.get_key_value(route)?;
        state.frame.as_ref().is_some_and(|frame| frame.vhds).then(|| route.clone())
    }

    /// `None` when it says what is in force already.
    fn compile_host(
        &mut self,
        route: &str,
        name: &Arc<str>,
        version: &Version,
    ) -> Result<Option<Arc<LazyHost>>, Rejection> {
        let Some(state) = self.routes.get(route) else { return Ok(None) };
        let Some(frame) = &state.frame else { return Ok(None) };
        if state.hosts.get(name).is_some_and(|host| host.body() == version.body) {
            return Ok(None);
        }
        let host = route::single(version.body.clone(), frame, &mut self.context)?;
        self.take_notes(Kind::VirtualHost, name);
        Ok(Some(host))
    }

    fn refuse_host(&mut self, name: &Arc<str>, version: &Version, error: &Rejection) -> client::Rejection {
        self.context.take_notes();
        let reason = error.to_string();
        self.view.update(Kind::VirtualHost, name, |known| {
            let error = reason.as_str().into();
            known.refused = Some(Box::new(super::Refused { update: version.clone(), error }));
        });
        client::Rejection { name: name.to_string(), reason }
    }

    /// Changes a table once. Should domains collide, changes are tried one by one, so that only the culprits are refused.
    fn change_table(&mut self, route: &Arc<str>, change: Change, refused: &mut Vec<client::Rejection>) {
        for name in &change.removed {
            if let Some(state) = self.routes.get_mut(route) {
                state.hosts.remove(name);
            }
            self.view.forget(Kind::VirtualHost, name);
        }
        // A route configuration that nobody names may be left without any.
        self.relisten |= !change.removed.is_empty();
        let only_put = change.removed.is_empty();
        let hosts: Vec<_> = change.put.iter().map(|(name, _, host)| (name.clone(), host.clone())).collect();
        if self.put_hosts(route, &hosts, only_put).is_ok() {
            for (name, version, _) in change.put {
                self.accept_host(&name, version);
            }
            return;
        }
        // The removals alone cannot collide.
        let _ = self.put_hosts(route, &[], false);
        for (name, version, host) in change.put {
            match self.put_hosts(route, &[(name.clone(), host)], true) {
                Ok(()) => self.accept_host(&name, version),
                Err(error) => refused.push(self.refuse_host(&name, &version, &error)),
            }
        }
    }

    fn accept_host(&self, name: &Arc<str>, version: Version) {
        self.view.update(Kind::VirtualHost, name, |known| {
            known.active = Some(version);
            known.refused = None;
        });
    }

    /// Puts virtual hosts into a table, new ones or in place of those of the same name; all or none.
    fn put_hosts(
        &mut self,
        route: &Arc<str>,
        put: &[(Arc<str>, Arc<LazyHost>)],
        in_place: bool,
    ) -> Result<(), Rejection> {
        let Some(state) = self.routes.get_mut(route) else { return Ok(()) };
        let Some(frame) = &state.frame else { return refuse("no route configuration") };
        let slot = self.context.known_route_slot(route);
        let before: Vec<_> =
            put.iter().map(|(name, host)| (name, state.hosts.insert(name.clone(), host.clone()))).collect();
        // Nobody uses the route configuration now; they are there when somebody does.
        let Some(slot) = slot else { return Ok(()) };
        let same_domains = |host: &LazyHost, old: &Option<Arc<LazyHost>>| {
            let domains = |host: &LazyHost| route::domains(&host.body()).ok();
            old.as_ref().is_some_and(|old| domains(old) == domains(host))
        };
        let in_place =
            in_place && put.iter().zip(&before).all(|((_, host), (_, old))| same_domains(host, old));
        let current = slot.table.load_full();
        let table = match current
            .filter(|table| in_place && table.virtual_hosts.len() == state.inline.len() + state.hosts.len())
        {
            // Every domain leads where it led: the index stays, and so does everything else.
            Some(table) => Ok(route::with_index(frame, state.all(), table.hosts.clone())),
            None => route::assemble(frame, state.all()),
        };
        match table {
            Ok(table) => {
                slot.incomplete.store(false, Ordering::Relaxed);
                slot.table.store(Some(Arc::new(table)));
                Ok(())
            }
            Err(error) => {
                for (name, old) in before {
                    match old {
                        Some(old) => state.hosts.insert(name.clone(), old),
                        None => state.hosts.remove(name),
                    };
                }
                Err(error)
            }
        }
    }

    /// A response came, so the server has answered; a route configuration that got nothing waits only a moment more.
    fn settle_stragglers(&mut self) {
        let waiting: Vec<_> = self
            .routes
            .iter()
            .filter(|(_, state)| {
                state.frame.as_ref().is_some_and(|frame| frame.vhds) && state.hosts.is_empty()
            })
            .filter_map(|(name, _)| self.context.known_route_slot(name))
            .filter(|slot| slot.incomplete.load(Ordering::Relaxed))
            .collect();
        if waiting.is_empty() {
            return;
        }
        self.itself.after(STRAGGLERS, move |_| {
            waiting.iter().for_each(|slot| slot.incomplete.store(false, Ordering::Relaxed));
        });
    }
}
