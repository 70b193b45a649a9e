//! A simulated proxy: asks for what Envoy asks for, in its order, answers everything, remembers when what came.
//!
//! Only names are looked at, but for listeners and tables, which say what to ask for next.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_xds::pb::google::protobuf::Any;
use meltemi_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
/// Largest response taken.
const MAX_RESPONSE: usize = 256 << 20;

/// What a proxy has got.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// When a resource last came, by name with its type before it: `EDS outbound|…`.
    pub(super) last: HashMap<String, Instant>,
    /// Bytes of responses.
    pub(super) bytes: u64,
}

/// What all proxies have got, and a number that counts responses.
pub(super) struct Fleet {
    pub(super) got: Vec<Mutex<Got>>,
    pub(super) changed: watch::Sender<u64>,
}

impl Fleet {
    pub(super) fn new(clients: usize) -> Arc<Fleet> {
        Arc::new(Fleet {
            got: (0..clients).map(|_| Mutex::default()).collect(),
            changed: watch::Sender::new(0),
        })
    }

    pub(super) fn got(&self, at: usize) -> MutexGuard<'_, Got> {
        self.got[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response of either form, with names only.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    resources: Vec<Bytes>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(string, repeated, tag = "6")]
    removed: Vec<String>,
}

/// A delta resource, or (`name` and `any.value` alone) what of it counts.
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    any: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// One simulated proxy.
pub(super) struct Client {
    pub(super) at: usize,
    /// Its place in the fleet.
    pub(super) slot: usize,
    pub(super) delta: bool,
    pub(super) fleet: Arc<Fleet>,
}

impl Client {
    /// Follows until the server ends.
    pub(super) async fn run(self, address: String) -> anyhow::Result<()> {
        let endpoint =
            tonic::transport::Endpoint::from_shared(address)?.http2_adaptive_window(true).tcp_nodelay(true);
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        match self.delta {
            true => self.follow::<DeltaDiscoveryRequest>(channel, "DeltaAggregatedResources").await,
            false => self.follow::<DiscoveryRequest>(channel, "StreamAggregatedResources").await,
        }
    }

    async fn follow<R: Request>(&self, channel: Channel, method: &str) -> anyhow::Result<()> {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
        grpc.ready().await?;
        let (sender, requests) = mpsc::channel(64);
        let mut first = R::first(CLUSTER, &[], &[], "");
        first.introduce(node(self.at));
        sender.send(first).await?;
        sender.send(R::first(LISTENER, &[], &[], "")).await?;
        let path = format!("{SERVICE}/{method}").parse()?;
        let request = tonic::Request::new(ReceiverStream::new(requests));
        let mut responses = grpc.streaming(request, path, Wire::<R>::default()).await?.into_inner();
        let mut state = State::default();
        while let Some((bytes, response)) = responses.message().await? {
            let now = Instant::now();
            for request in self.take::<R>(&mut state, bytes, response, now)? {
                sender.send(request).await?;
            }
            self.fleet.changed.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Takes a response in; what is to be sent, its answer first.
    fn take<R: Request>(
        &self,
        state: &mut State,
        bytes: usize,
        response: Response,
        now: Instant,
    ) -> anyhow::Result<Vec<R>> {
        let url = response.type_url.as_str();
        let mut named = Vec::with_capacity(response.resources.len());
        for entry in response.resources {
            let resource = match self.delta {
                true => Resource::decode(entry)?,
                false => {
                    let value = Packed::decode(entry.clone())?.value;
                    Resource { name: Named::decode(value)?.name, any: entry }
                }
            };
            named.push(resource);
        }
        let mut wanted: Vec<(&str, Vec<String>)> = Vec::new();
        match url {
            CLUSTER => wanted.push((ENDPOINT, state.fresh_endpoints(&named))),
            LISTENER => wanted.push((ROUTE, state.fresh_tables(&named)?)),
            ROUTE if self.delta && !state.virtual_hosts && discovers_hosts(&named)? => {
                state.virtual_hosts = true;
                wanted.push((VIRTUAL_HOST, Vec::new()));
            }
            _ => {}
        }
        let short = meltemi_xds::type_url::short(url);
        let mut got = self.fleet.got(self.slot);
        got.bytes += bytes as u64;
        for resource in named {
            got.last.insert(format!("{short} {}", resource.name), now);
        }
        drop(got);
        // What travels in delta carries no names but new ones; to list all would cost the client more than the server, whose
        // answers would then come one by one.
        let all = |state: &State, url: &str| if self.delta { Vec::new() } else { state.names(url) };
        let known = all(state, url);
        state.nonces.insert(url.to_owned(), response.nonce.clone());
        let mut requests = vec![R::answer(url, &known, &response.nonce)];
        for (url, names) in
            wanted.into_iter().filter(|(url, names)| *url == VIRTUAL_HOST || !names.is_empty())
        {
            let nonce = state.nonces.get(url).cloned().unwrap_or_default();
            requests.push(R::first(url, &names, &all(state, url), &nonce));
        }
        Ok(requests)
    }
}

/// What a proxy has asked for.
#[derive(Default)]
struct State {
    endpoints: BTreeSet<String>,
    tables: BTreeSet<String>,
    virtual_hosts: bool,
    nonces: HashMap<String, String>,
}

impl State {
    fn names(&self, url: &str) -> Vec<String> {
        match url {
            ENDPOINT => self.endpoints.iter().cloned().collect(),
            ROUTE => self.tables.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn fresh_endpoints(&mut self, clusters: &[Resource]) -> Vec<String> {
        let outbound =
            clusters.iter().map(|cluster| &cluster.name).filter(|name| name.starts_with("outbound|"));
        outbound.filter(|name| self.endpoints.insert((*name).clone())).cloned().collect()
    }

    fn fresh_tables(&mut self, listeners: &[Resource]) -> anyhow::Result<Vec<String>> {
        let mut fresh = Vec::new();
        for listener in listeners {
            let listener = Listener::decode(Packed::decode(listener.any.clone())?.value)?;
            let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
            for filter in chains.flat_map(|chain| &chain.filters) {
                let Some(ConfigType::TypedConfig(any)) = &filter.config_type else { continue };
                if let Some(table) = table_of(any)?
                    && self.tables.insert(table.clone())
                {
                    fresh.push(table);
                }
            }
        }
        Ok(fresh)
    }
}

fn table_of(any: &Any) -> anyhow::Result<Option<String>> {
    if !any.type_url.ends_with("HttpConnectionManager") {
        return Ok(None);
    }
    let manager: HttpConnectionManager = meltemi_xds::unpack(any)?;
    Ok(match manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
        _ => None,
    })
}

fn discovers_hosts(tables: &[Resource]) -> anyhow::Result<bool> {
    let first = tables.first().context("a response without a table")?;
    Ok(RouteConfiguration::decode(Packed::decode(first.any.clone())?.value)?.vhds.is_some())
}

fn node(at: usize) -> Node {
    let metadata = serde_json::json!({"NAMESPACE": "default", "LABELS": {"app": format!("client-{at}")}});
    let id =
        format!("sidecar~10.200.{}.{}~client-{at}.default~default.svc.cluster.local", at / 250, 1 + at % 250);
    let fields = metadata.as_object().map(meltemi_xds::node::to_struct);
    let node = Node { id, metadata: fields, ..Node::default() };
    meltemi_xds::node::with_user_agent(node, "envoy", "1.40.0")
}

/// A request of either form.
trait Request: Message + Default + 'static {
    /// Asks for `fresh` names, `all` with those asked for before.
    fn first(url: &str, fresh: &[String], all: &[String], nonce: &str) -> Self;
    fn answer(url: &str, all: &[String], nonce: &str) -> Self;
    fn introduce(&mut self, node: Node);
}

impl Request for DeltaDiscoveryRequest {
    fn first(url: &str, fresh: &[String], _: &[String], _: &str) -> Self {
        Self { type_url: url.to_owned(), resource_names_subscribe: fresh.to_vec(), ..Self::default() }
    }

    fn answer(url: &str, _: &[String], nonce: &str) -> Self {
        Self { type_url: url.to_owned(), response_nonce: nonce.to_owned(), ..Self::default() }
    }

    fn introduce(&mut self, node: Node) {
        self.node = Some(node);
    }
}

impl Request for DiscoveryRequest {
    fn first(url: &str, _: &[String], all: &[String], nonce: &str) -> Self {
        Self::answer(url, all, nonce)
    }

    fn answer(url: &str, all: &[String], nonce: &str) -> Self {
        Self {
            type_url: url.to_owned(),
            resource_names: all.to_vec(),
            version_info: nonce.to_owned(),
            response_nonce: nonce.to_owned(),
            ..Self::default()
        }
    }

    fn introduce(&mut self, node: Node) {
        self.node = Some(node);
    }
}

/// Requests out, responses in with their length.
struct Wire<R>(std::marker::PhantomData<R>);

impl<R> Default for Wire<R> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<R: Message + 'static> Codec for Wire<R> {
    type Encode = R;
    type Decode = (usize, Response);
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<R: Message> Encoder for Wire<R> {
    type Item = R;
    type Error = Status;

    fn encode(&mut self, item: R, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item.encode_to_vec());
        Ok(())
    }
}

impl<R> Decoder for Wire<R> {
    type Item = (usize, Response);
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let length = buffer.remaining();
        let bytes = buffer.copy_to_bytes(length);
        let response = Response::decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some((length, response)))
    }
}
