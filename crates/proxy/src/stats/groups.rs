//! The groups: which statistics exist, under Envoy's names.
//!
//! Names: <https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats> and its
//! neighbours. Invariant: a field's name is the statistic's name after the group's prefix.

use super::{Classes, Counter, Gauge, Group, Histogram, Stat, Visitor};

/// Defines groups; kinds are `counter`, `gauge`, `histogram` and `classes`.
macro_rules! group {
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type histogram) => { Histogram };
    (@type classes) => { Classes };
    ($($(#[$doc:meta])* $group:ident { $($kind:ident { $($name:ident),* $(,)? })* })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $group { $($(
            #[doc = concat!("The ", stringify!($kind), " `", stringify!($name), "`, as in Envoy.")]
            pub $name: group!(@type $kind),
        )*)* }

        impl Group for $group {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                $($(self.$name.visit(stringify!($name), visitor);)*)*
            }

            fn reset(&self) {
                $($(Stat::reset(&self.$name);)*)*
            }
        }
    )* };
}

group! {
    /// `http.<stat_prefix>.`: an HTTP connection manager, with its router's.
    HttpStats {
        counter {
            downstream_cx_total, downstream_cx_http1_total, downstream_cx_http2_total, downstream_cx_ssl_total,
            downstream_cx_upgrades_total, downstream_cx_destroy, downstream_cx_destroy_local,
            downstream_cx_destroy_remote, downstream_cx_destroy_active_rq, downstream_cx_destroy_local_active_rq,
            downstream_cx_destroy_remote_active_rq, downstream_cx_drain_close, downstream_cx_idle_timeout,
            downstream_cx_max_duration_reached, downstream_cx_max_requests_reached, downstream_cx_overload_disable_keepalive,
            downstream_cx_delayed_close_timeout, downstream_cx_protocol_error, downstream_cx_rx_bytes_total,
            downstream_cx_tx_bytes_total, downstream_flow_control_paused_reading_total,
            downstream_flow_control_resumed_reading_total,
        }
        gauge {
            downstream_cx_active, downstream_cx_http1_active, downstream_cx_http2_active, downstream_cx_ssl_active,
            downstream_cx_upgrades_active, downstream_rq_active,
        }
        counter {
            downstream_rq_total, downstream_rq_http1_total, downstream_rq_http2_total, downstream_rq_failed_path_normalization,
            downstream_rq_header_timeout, downstream_rq_idle_timeout, downstream_rq_max_duration_reached,
            downstream_rq_non_relative_path, downstream_rq_redirected_with_normalized_path,
            downstream_rq_response_before_rq_complete, downstream_rq_rx_reset, downstream_rq_timeout,
            downstream_rq_tx_reset, downstream_rq_too_large, downstream_rq_too_many_premature_resets, downstream_rq_ws_on_non_ws_route,
            no_cluster, no_route, rq_direct_response, rq_redirect, rq_reset_after_downstream_response_started,
            rq_total,
        }
        classes { downstream_rq }
        histogram { downstream_cx_length_ms, downstream_rq_time }
    }

    /// `http2.` and `cluster.<stat_name>.http2.`: codecs.
    Http2Stats {
        counter {
            dropped_headers_with_underscores, goaway_sent, header_overflow, headers_cb_no_stream,
            inbound_empty_frames_flood, inbound_priority_frames_flood, inbound_window_update_frames_flood,
            keepalive_timeout, metadata_empty_frames, outbound_control_flood, outbound_flood,
            requests_rejected_with_underscores_in_headers, rx_messaging_error, rx_reset, stream_refused_errors,
            trailers, tx_flush_timeout, tx_reset,
        }
        gauge { deferred_stream_close, outbound_control_frames_active, outbound_frames_active, pending_send_bytes, streams_active }
    }

    /// `http.<stat_prefix>.fault.`: fault filters.
    FaultStats {
        counter { aborts_injected, delays_injected, faults_overflow, response_rl_injected }
        gauge { active_faults }
    }

    /// `http.<stat_prefix>.cors.`: CORS filters.
    CorsStats {
        counter { origin_invalid, origin_valid }
    }

    /// `access_logs.grpc_access_log.`, `access_logs.open_telemetry_access_log.`: logs that go to services.
    GrpcLogStats {
        counter { logs_written, logs_dropped }
    }

    /// `cluster.<stat_name>.`: what one worker did to a cluster.
    ClusterStats {
        counter {
            upstream_cx_total, upstream_cx_http1_total, upstream_cx_http2_total, upstream_cx_connect_fail,
            upstream_cx_connect_timeout, upstream_cx_connect_with_0_rtt, upstream_cx_idle_timeout,
            upstream_cx_max_duration_reached, upstream_cx_connect_attempts_exceeded, upstream_cx_overflow,
            upstream_cx_destroy, upstream_cx_destroy_local, upstream_cx_destroy_remote, upstream_cx_destroy_with_active_rq,
            upstream_cx_destroy_local_with_active_rq, upstream_cx_destroy_remote_with_active_rq,
            upstream_cx_close_notify, upstream_cx_max_requests, upstream_cx_none_healthy, upstream_cx_pool_overflow,
            upstream_cx_protocol_error, upstream_cx_rx_bytes_total, upstream_cx_tx_bytes_total,
        }
        gauge {
            upstream_cx_active, upstream_cx_rx_bytes_buffered, upstream_cx_tx_bytes_buffered, upstream_rq_active,
            upstream_rq_pending_active,
        }
        counter {
            upstream_rq_total, upstream_rq_pending_total, upstream_rq_pending_overflow, upstream_rq_pending_failure_eject,
            upstream_rq_active_overflow,
            upstream_rq_cancelled, upstream_rq_maintenance_mode, upstream_rq_timeout, upstream_rq_max_duration_reached,
            upstream_rq_per_try_timeout, upstream_rq_per_try_idle_timeout, upstream_rq_rx_reset, upstream_rq_tx_reset,
            upstream_rq_retry, upstream_rq_retry_backoff_exponential, upstream_rq_retry_backoff_ratelimited,
            upstream_rq_retry_limit_exceeded, upstream_rq_retry_overflow, upstream_rq_retry_success,
            upstream_flow_control_paused_reading_total, upstream_flow_control_resumed_reading_total,
            upstream_flow_control_backed_up_total, upstream_flow_control_drained_total,
            upstream_internal_redirect_failed_total, upstream_internal_redirect_succeeded_total, retry_or_shadow_abandoned,
            original_dst_host_invalid, bind_errors, assignment_stale, assignment_timeout_received,
            lb_healthy_panic, lb_local_cluster_not_ok, lb_recalculate_zone_structures, lb_subsets_created,
            lb_subsets_fallback, lb_subsets_fallback_panic, lb_subsets_removed, lb_subsets_selected,
            lb_zone_cluster_too_small, lb_zone_no_capacity_left, lb_zone_routing_all_directly,
            lb_zone_routing_cross_zone, lb_zone_routing_sampled,
        }
        histogram { upstream_cx_connect_ms, upstream_cx_length_ms }
    }

    /// `cluster.<stat_name>.`: what is known of a cluster on the main thread; made when it is read.
    MembershipStats {
        counter { membership_change, update_attempt, update_success, update_failure, update_empty, update_no_rebuild }
        gauge {
            membership_total, membership_healthy, membership_degraded, membership_excluded, max_host_weight,
            lb_subsets_active, version, warming_state,
        }
    }

    /// `cluster.<stat_name>.outlier_detection.`
    OutlierStats {
        counter {
            ejections_consecutive_5xx, ejections_detected_consecutive_5xx, ejections_detected_consecutive_gateway_failure,
            ejections_detected_consecutive_local_origin_failure, ejections_detected_failure_percentage,
            ejections_detected_local_origin_failure_percentage, ejections_detected_local_origin_success_rate,
            ejections_detected_success_rate, ejections_enforced_consecutive_5xx,
            ejections_enforced_consecutive_gateway_failure, ejections_enforced_consecutive_local_origin_failure,
            ejections_enforced_failure_percentage, ejections_enforced_local_origin_failure_percentage,
            ejections_enforced_local_origin_success_rate, ejections_enforced_success_rate, ejections_enforced_total,
            ejections_overflow, ejections_success_rate, ejections_total,
        }
        gauge { ejections_active }
    }

    /// `cluster.<stat_name>.health_check.`
    HealthCheckStats {
        counter { attempt, failure, network_failure, passive_failure, success, verify_cluster }
        gauge { degraded, healthy }
    }

    /// `cluster.<stat_name>.circuit_breakers.<priority>.`: 1 when a limit is reached.
    CircuitBreakerStats {
        gauge { cx_open, cx_pool_open, rq_open, rq_pending_open, rq_retry_open }
    }

    /// `listener.<address>.`
    ListenerStats {
        counter {
            downstream_cx_total, downstream_cx_destroy, downstream_cx_overflow, downstream_cx_overload_reject,
            downstream_cx_transport_socket_connect_timeout, downstream_global_cx_overflow,
            downstream_listener_filter_error, downstream_listener_filter_remote_close,
            downstream_pre_cx_timeout, no_filter_chain_match,
        }
        gauge { downstream_cx_active, downstream_pre_cx_active }
        histogram { downstream_cx_length_ms }
    }

    /// `connection_limit.<stat_prefix>.`
    ConnectionLimitStats {
        counter { limited_connections }
        gauge { active_connections }
    }

    /// `http_inspector.`
    HttpInspectorStats {
        counter { read_error, http10_found, http11_found, http2_found, http_not_found }
    }

    /// `tls_inspector.`
    TlsInspectorStats {
        counter {
            client_hello_too_large, tls_found, tls_not_found, alpn_found, alpn_not_found, sni_found, sni_not_found,
        }
    }

    /// `protocol_detection.`, ours: connections on which the server spoke first, on which nobody spoke in time, and
    /// endpoints connected before it was known.
    DetectionStats {
        counter { server_first, silent, early_connects }
    }

    /// `listener.<address>.http.<stat_prefix>.`
    ListenerHttpStats {
        classes { downstream_rq }
    }

    /// `tcp.<stat_prefix>.`
    TcpStats {
        counter {
            downstream_cx_total, downstream_cx_no_route, downstream_cx_rx_bytes_total, downstream_cx_tx_bytes_total,
            downstream_flow_control_paused_reading_total, downstream_flow_control_resumed_reading_total,
            early_data_received_count_total, idle_timeout, max_downstream_connection_duration, on_demand_cluster_attempt,
            on_demand_cluster_missing, on_demand_cluster_success, on_demand_cluster_timeout,
            upstream_flush_total,
        }
        gauge { downstream_cx_rx_bytes_buffered, downstream_cx_tx_bytes_buffered, upstream_flush_active }
    }

    /// `server.`: the process; made when it is read.
    ServerStats {
        gauge {
            concurrency, days_until_first_cert_expiring, hot_restart_epoch, live, memory_allocated, memory_heap_size,
            memory_physical_size, parent_connections, seconds_until_first_ocsp_response_expiring, state,
            total_connections, uptime,
        }
        histogram { initialization_time_ms }
    }

    /// `cluster_manager.cds.` and `listener_manager.lds.`
    XdsStats {
        counter { init_fetch_timeout, update_attempt, update_failure, update_rejected, update_success }
        gauge { update_time, version }
        histogram { update_duration }
    }

    /// `control_plane.`
    ControlPlaneStats {
        gauge { connected_state, pending_requests }
        counter { rate_limit_enforced }
    }

    /// `cluster_manager.`
    ClusterManagerStats {
        counter { cluster_added, cluster_modified, cluster_removed, cluster_updated, cluster_updated_via_merge, update_merge_cancelled, update_out_of_merge_window }
    }

    /// `listener_manager.`
    ListenerManagerStats {
        counter {
            listener_added, listener_create_failure, listener_create_success, listener_in_place_updated, listener_modified,
            listener_removed, listener_stopped,
        }
    }
}
