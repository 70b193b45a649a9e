//! What services want of one address and port, merged as Istio does (SEM-143).

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::{Protocol, Str};
use rustc_hash::FxHashSet;

use crate::model::listener::{Condition, FilterChain};
use crate::names::{self, WILDCARD_ADDRESS};
use crate::registry::{Port, Service};
use crate::view::seat::Seat;

/// A listener in the making.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) address: Str,
    pub(crate) port: u32,
    /// Whether it opens its port.
    pub(super) explicit: bool,
    /// Chains of bytes.
    pub(super) chains: Vec<FilterChain>,
    /// What they take.
    taken: Taken,
    /// Routes of HTTP, if any is spoken here.
    pub(super) table: Option<Table>,
    /// Whether HTTP is told apart by looking; else everything is HTTP.
    pub(super) looks: bool,
    /// What the first service declared, or `Auto` as soon as it is looked for.
    protocol: Protocol,
}

/// A table of routes.
#[derive(Debug)]
pub(super) struct Table {
    /// Which egress listener of the scope it belongs to.
    pub(super) egress: usize,
    /// Its name.
    pub(super) route: String,
    /// The one service it is for, if it is not shared.
    pub(super) service: Option<Arc<Service>>,
    /// Whether it is for all ports of all services, as the authority says.
    pub(super) proxies: bool,
}

/// What a service's port wants.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) address: Str,
    pub(super) port: Port,
    pub(super) explicit: bool,
    pub(super) chains: Vec<FilterChain>,
    pub(super) table: Option<Table>,
    pub(super) looks: bool,
}

/// Sorts them by port, those on all addresses first. Of several tables with one name on a port only the first keeps it.
pub(crate) fn settle(entries: &mut [Entry]) {
    entries.sort_by_key(|entry| (entry.port, &*entry.address != WILDCARD_ADDRESS, entry.address.clone()));
    let mut taken: FxHashSet<String> = FxHashSet::default();
    let mut port = 0;
    for entry in entries {
        if entry.port != port {
            taken.clear();
            port = entry.port;
        }
        let Some(table) = &mut entry.table else { continue };
        if taken.contains(&table.route) {
            table.route = names::listener(&entry.address, entry.port);
        }
        taken.insert(table.route.clone());
    }
}

impl Entry {
    /// Name of its listener.
    pub(crate) fn name(&self) -> String {
        names::listener(&self.address, self.port)
    }

    /// The seat of its table.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let table = self.table.as_ref()?;
        Some(Seat {
            name: table.route.clone(),
            egress: table.egress,
            port: self.port,
            explicit: self.explicit,
            service: table.service.as_ref().map(|service| service.host.clone()),
            proxies: table.proxies,
        })
    }

    /// Whether an offer of that protocol can make a difference.
    pub(super) fn wants(&self, protocol: Protocol) -> bool {
        let known = match protocol {
            http if http.is_http() => !self.protocol.is_tcp(),
            auto if auto.is_auto() => self.protocol.is_auto(),
            _ => false,
        };
        !known && !quarrels(self.protocol, protocol)
    }

    /// Adds what is not there yet. Looked for among what is declared as HTTP, an offer takes its place.
    pub(super) fn add(&mut self, offer: Offer) {
        match self.protocol.is_http() && offer.port.protocol.is_auto() {
            true => *self = Entry::new(offer),
            false => self.merge(offer),
        }
    }

    pub(super) fn new(offer: Offer) -> Entry {
        // HTTP that is told apart by looking leaves room for bytes.
        let mixed = offer.table.is_some() && offer.looks;
        let mut taken = Taken::default();
        Entry {
            address: offer.address,
            port: offer.port.number,
            explicit: offer.explicit,
            chains: offer.chains.into_iter().flat_map(|chain| taken.parts(chain)).collect(),
            taken,
            table: offer.table,
            looks: offer.looks,
            protocol: if mixed { Protocol::Auto } else { offer.port.protocol },
        }
    }

    fn merge(&mut self, offer: Offer) {
        for chain in offer.chains {
            self.chains.extend(self.taken.parts(chain));
        }
        // Beside bytes of whoever they are for, HTTP is told apart by looking.
        let bytes = self.chains.iter().any(|chain| chain.condition == Condition::default());
        let mixes = offer.table.is_some() != self.table.is_some() || offer.port.protocol.is_auto();
        self.looks |= bytes;
        if self.table.is_none()
            && let Some(table) = offer.table
        {
            self.table = Some(table);
            self.looks = offer.looks || bytes;
        }
        if mixes {
            self.protocol = Protocol::Auto;
        }
    }
}

/// Address ranges and server names that chains of bytes have already; the empty text stands for any.
#[derive(Debug, Default)]
struct Taken(FxHashSet<(Str, Str)>);

impl Taken {
    /// A chain as far as it adds something: of what two take alike the first has it (SEM-043). Proxies refuse a listener in
    /// which two chains take the same, were it one name of many.
    fn parts(&mut self, chain: FilterChain) -> Vec<FilterChain> {
        let rest = self.rest(&chain.condition);
        rest.into_iter().map(|condition| FilterChain { condition, ..chain.clone() }).collect()
    }

    /// What of a condition is not taken yet; from now on it is.
    fn rest(&mut self, condition: &Condition) -> Vec<Condition> {
        let or_any = |some: &[Str]| if some.is_empty() { vec![Str::default()] } else { some.to_vec() };
        let (names, prefixes) = (or_any(&condition.server_names), or_any(&condition.prefixes));
        let mut free: BTreeMap<Vec<Str>, Vec<Str>> = BTreeMap::new();
        for name in &names {
            let of_name = prefixes.iter().filter(|prefix| self.0.insert(((*prefix).clone(), name.clone())));
            let of_name: Vec<Str> = of_name.cloned().collect();
            if !of_name.is_empty() {
                free.entry(of_name).or_default().push(name.clone());
            }
        }
        let given = |texts: Vec<Str>| texts.into_iter().filter(|text| !text.is_empty()).collect();
        let part = |(prefixes, server_names): (Vec<Str>, Vec<Str>)| Condition {
            prefixes: given(prefixes),
            server_names: given(server_names),
            ..condition.clone()
        };
        free.into_iter().map(part).collect()
    }
}

/// Protocols in which the server speaks first share a port with nothing else: looking would hang them.
fn quarrels(one: Protocol, other: Protocol) -> bool {
    let first = |protocol: Protocol| matches!(protocol, Protocol::Mongo | Protocol::Mysql);
    one != other && (first(one) || first(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(names: &[&str], prefixes: &[&str]) -> Condition {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        Condition { server_names: texts(names), prefixes: texts(prefixes), ..Condition::default() }
    }

    #[test]
    fn of_what_two_chains_take_alike_the_first_has_it() {
        let mut taken = Taken::default();
        let mut rest = |names: &[&str], prefixes: &[&str]| -> Vec<String> {
            let rest = taken.rest(&condition(names, prefixes));
            let shown =
                |rest: &Condition| format!("{} at {}", rest.server_names.join(","), rest.prefixes.join(","));
            rest.iter().map(shown).collect()
        };
        assert_eq!(rest(&["a", "b"], &[]), ["a,b at "]);
        assert_eq!(rest(&["b", "c"], &[]), ["c at "], "b is taken");
        assert_eq!(rest(&["a", "b"], &[]), [""; 0]);
        assert_eq!(rest(&["a"], &["10.0.0.0/8"]), ["a at 10.0.0.0/8"], "a range is closer than none");
        let both = rest(&["a", "d"], &["10.0.0.0/8", "11.0.0.0/8"]);
        assert_eq!(both, ["d at 10.0.0.0/8,11.0.0.0/8", "a at 11.0.0.0/8"]);
        assert_eq!(rest(&[], &[]), [" at "]);
        assert_eq!(rest(&[], &[]), [""; 0]);
    }
}
