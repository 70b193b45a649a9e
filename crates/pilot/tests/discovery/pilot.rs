//! A pilot in this process, whose objects the test sets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_config::Options as Reading;
use meltemi_pilot::discovery::status::Proxy;
use meltemi_pilot::discovery::{Options, Pilot};
use meltemi_pilot::source::{Source, State};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

struct Memory(watch::Receiver<Arc<State>>);

impl Source for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn watch(&mut self) -> watch::Receiver<Arc<State>> {
        self.0.clone()
    }
}

/// A pilot that serves.
pub(crate) struct Served {
    pub(crate) pilot: Pilot,
    pub(crate) address: SocketAddr,
    state: watch::Sender<Arc<State>>,
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
        let (state, receiver) = watch::channel(Arc::new(read(resources)));
        let options = Options { debounce_after: Duration::from_millis(5), ..Options::default() };
        let pilot = Pilot::start(vec![Box::new(Memory(receiver))], options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = pilot.clone();
        let server = tokio::spawn(async move {
            serving.serve(listener, std::future::pending()).await.unwrap();
        });
        Served { pilot, address, state, server }
    }

    /// Replaces all resources and waits until that is what is served.
    pub(crate) async fn set(&self, resources: &str) {
        let mut versions = self.pilot.versions();
        versions.borrow_and_update();
        self.state.send_replace(Arc::new(read(resources)));
        tokio::time::timeout(PATIENCE, versions.changed()).await.unwrap().unwrap();
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

fn read(resources: &str) -> State {
    let loaded = meltemi_config::load_text("test.yaml", resources, &Reading::default());
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    State { objects: loaded.objects, findings: loaded.diagnostics, ..State::default() }
}

/// Whether all of these types are acknowledged.
pub(crate) fn synced(proxy: &Proxy, types: &[&str]) -> bool {
    types.iter().all(|name| proxy.types.get(*name).is_some_and(|status| status.state() == "SYNCED"))
}
