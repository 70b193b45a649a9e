//! `meltemi control-plane`: pilot in one process, watching files.
//!
//! Invariant: what is served is always a complete snapshot.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use meltemi_config::Object;
use meltemi_pilot::node::{self, Node};
use meltemi_pilot::snapshot::Snapshot;
use meltemi_pilot::translate;
use meltemi_pilot::view::View;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::google::protobuf::Any;
use meltemi_xds::server::{
    Ads, AggregatedDiscoveryServiceServer, Backend, Client, Event, Interest, Resource,
};
use meltemi_xds::{any, type_url};
use tokio::sync::watch;
use tonic::Status;

/// Where configuration comes from and where it is served. `up` and `demo` start this command with all of these.
#[derive(Debug, clap::Args)]
#[allow(dead_code, reason = "debug pages and dashboard are not served yet")]
pub(crate) struct Args {
    /// Files and folders with mesh resources; watched
    #[arg(long, required = true, value_name = "PATH")]
    config: Vec<std::path::PathBuf>,

    /// Where xDS is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    xds: SocketAddr,

    /// Where metrics and debug pages are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15014")]
    monitoring: SocketAddr,

    /// Where the dashboard is served; unset: nowhere
    #[arg(long, value_name = "ADDR")]
    dashboard: Option<SocketAddr>,

    /// Namespace of documents that name none
    #[arg(long, value_name = "NS", default_value = "default")]
    namespace: String,
}

/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(100);

/// Serves until it is ended.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let files = Files { paths: args.config, namespace: args.namespace };
    let (mut text, objects) = files.read();
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::build(1, &objects, Arc::default())));
    let (count, changes) = watch::channel(1);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(POLL).await;
            let (new, objects) = files.read();
            if new != text {
                text = new;
                let version = *count.borrow() + 1;
                publish.send_replace(Arc::new(Snapshot::build(version, &objects, Arc::default())));
                count.send_replace(version);
            }
        }
    });
    let ads = AggregatedDiscoveryServiceServer::new(Ads::new(Arc::new(Pilot { snapshots, changes })));
    let server = tonic::transport::Server::builder().add_service(ads).serve_with_shutdown(args.xds, async {
        if let Err(error) = crate::console::asked_to_end().await {
            tracing::error!("signals: {error}");
        }
    });
    runtime.block_on(server)?;
    Ok(ExitCode::SUCCESS)
}

struct Files {
    paths: Vec<std::path::PathBuf>,
    namespace: String,
}

impl Files {
    /// A fingerprint of the texts, and the objects in them.
    fn read(&self) -> (u64, Vec<Object>) {
        let options = meltemi_config::Options { namespace: self.namespace.as_str().into() };
        let loaded = meltemi_config::load(&self.paths, &options);
        let mut hasher = DefaultHasher::new();
        for object in &loaded.objects {
            format!("{:?}{:?}", object.metadata, object.spec).hash(&mut hasher);
        }
        (hasher.finish(), loaded.objects)
    }
}

struct Pilot {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    changes: watch::Receiver<u64>,
}

impl Backend for Pilot {
    type Client = Proxy;

    fn connect(&self, node: &core::Node, _delta: bool) -> Result<Proxy, Status> {
        let metadata = node.metadata.as_ref().map(node::json).unwrap_or_default();
        let node =
            Node::parse(&node.id, &metadata).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Proxy { node, snapshots: self.snapshots.clone() })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

struct Proxy {
    node: Node,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Client for Proxy {
    fn resources(&mut self, type_url: &str, interest: &Interest) -> Vec<Resource> {
        let snapshot = self.snapshots.borrow().clone();
        let view = View::new(&snapshot, &self.node);
        let names = || interest.names.iter();
        let mut resources: Vec<_> = match type_url {
            type_url::CLUSTER => view
                .clusters()
                .iter()
                .map(|c| resource(&c.name, any(&translate::cluster::cluster(c))))
                .collect(),
            type_url::LISTENER => view
                .listeners()
                .iter()
                .map(|l| resource(&l.name, any(&translate::listener::listener(l))))
                .collect(),
            type_url::ENDPOINT => names()
                .map(|name| resource(name, any(&translate::endpoint::assignment(&view.assignment(name)))))
                .collect(),
            type_url::ROUTE => {
                let table = |name: &String| {
                    Some(resource(
                        name,
                        any(&translate::route::route_configuration(&view.route_table(name)?)),
                    ))
                };
                names().filter_map(table).collect()
            }
            _ => Vec::new(),
        };
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        resources
    }

    fn event(&mut self, event: Event<'_>) {
        if let Event::Rejected { type_url, message, .. } = event {
            tracing::warn!("{} refused {}: {message}", self.node.id, type_url::short(type_url));
        }
    }
}

fn resource(name: &str, body: Any) -> Resource {
    let mut hasher = DefaultHasher::new();
    body.value.hash(&mut hasher);
    Resource { name: name.into(), version: format!("{:x}", hasher.finish()).into(), body: Arc::new(body) }
}
