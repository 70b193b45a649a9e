//! RDS in the plane: route tables for the slots that listeners hold.

use std::{collections::BTreeSet, sync::Arc};

use meltemi_xds::type_url;

use super::State;
use crate::xds::{
    Rejection, route,
    view::{Kind, Version},
};

/// A route configuration that listeners want.
#[derive(Debug, Default)]
pub(super) struct RouteState {
    accepted: Option<Version>,
}

impl State {
    pub(super) fn take_routes(&mut self, name: &Arc<str>, version: Version) -> Result<(), Rejection> {
        let Some(slot) = self.context.known_route_slot(name) else { return Ok(()) };
        let Some(state) = self.routes.get_mut(name) else { return Ok(()) };
        let same = state.accepted.as_ref().is_some_and(|accepted| accepted.body == version.body);
        if same && slot.table.load().is_some() {
            return Ok(());
        }
        let table = route::table(&version.body, &version.version, false, &mut self.context)?;
        slot.table.store(Some(Arc::new(table)));
        state.accepted = Some(version.clone());
        self.view.update(Kind::Route, name, |known| known.active = Some(version));
        Ok(())
    }

    /// Asks for exactly the route configurations that listeners name, and forgets the others.
    pub(super) fn want_routes(&mut self) {
        let wanted: BTreeSet<Arc<str>> = self
            .listeners
            .values()
            .flat_map(|listener| listener.routes())
            .map(|slot| slot.name.clone())
            .collect();
        let gone: Vec<_> = self.routes.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        let mut changed = !gone.is_empty();
        for name in gone {
            self.routes.remove(&name);
            self.view.forget(Kind::Route, &name);
        }
        for name in &wanted {
            changed |= !self.routes.contains_key(name);
            self.routes.entry(name.clone()).or_default();
        }
        if let Some(subscriber) = &self.subscriber
            && changed
        {
            subscriber.set(type_url::ROUTE, wanted.iter().map(|name| name.to_string()));
        }
    }
}
