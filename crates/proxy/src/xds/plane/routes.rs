//! RDS in the plane: route tables for the slots that listeners hold. Virtual hosts that come one by one are
//! [`super::virtual_hosts`]'.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use meltemi_xds::type_url;

use super::State;
use crate::{
    http::config::RouteSlot,
    route::lazy::LazyHost,
    xds::{
        Rejection,
        route::{self, Frame},
        view::{Kind, Version},
    },
};

/// A route configuration that listeners want.
#[derive(Debug, Default)]
pub(super) struct RouteState {
    accepted: Option<Version>,
    pub(super) frame: Option<Frame>,
    /// The virtual hosts it came with.
    pub(super) inline: Vec<Arc<LazyHost>>,
    /// Those that came by VHDS, by resource name.
    pub(super) hosts: BTreeMap<Arc<str>, Arc<LazyHost>>,
}

impl RouteState {
    /// All virtual hosts in order: those that came along first, as in Envoy.
    pub(super) fn all(&self) -> Vec<Arc<LazyHost>> {
        self.inline.iter().chain(self.hosts.values()).cloned().collect()
    }
}

impl State {
    pub(super) fn take_routes(&mut self, name: &Arc<str>, version: Version) -> Result<(), Rejection> {
        let Some(slot) = self.context.known_route_slot(name) else { return Ok(()) };
        let Some(state) = self.routes.get_mut(name) else { return Ok(()) };
        let same = state.accepted.as_ref().is_some_and(|accepted| accepted.body == version.body);
        if same && slot.table.load().is_some() {
            return Ok(());
        }
        let (frame, inline) = route::parts(&version.body, &version.version, false, &mut self.context)?;
        let mut all = inline.clone();
        if frame.vhds {
            all.extend(state.hosts.values().cloned());
        }
        let table = route::assemble(&frame, all)?;
        let awaits_hosts = frame.vhds && state.hosts.is_empty();
        if !frame.vhds {
            // Whoever sends everything at once means it.
            for gone in std::mem::take(&mut state.hosts).into_keys() {
                self.view.forget(Kind::VirtualHost, &gone);
            }
        }
        state.accepted = Some(version.clone());
        state.inline = inline;
        state.frame = Some(frame);
        self.view.update(Kind::Route, name, |known| known.active = Some(version));
        slot.incomplete.store(awaits_hosts && slot.table.load().is_none(), Ordering::Relaxed);
        slot.table.store(Some(Arc::new(table)));
        if awaits_hosts {
            self.want_virtual_hosts(&slot);
        }
        Ok(())
    }

    /// Asks for exactly the route configurations that listeners name, and forgets the others but for virtual hosts that
    /// came by themselves.
    pub(super) fn want_routes(&mut self) {
        let wanted: BTreeSet<Arc<str>> = self
            .listeners
            .values()
            .flat_map(|listener| listener.routes())
            .map(|slot: &Arc<RouteSlot>| slot.name.clone())
            .collect();
        let view = &self.view;
        self.routes.retain(|name, state| {
            if wanted.contains(name) {
                return true;
            }
            view.forget(Kind::Route, name);
            state.accepted = None;
            // The server counts on us to have its virtual hosts until it says otherwise, and would not repeat them.
            !state.hosts.is_empty()
        });
        for name in &wanted {
            self.routes.entry(name.clone()).or_default();
        }
        if wanted != self.wanted_routes {
            if let Some(subscriber) = &self.subscriber {
                subscriber.set(type_url::ROUTE, wanted.iter().cloned());
            }
            self.wanted_routes = wanted;
        }
    }
}
