//! The folder of mesh resources that the control plane watches: a file for each, as people and tools keep them.
//!
//! Invariant: a change is a rename, so nobody reads half of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folder.
pub(super) struct Config {
    folder: PathBuf,
    pub(super) services: usize,
    /// Of each service.
    endpoints: usize,
}

impl Config {
    /// Writes `services` ServiceEntries (8080 HTTP, 9090 gRPC, static endpoints, a VIP) and a fifth as many VirtualServices
    /// (header match, timeout, retries, header set).
    pub(super) fn write(folder: &Path, services: usize, endpoints: usize) -> anyhow::Result<Config> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let config = Config { folder: folder.to_owned(), services, endpoints };
        for at in 0..services {
            config.service(at, 0)?;
        }
        for at in 0..services / 5 {
            config.virtual_service(at, 1)?;
        }
        Ok(config)
    }

    /// Writes a service; another `variant` differs in one endpoint.
    pub(super) fn service(&self, at: usize, variant: usize) -> anyhow::Result<()> {
        let mut endpoints = String::new();
        for endpoint in 0..self.endpoints {
            // The first is the one that changes; variant 0 is what everybody begins with, and is never come back to.
            let last = match (endpoint, variant) {
                (0, 0) => 1,
                (0, _) => 2 + variant % 48,
                _ => 50 + endpoint,
            };
            writeln!(
                endpoints,
                "  - {{address: 10.{}.{}.{last}, labels: {{version: v1}}}}",
                64 + at / 250,
                at % 250
            )?;
        }
        self.save(
            &format!("service-{at}.yaml"),
            &format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: svc-{at}\n  namespace: default\n\
                 spec:\n  hosts: [{}]\n  addresses: [10.32.{}.{}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  \
                 - {{number: 8080, name: http, protocol: HTTP}}\n  - {{number: 9090, name: grpc, protocol: GRPC}}\n  endpoints:\n{endpoints}",
                host(at),
                at / 250,
                1 + at % 250,
            ),
        )
    }

    /// Writes a VirtualService with that timeout in seconds.
    pub(super) fn virtual_service(&self, at: usize, timeout: usize) -> anyhow::Result<()> {
        let host = host(at);
        self.save(
            &format!("route-{at}.yaml"),
            &format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: route-{at}\n  namespace: default\n\
                 spec:\n  hosts: [{host}]\n  http:\n  - match:\n    - headers: {{x-version: {{exact: v2}}}}\n    timeout: {timeout}s\n    \
                 retries: {{attempts: 2, perTryTimeout: 500ms, retryOn: 'connect-failure,5xx'}}\n    headers: {{request: {{set: {{x-routed: v2}}}}}}\n    \
                 route:\n    - destination: {{host: {host}}}\n  - route:\n    - destination: {{host: {host}}}\n"
            ),
        )
    }

    fn save(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (file, fresh) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &file))?;
        Ok(())
    }
}

/// Host of a service.
pub(super) fn host(at: usize) -> String {
    format!("svc-{at}.example.com")
}
