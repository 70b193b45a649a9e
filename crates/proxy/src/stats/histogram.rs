//! Histograms with two decimal digits of precision, as Envoy's (circllhist) have.
//!
//! Values below 100 are exact; above, each decade has 90 buckets, allocated when the first value falls into it.
//! Invariant: Envoy's Prometheus bounds ([`BUCKETS`]) are bounds of ours, so those counts are exact.

use std::sync::OnceLock;

use super::Counter;

/// Upper bounds of Envoy's default histogram buckets, in the histogram's own unit (milliseconds).
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/metrics/v3/stats.proto>
pub const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Buckets of a decade: 10 to 99 times a power of ten. The first "decade" holds 0 to 99, one each.
const WIDTH: usize = 100;
/// 0–99, 100–990, … up to 10⁹.
const DECADES: usize = 8;

/// Counts values. One writer thread.
#[derive(Debug, Default)]
pub struct Histogram {
    decades: [OnceLock<Box<[Counter; WIDTH]>>; DECADES],
    sum: Counter,
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub fn record(&self, value: u64) {
        let (mut mantissa, mut decade) = (value, 0);
        while mantissa >= 100 && decade < DECADES - 1 {
            mantissa /= 10;
            decade += 1;
        }
        let counts =
            self.decades[decade].get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
        counts[(mantissa as usize).min(WIDTH - 1)].inc();
        self.sum.add(value);
    }

    /// True when nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.decades.iter().all(|decade| decade.get().is_none())
    }

    /// A copy of the counts.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut bins = Vec::new();
        for (decade, counts) in self.decades.iter().enumerate() {
            for (mantissa, count) in counts.get().into_iter().flat_map(|counts| counts.iter()).enumerate() {
                if count.get() != 0 {
                    bins.push((mantissa as u64 * 10_u64.pow(decade as u32), count.get()));
                }
            }
        }
        HistogramSnapshot { bins, sum: self.sum.get() }
    }
}

/// What a histogram held when it was read.
#[derive(Debug, Clone, Default)]
pub struct HistogramSnapshot {
    /// (lowest value of the bucket, count), ascending, without empty ones.
    bins: Vec<(u64, u64)>,
    sum: u64,
}

impl HistogramSnapshot {
    /// Takes in the counts of another shard.
    pub fn merge(&mut self, other: &Self) {
        for (low, count) in &other.bins {
            match self.bins.binary_search_by_key(low, |(low, _)| *low) {
                Ok(at) => self.bins[at].1 += count,
                Err(at) => self.bins.insert(at, (*low, *count)),
            }
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.bins.iter().map(|(_, count)| count).sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values are in buckets up to `bound`.
    pub fn count_up_to(&self, bound: f64) -> u64 {
        self.bins.iter().take_while(|(low, _)| *low as f64 <= bound).map(|(_, count)| count).sum()
    }

    /// The value below which the fraction `q` lies, interpolated within its bucket as Envoy does; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = q * self.count() as f64;
        let mut before = 0.0;
        for (low, count) in &self.bins {
            let after = before + *count as f64;
            if after >= wanted {
                let within = ((wanted - before) / *count as f64).clamp(0.0, 1.0);
                return Some(*low as f64 + within * width(*low));
            }
            before = after;
        }
        None
    }
}

/// How wide the bucket that begins at `low` is. circllhist's are a tenth for 1 to 9.9.
fn width(low: u64) -> f64 {
    match low {
        0 => 0.0,
        1..10 => 0.1,
        10..100 => 1.0,
        _ => 10_f64.powi(low.ilog10() as i32 - 1),
    }
}
