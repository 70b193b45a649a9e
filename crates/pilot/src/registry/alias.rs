//! Names that stand for others (ExternalName Services, SEM-147), followed through chains to their end. Called by `build`.
//!
//! Invariant: a chain that comes back to itself stands for nothing.

use meltemi_config::Host;
use rustc_hash::FxHashMap;

use super::MAX_ALIASES;

/// Names that stand for others, from both sides.
#[derive(Debug, Clone, Default)]
pub(super) struct Aliases {
    /// What each says that it stands for.
    targets: FxHashMap<Host, Host>,
    /// Names by what they stand for in the end, sorted.
    by_end: FxHashMap<Host, Vec<Host>>,
}

impl Aliases {
    /// What a name says that it stands for.
    pub(super) fn target(&self, name: &Host) -> Option<&Host> {
        self.targets.get(name)
    }

    /// Names that stand for a host.
    pub(super) fn of(&self, host: &Host) -> &[Host] {
        self.by_end.get(host).map_or(&[], Vec::as_slice)
    }

    /// Sets what a name stands for (`None`: for itself); whether that is news. [`Aliases::follow`] draws the consequences.
    pub(super) fn set(&mut self, name: &Host, target: Option<Host>) -> bool {
        let before = match &target {
            Some(target) => self.targets.insert(name.clone(), target.clone()),
            None => self.targets.remove(name),
        };
        before != target
    }

    /// Follows all chains again; the hosts that other names stand for than before.
    pub(super) fn follow(&mut self) -> Vec<Host> {
        let mut by_end: FxHashMap<Host, Vec<Host>> = FxHashMap::default();
        for name in self.targets.keys() {
            if let Some(end) = self.end(name) {
                by_end.entry(end.clone()).or_default().push(name.clone());
            }
        }
        by_end.values_mut().for_each(|names| names.sort());
        let before = std::mem::replace(&mut self.by_end, by_end);
        let known = before.keys().chain(self.by_end.keys());
        known.filter(|host| before.get(*host) != self.by_end.get(*host)).cloned().collect()
    }

    fn end<'a>(&'a self, name: &'a Host) -> Option<&'a Host> {
        let mut at = name;
        for _ in 0..MAX_ALIASES {
            let Some(next) = self.targets.get(at) else { return Some(at) };
            at = next;
        }
        (!self.targets.contains_key(at)).then_some(at)
    }
}
