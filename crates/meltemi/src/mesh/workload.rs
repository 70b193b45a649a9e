//! The program of a workload: how it is started, what it is told, when it is ready. Called by [`super::run`].
//!
//! Invariant: an app learns everything from its environment, under names that Kubernetes uses; it needs no word of ours.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use meltemi_agent::{Spec, admin};
use meltemi_config::core::IntOrString;
use meltemi_config::process::{Process, ReadinessCheck};

use super::plan::{Plan, Workload};

/// How long an app may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How often an app that is starting is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// How to start the app.
pub(crate) fn spec(workload: &Workload, process: &Process, plan: &Plan) -> Spec {
    let mut env = environment(workload, plan);
    for (name, value) in &process.env {
        let value = expand(value, &env);
        env.push((name.to_string(), value));
    }
    let folder = folder_of(&workload.object.source.file);
    let mut words = process.command.iter().map(|word| expand(word, &env));
    let program = words.next().unwrap_or_default();
    let working_dir = process.working_dir.as_deref().map_or_else(|| folder.clone(), |dir| folder.join(dir));
    Spec {
        name: workload.name.clone(),
        program: find(&program, &folder),
        args: words.collect(),
        env,
        working_dir: Some(working_dir),
        grace: GRACE,
    }
}

/// Where to listen, who one is, and where the services are: `<NAME>_SERVICE_HOST` and `_PORT`, as in a Kubernetes pod.
fn environment(workload: &Workload, plan: &Plan) -> Vec<(String, String)> {
    let mut env = vec![
        ("HOST".to_owned(), Ipv4Addr::LOCALHOST.to_string()),
        ("POD_NAME".to_owned(), workload.name.clone()),
        ("POD_NAMESPACE".to_owned(), workload.namespace.clone()),
        ("POD_IP".to_owned(), workload.address.to_string()),
    ];
    if let Some(first) = workload.ports.first() {
        env.push(("PORT".to_owned(), first.app.to_string()));
    }
    for port in &workload.ports {
        env.push((format!("PORT_{}", shout(&port.name)), port.app.to_string()));
    }
    let mut last = "";
    for (upstream, tcp) in plan.upstreams.iter().zip(&workload.tcp_egress) {
        let Some(service) = upstream.service.as_deref().filter(|_| upstream.namespace == workload.namespace)
        else {
            continue;
        };
        let address = tcp.unwrap_or(workload.egress).to_string();
        let name = shout(service);
        if last != service {
            env.push((format!("{name}_SERVICE_HOST"), address));
            env.push((format!("{name}_SERVICE_PORT"), upstream.port.to_string()));
        }
        env.push((format!("{name}_SERVICE_PORT_{}", shout(&upstream.port_name)), upstream.port.to_string()));
        last = service;
    }
    env
}

/// `my-db` as an environment variable spells it.
fn shout(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Replaces `$(NAME)` by the value of NAME, as Kubernetes does in commands; an unknown one stays, `$$(` is a plain `$(`.
fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let value = rest.strip_prefix("$(").and_then(|tail| tail.split_once(')')).and_then(|(name, tail)| {
            let (_, value) = env.iter().rev().find(|(known, _)| known == name)?;
            Some((value.as_str(), tail))
        });
        let (piece, tail) = match value {
            Some(found) => found,
            None if rest.starts_with("$$") => ("$", &rest[2..]),
            None => ("$", &rest[1..]),
        };
        out.push_str(piece);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Beside the file, beside `meltemi`, then in PATH; with a `/`, relative to the file. `meltemi` is this executable.
fn find(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') {
        return folder.join(program);
    }
    let itself = std::env::current_exe().ok();
    if program == "meltemi"
        && let Some(itself) = itself
    {
        return itself;
    }
    let beside = itself.as_deref().and_then(Path::parent).map(|dir| dir.join(program));
    let places = [Some(folder.join(program)), beside];
    places.into_iter().flatten().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(program))
}

fn folder_of(file: &str) -> PathBuf {
    let parent = Path::new(file).parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    parent.canonicalize().unwrap_or_else(|_| parent.to_owned())
}

/// Waits until the app answers its readiness check; an app without ports is ready at once.
pub(crate) fn until_ready(
    workload: &Workload,
    process: &Process,
) -> impl Future<Output = ()> + Send + 'static {
    let check = process.readiness.as_ref().and_then(|readiness| readiness.check.as_ref());
    let (path, port) = match check {
        Some(ReadinessCheck::HttpGet(get)) => {
            (Some(get.path.as_deref().unwrap_or("/").to_owned()), get.port.as_ref())
        }
        Some(ReadinessCheck::Tcp(tcp)) => (None, tcp.port.as_ref()),
        None => (None, None),
    };
    let address = app_port(workload, port).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    async move {
        let Some(address) = address else { return };
        while !answers(address, path.as_deref()).await {
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn answers(address: SocketAddr, path: Option<&str>) -> bool {
    match path {
        None => tokio::net::TcpStream::connect(address).await.is_ok(),
        Some(path) => {
            let answer = admin::request(address, Method::GET, path).await;
            answer.is_ok_and(|answer| (200..400).contains(&answer.status.as_u16()))
        }
    }
}

/// Where the app listens for a port of its check, which may be named, or numbered as in the mesh.
fn app_port(workload: &Workload, port: Option<&IntOrString>) -> Option<u16> {
    let mut ports = workload.ports.iter();
    let found = match port {
        None => ports.next(),
        Some(IntOrString::Int(number)) => ports.find(|port| port.number == *number || port.app == *number),
        Some(IntOrString::String(name)) => ports.find(|port| *port.name == **name),
    };
    found.map(|port| port.app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_as_kubernetes_does() {
        let env = [("PORT".to_owned(), "81".to_owned())];
        let table = [
            ("$(PORT)", "81"),
            ("a$(PORT)b", "a81b"),
            ("$(NO)", "$(NO)"),
            ("$$(PORT)", "$(PORT)"),
            ("$x", "$x"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }
}
