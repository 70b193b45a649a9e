//! What proxies that see the same are told, made in pieces and kept in step with the snapshot: a change makes again the pieces that
//! looked at what changed, and no other.
//!
//! A piece is what one host gives: its clusters, their endpoints, its virtual hosts. Listeners are one piece together. Owned by
//! [`super::world`]. Invariant: after every change the collections hold what a group made from nothing would hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::Host;
use meltemi_xds::server::{Collection, Resource, resource};
use meltemi_xds::type_url;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::model::route::{RouteConfiguration, VirtualHost};
use crate::names::{self, DYNAMIC_DNS_CLUSTER};
use crate::node::{Node, Role};
use crate::snapshot::Snapshot;
use crate::snapshot::change::Changes;
use crate::translate;
use crate::translate::cache::{Cache, version};
use crate::view::View;
use crate::view::reads::Read;
use crate::view::route::UNKNOWN_HOST_PORT;
use crate::view::seat::Seat;

mod claims;
mod seats;
mod sockets;

use claims::{Claimant, Claims, Domain};
use seats::{Moved, Seats};
use sockets::{Listed, Sockets};

/// The resources of a group, where its sessions read them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether virtual hosts travel one by one (VHDS) and not within their tables.
    pub(super) discovers_hosts: bool,
    pub(super) clusters: Arc<Collection>,
    pub(super) endpoints: Arc<Collection>,
    pub(super) listeners: Arc<Collection>,
    pub(super) routes: Arc<Collection>,
    /// Named `TABLE/HOST`.
    pub(super) virtual_hosts: Arc<Collection>,
}

/// Proxies that are told the same.
#[derive(Debug)]
pub(super) struct Group {
    /// What they have in common.
    node: Node,
    pub(super) shared: Arc<Shared>,
    /// Their sessions, to be woken.
    pub(super) members: FxHashMap<u64, Arc<Notify>>,
    pieces: FxHashMap<Host, Piece>,
    /// Which hosts' pieces looked at something of another host.
    readers: FxHashMap<Read, BTreeSet<Host>>,
    /// Of sidecars.
    sockets: Sockets,
    seats: Seats,
    claims: Claims,
}

/// What one host gives.
#[derive(Debug, Default)]
struct Piece {
    clusters: Vec<Arc<str>>,
    /// Those of the clusters that have their endpoints sent.
    endpoints: Vec<Arc<str>>,
    virtual_hosts: Vec<Arc<str>>,
    claimant: Option<Claimant>,
    domains: BTreeSet<Domain>,
    reads: Vec<Read>,
}

/// Resources that were made or are gone, by type.
#[derive(Debug, Default)]
struct Edits {
    clusters: BTreeMap<Arc<str>, Option<Resource>>,
    endpoints: BTreeMap<Arc<str>, Option<Resource>>,
    virtual_hosts: BTreeMap<Arc<str>, Option<Resource>>,
    /// Tables whose virtual hosts were touched.
    tables: BTreeSet<String>,
    /// Whether the mesh's settings may be others: what follows from no resource is made again.
    mesh: bool,
}

/// Virtual hosts of a host by table, with all domains that they would like.
type Wishes = Vec<(Arc<Seat>, VirtualHost)>;

impl Group {
    /// The group of proxies that have this in common.
    pub(super) fn new(node: Node, discovers_hosts: bool, snapshot: &Snapshot, cache: &Cache) -> Group {
        let mut group = Group {
            node,
            shared: Arc::new(Shared { discovers_hosts, ..Shared::default() }),
            members: FxHashMap::default(),
            pieces: FxHashMap::default(),
            readers: FxHashMap::default(),
            sockets: Sockets::default(),
            seats: Seats::default(),
            claims: Claims::default(),
        };
        group.update(snapshot, None, cache);
        group
    }

    /// Follows a change (`None`: anything may be other than before); whether any resource differs.
    pub(super) fn update(&mut self, snapshot: &Snapshot, changes: Option<&Changes>, cache: &Cache) -> bool {
        let node = self.node.clone();
        let view = View::new(snapshot, &node);
        let changes = changes.filter(|changes| {
            let moved = node.addresses.iter().any(|address| changes.registry.addresses.contains(address));
            !changes.sidecars && !moved
        });
        let mut dirty = match changes {
            Some(changes) => self.reached(&view, changes),
            None => self.everything(&view),
        };
        let mut edits = Edits { mesh: changes.is_none(), ..Edits::default() };
        if let Some(changes) = changes {
            for host in changes.registry.endpoints.iter().filter(|host| !dirty.contains(*host)) {
                self.endpoints(&view, host, cache, &mut edits);
            }
        }
        let mut differs = match self.node.role {
            Role::Sidecar => self.list(&view, changes, cache, &mut dirty, &mut edits),
            Role::Router if changes.is_some_and(Changes::only_endpoints) => false,
            Role::Router => self.list_gateway(&view, cache),
        };
        self.make(&view, dirty, cache, &mut edits);
        differs |= self.publish(&view, edits);
        differs
    }

    /// Hosts whose pieces may be other than before.
    fn reached(&self, view: &View<'_>, changes: &Changes) -> BTreeSet<Host> {
        let mut dirty = BTreeSet::new();
        for host in changes.hosts() {
            if host.is_wildcard() {
                let known = view.scope.services.keys().chain(self.pieces.keys());
                let below: Vec<Host> = known.filter(|known| known.subset_of(&host)).cloned().collect();
                for host in below {
                    dirty.extend(self.readers.get(&Read::Host(host.clone())).into_iter().flatten().cloned());
                    dirty.insert(host);
                }
            }
            dirty.extend(self.readers.get(&Read::Host(host.clone())).into_iter().flatten().cloned());
            dirty.insert(host);
        }
        // Whether a pattern has a virtual host of its own depends on the services that it covers.
        for host in &changes.registry.services {
            let over =
                view.scope.egress.iter().flat_map(|egress| egress.virtual_services.patterns_over(host));
            dirty.extend(over.cloned());
        }
        for host in &changes.registry.endpoints {
            dirty.extend(self.readers.get(&Read::Endpoints(host.clone())).into_iter().flatten().cloned());
        }
        if !view.scope.sees_everything() && !changes.only_endpoints() {
            // What a Sidecar lets in follows from VirtualServices too: compare.
            let hosts = self.everything(view);
            dirty.extend(hosts.into_iter().filter(|host| {
                let there = view.scope.services.contains_key(host);
                self.pieces.get(host).is_none_or(|piece| piece.clusters.is_empty() == there)
            }));
        }
        dirty
    }

    /// All hosts that have a piece or may have one.
    fn everything(&self, view: &View<'_>) -> BTreeSet<Host> {
        let unknown = view.scope.egress.iter().flat_map(|egress| egress.virtual_services.hosts());
        let hosts = view.scope.services.keys().chain(unknown).chain(self.pieces.keys());
        hosts.cloned().collect()
    }

    /// Makes the listeners and tables of a sidecar that a change reaches; whether any differs. Hosts that other tables reach are
    /// dirty then.
    fn list(
        &mut self,
        view: &View<'_>,
        changes: Option<&Changes>,
        cache: &Cache,
        dirty: &mut BTreeSet<Host>,
        edits: &mut Edits,
    ) -> bool {
        let mut pieces = None;
        if let Some(changes) = changes {
            if !self.sockets.are_touched(changes, dirty) {
                return false;
            }
            if view.scope.sees_everything() {
                pieces = self.sockets.follow(view, changes, dirty, cache);
            }
        }
        let all = pieces.is_none();
        let Listed { listeners, seats } = pieces.unwrap_or_else(|| {
            let (sockets, listed) = Sockets::all(view, cache);
            self.sockets = sockets;
            listed
        });
        let differs = match all {
            true => self.shared.listeners.replace(listeners.into_values().flatten().collect()),
            false => self.shared.listeners.update(listeners),
        };
        let moved = self.seats.set(seats, all);
        differs | self.move_seats(view, &moved, cache, dirty, edits)
    }

    /// Tables went and came.
    fn move_seats(
        &mut self,
        view: &View<'_>,
        moved: &Moved,
        cache: &Cache,
        dirty: &mut BTreeSet<Host>,
        edits: &mut Edits,
    ) -> bool {
        if moved.gone.is_empty() && moved.came.is_empty() {
            return false;
        }
        match view.scope.sees_everything() {
            true => {
                dirty.extend(moved.gone.iter().chain(&moved.came).flat_map(|seat| self.hosts_at(view, seat)))
            }
            false => dirty.extend(self.everything(view)),
        }
        let mut tables = BTreeMap::new();
        for seat in &moved.gone {
            edits.tables.insert(seat.name.clone());
            self.claims.remove(claims::domain(&seat.name, "*"), &Claimant::CatchAll);
            edits.virtual_hosts.extend(catch_alls(seat));
            tables.insert(Arc::from(seat.name.as_str()), None);
        }
        for seat in &moved.came {
            edits.tables.insert(seat.name.clone());
            if seat.service.is_none() {
                let lost = self.claims.add(claims::domain(&seat.name, "*"), &Claimant::CatchAll);
                dirty.extend(lost.and_then(host_of));
            }
            let table = cache.discovered_route(&seat.bare());
            tables.insert(Arc::clone(table.name()), Some(table));
        }
        self.shared.discovers_hosts && self.shared.routes.update(tables)
    }

    /// Hosts that may have a virtual host in a table that comes or goes: services with its port, and of one port hosts
    /// without a service.
    fn hosts_at<'v>(&self, view: &'v View<'_>, seat: &'v Seat) -> impl Iterator<Item = Host> + 'v {
        let at = move |host: &Host| match view.scope.services.get(host) {
            Some(service) => seat.proxies || service.port(seat.port).is_some(),
            None => seat.port == UNKNOWN_HOST_PORT,
        };
        let all: Vec<&Host> = match &seat.service {
            Some(host) => vec![host],
            None => {
                let unknown = view.scope.egress.iter().flat_map(|egress| egress.virtual_services.hosts());
                view.scope.services.keys().chain(unknown).collect()
            }
        };
        all.into_iter().filter(move |host| at(host)).cloned()
    }

    /// Makes the listeners and tables of gateways, as a whole.
    fn list_gateway(&mut self, view: &View<'_>, cache: &Cache) -> bool {
        let listeners = view.common_listeners().iter().map(|listener| cache.listener(listener)).collect();
        let listened = self.shared.listeners.replace(listeners);
        let tables: Vec<RouteConfiguration> =
            view.route_names().iter().filter_map(|name| view.route_table(name)).collect();
        if !self.shared.discovers_hosts {
            let tables = tables.iter().map(|table| cache.route(table)).collect();
            return self.shared.routes.replace(tables) | listened;
        }
        let mut hosts = Vec::new();
        for table in &tables {
            hosts.extend(table.virtual_hosts.iter().map(|host| {
                let name = format!("{}/{}", table.name, host.name);
                cache.virtual_host(&name, &VirtualHost { name: name.clone(), ..VirtualHost::clone(host) })
            }));
        }
        let bare =
            |table: &RouteConfiguration| RouteConfiguration { virtual_hosts: Vec::new(), ..table.clone() };
        let tables = tables.iter().map(|table| cache.discovered_route(&bare(table))).collect();
        let differs = self.shared.routes.replace(tables);
        self.shared.virtual_hosts.replace(hosts) | differs | listened
    }

    /// Makes the pieces of these hosts, and the virtual hosts of those that get or lose a domain by it.
    fn make(&mut self, view: &View<'_>, dirty: BTreeSet<Host>, cache: &Cache, edits: &mut Edits) {
        let mut wishes: BTreeMap<Host, (Claimant, Wishes)> = BTreeMap::new();
        let mut touched: BTreeSet<Claimant> = BTreeSet::new();
        for host in dirty {
            let (claimant, wished) = self.make_piece(view, &host, cache, edits, &mut touched);
            wishes.insert(host, (claimant, wished));
        }
        for host in touched.iter().cloned().filter_map(host_of) {
            if !wishes.contains_key(&host) {
                view.reads.take();
                wishes.insert(host.clone(), (claimant(view, &host), self.wishes(view, &host)));
            }
        }
        for (host, (claimant, wished)) in wishes {
            self.settle(&host, &claimant, wished, cache, edits);
        }
        if self.node.role == Role::Sidecar {
            let all = edits.mesh || touched.contains(&Claimant::CatchAll);
            self.settle_catch_alls(view, all, cache, edits);
        }
        view.reads.take();
    }

    /// Makes the clusters of a host and their endpoints, and says which domains it would like.
    fn make_piece(
        &mut self,
        view: &View<'_>,
        host: &Host,
        cache: &Cache,
        edits: &mut Edits,
        touched: &mut BTreeSet<Claimant>,
    ) -> (Claimant, Wishes) {
        let old = self.pieces.remove(host).unwrap_or_default();
        let mut piece = Piece { virtual_hosts: old.virtual_hosts, ..Piece::default() };
        let gone = |names: &[Arc<str>]| names.iter().map(|name| (Arc::clone(name), None)).collect::<Vec<_>>();
        edits.clusters.extend(gone(&old.clusters));
        edits.endpoints.extend(gone(&old.endpoints));
        view.reads.take();
        let clusters = view.scope.services.get(host).map(|service| view.clusters_of(service));
        let wished = self.wishes(view, host);
        let mut reads = view.reads.take();
        for cluster in clusters.iter().flatten() {
            let resource = cache.cluster(cluster);
            let name = Arc::clone(resource.name());
            edits.clusters.insert(Arc::clone(&name), Some(resource));
            if translate::cluster::is_eds(cluster) {
                let endpoints = cache.assignment(&view.assignment(&name));
                edits.endpoints.insert(Arc::clone(&name), Some(endpoints));
                piece.endpoints.push(Arc::clone(&name));
            }
            piece.clusters.push(name);
        }
        // A change of its own endpoints is followed without making the piece again.
        let of_endpoints = view.reads.take().into_iter();
        reads.extend(of_endpoints.filter(|read| *read != Read::Endpoints(host.clone())));
        reads.remove(&Read::Host(host.clone()));
        self.note_reads(host, &old.reads, reads, &mut piece);
        let claimant = claimant(view, host);
        for (seat, wish) in &wished {
            piece.domains.extend(wish.domains.iter().map(|domain| claims::domain(&seat.name, domain)));
        }
        let before = old.claimant.unwrap_or_else(|| claimant.clone());
        let same = before == claimant;
        for domain in old.domains.iter().filter(|domain| !same || !piece.domains.contains(domain)) {
            touched.extend(self.claims.remove(*domain, &before));
        }
        for domain in piece.domains.iter().filter(|domain| !same || !old.domains.contains(domain)) {
            touched.extend(self.claims.add(*domain, &claimant));
        }
        piece.claimant = Some(claimant.clone());
        self.pieces.insert(host.clone(), piece);
        (claimant, wished)
    }

    fn note_reads(&mut self, host: &Host, old: &[Read], new: BTreeSet<Read>, piece: &mut Piece) {
        for read in old.iter().filter(|read| !new.contains(read)) {
            if let Some(readers) = self.readers.get_mut(read) {
                readers.remove(host);
                if readers.is_empty() {
                    self.readers.remove(read);
                }
            }
        }
        for read in &new {
            self.readers.entry(read.clone()).or_default().insert(host.clone());
        }
        piece.reads = new.into_iter().collect();
    }

    /// The virtual hosts of a host in all tables.
    fn wishes(&self, view: &View<'_>, host: &Host) -> Wishes {
        let ports: Vec<u32> = match view.scope.services.get(host) {
            Some(service) => service.ports.iter().map(|port| port.number).collect(),
            None => vec![UNKNOWN_HOST_PORT],
        };
        let wish = |seat: &Arc<Seat>| {
            let seat = Arc::clone(seat);
            view.virtual_hosts(&seat, host).into_iter().map(move |host| (Arc::clone(&seat), host))
        };
        self.seats.of(host, &ports).flat_map(wish).collect()
    }

    /// Makes the virtual hosts of a host, with the domains that are its.
    fn settle(&mut self, host: &Host, claimant: &Claimant, wished: Wishes, cache: &Cache, edits: &mut Edits) {
        let mut names = Vec::new();
        let mut made = Vec::new();
        for (seat, mut wish) in wished {
            wish.domains.retain(|domain| self.claims.owns(claims::domain(&seat.name, domain), claimant));
            if !wish.domains.is_empty() {
                let resource = self.virtual_host(&seat, wish, cache);
                names.push(Arc::clone(resource.name()));
                made.push(resource);
            }
        }
        let Some(piece) = self.pieces.get_mut(host) else { return };
        for name in std::mem::replace(&mut piece.virtual_hosts, names) {
            edits.touch(name, None);
        }
        for resource in made {
            edits.touch(Arc::clone(resource.name()), Some(resource));
        }
        if piece.clusters.is_empty() && piece.domains.is_empty() && piece.reads.is_empty() {
            self.pieces.remove(host);
        }
    }

    /// Makes the virtual hosts for hosts that nobody knows: of all tables, or of those that were touched.
    fn settle_catch_alls(&self, view: &View<'_>, all: bool, cache: &Cache, edits: &mut Edits) {
        let seats: Vec<&Arc<Seat>> = match all {
            true => self.seats.all().collect(),
            false => edits.tables.iter().filter_map(|name| self.seats.get(name)).collect(),
        };
        for seat in seats {
            let Some(host) = view.catch_all(seat) else { continue };
            // It may have had the other name.
            edits.virtual_hosts.extend(catch_alls(seat));
            let owned = self.claims.owns(claims::domain(&seat.name, "*"), &Claimant::CatchAll);
            let name = host_name(seat, &host);
            edits.touch(name, owned.then(|| self.virtual_host(seat, host, cache)));
        }
    }

    fn virtual_host(&self, seat: &Seat, mut host: VirtualHost, cache: &Cache) -> Resource {
        let name = host_name(seat, &host);
        if self.shared.discovers_hosts {
            // Envoy removes a virtual host by the name of its resource.
            host.name = name.to_string();
        }
        cache.virtual_host(&name, &host)
    }

    /// The fast lane: the endpoints of a host's clusters, and nothing else.
    fn endpoints(&self, view: &View<'_>, host: &Host, cache: &Cache, edits: &mut Edits) {
        let Some(piece) = self.pieces.get(host) else { return };
        for name in &piece.endpoints {
            edits.endpoints.insert(Arc::clone(name), Some(cache.assignment(&view.assignment(name))));
        }
    }

    fn publish(&self, view: &View<'_>, edits: Edits) -> bool {
        let shared = &self.shared;
        let mut clusters = edits.clusters;
        if edits.mesh {
            clusters.insert(DYNAMIC_DNS_CLUSTER.into(), None);
            let common = view.common_clusters();
            let common = common.iter().map(|cluster| {
                Resource::new(
                    &*cluster.name,
                    version(type_url::CLUSTER, cluster),
                    type_url::CLUSTER,
                    &translate::cluster::cluster(cluster),
                )
            });
            clusters.extend(common.map(|cluster| (Arc::clone(cluster.name()), Some(cluster))));
        }
        let mut differs = shared.clusters.update(clusters);
        differs |= shared.endpoints.update(edits.endpoints);
        if self.node.role == Role::Sidecar {
            differs |= shared.virtual_hosts.update(edits.virtual_hosts);
            if !shared.discovers_hosts {
                let tables = edits.tables.into_iter().map(|name| {
                    let table = self.seats.get(&name).map(|seat| self.whole_table(seat));
                    (Arc::from(name), table)
                });
                differs |= shared.routes.update(tables.collect::<Vec<_>>());
            }
        }
        differs
    }

    /// A table with its virtual hosts, put together of what is encoded already.
    fn whole_table(&self, seat: &Seat) -> Resource {
        let hosts = self.shared.virtual_hosts.beginning_with(&format!("{}/", seat.name));
        let versions: Vec<u64> = hosts.iter().map(Resource::version).collect();
        let version = version(type_url::ROUTE, &(seat, versions));
        let fields: Vec<Vec<u8>> = hosts.iter().map(|host| resource::field(2, host.message())).collect();
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let bare = translate::route::route_configuration(&seat.bare());
        Resource::joined(&*seat.name, version, type_url::ROUTE, &bare, &fields)
    }
}

impl Edits {
    fn touch(&mut self, name: Arc<str>, resource: Option<Resource>) {
        if let Some((table, _)) = name.rsplit_once('/')
            && !self.tables.contains(table)
        {
            self.tables.insert(table.to_owned());
        }
        self.virtual_hosts.insert(name, resource);
    }
}

fn host_name(seat: &Seat, host: &VirtualHost) -> Arc<str> {
    format!("{}/{}", seat.name, host.name).into()
}

/// The virtual hosts that a table may have had for hosts that nobody knows, as gone.
fn catch_alls(seat: &Seat) -> [(Arc<str>, Option<Resource>); 2] {
    [names::ALLOW_ANY, names::BLOCK_ALL].map(|name| (format!("{}/{name}", seat.name).into(), None))
}

fn claimant(view: &View<'_>, host: &Host) -> Claimant {
    match view.scope.services.contains_key(host) {
        true => Claimant::Service(host.clone()),
        false => Claimant::Unknown(host.clone()),
    }
}

fn host_of(claimant: Claimant) -> Option<Host> {
    match claimant {
        Claimant::Service(host) | Claimant::Unknown(host) => Some(host),
        Claimant::CatchAll => None,
    }
}

#[cfg(test)]
mod tests;
