//! `/server_info`: `envoy.admin.v3.ServerInfo`.
//!
//! Invariant: `version` says which program this is.

use meltemi_xds::{
    json,
    pb::{
        envoy::admin::v3::{CommandLineOptions, ServerInfo},
        google::protobuf::Duration,
    },
};

use super::Admin;
use crate::lifecycle::State;

impl Admin {
    pub(super) fn server_info(&self) -> String {
        let seconds = i64::try_from(self.lifecycle.started().elapsed().as_secs()).unwrap_or(i64::MAX);
        let uptime = Duration { seconds, nanos: 0 };
        let drain = i64::try_from(self.lifecycle.drain_time().as_secs()).unwrap_or(i64::MAX);
        let state = self.lifecycle.state();
        let options = CommandLineOptions {
            concurrency: u32::try_from(self.workers.count()).unwrap_or(u32::MAX),
            drain_time: Some(Duration { seconds: drain, nanos: 0 }),
            service_node: self.node.id.clone(),
            service_cluster: self.node.cluster.clone(),
            ..CommandLineOptions::default()
        };
        let mut value = json::to_value(&ServerInfo {
            version: concat!("meltemi/", env!("CARGO_PKG_VERSION")).into(),
            state: i32::try_from(state.number()).unwrap_or(0),
            uptime_current_epoch: Some(uptime),
            uptime_all_epochs: Some(uptime),
            hot_restart_version: "disabled".into(),
            command_line_options: Some(options),
            node: Some(self.node.clone()),
            ..ServerInfo::default()
        });
        // LIVE is the enum's zero, which proto3 JSON leaves out; Envoy prints it.
        if state == State::Live {
            value["state"] = "LIVE".into();
        }
        super::pretty(&value)
    }
}
