//! A pilot in this process, whose objects the test sets.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use meltemi_config::{Object, Options as Reading};
use meltemi_pilot::discovery::status::Proxy;
use meltemi_pilot::discovery::{Options, Pilot};
use meltemi_pilot::snapshot::Change;
use meltemi_pilot::source::{Source, Update};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

struct Memory(Update, Option<mpsc::Receiver<Update>>);

impl Source for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn follow(&mut self) -> (Update, mpsc::Receiver<Update>) {
        (std::mem::take(&mut self.0), self.1.take().unwrap())
    }
}

/// A pilot that serves.
pub(crate) struct Served {
    pub(crate) pilot: Pilot,
    pub(crate) address: SocketAddr,
    updates: mpsc::Sender<Update>,
    objects: Mutex<Vec<Object>>,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    /// With these resources.
    pub(crate) async fn start(resources: &str) -> Served {
        let (updates, receiver) = mpsc::channel(1);
        let objects = read(resources);
        let first = Update { objects: difference(&[], &objects), ..Update::default() };
        let options = Options { debounce_after: Duration::from_millis(5), ..Options::default() };
        let pilot = Pilot::start(vec![Box::new(Memory(first, Some(receiver)))], options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = pilot.clone();
        let server = tokio::spawn(async move {
            serving.serve(listener, std::future::pending()).await.unwrap();
        });
        Served { pilot, address, updates, objects: Mutex::new(objects), server }
    }

    /// Replaces all resources and waits until that is what is served.
    pub(crate) async fn set(&self, resources: &str) {
        let mut versions = self.pilot.versions();
        versions.borrow_and_update();
        let objects = read(resources);
        let before = std::mem::replace(&mut *self.objects.lock().unwrap(), objects.clone());
        let update = Update { objects: difference(&before, &objects), ..Update::default() };
        self.updates.send(update).await.unwrap();
        // Endpoints do not wait for the rest.
        let served = |pilot: &Pilot| {
            let now = pilot.objects();
            let same = |object: &Object| {
                now.iter().any(|other| other.id() == object.id() && other.spec == object.spec)
            };
            now.len() == objects.len() && objects.iter().all(same)
        };
        while !served(&self.pilot) {
            tokio::time::timeout(PATIENCE, versions.changed()).await.unwrap().unwrap();
        }
    }

    /// Waits until a connected proxy is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Proxy) -> bool) -> Proxy {
        let look = async {
            loop {
                if let Some(proxy) = self.pilot.proxies().into_iter().find(|proxy| wanted(proxy)) {
                    return proxy;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        found.unwrap_or_else(|_| panic!("never {what}: {:#?}", self.pilot.proxies()))
    }
}

fn read(resources: &str) -> Vec<Object> {
    let loaded = meltemi_config::load_text("test.yaml", resources, &Reading::default());
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    loaded.objects
}

fn difference(old: &[Object], new: &[Object]) -> Vec<Change> {
    let gone = old.iter().filter(|object| !new.iter().any(|other| other.id() == object.id()));
    let gone = gone.map(|object| (object.id(), None));
    gone.chain(new.iter().map(|object| (object.id(), Some(object.clone())))).collect()
}

/// Whether all of these types are acknowledged.
pub(crate) fn synced(proxy: &Proxy, types: &[&str]) -> bool {
    types.iter().all(|name| proxy.types.get(*name).is_some_and(|status| status.state() == "SYNCED"))
}
