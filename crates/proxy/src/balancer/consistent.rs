//! Consistent hashing: Envoy's ring (ketama) and Maglev tables over the hosts of one priority.
//!
//! Built with the endpoint set ([`crate::cluster::endpoints`]), off the request path; read by [`super::Balancer`].
//! Invariant: the same hosts, weights and settings give the same table as Envoy's, whatever order they came in.

use super::hash::{MURMUR_SEED, murmur2, xxh64};
use crate::cluster::{Consistent, Endpoint};

/// A host with its share of the table, all shares adding up to one.
pub type Share<'a> = (&'a Endpoint, f64);

/// Where each hash leads: indices into the hosts that the table was built over.
#[derive(Debug, Clone)]
pub enum Table {
    /// Sorted by hash.
    Ring(Vec<(u64, u32)>),
    /// By hash modulo its length.
    Maglev(Vec<u32>),
}

impl Table {
    /// Builds the table; `hosts` give the index of each share's host.
    pub fn build(kind: Consistent, shares: &[Share<'_>], hosts: &[u32]) -> Self {
        match kind {
            Consistent::Ring { min, max, murmur, hostname } => {
                Self::Ring(ring(shares, hosts, (min, max), murmur, hostname))
            }
            Consistent::Maglev { size, hostname } => Self::Maglev(maglev(shares, hosts, size, hostname)),
        }
    }

    /// The host for a hash; later attempts lead elsewhere, though not surely to another host.
    pub fn get(&self, hash: u64, attempt: u32) -> Option<u32> {
        match self {
            Self::Ring(ring) => {
                let at = ring.partition_point(|(point, _)| *point < hash);
                let at = (at + attempt as usize).checked_rem(ring.len())?;
                Some(ring[at].1)
            }
            Self::Maglev(table) => {
                // As Envoy: a change in many bits leads far away.
                let hash = if attempt > 0 { hash ^ (!0u64 - u64::from(attempt) + 1) } else { hash };
                Some(table[hash.checked_rem(table.len() as u64)? as usize])
            }
        }
    }
}

/// What stands for a host: its `hash_key` metadata, else its host name or address.
fn key(host: &Endpoint, hostname: bool) -> &str {
    match (&host.hash_key, hostname) {
        (Some(key), _) => key,
        (None, true) => host.hostname.as_deref().unwrap_or(""),
        (None, false) => &host.label,
    }
}

fn ring(
    shares: &[Share<'_>],
    hosts: &[u32],
    (min, max): (u32, u32),
    murmur: bool,
    hostname: bool,
) -> Vec<(u64, u32)> {
    let least = shares.iter().map(|(_, share)| *share).fold(1.0, f64::min);
    // The lightest host gets a whole number of points.
    let scale = ((least * f64::from(min)).ceil() / least).min(f64::from(max));
    let mut ring = Vec::with_capacity(scale.ceil() as usize);
    let (mut current, mut target) = (0.0, 0.0);
    let mut text = String::new();
    for ((host, share), index) in shares.iter().zip(hosts) {
        target += scale * share;
        text.clear();
        text.push_str(key(host, hostname));
        text.push('_');
        let stem = text.len();
        let mut n = 0u64;
        while current < target {
            text.truncate(stem);
            text.push_str(itoa::Buffer::new().format(n));
            let bytes = text.as_bytes();
            let point = if murmur { murmur2(bytes, MURMUR_SEED) } else { xxh64(bytes, 0) };
            ring.push((point, *index));
            n += 1;
            current += 1.0;
        }
    }
    ring.sort_unstable();
    ring
}

/// A host that is being entered into a Maglev table.
struct Entry {
    host: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    target: f64,
    next: u64,
}

fn maglev(shares: &[Share<'_>], hosts: &[u32], size: u32, hostname: bool) -> Vec<u32> {
    const EMPTY: u32 = u32::MAX;
    if shares.is_empty() || size < 2 {
        return Vec::new();
    }
    let size = u64::from(size);
    let heaviest = shares.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    let mut sorted: Vec<_> =
        shares.iter().zip(hosts).map(|((host, share), at)| (key(host, hostname), *share, *at)).collect();
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    let entry = |(key, weight, host): (&str, f64, u32)| Entry {
        host,
        offset: xxh64(key.as_bytes(), 0) % size,
        skip: xxh64(key.as_bytes(), 1) % (size - 1) + 1,
        weight,
        target: 0.0,
        next: 0,
    };
    let mut entries: Vec<_> = sorted.into_iter().map(entry).collect();
    let mut table = vec![EMPTY; size as usize];
    let mut filled = 0;
    let mut iteration = 0.0;
    while filled < size {
        iteration += 1.0;
        for entry in &mut entries {
            if filled == size {
                break;
            }
            // A host of a third of the heaviest's weight gets its turn every third time.
            if iteration * entry.weight < entry.target {
                continue;
            }
            entry.target += heaviest;
            let mut at = entry.place(size);
            while table[at] != EMPTY {
                at = entry.place(size);
            }
            table[at] = entry.host;
            filled += 1;
        }
    }
    table
}

impl Entry {
    /// The next place in its own order of places.
    fn place(&mut self, size: u64) -> usize {
        let place = (self.offset + self.skip * self.next) % size;
        self.next += 1;
        place as usize
    }
}
