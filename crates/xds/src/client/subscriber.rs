//! What the proxy wants, shared between those who say so and the stream that asks for it.
//!
//! A stream compares it with what it asked for and sends the difference, so many small changes are one request and nothing queues
//! while there is no server. Invariant: bounded by the number of names, whatever the rate of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::type_url;

/// What is wanted of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) wildcard: bool,
    /// Shared with what a stream was asked for, until they differ: comparing them is then free.
    pub(super) names: Arc<BTreeSet<Arc<str>>>,
}

impl Interest {
    pub(super) fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }
}

/// By push order, then type url: the order in which a new stream asks.
type Interests = BTreeMap<(usize, String), Interest>;

/// Changes the subscriptions of a client; clone it freely. Takes effect on the open stream at once, and on every later one.
#[derive(Debug, Clone)]
pub struct Subscriber {
    interests: Arc<Mutex<Interests>>,
    changed: Arc<watch::Sender<()>>,
}

/// The stream's end of a [`Subscriber`].
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    interests: Arc<Mutex<Interests>>,
    changed: watch::Receiver<()>,
}

pub(super) fn subscriptions() -> (Subscriber, Wanted) {
    let interests = Arc::<Mutex<Interests>>::default();
    let (sender, changed) = watch::channel(());
    (Subscriber { interests: interests.clone(), changed: Arc::new(sender) }, Wanted { interests, changed })
}

impl Subscriber {
    /// Subscribes to all resources of a type.
    pub fn subscribe_all(&self, type_url: &str) {
        self.change(type_url, |interest| interest.wildcard = true);
    }

    /// Gives up the subscription to all resources of a type; names stay.
    pub fn unsubscribe_all(&self, type_url: &str) {
        self.change(type_url, |interest| interest.wildcard = false);
    }

    /// Subscribes to resources by name; names already subscribed to change nothing.
    pub fn subscribe<N: Into<Arc<str>>>(&self, type_url: &str, names: impl IntoIterator<Item = N>) {
        self.change(type_url, |interest| {
            Arc::make_mut(&mut interest.names).extend(names.into_iter().map(Into::into))
        });
    }

    /// Gives up resources by name.
    pub fn unsubscribe<N: AsRef<str>>(&self, type_url: &str, names: impl IntoIterator<Item = N>) {
        self.change(type_url, |interest| {
            for name in names {
                Arc::make_mut(&mut interest.names).remove(name.as_ref());
            }
        });
    }

    /// Wants exactly these names, whatever was wanted before.
    pub fn set<N: Into<Arc<str>>>(&self, type_url: &str, names: impl IntoIterator<Item = N>) {
        self.change(type_url, |interest| {
            interest.names = Arc::new(names.into_iter().map(Into::into).collect())
        });
    }

    fn change(&self, type_url: &str, change: impl FnOnce(&mut Interest)) {
        let key = (type_url::rank(type_url), type_url.to_owned());
        change(lock(&self.interests).entry(key).or_default());
        self.changed.send_replace(());
    }
}

impl Wanted {
    /// Calls `each` for every type that ever was wanted, in push order.
    pub(super) fn each(&self, mut each: impl FnMut(&str, &Interest)) {
        for ((_, type_url), interest) in &*lock(&self.interests) {
            each(type_url, interest);
        }
    }

    /// Completes when something changed since the last call. Never, once all subscribers are gone: what is wanted stays.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// No holder of the lock can panic half way; a poisoned lock guards sound data.
fn lock(interests: &Mutex<Interests>) -> MutexGuard<'_, Interests> {
    interests.lock().unwrap_or_else(PoisonError::into_inner)
}
