//! Process, Meltemi's one kind of its own: a local command that is a workload of the mesh. Read by `meltemi up`.
//!
//! ```yaml
//! apiVersion: meltemi.dev/v1alpha1
//! kind: Process
//! metadata:
//!   name: reviews-v2
//!   labels: {app: reviews, version: v2}
//! spec:
//!   service: reviews
//!   command: [./reviews, --port, $(PORT)]
//!   env: {STAR_COLOR: black}
//!   ports:
//!   - {name: http, number: 9080}
//!   readiness: {httpGet: {path: /health}}
//! ```
//!
//! What Kubernetes says with Deployment, Pod and Service, it says in one document: `meltemi up` starts the command with a
//! sidecar beside it, gives it an address of its own, and registers it with the service's name, unless a Service of the
//! files selects it. The command listens at `HOST`:`PORT`, and finds the services it calls at `<NAME>_SERVICE_HOST` and
//! `<NAME>_SERVICE_PORT`, saying in `Host` which one it means.

use std::collections::BTreeMap;

use crate::Str;
use crate::core::IntOrString;
use crate::decode::macros::{message, oneof};
use crate::labels::Labels;

message! {
    /// A local command as a workload.
    pub struct Process {
        /// Program and arguments. A program without `/` is looked for beside the file, beside `meltemi`, then in PATH.
        command: Vec<Str> = "command";
        /// More environment; `$(NAME)` here and in the command stands for the value of a variable that `up` sets.
        env: BTreeMap<Str, Str> = "env";
        /// Working directory, relative to the file; unset: the file's.
        working_dir: Option<Str> = "workingDir";
        /// Ports it serves. The command finds the first in `PORT`, each in `PORT_<NAME>`, and the address in `HOST`.
        ports: Vec<ProcessPort> = "ports";
        /// Service it belongs to; unset: its own name.
        service: Option<Str> = "service";
        /// Labels of the workload, besides those of the metadata; `app` and `version` are what subsets usually select.
        labels: Labels = "labels";
        /// Service account of its identity; unset: `default`.
        service_account: Option<Str> = "serviceAccount";
        /// How many; unset: 1.
        replicas: Option<u32> = "replicas";
        /// When it counts as ready; unset: when its first port accepts connections.
        readiness: Option<Readiness> = "readiness";
        /// Whether it is a gateway: a proxy of its own without a command, listening to the outside.
        gateway: bool = "gateway";
    }
}

message! {
    /// A port of a process.
    pub struct ProcessPort {
        /// Name; its beginning says the protocol (`http`, `grpc`, `tcp-db`).
        name: Str = "name" required;
        /// Port of the service, 1 to 65535.
        number: u16 = "number" required;
        /// Port of 127.0.0.1 the command listens at, if it cannot be told; unset: one is chosen and told in `PORT`.
        target_port: Option<u16> = "targetPort";
        /// Protocol, where the name does not say it.
        protocol: Option<Str> = "protocol";
    }
}

message! {
    /// When a process counts as ready.
    pub struct Readiness {
        /// How it is asked.
        check: Option<ReadinessCheck> = oneof;
    }
}

oneof! {
    /// How a process is asked whether it is ready.
    pub enum ReadinessCheck {
        /// A GET that answers 200 to 399.
        HttpGet(HttpGet) = "httpGet";
        /// A connection that succeeds.
        Tcp(TcpCheck) = "tcp";
    }
}

message! {
    /// A GET.
    pub struct HttpGet {
        /// Path; unset: `/`.
        path: Option<Str> = "path";
        /// Port by number or name; unset: the first.
        port: Option<IntOrString> = "port";
    }
}

message! {
    /// A connection.
    pub struct TcpCheck {
        /// Port by number or name; unset: the first.
        port: Option<IntOrString> = "port";
    }
}

impl Process {
    /// The service it belongs to.
    pub fn service_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.service.as_deref().unwrap_or(name)
    }

    /// How many are wanted.
    pub fn replicas(&self) -> u32 {
        self.replicas.unwrap_or(1)
    }

    /// The number the command listens at, for a port of a check; `None` if there is no such port.
    pub fn check_port(&self, port: Option<&IntOrString>) -> Option<u16> {
        let listens = |port: &ProcessPort| port.target_port.unwrap_or(port.number);
        match port {
            None => self.ports.first().map(listens),
            Some(IntOrString::Int(number)) => Some(*number),
            Some(IntOrString::String(name)) => self.ports.iter().find(|port| port.name == *name).map(listens),
        }
    }
}
