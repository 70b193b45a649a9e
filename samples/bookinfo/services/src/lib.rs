//! The Bookinfo sample: four small HTTP services that call each other. `meltemi bookinfo NAME` runs one of them.
//!
//! Invariant: a service knows its upstreams by name only (the `Host` it sends); where it connects to is the
//! environment's business, so the same program runs beside a sidecar, in a container or alone.

mod details;
mod headers;
mod productpage;
mod ratings;
mod reviews;
mod server;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

pub use server::Running;

/// Which of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The page with everything on it.
    Productpage,
    /// Facts about the book.
    Details,
    /// What readers say; v2 and v3 ask `ratings`.
    Reviews,
    /// Stars per reviewer.
    Ratings,
}

impl Kind {
    /// All services, in the order of a request.
    pub const ALL: [Self; 4] = [Self::Productpage, Self::Details, Self::Reviews, Self::Ratings];

    /// The service's name in the mesh.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Productpage => "productpage",
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
        }
    }

    /// The service of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a service is told when it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which service.
    pub kind: Kind,
    /// `v1`, `v2`, `v3`, or for ratings one of Istio's faulty versions (`v-faulty`, `v-delayed`).
    pub version: String,
    /// The name that answers carry as `podname`, so that a reader sees which replica it was.
    pub pod: String,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
}

/// Starts the service; it answers when this returns and stops when the result's `stop` is called.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(options: Options) -> std::io::Result<Running> {
    let listen = options.listen;
    let service: Arc<dyn server::Service> = match options.kind {
        Kind::Productpage => Arc::new(productpage::Productpage::new(&options)),
        Kind::Details => Arc::new(details::Details),
        Kind::Reviews => Arc::new(reviews::Reviews::new(&options)),
        Kind::Ratings => Arc::new(ratings::Ratings::new(&options)),
    };
    server::start(listen, service).await
}
