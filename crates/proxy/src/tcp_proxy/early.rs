//! A connection to the endpoint that is made before it is certain that TCP is what the client speaks: whoever waits for
//! the client's first bytes hears the endpoint too, should it speak first.
//!
//! Driven by the worker while listener filters wait. Invariant: what the endpoint said is handed on, not lost.

use std::{rc::Rc, sync::Arc};

use super::{
    Origin, Outcome,
    target::{self, Carrier, Target},
};
use crate::{http::Worker, listener::TcpProxy};

/// Room for what an endpoint says first: a greeting.
const GREETING: usize = 4096;

/// A connection made early, with what is known of it.
#[derive(Debug)]
pub struct Early {
    proxy: Arc<TcpProxy>,
    pub(super) target: Target,
    pub(super) outcome: Outcome,
}

impl Early {
    /// Connects as the TCP proxy would; `None` when that fails, which is nobody's concern yet.
    pub async fn connect(proxy: Arc<TcpProxy>, origin: Origin, worker: Rc<Worker>) -> Option<Self> {
        let mut outcome = Outcome::default();
        let target = target::connect(&proxy, &origin, None, &worker, &mut outcome).await?;
        Some(Self { proxy, target, outcome })
    }

    /// Waits until the endpoint says something: true; or leaves: false. Cancel-safe.
    pub async fn hears(&mut self) -> bool {
        let Carrier::Stream(stream) = &self.target.carrier else { return false };
        loop {
            if stream.readable().await.is_err() {
                return false;
            }
            let mut greeting = vec![0; GREETING];
            match stream.try_read(&mut greeting) {
                Ok(0) => return false,
                Ok(n) => {
                    greeting.truncate(n);
                    self.target.greeting = greeting;
                    return true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    /// True when it was made for this very filter.
    pub fn is_of(&self, proxy: &Arc<TcpProxy>) -> bool {
        Arc::ptr_eq(&self.proxy, proxy)
    }
}
