//! Addresses for services that have none of their own (SE-002, SEM-152): each takes a place by the hash of its name, and where an
//! older one has it, the next of a row of its own (double hashing). Called by `build`.
//!
//! Invariant: who has which place follows from the names and ages that are there, not from the order in which they came. So
//! addresses are the same after a restart, and a newcomer moves nobody who is older.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meltemi_config::kubernetes::GivenAddress;
use meltemi_config::{Host, ResourceId, Str, Timestamp};
use rustc_hash::FxHashMap;

use super::ServiceKey;

/// How many places there are. A prime, so that every row goes through all of them.
const PLACES: u32 = 65_011;
/// Hosts of one third byte of an IPv4 address: neither 0 nor 255.
const HOSTS: u32 = 254;

/// Who was there first: age, namespace, host.
type Rank = (Option<Timestamp>, Str, Host);

/// Who has which place.
#[derive(Debug, Clone, Default)]
pub(super) struct Automatic {
    places: FxHashMap<u32, Rank>,
    /// Each one's age, and how many places of its row others have.
    held: FxHashMap<ServiceKey, (Option<Timestamp>, u32)>,
    /// How many are not where their hash says.
    displaced: usize,
    /// Places that are nobody's to give: somebody's status names them.
    reserved: FxHashMap<ResourceId, BTreeSet<u32>>,
    kept: FxHashMap<u32, usize>,
}

impl Automatic {
    /// Gives a service a place (`Some`: its age) or takes it away; hosts of others that move by it.
    pub(super) fn set(&mut self, key: &ServiceKey, wanted: Option<Option<Timestamp>>) -> Vec<Host> {
        let before = self.held.get(key).map(|(created, _)| *created);
        if before == wanted {
            return Vec::new();
        }
        let mut moved = Vec::new();
        if before.is_some() {
            self.remove(key, &mut moved);
        }
        if let Some(created) = wanted {
            self.insert((created, key.1.clone(), key.0.clone()), &mut moved);
        }
        moved.retain(|host| *host != key.0);
        moved
    }

    /// The addresses of a service: IPv4 and IPv6.
    pub(super) fn addresses(&self, key: &ServiceKey) -> Vec<Str> {
        let Some((_, probe)) = self.held.get(key) else { return Vec::new() };
        let place = place(key, *probe);
        let [high, low] =
            [place / HOSTS, place % HOSTS + 1].map(|byte| u8::try_from(byte).unwrap_or(u8::MAX));
        let v4 = Ipv4Addr::new(240, 240, high, low);
        let v6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low]));
        vec![v4.to_string().into(), v6.to_string().into()]
    }

    /// Keeps the places of these addresses from being given; hosts that move by it.
    pub(super) fn reserve(&mut self, owner: &ResourceId, addresses: &[GivenAddress]) -> Vec<Host> {
        let places: BTreeSet<u32> = addresses.iter().filter_map(|given| place_of(&given.value)).collect();
        let before = match places.is_empty() {
            true => self.reserved.remove(owner),
            false => self.reserved.insert(owner.clone(), places.clone()),
        };
        let before = before.unwrap_or_default();
        for place in &places {
            *self.kept.entry(*place).or_default() += 1;
        }
        for place in &before {
            if let Some(count) = self.kept.get_mut(place) {
                *count -= 1;
                if *count == 0 {
                    self.kept.remove(place);
                }
            }
        }
        let taken = places.iter().any(|place| self.places.contains_key(place));
        let freed = self.displaced > 0 && before.iter().any(|place| !self.kept.contains_key(place));
        if taken || freed { self.renew() } else { Vec::new() }
    }

    /// Gives all places anew; hosts that move.
    fn renew(&mut self) -> Vec<Host> {
        let held = std::mem::take(&mut self.held);
        let mut ranks: Vec<Rank> = std::mem::take(&mut self.places).into_values().collect();
        self.displaced = 0;
        ranks.sort();
        for rank in ranks {
            self.insert(rank, &mut Vec::new());
        }
        let differs = |(key, now): (&ServiceKey, &(Option<Timestamp>, u32))| {
            (held.get(key) != Some(now)).then(|| key.0.clone())
        };
        self.held.iter().filter_map(differs).collect()
    }

    /// Takes the first place of its row that is free or a younger one's, who then looks on along its own.
    fn insert(&mut self, mut rank: Rank, moved: &mut Vec<Host>) {
        let mut probe = 0;
        while probe < PLACES {
            let key = (rank.2.clone(), rank.1.clone());
            let place = place(&key, probe);
            match self.places.get(&place) {
                _ if self.kept.contains_key(&place) => probe += 1,
                Some(holder) if *holder < rank => probe += 1,
                _ => {
                    self.displaced += usize::from(probe > 0);
                    self.held.insert(key, (rank.0, probe));
                    let Some(younger) = self.places.insert(place, rank) else { return };
                    let key = (younger.2.clone(), younger.1.clone());
                    let was = self.held.remove(&key).map_or(0, |(_, probe)| probe);
                    self.displaced -= usize::from(was > 0);
                    moved.push(younger.2.clone());
                    (rank, probe) = (younger, was + 1);
                }
            }
        }
    }

    /// Whoever looked on past the place may have it now.
    fn remove(&mut self, key: &ServiceKey, moved: &mut Vec<Host>) {
        let Some((_, probe)) = self.held.remove(key) else { return };
        self.places.remove(&place(key, probe));
        self.displaced -= usize::from(probe > 0);
        if self.displaced == 0 {
            return;
        }
        moved.extend(self.renew());
    }
}

/// The place that an address is of, if it is one of those that are given.
fn place_of(address: &str) -> Option<u32> {
    let (high, low) = match address.parse().ok()? {
        IpAddr::V4(address) => match address.octets() {
            [240, 240, high, low] => (high, low),
            _ => return None,
        },
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 2, 0, 0, 0, 0, 0, last] => (last.to_be_bytes()[0], last.to_be_bytes()[1]),
            _ => return None,
        },
    };
    let place = u32::from(high) * HOSTS + u32::from(low).checked_sub(1)?;
    (u32::from(low) <= HOSTS && place < PLACES).then_some(place)
}

/// A place of a service's row.
fn place(key: &ServiceKey, probe: u32) -> u32 {
    let hash = hash(&key.1, &key.0);
    let first = u32::try_from(hash % u64::from(PLACES)).unwrap_or(0);
    let step = 1 + u32::try_from((hash >> 32) % u64::from(PLACES - 1)).unwrap_or(0);
    let place = (u64::from(first) + u64::from(probe) * u64::from(step)) % u64::from(PLACES);
    u32::try_from(place).unwrap_or(0)
}

/// FNV-1a of `namespace/host`, mixed once more: the same in every run and every version.
fn hash(namespace: &str, host: &str) -> u64 {
    let bytes = namespace.bytes().chain([b'/']).chain(host.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: usize) -> ServiceKey {
        (Host::new(&format!("s{at}.example.com")), "default".into())
    }

    fn all(automatic: &Automatic, keys: &[ServiceKey]) -> Vec<Vec<Str>> {
        keys.iter().map(|key| automatic.addresses(key)).collect()
    }

    #[test]
    fn the_order_in_which_services_come_and_go_does_not_matter() {
        let keys: Vec<ServiceKey> = (0..3_000).map(key).collect();
        let (mut up, mut down) = (Automatic::default(), Automatic::default());
        keys.iter().for_each(|key| drop(up.set(key, Some(None))));
        keys.iter().rev().for_each(|key| drop(down.set(key, Some(None))));
        assert!(up.displaced > 0, "nobody met");
        assert_eq!(all(&up, &keys), all(&down, &keys));
        let distinct: BTreeSet<Str> = all(&up, &keys).into_iter().flatten().collect();
        assert_eq!(distinct.len(), 2 * keys.len());
        assert!(distinct.iter().all(|address| !address.ends_with(".0") && !address.ends_with(".255")));
        let (some, rest) = keys.split_at(2_000);
        rest.iter().for_each(|key| drop(up.set(key, None)));
        let mut fresh = Automatic::default();
        some.iter().for_each(|key| drop(fresh.set(key, Some(None))));
        assert_eq!(all(&up, some), all(&fresh, some));
    }

    #[test]
    fn reserved_places_are_given_to_nobody() {
        let keys: Vec<ServiceKey> = (0..50).map(key).collect();
        let mut automatic = Automatic::default();
        keys.iter().for_each(|key| drop(automatic.set(key, Some(None))));
        let before = all(&automatic, &keys);
        let owner = ResourceId {
            kind: meltemi_config::Kind::ServiceEntry,
            namespace: "default".into(),
            name: "given".into(),
        };
        // An address of each family.
        let given = |value: &Str| GivenAddress { value: value.clone(), host: "given.example".into() };
        let moved = automatic.reserve(&owner, &[given(&before[0][0]), given(&before[1][1])]);
        assert_eq!(moved.iter().collect::<BTreeSet<_>>(), [&keys[0].0, &keys[1].0].into());
        let now = all(&automatic, &keys);
        assert!(now.iter().flatten().all(|address| *address != before[0][0] && *address != before[1][0]));
        assert_eq!(now[2..], before[2..]);
        // Whoever comes while they are reserved ends where those do who were there before.
        let mut other = Automatic::default();
        other.reserve(&owner, &[given(&before[0][0]), given(&before[1][1])]);
        keys.iter().rev().for_each(|key| drop(other.set(key, Some(None))));
        assert_eq!(all(&other, &keys), now);
        automatic.reserve(&owner, &[]);
        assert_eq!(all(&automatic, &keys), before);
        assert!(automatic.kept.is_empty() && automatic.reserved.is_empty());
    }

    #[test]
    fn places_have_one_address_of_each_family() {
        for at in 0..500 {
            let key = key(at);
            let mut automatic = Automatic::default();
            automatic.set(&key, Some(None));
            let places: Vec<_> = automatic.addresses(&key).iter().map(|address| place_of(address)).collect();
            assert_eq!(places, [Some(place(&key, 0)); 2]);
        }
        for other in ["240.241.0.1", "240.240.0.0", "240.240.0.255", "10.0.0.1", "2001:2::1:1", "a"] {
            assert_eq!(place_of(other), None, "{other}");
        }
    }

    #[test]
    fn whoever_moves_is_told_and_the_older_stay() {
        let mut automatic = Automatic::default();
        let old = |day: usize| format!("2020-01-{:02}T00:00:00Z", day % 28 + 1).parse().ok();
        let keys: Vec<ServiceKey> = (0..3_000).map(key).collect();
        let mut known: FxHashMap<Host, Vec<Str>> = FxHashMap::default();
        for (at, key) in keys.iter().enumerate().rev() {
            let moved = automatic.set(key, Some(old(at)));
            known.insert(key.0.clone(), automatic.addresses(key));
            for host in moved {
                let addresses = automatic.addresses(&(host.clone(), "default".into()));
                assert_ne!(known.insert(host, addresses.clone()), Some(addresses));
            }
        }
        for key in &keys {
            assert_eq!(known[&key.0], automatic.addresses(key));
        }
        let before = all(&automatic, &keys);
        let young = "2030-01-01T00:00:00Z".parse().ok();
        (3_000..6_000).for_each(|at| drop(automatic.set(&key(at), Some(young))));
        assert_eq!(before, all(&automatic, &keys));
    }
}
