//! The client end of ADS: what the proxy runs to be steered.
//!
//! The proxy implements [`Handler`], says what it wants through [`Subscriber`] and runs [`Client::run`] on its side runtime.
//! Invariant: the loss of the server loses nothing. Subscriptions and held versions stay, traffic goes on with what was
//! taken, and the next stream resumes from there.

mod backoff;
mod delta;
mod sotw;
mod stream;
mod subscriber;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use crate::pb::envoy::config::core::v3::Node;

pub use subscriber::Subscriber;

use backoff::Backoff;
use subscriber::Wanted;

/// Where a discovery server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; an IPv6 host in brackets.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(std::path::PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Variant of the protocol: the bootstrap's `api_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `DELTA_GRPC`.
    #[default]
    Delta,
    /// `GRPC`, state of the world.
    StateOfTheWorld,
}

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct Config {
    /// How the client introduces itself.
    pub node: Node,
    /// Servers, tried in turn.
    pub addresses: Vec<Address>,
    /// Variant of the protocol.
    pub protocol: Protocol,
    /// Longest wait before the first reconnect (Envoy: 500 ms). It doubles with each failure; the real wait is random
    /// between zero and it.
    pub base_backoff: Duration,
    /// Longest wait between attempts (Envoy: 30 s).
    pub max_backoff: Duration,
}

impl Config {
    /// Delta, with Envoy's waits.
    pub fn new(node: Node, addresses: Vec<Address>) -> Self {
        Self {
            node,
            addresses,
            protocol: Protocol::default(),
            base_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
        }
    }
}

/// A resource as received.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name. State of the world carries none, so there it is read from the message.
    pub name: Arc<str>,
    /// Its version (delta), or the version of the response.
    pub version: Arc<str>,
    /// Type of the message.
    pub type_url: String,
    /// The message. What came first of a type shares the memory of its response; later ones are their own.
    pub value: Bytes,
}

/// One response, to be applied as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Type of resource.
    pub type_url: String,
    /// Version of the server's state, for people.
    pub version: String,
    /// New and changed resources. State of the world repeats unchanged ones.
    pub resources: Vec<Resource>,
    /// Names that are gone. In state of the world, known for listeners and clusters only: those are sent as full sets.
    pub removed: Vec<String>,
}

/// A resource that the handler did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its name.
    pub name: String,
    /// Why, in words for the one who wrote the configuration.
    pub reason: String,
}

/// What the proxy implements.
pub trait Handler: Send + 'static {
    /// Applies an update: takes the good resources, returns the bad. An empty answer is an ACK; anything else a NACK that
    /// names each rejection. What was held under a rejected name stays in force.
    fn update(&mut self, update: Update) -> Vec<Rejection>;

    /// The first response of a stream came (`true`), or that stream was lost (`false`). Not called for attempts between.
    fn connected(&mut self, _connected: bool) {}
}

/// The client. Build it, subscribe, run it.
#[derive(Debug)]
pub struct Client<H> {
    config: Config,
    handler: H,
    wanted: Wanted,
}

/// Longest time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life this often, and given up after the timeout.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Largest response taken; a mesh of ten thousand services is below a tenth of it.
const MAX_RESPONSE: usize = 512 << 20;

impl<H: Handler> Client<H> {
    /// A client, and the handle to its subscriptions. Does no io.
    pub fn new(config: Config, handler: H) -> (Self, Subscriber) {
        let (subscriber, wanted) = subscriber::subscriptions();
        (Self { config, handler, wanted }, subscriber)
    }

    /// Connects, and reconnects whenever a stream ends. Runs until dropped.
    pub async fn run(self) {
        match self.config.protocol {
            Protocol::Delta => self.keep::<delta::Delta>().await,
            Protocol::StateOfTheWorld => self.keep::<sotw::StateOfTheWorld>().await,
        }
    }

    async fn keep<P: stream::Protocol>(mut self) {
        let mut state = P::default();
        let mut backoff = Backoff::new(self.config.base_backoff, self.config.max_backoff);
        let mut servers = self.config.addresses.clone().into_iter().cycle();
        let mut quiet = false;
        loop {
            let Some(address) = servers.next() else {
                tracing::warn!("no discovery server is configured");
                return std::future::pending().await;
            };
            let mut alive = false;
            let reason = match connect(&address) {
                Ok(channel) => self.stream(channel, &mut state, &address, &mut alive).await,
                Err(error) => describe(&error),
            };
            if alive {
                self.handler.connected(false);
                backoff.reset();
                quiet = false;
            }
            // Once per loss: what follows are attempts that fail for the same reason.
            if !std::mem::replace(&mut quiet, true) {
                tracing::warn!(server = %address, reason, "discovery server lost; going on with what is held");
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One stream from first request to last response; returns why it ended.
    async fn stream<P: stream::Protocol>(
        &mut self,
        channel: Channel,
        state: &mut P,
        address: &Address,
        alive: &mut bool,
    ) -> String {
        let mut stream =
            match stream::Stream::<P>::open(channel, state, &self.config.node, &self.wanted).await {
                Ok(stream) => stream,
                Err(status) => return describe(&status),
            };
        loop {
            let response = match stream.next(state, &mut self.wanted).await {
                Ok(response) => response,
                Err(status) => return describe(&status),
            };
            if !std::mem::replace(alive, true) {
                tracing::info!(server = %address, "discovery server connected");
                self.handler.connected(true);
            }
            let update = state.update(response);
            let (type_url, version) = (update.type_url.clone(), update.version.clone());
            let taken = stream::Taken::of(&update);
            let rejections = self.handler.update(update);
            for rejection in &rejections {
                tracing::warn!(
                    type_url,
                    version,
                    resource = rejection.name,
                    reason = rejection.reason,
                    "rejected"
                );
            }
            if let Err(status) = stream.answer(state, taken, &rejections).await {
                return describe(&status);
            }
        }
    }
}

fn connect(address: &Address) -> Result<Channel, tonic::transport::Error> {
    let uri = match address {
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(path) => format!("unix://{}", path.display()),
    };
    let endpoint = Endpoint::from_shared(uri)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}

/// An error with its causes: tonic's own words end at "transport error".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
