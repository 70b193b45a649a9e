//! Listeners in the plane: static ones and LDS, in force as soon as their route tables are there.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_xds::pb::envoy::config::listener::v3::Listener as Message;
use tokio::task::AbortHandle;

use super::{INITIAL_FETCH, State, decode, static_version};
use crate::{
    http::config::RouteSlot,
    xds::{
        Rejection,
        listener::{self, Compiled},
        view::{Kind, Refused, Version},
    },
};

/// A listener and its next version.
#[derive(Debug, Default)]
pub(super) struct ListenerState {
    is_static: bool,
    accepted: Option<Version>,
    active: Option<Placed>,
    warming: Option<Placed>,
    /// Waited long enough.
    overdue: bool,
    timer: Option<AbortHandle>,
}

/// A compiled listener with the RDS slots that it names.
#[derive(Debug)]
struct Placed {
    compiled: Compiled,
    routes: Vec<Arc<RouteSlot>>,
    version: Version,
}

impl ListenerState {
    /// Nothing of it is waited for.
    pub(super) fn is_warm(&self) -> bool {
        self.warming.is_none()
    }

    /// RDS slots it needs, now and next.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<RouteSlot>> {
        self.active.iter().chain(&self.warming).flat_map(|placed| &placed.routes)
    }

    fn is_ready(&self) -> bool {
        let warming = self.warming.as_ref();
        warming.is_some_and(|next| self.overdue || next.routes.iter().all(|slot| slot.is_warm()))
    }

    fn stop_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

impl State {
    pub(super) fn load_listener(&mut self, body: Bytes) -> Result<(), Rejection> {
        let version = static_version(body);
        let mut message: Message = decode(&version)?;
        if message.name.is_empty() {
            // Envoy makes up a UUID; a number is as unique and easier to read.
            message.name = format!("static-{}", self.listeners.len());
        }
        let name = self.context.intern(&message.name);
        if self.listeners.contains_key(&name) {
            return Err(Rejection::new(format!("duplicate listener '{name}'")));
        }
        let placed = self.compile_listener(&name, &message, version).map_err(|error| Rejection {
            reason: format!("{} (listener '{name}')", error.reason),
            ..error
        })?;
        let notes = self.take_notes(Kind::Listener, &name);
        self.view.update(Kind::Listener, &name, |known| {
            known.is_static = true;
            known.notes = notes;
        });
        self.listeners.insert(name.clone(), ListenerState { is_static: true, ..ListenerState::default() });
        self.accept_listener(&name, placed)
    }

    pub(super) fn take_listener(&mut self, name: &Arc<str>, version: Version) -> Result<(), Rejection> {
        if let Some(known) = self.listeners.get(name) {
            if known.is_static {
                self.context.note("the static listener of this name stays");
                return Ok(());
            }
            if known.accepted.as_ref().is_some_and(|accepted| accepted.body == version.body) {
                return Ok(());
            }
        }
        let placed = self.compile_listener(name, &decode(&version)?, version)?;
        let is_new = !self.listeners.contains_key(name);
        self.listeners.entry(name.clone()).or_default();
        let accepted = self.accept_listener(name, placed);
        if accepted.is_err() && is_new {
            self.listeners.remove(name);
        }
        accepted
    }

    fn compile_listener(
        &mut self,
        name: &Arc<str>,
        message: &Message,
        version: Version,
    ) -> Result<Placed, Rejection> {
        self.context.take_wanted_routes();
        let old =
            self.listeners.get(name).and_then(|state| state.active.as_ref()).map(|active| &active.compiled);
        let compiled = listener::compile(message, old, &mut self.context);
        let mut routes = self.context.take_wanted_routes();
        routes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        routes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Ok(Placed { compiled: compiled?, routes, version })
    }

    /// In force at once if it needs no routes or they are there, else when they are or after a while.
    fn accept_listener(&mut self, name: &Arc<str>, placed: Placed) -> Result<(), Rejection> {
        let version = placed.version.clone();
        self.relisten = true;
        self.warming.insert(name.clone());
        let Some(state) = self.listeners.get_mut(name) else { return Ok(()) };
        state.warming = Some(placed);
        state.overdue = false;
        state.stop_timer();
        if state.is_ready() {
            self.put_in_force(name)?;
        } else {
            let late = name.clone();
            state.timer = self.itself.after(INITIAL_FETCH, move |state| {
                if let Some(listener) = state.listeners.get_mut(&late) {
                    tracing::warn!(listener = %late, "no routes within the initial fetch timeout");
                    listener.overdue = true;
                }
            });
            self.view.update(Kind::Listener, name, |known| known.warming = Some(version.clone()));
        }
        if let Some(state) = self.listeners.get_mut(name) {
            state.accepted = Some(version);
        }
        Ok(())
    }

    /// Hands the warming version to the workers. What they cannot take (an address in use) leaves the old one.
    fn put_in_force(&mut self, name: &Arc<str>) -> Result<(), Rejection> {
        let Some(state) = self.listeners.get_mut(name) else { return Ok(()) };
        let Some(next) = state.warming.take() else { return Ok(()) };
        state.stop_timer();
        self.warming.remove(name);
        self.relisten = true;
        let counts = &self.counts.listeners;
        self.sink.put(next.compiled.listener.clone()).map_err(|problem| {
            counts.listener_create_failure.inc();
            Rejection::new(problem)
        })?;
        if state.active.is_some() {
            counts.listener_modified.inc()
        } else {
            counts.listener_added.inc()
        }
        // Envoy counts each worker that took it.
        counts.listener_create_success.add(self.sink.workers());
        let version = next.version.clone();
        state.active = Some(next);
        self.view.update(Kind::Listener, name, |known| {
            known.active = Some(version);
            known.warming = None;
        });
        Ok(())
    }

    /// Puts every listener in force that has what it needs.
    pub(super) fn warm_listeners(&mut self) {
        let is_ready = |name: &&Arc<str>| self.listeners.get(*name).is_some_and(ListenerState::is_ready);
        let ready: Vec<_> = self.warming.iter().filter(is_ready).cloned().collect();
        for name in ready {
            let version = self.listeners.get(&name).and_then(|state| state.accepted.clone());
            if let Err(error) = self.put_in_force(&name) {
                // Acknowledged long ago: say it here and in the dump.
                tracing::error!(listener = %name, %error, "the listener cannot be put in force");
                self.view.update(Kind::Listener, &name, |known| {
                    known.warming = None;
                    known.refused =
                        version.map(|update| Box::new(Refused { update, error: error.to_string().into() }));
                });
                if let Some(state) = self.listeners.get_mut(&name) {
                    state.accepted = None;
                }
            }
        }
    }

    pub(super) fn remove_listener(&mut self, name: &str) {
        if self.listeners.get(name).is_none_or(|state| state.is_static) {
            return;
        }
        if let Some((name, mut state)) = self.listeners.remove_entry(name) {
            state.stop_timer();
            self.warming.remove(&name);
            self.relisten = true;
            self.sink.remove(&name);
            self.counts.listeners.listener_removed.inc();
            self.view.forget(Kind::Listener, &name);
        }
    }
}
