//! Process, our own kind.

use super::virtual_service::labels;
use super::{Check, Path, names};
use crate::core::IntOrString;
use crate::process::{Process, ReadinessCheck};
use crate::{Protocol, text};

pub(super) fn check(it: &Process, check: &mut Check<'_>, at: &Path<'_>) {
    if it.gateway {
        if !it.command.is_empty() {
            check.error(&at.key("command"), "a gateway is a proxy: it runs no command");
        }
    } else if it.command.is_empty() || it.command[0].is_empty() {
        check.error_hint(&at.key("command"), "`command` is missing", "command: [PROGRAM, ARGUMENT, …]");
    }
    let ports = at.key("ports");
    for (index, port) in it.ports.iter().enumerate() {
        let at = ports.index(index);
        if port.number == 0 || port.target_port == Some(0) {
            check.error(&at, "0 is not a port (1 to 65535)");
        }
        if let Some(protocol) = port.protocol.as_deref().filter(|name| Protocol::parse(name).is_none()) {
            check.error(&at.key("protocol"), format!("{} is not a protocol", text::quoted(protocol)));
        }
        for other in &it.ports[..index] {
            if other.name == port.name {
                check.error(&at.key("name"), format!("port name {:?} is given twice", port.name));
            }
            if other.number == port.number {
                check.error(&at.key("number"), format!("port {} is given twice", port.number));
            }
        }
    }
    if let Some(service) = it.service.as_deref().filter(|name| !names::is_label(name)) {
        check.error(&at.key("service"), format!("{} cannot be the name of a service", text::quoted(service)));
    }
    labels(&it.labels, check, &at.key("labels"));
    if let Some(readiness) = &it.readiness {
        let at = at.key("readiness");
        let (name, port) = match &readiness.check {
            None => return check.error(&at, "one of httpGet or tcp must be given"),
            Some(ReadinessCheck::HttpGet(get)) => ("httpGet", &get.port),
            Some(ReadinessCheck::Tcp(tcp)) => ("tcp", &tcp.port),
        };
        if it.check_port(port.as_ref()).is_none() {
            let message = match port {
                Some(IntOrString::String(name)) => format!("there is no port named {name:?}"),
                _ => "there is no port to ask at".to_owned(),
            };
            let check_at = at.key(name);
            check.error(&check_at.key("port"), message);
        }
    }
}
