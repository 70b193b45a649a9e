//! Response codes: one increment per response, from which Envoy's several names are derived when read.
//!
//! Invariant: `_completed` is the sum of the codes, and a class the sum of its codes, so they cannot disagree.

use std::sync::{
    OnceLock,
    atomic::{AtomicU16, Ordering},
};

use super::{Counter, Sample, Stat, Visitor};

/// Codes that have a place of their own; a cluster rarely answers with more.
const SLOTS: usize = 10;
/// Codes 100 to 999.
const ALL: usize = 900;

/// Responses by code: `<name>_200`, `<name>_2xx`, `<name>_completed`. One writer thread.
#[derive(Debug, Default)]
pub struct Codes {
    slots: [(AtomicU16, Counter); SLOTS],
    rest: OnceLock<Box<[Counter]>>,
}

impl Codes {
    /// Counts a response.
    #[inline]
    pub fn inc(&self, code: u16) {
        for (taken, count) in &self.slots {
            match taken.load(Ordering::Relaxed) {
                mine if mine == code => return count.inc(),
                0 => {
                    taken.store(code, Ordering::Relaxed);
                    return count.inc();
                }
                _ => {}
            }
        }
        self.inc_rest(code);
    }

    #[cold]
    fn inc_rest(&self, code: u16) {
        let rest = self.rest.get_or_init(|| (0..ALL).map(|_| Counter::default()).collect());
        if let Some(count) = usize::from(code).checked_sub(100).and_then(|at| rest.get(at)) {
            count.inc();
        }
    }

    /// Every code that was counted.
    pub fn each(&self, mut visit: impl FnMut(u16, u64)) {
        for (code, count) in &self.slots {
            let code = code.load(Ordering::Relaxed);
            if code != 0 {
                visit(code, count.get());
            }
        }
        for (at, count) in self.rest.get().into_iter().flatten().enumerate() {
            if count.get() != 0 {
                visit(at as u16 + 100, count.get());
            }
        }
    }
}

impl Stat for Codes {
    fn visit(&self, name: &str, visitor: &mut Visitor<'_>) {
        let (mut classes, mut total) = ([0; 5], 0);
        self.each(|code, count| {
            visitor(&format!("{name}_{code}"), Sample::Counter(count));
            if let Some(class) = usize::from(code / 100).checked_sub(1).and_then(|at| classes.get_mut(at)) {
                *class += count;
            }
            total += count;
        });
        // Envoy makes a class when its first response comes.
        for (at, count) in classes.iter().enumerate().filter(|(_, count)| **count != 0) {
            visitor(&format!("{name}_{}xx", at + 1), Sample::Counter(*count));
        }
        if total != 0 {
            visitor(&format!("{name}_completed"), Sample::Counter(total));
        }
    }

    fn reset(&self) {
        self.slots.iter().for_each(|(_, count)| count.reset());
        self.rest.get().into_iter().flatten().for_each(Counter::reset);
    }
}

/// Responses by class: `<name>_2xx`, `<name>_completed`, always all of them. One writer thread.
#[derive(Debug, Default)]
pub struct Classes([Counter; 5]);

impl Classes {
    /// Counts a response.
    #[inline]
    pub fn inc(&self, code: u16) {
        if let Some(count) = usize::from(code / 100).checked_sub(1).and_then(|at| self.0.get(at)) {
            count.inc();
        }
    }
}

impl Stat for Classes {
    fn visit(&self, name: &str, visitor: &mut Visitor<'_>) {
        for (at, count) in self.0.iter().enumerate() {
            visitor(&format!("{name}_{}xx", at + 1), Sample::Counter(count.get()));
        }
        visitor(&format!("{name}_completed"), Sample::Counter(self.0.iter().map(Counter::get).sum()));
    }

    fn reset(&self) {
        self.0.iter().for_each(Counter::reset);
    }
}
